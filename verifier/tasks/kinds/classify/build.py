"""Builds a LoRA task: program, practice set, sealed holdout and manifest, from a model and a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verifier.artifacts import digests, sealing, tensors
from verifier.artifacts.fetch import artifact_uri
from verifier.artifacts.new_files import check_new, new_folder
from verifier.exact import Program, load_program
from verifier.tasks.errors import BuildError
from verifier.tasks.judge import check_program
from verifier.tasks.kinds.classify.architecture import load_classifier, with_adapter
from verifier.tasks.kinds.classify.dataset import Encoding, Row, labels_of, read_rows, write_rows
from verifier.tasks.kinds.classify.program import FloatProgram, agreement, evaluation_program, export
from verifier.tasks.manifest import Manifest

# Batches of training rows that the lowering is calibrated on.
CALIBRATION_BATCHES = 12

# Batches of practice rows on which the exact program is compared with the float one, and how often they have to agree.
# A random head decides closely; a program that saturates or is wrong agrees on about half.
COMPARED_BATCHES = 8
LEAST_AGREEMENT = 0.95

OnStep = Callable[[str, int, int], None]  # (what is being done, steps done, steps in all)


@dataclass(frozen=True)
class Choices:
    """What a sponsor chooses. `holdout` 0 makes a public task: the practice set decides."""

    base: Path
    dataset: Path
    targets: tuple[str, ...]
    rank: int
    alpha: int
    practice: int
    holdout: int
    batch: int
    sequence: int
    seed: int
    title: str
    url: str


@dataclass(frozen=True)
class Split:
    """Rows by their use. No text is in two of them."""

    practice: list[Row]
    holdout: list[Row]
    train: list[Row]

    @classmethod
    def of(cls, rows: list[Row], practice: int, holdout: int, batch: int, seed: int) -> Split:
        """Errors: BuildError when too few rows are left to train and calibrate with."""
        least = practice + holdout + CALIBRATION_BATCHES * batch
        if len(rows) < least:
            raise BuildError(
                f"the data set has {len(rows)} different texts; {practice} to practise, {holdout} held out and "
                f"{CALIBRATION_BATCHES * batch} to calibrate with are {least}"
            )
        order = np.random.default_rng(seed).permutation(len(rows))
        shuffled = [rows[index] for index in order]
        return cls(
            practice=shuffled[holdout : holdout + practice],
            holdout=shuffled[:holdout],
            train=shuffled[holdout + practice :],
        )


def build(choices: Choices, out: Path, on_step: OnStep = lambda what, done, total: None) -> dict[str, Any]:
    """Write a task into the new folder `out` and return the summary that `touchstone task build` prints.

    Errors: BuildError, LoweringError, ArtifactError. A folder that exists is never written into.
    """
    check_new(out)
    rows = read_rows(choices.dataset)
    labels = labels_of(rows)
    split = Split.of(rows, choices.practice, choices.holdout, choices.batch, choices.seed)
    on_step("load the model", 0, 1)
    base = load_classifier(choices.base, len(labels))
    encoding = Encoding(choices.base, choices.sequence, labels)
    if choices.sequence > base.longest:
        raise BuildError(f"the model takes at most {base.longest} tokens, not {choices.sequence}")
    # Scaling 1: what an adapter's own scaling is, `pack` multiplies into its tensors.
    adapted = with_adapter(base, choices.targets, choices.rank, alpha=choices.rank)
    on_step("export it", 0, 1)
    exported = export(adapted, choices.batch, choices.sequence)

    steps = 0

    def calibrated() -> None:
        nonlocal steps
        steps += 1
        on_step("calibrate and lower it", steps, CALIBRATION_BATCHES)

    on_step("calibrate and lower it", 0, CALIBRATION_BATCHES)
    examples = encoding.encode(split.train[: CALIBRATION_BATCHES * choices.batch], choices.batch)
    data = evaluation_program(exported, base.vocabulary, encoding.ids_dtype, examples, calibrated)
    on_step("prove it exact", 0, 1)
    program = load_program(data)
    on_step("compare it with float32", 0, 1)
    unseen = encoding.encode(split.practice[: COMPARED_BATCHES * choices.batch], choices.batch)
    share = agreement(exported, program, unseen)
    if share < LEAST_AGREEMENT:
        raise BuildError(f"the exact program gives only {share:.1%} of {len(unseen['label'])} texts the model's class")

    on_step("write the task", 0, 1)
    new_folder(out)
    (out / "program.onnx").write_bytes(data)
    write_rows(out / "train.tsv", split.train)
    writer = _Writer(out, encoding, choices)
    practice = writer.set("practice", split.practice)
    sealed = writer.sealed_holdout(split.holdout) if split.holdout else None
    manifest = _manifest(choices, labels, exported, program, encoding, data, practice, sealed)
    check_program(program, manifest)
    (out / "manifest.json").write_bytes(manifest.to_bytes())
    on_step("write the task", 1, 1)
    public = ["manifest.json", "program.onnx", "practice.tensors", *(["holdout.sealed"] if sealed else [])]
    return {
        "manifest": digests.to_hex(manifest.digest()),
        "program": manifest.program.digest,
        "practice": manifest.practice.digest,
        "macs": manifest.macs,
        "bound": manifest.metric.bound,
        "agreement": share,
        "counts": {"practice": len(split.practice), "holdout": len(split.holdout), "train": len(split.train)},
        "labels": list(labels),
        "publish": [str(out / name) for name in public],
    }


class _Writer:
    """Writes sets of examples into the task's folder."""

    def __init__(self, out: Path, encoding: Encoding, choices: Choices) -> None:
        self._out, self._encoding, self._choices = out, encoding, choices

    def set(self, name: str, rows: list[Row]) -> dict[str, Any]:
        """NAME.tensors; returns the manifest's fields of it."""
        arrays = self._encoding.encode(rows, self._choices.batch)
        schema = tuple(tensors.TensorSpec(key, array.dtype.name, array.shape, 0) for key, array in arrays.items())
        data = tensors.encode(schema, arrays)
        (self._out / f"{name}.tensors").write_bytes(data)
        return self._described("digest", digests.digest(data), len(data), len(rows))

    def sealed_holdout(self, rows: list[Row]) -> dict[str, Any]:
        """holdout.tensors, .sealed, .key and .json; returns the manifest's fields of it."""
        plain = self._out / "holdout.tensors"
        plain.touch(0o600)
        self.set("holdout", rows)
        sealed = sealing.seal_file(plain, self._out / "holdout.sealed", self._out / "holdout.key")
        fields = sealed.fields() | {"file": sealed.file.name, "key_file": sealed.key_file.name}
        (self._out / "holdout.json").write_text(json.dumps(fields, indent=2) + "\n")
        return self._described("sealed_digest", sealed.sealed, sealed.size, len(rows))

    def _described(self, key: str, digest: bytes, size: int, count: int) -> dict[str, Any]:
        uris = [artifact_uri(self._choices.url, digest)]
        return {key: digests.to_hex(digest), "size": size, "count": count, "uris": uris}


