"""Builds a `pretrain` task from a text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verifier.artifacts.new_files import check_new
from verifier.artifacts.tensors import Schema
from verifier.exact import Program, load_program
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.pretrain.fit import fit
from verifier.tasks.kinds.pretrain.options import PretrainOptions, PretrainSettings
from verifier.tasks.kinds.pretrain.program import (
    PADDING,
    TEXT,
    Rows,
    Weights,
    evaluation_program,
    exact_log_likelihoods,
    export_model,
    float_log_likelihoods,
    weights_of,
)
from verifier.tasks.manifest import padded_rows
from verifier.tasks.models.grids import saturated
from verifier.tasks.models.language_models import BYTES, ByteModel
from verifier.tasks.registry import OnStep
from verifier.tasks.separation import check_causal, check_rows
from verifier.tasks.sets import ExampleSet
from verifier.tasks.text.documents import Document, read_documents
from verifier.tasks.thresholds import clustered_error, nat_units
from verifier.tasks.writing import TaskDraft, TrainingFile, summarise, write_task

# Batches of training rows on which the lowering is calibrated, half with the reference and half with random weights.
CALIBRATION_BATCHES = 8
# Batches of practice rows on which the exact program is compared with the float model.
COMPARED_BATCHES = 8
# Maximum relative difference of the two log-likelihoods. Rounding makes about 1e-5 of difference; a program that
# saturates or is wrong makes several percent.
MAX_DIFFERENCE = 1e-3
# A set takes at least so many documents, where the text has five times as many: the error of a score is that of drawing
# documents, and two or three of them say little about it.
MIN_DOCUMENTS = 4
# Share of the reference's training after which its weights are kept as an earlier submission.
EARLIER = 2 / 3


@dataclass(frozen=True)
class _Set:
    """The rows [rows, context] of a set, and the document of each."""

    rows: NDArray[np.uint8]
    documents: Sequence[str]

    def padded(self, batch: int) -> Rows:
        """Return the rows as the program takes them, with rows of PADDING up to whole batches."""
        text = np.full((padded_rows(len(self.rows), batch), self.rows.shape[1]), PADDING, np.int16)
        text[: len(self.rows)] = self.rows
        return text


@dataclass(frozen=True)
class _Reference:
    """The weights of the builder's own training: at its beginning, at EARLIER and at its end."""

    random: Weights
    earlier: Weights
    final: Weights


def build(options: PretrainOptions, out: Path, on_step: OnStep = lambda name, done, total: None) -> dict[str, Any]:
    """Write a task into the new folder `out` and return the summary that `touchstone task build` prints.

    Nothing is written before all checks have passed, and then all files or none.
    Errors: BuildError, LoweringError, ArtifactError. An existing folder is never written into.
    """
    check_new(out)
    documents = read_documents(options.text, options.separator)
    holdout, practice, left = _split(documents, options)
    torch.manual_seed(options.seed % 2**63)
    model = ByteModel(
        options.architecture.value,
        layers=options.layers,
        width=options.width,
        heads=options.heads,
        context=options.context,
    )
    reference = _train_reference(model, left, options, on_step)
    on_step("export the model", 0, 1)
    exported = export_model(model, options.batch, options.context)
    calibration = _rows_of(left, CALIBRATION_BATCHES * options.batch, options)
    calibrated = 0

    def on_batch() -> None:
        nonlocal calibrated
        calibrated += 1
        on_step("calibrate and lower it", calibrated, CALIBRATION_BATCHES)

    weights = [reference.final, reference.random]
    data = evaluation_program(exported, calibration.padded(1), weights, options.batch, on_batch)
    on_step("prove it exact", 0, 1)
    program = load_program(data)
    check_causal(program, {TEXT: 1}, {"bytes": 1})
    check_rows(program, {TEXT: 0}, {"bytes": 0})
    on_step("compare it with float32", 0, 1)
    compared = practice.padded(options.batch)[: COMPARED_BATCHES * options.batch]
    began = time.monotonic()
    exact = exact_log_likelihoods(program, saturated(exported.submission, reference.final), compared).sum()
    seconds = (time.monotonic() - began) / len(compared)
    floats = float_log_likelihoods(exported, reference.final, compared).sum()
    difference = abs(exact / floats - 1.0)
    if not difference <= MAX_DIFFERENCE:
        raise BuildError(
            f"the exact program's log-likelihood differs from the float model's by {difference:.2%} on {len(compared)} "
            f"rows; at most {MAX_DIFFERENCE:.2%} is accepted: train the reference longer (--reference-steps)"
        )
    judged = holdout if len(holdout.rows) else practice
    figures = _figures(judged, program, exported.submission, reference, _frequencies(left), on_step)
    on_step("write the task", 0, 1)
    text = b"".join(document.data for document in left)
    draft = TaskDraft(
        kind="pretrain",
        title=options.title,
        program=program,
        program_file=data,
        submission=exported.submission,
        practice=ExampleSet({TEXT: practice.padded(options.batch)}, len(practice.rows)),
        holdout=ExampleSet({TEXT: holdout.padded(options.batch)}, len(holdout.rows)) if len(holdout.rows) else None,
        batch=options.batch,
        metric="log-likelihood",
        unit="2^-16 nat",
        model="none: a submission gives all weights",
        tokenizer="none: the model reads bytes",
        settings=PretrainSettings(
            architecture=options.architecture.value,
            layers=options.layers,
            width=options.width,
            heads=options.heads,
            context=options.context,
        ),
        url=options.url,
        training=TrainingFile(text, "txt", len(left)) if options.publish_train else None,
    )
    manifest = write_task(draft, out, {} if options.publish_train else {"train.txt": text})
    on_step("write the task", 1, 1)
    summary = summarise(manifest, out)
    summary["counts"]["train"] = len(left)
    return {
        **summary,
        "weights": sum(int(np.prod(spec.shape)) for spec in exported.submission),
        "difference_from_float": difference,
        "seconds_per_submission": round(seconds * len(judged.padded(options.batch)), 1),
        **figures,
    }


