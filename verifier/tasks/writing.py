"""Writes the files of a task: program, practice set, sealed holdout and manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifier.artifacts import digests, sealing, tensors
from verifier.artifacts.fetch import artifact_uri
from verifier.artifacts.new_files import new_folder, write_new
from verifier.artifacts.tensors import Schema
from verifier.exact import Program
from verifier.tasks.download import task_files
from verifier.tasks.judge import check_program
from verifier.tasks.manifest import (
    MANIFEST_FILE,
    PRACTICE_FILE,
    PROGRAM_FILE,
    SEALED_FILE,
    BaseFile,
    Manifest,
    padded_rows,
    training_file,
)
from verifier.tasks.registry import KindSettings
from verifier.tasks.sets import ExampleSet


@dataclass(frozen=True)
class TrainingFile:
    """The rows that solvers may train on: the file's bytes, its ending, and the number of rows."""

    data: bytes
    format: str  # for example "tsv"
    count: int


@dataclass(frozen=True, kw_only=True)
class TaskDraft:
    """What a builder decided about a task; the manifest's digests, sizes, bound and cost follow from it."""

    kind: str
    title: str
    program: Program
    program_file: bytes  # the file that `program` was loaded from
    submission: Schema
    practice: ExampleSet
    holdout: ExampleSet | None  # None: a public task, whose practice set is the evaluation set
    batch: int  # examples per run of the program
    metric: str  # for example "accuracy"
    unit: str  # what a score of 1 means, for example "correct texts"
    model: str  # what solvers compare their copy of the base model with, see `models.loading.identify`
    tokenizer: str
    settings: KindSettings
    url: str  # where the files will be served
    source: str = ""  # where people find the base model: its id on a hub, or a URL
    base_files: Sequence[BaseFile] = ()  # see `models.base_files.describe`
    training: TrainingFile | None = None  # None: no rows to train on are published

    @property
    def batches(self) -> int:
        """Runs of the program over the evaluation set."""
        count = (self.holdout or self.practice).count
        return padded_rows(count, self.batch) // self.batch

    @property
    def bound(self) -> int:
        """Largest absolute value of a score over the evaluation set, as the program's intervals prove it."""
        return max(map(abs, self.program.interval(self.program.outputs[0].name))) * self.batches


def write_task(draft: TaskDraft, out: Path, others: Mapping[str, bytes] | None = None) -> Manifest:
    """Write a task into the new folder `out`, whole or not at all, and return its manifest.

    The files are program.onnx, practice.tensors, manifest.json; for a sealed holdout holdout.tensors, .sealed, .key and
    .json; train.tsv (or another format) where the draft has training rows; and the kind's `others` by name. Errors:
    ArtifactError, also when the folder exists or cannot be created; InvalidProgram when the draft is not consistent
    with its program.
    """
    with new_folder(out) as folder:
        manifest = _write_files(draft, folder)
        for name, data in (others or {}).items():
            write_new(folder / name, data)
    return manifest


def _write_files(draft: TaskDraft, out: Path) -> Manifest:
    (out / PROGRAM_FILE).write_bytes(draft.program_file)
    practice = _write_set(out / PRACTICE_FILE, draft.practice, secret=False)
    fields = {
        "version": 1,
        "kind": draft.kind,
        "title": draft.title,
        "program": _file_entry(draft, "digest", digests.digest(draft.program_file), len(draft.program_file)),
        "submission": _tensor_entries(draft.submission),
        "examples": _tensor_entries(draft.practice.schema(draft.batch)),
        "practice": _file_entry(draft, "digest", *practice) | {"count": draft.practice.count},
        "holdout": _write_holdout(out, draft),
        "batch": draft.batch,
        "metric": {"name": draft.metric, "unit": draft.unit, "bound": draft.bound},
        "macs": draft.program.macs * draft.batches,
        "base": _base_entry(draft),
        "settings": draft.settings.model_dump(mode="json"),
    }
    if draft.training is not None:
        rows = draft.training
        (out / training_file(rows.format)).write_bytes(rows.data)
        entry = _file_entry(draft, "digest", digests.digest(rows.data), len(rows.data))
        fields["training"] = entry | {"count": rows.count, "format": rows.format}
    manifest = Manifest.from_fields(fields)
    check_program(draft.program, manifest)
    (out / MANIFEST_FILE).write_bytes(manifest.to_bytes())
    return manifest


def summarise(manifest: Manifest, out: Path) -> dict[str, Any]:
    """Return what `touchstone task build` prints about any task; `publish` names the files that are public."""
    public = [MANIFEST_FILE, *(file.name for file in task_files(manifest))]
    return {
        "manifest": digests.to_hex(manifest.digest()),
        "program": manifest.program.digest,
        "practice": manifest.practice.digest,
        "macs": manifest.macs,
        "bound": manifest.metric.bound,
        "counts": {
            "practice": manifest.practice.count,
            "holdout": 0 if manifest.holdout is None else manifest.holdout.count,
        },
        "publish": [str(out / name) for name in public],
    }


def _write_set(file: Path, examples: ExampleSet, *, secret: bool) -> tuple[bytes, int]:
    """Write a set's tensor file; returns its digest and its size in bytes."""
    data = tensors.encode(examples.schema(), examples.arrays)
    write_new(file, data, secret=secret)
    return digests.digest(data), len(data)


def _write_holdout(out: Path, draft: TaskDraft) -> dict[str, Any] | None:
    """Write and seal the holdout, and record the sealing in holdout.json; returns the manifest's entry."""
    if draft.holdout is None:
        return None
    plain = out / "holdout.tensors"
    _write_set(plain, draft.holdout, secret=True)
    sealed = sealing.seal_file(plain, out / SEALED_FILE, out / "holdout.key")
    fields = sealed.fields() | {"file": sealed.file.name, "key_file": sealed.key_file.name}
    (out / "holdout.json").write_text(json.dumps(fields, indent=2) + "\n")
    return _file_entry(draft, "sealed_digest", sealed.sealed, sealed.size) | {"count": draft.holdout.count}


def _base_entry(draft: TaskDraft) -> dict[str, Any]:
    """The manifest's entry of the base model; what the draft does not say stays out."""
    entry: dict[str, Any] = {"model": draft.model, "tokenizer": draft.tokenizer}
    if draft.source:
        entry["source"] = draft.source
    if draft.base_files:
        entry["files"] = [file.model_dump() for file in draft.base_files]
    return entry


def _file_entry(draft: TaskDraft, key: str, digest: bytes, size: int) -> dict[str, Any]:
    """The manifest's fields of a file; `key` names the field of its digest."""
    return {key: digests.to_hex(digest), "size": size, "uris": [artifact_uri(draft.url, digest)]}


def _tensor_entries(schema: Schema) -> list[dict[str, Any]]:
    return [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "grid": spec.grid} for spec in schema]