def _manifest(
    choices: Choices,
    labels: tuple[str, ...],
    exported: FloatProgram,
    program: Program,
    encoding: Encoding,
    data: bytes,
    practice: dict[str, Any],
    holdout: dict[str, Any] | None,
) -> Manifest:
    digest = digests.digest(data)
    batches = -(-(choices.holdout or choices.practice) // choices.batch)
    row = (choices.batch, choices.sequence)
    return Manifest.from_fields(
        {
            "version": 1,
            "kind": "lora",
            "title": choices.title,
            "program": {
                "digest": digests.to_hex(digest),
                "size": len(data),
                "uris": [artifact_uri(choices.url, digest)],
            },
            "submission": [
                {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "grid": spec.grid}
                for spec in exported.adapter
            ],
            "examples": [
                {"name": "input_ids", "dtype": encoding.ids_dtype, "shape": list(row), "grid": 0},
                {"name": "attention_mask", "dtype": "int8", "shape": list(row), "grid": 0},
                {"name": "label", "dtype": "int16", "shape": [choices.batch], "grid": 0},
            ],
            "practice": practice,
            "holdout": holdout,
            "batch": choices.batch,
            "metric": {"name": "accuracy", "unit": "correct texts", "bound": batches * choices.batch},
            "macs": program.macs * batches,
            "base": {
                "model": _named(choices.base, "model.safetensors"),
                "tokenizer": _named(choices.base, "tokenizer.json"),
            },
            "adapter": {
                "rank": choices.rank,
                "alpha": choices.alpha,
                "targets": list(choices.targets),
                "labels": list(labels),
                "sequence": choices.sequence,
                "pooling": "mean",
            },
        }
    )


def _named(folder: Path, file: str) -> str:
    """What solvers compare their copy with: a file's name and digest."""
    path = folder / file
    return f"{file} {digests.to_hex(digests.digest_file(path))}" if path.is_file() else folder.resolve().name
