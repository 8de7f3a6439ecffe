"""The score of a submission as a verifier computes it, from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verifier.artifacts import digests, tensors
from verifier.artifacts.errors import Misfit
from verifier.artifacts.tensors import Schema
from verifier.exact import Engine, load_program
from verifier.tasks.errors import TaskError
from verifier.tasks.evaluation import OnBatch, Tensors, check_program, evaluate
from verifier.tasks.manifest import MAX_MANIFEST_BYTES, Manifest


@dataclass(frozen=True)
class Score:
    """`score` of at most `count` examples."""

    score: int
    count: int


def load_manifest(file: Path) -> Manifest:
    """Read a manifest. Errors: ManifestError, TaskError when the file cannot be read."""
    return Manifest.from_bytes(_read(file, MAX_MANIFEST_BYTES))


def score(
    manifest: Manifest,
    submission: Path,
    program: Path,
    examples: Path,
    sealed: bool,
    threads: int,
    memory_bytes: int,
    on_batch: OnBatch,
) -> Score:
    """Score a submission on the practice set or, `sealed`, on the opened holdout.

    Errors: TaskError or NotExactError when a file is not what the manifest says, or when the program, a stranger's,
    needs more than `memory_bytes`.
    """
    part = manifest.holdout if sealed else manifest.practice
    if part is None:
        raise TaskError("the task has no holdout: its practice set is what decides")
    program_bytes = _read(program, manifest.program.size)
    _require_digest(program, program_bytes, manifest.program.digest)
    example_bytes = _read(examples, part.size)
    if not sealed:
        _require_digest(examples, example_bytes, manifest.practice.digest)
    proven = load_program(program_bytes)
    check_program(proven, manifest)
    if proven.memory_bytes > memory_bytes:
        raise TaskError(f"the program needs {proven.memory_bytes} bytes of memory, {memory_bytes} are there")
    rows = _decode(examples, "set of", manifest.set_schema(part.count), example_bytes)
    schema = manifest.submission_schema
    adapter = _decode(submission, "submission to", schema, _read(submission, tensors.size(schema)))
    found = evaluate(proven, Engine(proven, threads), adapter, rows, manifest.batch, on_batch)
    return Score(found.score, part.count)


def _read(file: Path, limit: int) -> bytes:
    """At most `limit` bytes and one more, which tells that there are too many. Errors: TaskError."""
    try:
        with file.open("rb") as opened:
            return opened.read(limit + 1)
    except OSError as error:
        raise TaskError(f"cannot read {file}: {error.strerror}") from error


def _decode(file: Path, what: str, schema: Schema, data: bytes) -> Tensors:
    try:
        return tensors.decode(schema, data)
    except Misfit as error:
        raise TaskError(f"{file}: it is no {what} this task: {error}") from error


def _require_digest(file: Path, data: bytes, expected: str) -> None:
    found = digests.to_hex(digests.digest(data))
    if found != expected:
        raise TaskError(f"{file} is not the file of the manifest: its digest is {found}, not {expected}")