def _split(documents: list[Document], options: PretrainOptions) -> tuple[_Set, _Set, list[Document]]:
    """Draw holdout and practice from documents of their own; the third part are the documents that are left.

    Errors: BuildError when the text is too short.
    """
    usable = [document for document in documents if len(document.data) >= options.context]
    rng = np.random.default_rng(options.seed)
    order = [usable[number] for number in rng.permutation(len(usable))]
    min_documents = MIN_DOCUMENTS if len(usable) >= 5 * MIN_DOCUMENTS else 1
    sets = []
    for needed in (options.holdout, options.practice):
        rows: list[NDArray[np.uint8]] = [np.empty((0, options.context), np.uint8)]
        names: list[str] = []
        taken = 0
        while needed and (len(names) < needed or taken < min_documents) and order:
            document = order.pop()
            rows.append(document.rows(options.context))
            names += [document.name] * len(rows[-1])
            taken += 1
        chosen = np.sort(rng.permutation(len(names))[:needed])
        sets.append(_Set(np.concatenate(rows)[chosen], [names[number] for number in chosen]))
    calibration = CALIBRATION_BATCHES * options.batch
    holdout, practice = sets
    short = len(holdout.rows) < options.holdout or len(practice.rows) < options.practice
    if short or sum(len(document.data) // options.context for document in order) < calibration:
        raise BuildError(
            f"the text has {len(usable)} documents of {options.context} bytes or more, which is too little for "
            f"{options.holdout} rows of holdout, {options.practice} of practice and {calibration} of calibration in "
            "different documents: give more text, name the line at which a document begins (--separator), or ask for "
            "fewer rows"
        )
    return holdout, practice, order


def _rows_of(documents: Sequence[Document], count: int, options: PretrainOptions) -> _Set:
    """Draw rows for calibration."""
    rows = np.concatenate([document.rows(options.context) for document in documents])
    return _Set(rows[np.random.default_rng(options.seed).permutation(len(rows))[:count]], ["calibration"] * count)


def _train_reference(
    model: ByteModel, documents: Sequence[Document], options: PretrainOptions, on_step: OnStep
) -> _Reference:
    """Train the model for `reference_steps` steps."""
    random = weights_of(model)
    earlier = random

    def progress(steps: int, loss: float) -> float:
        nonlocal earlier
        if steps == round(EARLIER * options.reference_steps):
            earlier = weights_of(model)
        on_step("train a reference", steps, options.reference_steps)
        return steps / options.reference_steps

    on_step("train a reference", 0, options.reference_steps)
    fit(model, [document.data for document in documents], options.context, options.seed, progress)
    return _Reference(random, earlier, weights_of(model))


def _frequencies(documents: Sequence[Document]) -> NDArray[np.float64]:
    """The share of each byte in the documents, with one more of each so that none is 0."""
    counts = np.ones(BYTES)
    for document in documents:
        counts += np.bincount(np.frombuffer(document.data, np.uint8), minlength=BYTES)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _figures(
    judged: _Set,
    program: Program,
    schema: Schema,
    reference: _Reference,
    frequencies: NDArray[np.float64],
    on_step: OnStep,
) -> dict[str, Any]:
    """Score trivial submissions and the reference on the set that decides, with errors by document."""
    count, context = judged.rows.shape
    text = judged.padded(program.inputs[0].shape[0])
    zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in schema}
    submissions = {
        "all weights zero": zeros,
        "earlier reference": saturated(schema, reference.earlier),
        "reference": saturated(schema, reference.final),
    }
    found = {"shares of the bytes": np.log(frequencies)[judged.rows].sum(axis=1)}
    for number, (name, submission) in enumerate(submissions.items()):
        on_step("score trivial submissions and the reference", number, len(submissions))
        found[name] = exact_log_likelihoods(program, submission, text)[:count]
    scores = {
        name: {"score": nat_units(nats.sum()), "bits_per_byte": round(float(-nats.mean() / np.log(2) / context), 4)}
        for name, nats in found.items()
    }
    increment = clustered_error(found["reference"] - found["earlier reference"], judged.documents)
    noise = {
        "documents": len(set(judged.documents)),
        "error_of_a_score": nat_units(clustered_error(found["reference"], judged.documents)),
        "error_of_an_increment": nat_units(increment),
    }
    proposal = {"baseline": nat_units(found["reference"].sum())}
    if np.isfinite(increment):
        proposal |= {"gain": nat_units(2 * increment), "threshold": nat_units(found["reference"].sum() + 2 * increment)}
    return {"scores": scores, "noise": noise, "proposal": proposal}
