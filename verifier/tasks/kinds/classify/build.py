"""Builds a `classify` task from a model and a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verifier.artifacts.new_files import check_new, write_new
from verifier.exact import load_program
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.classify.options import ClassifyOptions, ClassifySettings
from verifier.tasks.kinds.classify.program import agreement, evaluation_program, export_classifier
from verifier.tasks.models.adapters import with_adapter
from verifier.tasks.models.base_files import describe
from verifier.tasks.models.classifier import load_classifier
from verifier.tasks.models.loading import identify
from verifier.tasks.registry import OnStep
from verifier.tasks.sets import ExampleSet, Split
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import encode_rows, labels_of, read_rows
from verifier.tasks.writing import TaskDraft, TrainingFile, summarise, write_task

# Batches of training rows on which the lowering is calibrated.
CALIBRATION_BATCHES = 12
# Batches of practice rows on which the exact program is compared with the float model.
COMPARED_BATCHES = 8
# Minimum share of compared rows to which both give the same class. With a random head many rows are close decisions;
# a program that saturates or is wrong agrees on about half of them.
MIN_AGREEMENT = 0.95


def build(options: ClassifyOptions, out: Path, on_step: OnStep = lambda name, done, total: None) -> dict[str, Any]:
    """Write a task into the new folder `out` and return the summary that `touchstone task build` prints.

    Errors: BuildError, LoweringError, ArtifactError. An existing folder is never written into.
    """
    check_new(out)
    rows = read_rows(options.dataset)
    labels = labels_of(rows)
    split = Split.draw(rows, options.practice, options.holdout, CALIBRATION_BATCHES * options.batch, options.seed)
    on_step("load the model", 0, 1)
    base = load_classifier(options.base, len(labels))
    encoding = Encoding(options.base, options.sequence, labels)
    if options.sequence > base.max_tokens:
        raise BuildError(f"the model takes at most {base.max_tokens} tokens, not {options.sequence}")
    # alpha = rank: a scaling of 1, because `pack` multiplies an adapter's own scaling into its tensors.
    adapted = with_adapter(base, options.targets, options.rank, alpha=options.rank)
    on_step("export it", 0, 1)
    exported = export_classifier(adapted, options.batch, options.sequence)

    calibrated = 0

    def on_batch() -> None:
        nonlocal calibrated
        calibrated += 1
        on_step("calibrate and lower it", calibrated, CALIBRATION_BATCHES)

    on_step("calibrate and lower it", 0, CALIBRATION_BATCHES)
    examples = encoding.encode(split.train[: CALIBRATION_BATCHES * options.batch], options.batch)
    data = evaluation_program(exported, examples, options.batch, base.vocabulary, on_batch)
    on_step("prove it exact", 0, 1)
    program = load_program(data)
    on_step("compare it with float32", 0, 1)
    compared = encoding.encode(split.practice[: COMPARED_BATCHES * options.batch], options.batch)
    share = agreement(exported, program, compared, options.batch)
    if share < MIN_AGREEMENT:
        raise BuildError(
            f"the exact program gives only {share:.1%} of {len(compared['label'])} texts the class that the float "
            f"model gives; at least {MIN_AGREEMENT:.0%} are needed"
        )
    on_step("write the task", 0, 1)
    training = TrainingFile(encode_rows(split.train), "tsv", len(split.train))
    draft = TaskDraft(
        kind="classify",
        title=options.title,
        program=program,
        program_file=data,
        submission=exported.submission,
        practice=ExampleSet(encoding.encode(split.practice, options.batch), len(split.practice)),
        holdout=ExampleSet(encoding.encode(split.holdout, options.batch), len(split.holdout))
        if split.holdout
        else None,
        batch=options.batch,
        metric="accuracy",
        unit="correct texts",
        model=identify(options.base, "model.safetensors"),
        tokenizer=identify(options.base, "tokenizer.json"),
        settings=ClassifySettings(
            rank=options.rank,
            alpha=options.alpha,
            targets=options.targets,
            labels=labels,
            sequence=options.sequence,
        ),
        url=options.url,
        source=options.source,
        base_files=describe(options.base),
        training=training if options.publish_train else None,
    )
    manifest = write_task(draft, out)
    if not options.publish_train:
        write_new(out / "train.tsv", training.data)
    on_step("write the task", 1, 1)
    summary = summarise(manifest, out)
    summary["counts"]["train"] = len(split.train)
    return {**summary, "agreement": share, "labels": list(labels)}
