"""Builds a `language` task from a decoder and a data set of prompts and answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from verifier.artifacts.new_files import check_new
from verifier.artifacts.tensors import Schema
from verifier.exact import Program, load_program
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.language.examples import AnswerExample, AnswerSets, read_examples
from verifier.tasks.kinds.language.fit import fit
from verifier.tasks.kinds.language.options import LanguageOptions, LanguageSettings
from verifier.tasks.kinds.language.program import (
    Adapter,
    evaluation_program,
    exact_log_likelihoods,
    export_decoder,
    original_log_likelihoods,
    quantised,
)
from verifier.tasks.models.adapters import sample_adapter, trained_tensors, with_adapter
from verifier.tasks.models.base_files import describe
from verifier.tasks.models.decoder import load_language_model
from verifier.tasks.models.loading import identify
from verifier.tasks.models.weight_files import WEIGHTS
from verifier.tasks.registry import OnStep
from verifier.tasks.separation import check_predictions, check_rows
from verifier.tasks.sets import Arrays, ExampleSet
from verifier.tasks.text.answers import PLACES, TOKENS, encode_answers, token_arrays
from verifier.tasks.thresholds import clustered_error, nat_units
from verifier.tasks.writing import TaskDraft, TrainingFile, summarise, write_task

# Batches of training rows on which the lowering is calibrated.
CALIBRATION_BATCHES = 8
# Batches of evaluated rows on which the exact program is compared with the original model.
COMPARED_BATCHES = 8
# Maximum relative difference of the two log-likelihoods. Rounding makes about 1e-5 of difference; a program that
# saturates or is wrong makes several percent.
MAX_DIFFERENCE = 1e-3
# Seed of the adapter that the exact program is compared with: calibration uses small seeds only.
_COMPARISON_SEED = 1_000_003
# Strength of the adapter that changes next to nothing, as a share of that of a trained one.
_TINY = 0.05
# Share of the reference's training after which its adapter is kept as an earlier submission.
EARLIER = 1 / 2


@dataclass(frozen=True)
class _ReferenceAdapters:
    """The adapters of the builder's own training, at EARLIER and at its end."""

    earlier: Adapter
    final: Adapter


@dataclass(frozen=True)
class _RowShape:
    """What the rows of every set have in common: tokens of a row, most counted tokens of one, rows per run."""

    vocabulary: int
    sequence: int
    answers: int
    batch: int

    def arrays(self, rows: Sequence[AnswerExample]) -> Arrays:
        """Return the rows as the program takes them, in whole batches."""
        encoded = [row.encoded for row in rows]
        return token_arrays(encoded, self.vocabulary, self.sequence, self.answers, self.batch)


def build(options: LanguageOptions, out: Path, on_step: OnStep = lambda name, done, total: None) -> dict[str, Any]:
    """Write a task into the new folder `out` and return the summary that `touchstone task build` prints.

    Nothing is written before all checks have passed, and then all files or none.
    Errors: BuildError, LoweringError, ArtifactError. An existing folder is never written into.
    """
    check_new(out)
    on_step("load the model", 0, 1)
    torch.manual_seed(options.seed % 2**63)
    base = load_language_model(options.base)
    if base.max_tokens is not None and options.sequence > base.max_tokens:
        raise BuildError(f"the model takes at most {base.max_tokens} tokens, not {options.sequence}")
    sets = read_examples(options, base.vocabulary, CALIBRATION_BATCHES * options.batch, on_step)
    # alpha = rank: a scaling of 1, because `pack` multiplies an adapter's own scaling into its tensors.
    adapted = with_adapter(base, options.targets, options.rank, alpha=options.rank, part="decoder", head=None)
    reference = _train_reference(adapted, sets.train, options, on_step)
    calibration = _calibration(sets.train, options.batch)
    most = max(len(row.encoded.places) for row in (*sets.practice, *sets.holdout, *calibration))
    shape = _RowShape(base.vocabulary, options.sequence, most, options.batch)
    on_step("export the model", 0, 1)
    exported = export_decoder(adapted, shape.batch, shape.sequence, shape.answers)
    calibrated = 0

    def on_batch() -> None:
        nonlocal calibrated
        calibrated += 1
        on_step("calibrate and lower it", calibrated, CALIBRATION_BATCHES)

    adapters = [reference.final, *(sample_adapter(exported.submission, number % 3, number) for number in range(3))]
    data = evaluation_program(exported, shape.arrays(calibration), adapters, shape.batch, shape.vocabulary, on_batch)
    on_step("prove it exact", 0, 1)
    program = load_program(data)
    check_rows(program, {TOKENS: 0, PLACES: 0}, {"answers": 0})
    check_predictions(program, TOKENS, PLACES, ["answers", "score"])
    on_step("compare it with the original model", 0, 1)
    difference, batch_seconds = _compare(options.base, program, exported.submission, sets, shape)
    figures = _figures(sets, shape, program, exported.submission, reference, on_step)
    texts = [row.text for row in sets.train]
    training = TrainingFile(encode_answers(texts), "jsonl", len(texts))
    draft = TaskDraft(
        kind="language",
        title=options.title,
        program=program,
        program_file=data,
        submission=exported.submission,
        practice=ExampleSet(shape.arrays(sets.practice), len(sets.practice)),
        holdout=ExampleSet(shape.arrays(sets.holdout), len(sets.holdout)) if sets.holdout else None,
        batch=shape.batch,
        metric="log-likelihood",
        unit="2^-16 nat",
        model=identify(options.base, WEIGHTS),
        tokenizer=identify(options.base, "tokenizer.json"),
        settings=LanguageSettings(
            rank=options.rank,
            alpha=options.alpha,
            targets=options.targets,
            sequence=options.sequence,
            answers=shape.answers,
        ),
        url=options.url,
        source=options.source,
        base_files=describe(options.base),
        training=training if options.publish_train else None,
    )
    seconds = batch_seconds * draft.batches
    on_step(f"a submission costs {program.macs * draft.batches:,} MACs, {seconds:.1f} s here", 1, 1)
    on_step("write the task", 0, 1)
    manifest = write_task(draft, out, {} if options.publish_train else {"train.jsonl": training.data})
    on_step("write the task", 1, 1)
    summary = summarise(manifest, out)
    summary["counts"]["train"] = len(sets.train)
    return {
        **summary,
        "seconds": float(f"{seconds:.3g}"),
        "memory": program.memory_bytes,
        "answers": shape.answers,
        "left_out": sets.left_out,
        "difference_from_float": difference,
        **figures,
    }


