"""Builds a `classify` task from a model and a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifier.artifacts.new_files import check_new
from verifier.exact import load_program
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.classify.options import ClassifyOptions, ClassifySettings
from verifier.tasks.kinds.classify.program import (
    Fidelity,
    compare_with_original,
    evaluation_program,
    export_classifier,
    longest_evaluated,
)
from verifier.tasks.models.adapters import with_adapter
from verifier.tasks.models.base_files import describe
from verifier.tasks.models.classifier import load_classifier
from verifier.tasks.models.inspection import examine
from verifier.tasks.models.loading import identify
from verifier.tasks.models.original import OriginalModel
from verifier.tasks.models.weight_files import WEIGHTS
from verifier.tasks.registry import OnStep
from verifier.tasks.separation import check_rows, padding_warnings
from verifier.tasks.sets import ExampleSet, Split
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import (
    DistinctRows,
    Row,
    alike,
    distinct,
    encode_rows,
    label_counts,
    labels_of,
    read_all_rows,
)
from verifier.tasks.text.tables import Columns
from verifier.tasks.thresholds import constant_scores, fitted_head_share, room_warnings, standard_error
from verifier.tasks.writing import TaskDraft, TrainingFile, summarise, write_task

# Batches of training rows on which the lowering is calibrated.
CALIBRATION_BATCHES = 12
# Batches of rows on which the exact program is compared with the original model, and their maximum number of rows.
COMPARED_BATCHES = 8
MAX_COMPARED_ROWS = 512
# Minimum share of compared rows to which both give the same class. With a random head many rows are close decisions;
# a program that saturates or is wrong agrees on about half of them.
MIN_AGREEMENT = 0.95
# Minimum cosine between the two embeddings of a text. all-MiniLM-L6-v2 has 0.99999 at least.
MIN_COSINE = 0.99
# Maximum difference of the lengths of the two embeddings of a text, as a share of the original's.
MAX_SCALE_ERROR = 0.05
# Maximum number of rows that a head is fitted to, and of rows that it is tried on, to say what it scores.
MAX_HEAD_ROWS = 256


@dataclass(frozen=True)
class _Data:
    """The examples of a task, and what was left out of the data set."""

    labels: tuple[str, ...]  # in the order of their class numbers
    split: Split[Row]
    found: DistinctRows

    @property
    def evaluated(self) -> list[Row]:
        """The rows that decide."""
        return self.split.holdout or self.split.practice


def build(options: ClassifyOptions, out: Path, on_step: OnStep = lambda name, done, total: None) -> dict[str, Any]:
    """Write a task into the new folder `out` and return the summary that `touchstone task build` prints.

    Nothing is written before all checks have passed, and then all files or none.
    Errors: BuildError, LoweringError, ArtifactError. An existing folder is never written into.
    """
    check_new(out)
    columns = Columns(label=options.label_column, text=options.text_column)
    rows = list(read_all_rows(options.dataset, columns))
    on_step("load the model", 0, 1)
    base = load_classifier(options.base, len(labels_of(rows)))
    if base.max_tokens is not None and options.sequence > base.max_tokens:
        raise BuildError(f"the model takes at most {base.max_tokens} tokens, not {options.sequence}")
    encoding = Encoding(options.base, options.sequence, labels_of(rows))
    keys = encoding.check(rows, base.vocabulary, lambda done, total: on_step("tokenise the data set", done, total))
    data = _split(rows, keys, options)
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
    examples = encoding.encode(data.split.train[: CALIBRATION_BATCHES * options.batch], options.batch)
    made = evaluation_program(exported, examples, options.batch, base.vocabulary, on_batch)
    on_step("prove it exact", 0, 1)
    program = load_program(made.data)
    check_rows(program, {"input_ids": 0, "attention_mask": 0}, {"logits": 0})
    padding = padding_warnings(program, "input_ids", "attention_mask", {"score": None, "logits": None})
    on_step("compare it with the original model", 0, 1)
    compared = min(COMPARED_BATCHES * options.batch, max(MAX_COMPARED_ROWS, options.batch))
    texts = [*data.split.practice, *data.split.holdout][:compared]
    fidelity = compare_with_original(options.base, exported, program, made.embedding, texts, encoding)
    _check_fidelity(fidelity)
    rows_of_sets = encoding.encode([*data.split.practice, *data.split.holdout], options.batch)
    examined = examine(
        made.calibrated,
        program,
        longest_evaluated(exported, rows_of_sets, options.batch),
        int(rows_of_sets["attention_mask"].sum(axis=1).max()),
        on_step,
    )
    on_step("score what needs no training", 0, 1)
    guide = _guide(data, options)
    training = TrainingFile(encode_rows(data.split.train), "tsv", len(data.split.train))
    draft = TaskDraft(
        kind="classify",
        title=options.title,
        program=program,
        program_file=made.data,
        submission=exported.submission,
        practice=_example_set(data.split.practice, encoding, options.batch),
        holdout=_example_set(data.split.holdout, encoding, options.batch) if data.split.holdout else None,
        batch=options.batch,
        metric="accuracy",
        unit="correct texts",
        model=identify(options.base, WEIGHTS),
        tokenizer=identify(options.base, "tokenizer.json"),
        settings=ClassifySettings(
            rank=options.rank,
            alpha=options.alpha,
            targets=options.targets,
            labels=data.labels,
            sequence=options.sequence,
        ),
        url=options.url,
        source=options.source,
        base_files=describe(options.base),
        training=training if options.publish_train else None,
    )
    seconds = fidelity.batch_seconds * draft.batches
    on_step(f"a submission costs {program.macs * draft.batches:,} MACs, {seconds:.1f} s here", 1, 1)
    trivial, count = max(guide["trivial_scores"].values()), len(data.evaluated)
    on_step(f"without training it scores {trivial:.0f} of {count}, give or take {standard_error(count, 0.5):.0f}", 1, 1)
    on_step("write the task", 0, 1)
    manifest = write_task(draft, out, {} if options.publish_train else {"train.tsv": training.data})
    on_step("write the task", 1, 1)
    summary = summarise(manifest, out)
    summary["counts"]["train"] = len(data.split.train)
    return {
        **summary,
        "seconds": float(f"{seconds:.3g}"),
        "memory": program.memory_bytes,
        "agreement": fidelity.agreement,
        "cosine_min": fidelity.cosine_min,
        "scale_error": fidelity.scale_error,
        "labels": list(data.labels),
        "label_counts": {
            name: label_counts(part, data.labels)
            for name, part in (
                ("practice", data.split.practice),
                ("holdout", data.split.holdout),
                ("train", data.split.train),
            )
        },
        "left_out": {"repeated": data.found.repeated, "contradicted": data.found.contradicted},
        **guide,
        **examined,
        "warnings": [
            *alike(data.labels),
            *room_warnings(guide["trivial_scores"], count),
            *padding,
            *examined["warnings"],
        ],
    }


def _split(rows: list[Row], keys: list[bytes], options: ClassifyOptions) -> _Data:
    """Leave out what is no example of its own, and split the rest. Errors: BuildError."""
    found = distinct(rows, keys)
    labels = labels_of(rows)
    lost = [label for label, count in label_counts(found.rows, labels).items() if count == 0]
    if lost:
        raise BuildError(f"every text with the label {lost[0]!r} also has another label: correct the labels")
    split = Split.draw(
        found.rows,
        options.practice,
        options.holdout,
        CALIBRATION_BATCHES * options.batch,
        options.seed,
        class_of=lambda row: row.label,
    )
    return _Data(labels, split, found)


def _check_fidelity(found: Fidelity) -> None:
    """Refuse a program that is not close to the original model. Errors: BuildError."""
    if found.agreement < MIN_AGREEMENT:
        raise BuildError(
            f"the exact program gives only {found.agreement:.1%} of {found.count} texts the class that the float "
            f"model gives; at least {MIN_AGREEMENT:.0%} are needed: report the model, or build from another one"
        )
    if found.cosine_min < MIN_COSINE or found.scale_error > MAX_SCALE_ERROR:
        raise BuildError(
            f"the exact program's embeddings of {found.count} texts have a cosine of {found.cosine_min:.4f} to those "
            f"of the original model at least, and lengths that differ by up to {found.scale_error:.1%}; "
            f"{MIN_COSINE} and {MAX_SCALE_ERROR:.0%} are needed: report the model, or build from another one"
        )


def _guide(data: _Data, options: ClassifyOptions) -> dict[str, Any]:
    """What to know before choosing a threshold: scores that need no training, and the noise of a score."""
    count = len(data.evaluated)
    original = OriginalModel(options.base, {})
    train, test = data.split.train[:MAX_HEAD_ROWS], data.evaluated[:MAX_HEAD_ROWS]
    share = fitted_head_share(
        original.embed([row.text for row in train], options.sequence),
        [row.label for row in train],
        original.embed([row.text for row in test], options.sequence),
        [row.label for row in test],
    )
    return {
        "trivial_scores": {
            **constant_scores([row.label for row in data.evaluated]),
            f"head fitted to {len(train)} rows, no adapter": round(share * count, 1),
        },
        "standard_error": {
            f"at {percent} % correct": round(standard_error(count, percent / 100), 1) for percent in (50, 80, 90, 95)
        },
    }


def _example_set(rows: list[Row], encoding: Encoding, batch: int) -> ExampleSet:
    return ExampleSet(encoding.encode(rows, batch), len(rows))