def _train_reference(
    model: PeftModel, rows: Sequence[AnswerExample], options: LanguageOptions, on_step: OnStep
) -> _ReferenceAdapters:
    """Train the adapter for `reference_steps` steps."""
    specs = trained_tensors(model)

    def adapter() -> Adapter:
        parameters = dict(model.named_parameters())
        return {spec.name: parameters[name].detach().numpy().copy() for name, spec in specs.items()}

    steps = options.reference_steps
    earlier = adapter()

    def on_trained(done: int, loss: float) -> None:
        nonlocal earlier
        if done == round(EARLIER * steps):
            earlier = adapter()
        on_step("train a reference", done, steps)

    on_step("train a reference", 0, steps)
    fit(model, [row.encoded for row in rows], steps, options.seed, on_trained)
    return _ReferenceAdapters(earlier, adapter())


def _calibration(rows: Sequence[AnswerExample], batch: int) -> list[AnswerExample]:
    """One batch of the longest rows, and others in their random order."""
    by_length = sorted(rows, key=lambda row: -len(row.encoded.tokens))
    longest = by_length[:batch]
    chosen = {id(row) for row in longest}
    others = [row for row in rows if id(row) not in chosen]
    return [*longest, *others[: (CALIBRATION_BATCHES - 1) * batch]]


def _compare(base: Path, program: Program, schema: Schema, sets: AnswerSets, shape: _RowShape) -> tuple[float, float]:
    """Return how far the program is from the original model, as a share of the log-likelihood, and seconds per run.

    Both have the same random adapter, and rows that calibration has not seen. Errors: BuildError when they differ.
    """
    rows = [*sets.practice, *sets.holdout][: COMPARED_BATCHES * shape.batch]
    submission = quantised(schema, sample_adapter(schema, 1.0, _COMPARISON_SEED))
    arrays = shape.arrays(rows)
    began = time.monotonic()
    exact = exact_log_likelihoods(program, submission, arrays).sum()
    seconds = (time.monotonic() - began) / (len(arrays[TOKENS]) // shape.batch)
    original = original_log_likelihoods(base, schema, submission, [row.encoded for row in rows]).sum()
    difference = float(abs(exact / original - 1.0))
    if not difference <= MAX_DIFFERENCE:
        raise BuildError(
            f"the exact program's log-likelihood differs from the original model's by {difference:.2%} on {len(rows)} "
            f"rows; at most {MAX_DIFFERENCE:.2%} is accepted: report the model, or build from another one"
        )
    return difference, seconds


def _figures(
    sets: AnswerSets, shape: _RowShape, program: Program, schema: Schema, reference: _ReferenceAdapters, on_step: OnStep
) -> dict[str, Any]:
    """Score trivial submissions and the reference on the set that decides, with errors by prompt where they repeat."""
    rows = sets.evaluated
    arrays, groups = shape.arrays(rows), [row.group for row in rows]
    submissions: dict[str, Adapter] = {
        "no adapter": {spec.name: np.zeros(spec.shape, np.float32) for spec in schema},
        "tiny random adapter": sample_adapter(schema, _TINY, _COMPARISON_SEED),
        "earlier reference": reference.earlier,
        "reference": reference.final,
    }
    found = {}
    for number, (name, adapter) in enumerate(submissions.items()):
        on_step("score trivial submissions and the reference", number, len(submissions))
        found[name] = exact_log_likelihoods(program, quantised(schema, adapter), arrays)[: len(rows)]
    scores = {
        name: {"score": nat_units(nats.sum()), "nat_per_answer": round(float(nats.mean()), 4)}
        for name, nats in found.items()
    }
    increment = clustered_error(found["reference"] - found["earlier reference"], groups)
    # A threshold has to be beyond the chance differences of whatever changes the base model, trained or not.
    first = max(
        clustered_error(found[name] - found["no adapter"], groups) for name in ("reference", "tiny random adapter")
    )
    noise = {
        "groups": len(set(groups)),
        "by_prompt": sets.by_prompt,
        "error_of_a_score": nat_units(clustered_error(found["reference"], groups)),
        "error_of_a_difference_from_the_base": nat_units(first),
        "error_of_an_increment": nat_units(increment),
    }
    baseline = max(found["no adapter"].sum(), found["tiny random adapter"].sum())
    proposal = {"baseline": nat_units(baseline)}
    if np.isfinite(increment):
        proposal |= {"gain": nat_units(2 * increment), "threshold": nat_units(baseline + 2 * first)}
    return {"scores": scores, "noise": noise, "proposal": proposal}
