"""The judge: the one way from files to a score, for `touchstone score` and for a verifier's verdict alike.

Every file is read with a size limit and verified against its digest as it is read. What can then be found is of three
kinds, and each kind has its own types:

- a fact about the task, which every machine finds: InvalidProgram, InvalidHoldout, and Misfit for a submission. The
  verifier votes on it.
- trouble of this machine: DamagedFile, NotEnoughMemory, MemoryError, OSError, and every error of onnxruntime. Nothing
  about the task follows from it, and the verifier abstains.
- a wrong file given to `touchstone score`: TaskError.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts import digests, sealing, tensors
from verifier.artifacts.digests import READ_BYTES, Hasher
from verifier.artifacts.errors import Misfit
from verifier.artifacts.evidence import Record, evidence_file, outputs_digest
from verifier.artifacts.tensors import Schema
from verifier.exact import Engine, NotExactError, Program, load_program
from verifier.exact.program.parse import MAX_BYTES as MAX_PROGRAM_BYTES
from verifier.protocol.constants import MISFIT_SCORE, Outcome
from verifier.tasks.case import Case, Judgement, OnBatch, SealedFile, StoredFile
from verifier.tasks.errors import (
    DamagedFile,
    InvalidHoldout,
    InvalidProgram,
    NotEnoughMemory,
    TaskError,
    UnreadableFile,
)
from verifier.tasks.manifest import MAX_MANIFEST_BYTES, Manifest

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class EvaluationLimits:
    """What one evaluation may use of this machine. Neither number can change a score."""

    threads: int  # of one operator
    memory_bytes: int  # a program that is proven to need more is not run

    @classmethod
    def of_this_machine(cls) -> EvaluationLimits:
        """Return all processors and the whole memory of this machine."""
        return cls(os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


@dataclass(frozen=True)
class SubmissionScore:
    """The score of one submission over a whole set, and one record for every batch."""

    score: int
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Score:
    """What `touchstone score` prints: the score over a set of `count` examples, padding not counted."""

    score: int
    count: int


class Runner(Protocol):
    """What runs a program: `verifier.exact.Engine`, or the reference interpreter behind the same method."""

    def run(self, feeds: dict[str, NDArray[Any]], /) -> Mapping[str, NDArray[np.int64]]:
        """Run the program on its inputs by name; returns the integers of each output as int64."""
        ...


def judge(case: Case, evidence: Path, limits: EvaluationLimits, on_batch: OnBatch) -> Judgement:
    """Judge a case and write the evidence file.

    The findings have this order: a program that is not exact, not the one of the manifest or more expensive than
    declared makes PROGRAM_INVALID; an evaluation set that is not what the manifest and its opening say makes
    HOLDOUT_INVALID; otherwise every scored submission gets its score, or MISFIT_SCORE when it does not fit.

    Errors, none of which is a verdict: DamagedFile, NotEnoughMemory, ManifestError, MemoryError, OSError, and whatever
    onnxruntime raises when it cannot load or run a program that is proven exact.
    """
    manifest = Manifest.from_bytes(_read(case.manifest.path, MAX_MANIFEST_BYTES, case.manifest.digest))
    try:
        program = open_program(case.program, manifest)
        examples = _open_evaluation_set(case.evaluation_set, manifest)
    except InvalidProgram as error:
        return Judgement.invalid(Outcome.PROGRAM_INVALID, str(error))
    except InvalidHoldout as error:
        return Judgement.invalid(Outcome.HOLDOUT_INVALID, str(error))
    evaluator = Evaluator(program, examples, manifest, limits)

    total = evaluator.batches * case.scored
    done = 0
    scores: list[int] = []
    records: list[tuple[Record, ...] | None] = []
    for entry in case.submissions:
        if entry is None:  # not scored: 0 stands in its place
            scores.append(0)
            records.append(None)
            continue
        try:
            adapter = evaluator.open(entry)
        except Misfit:
            scores.append(MISFIT_SCORE)
            records.append(None)
        else:
            found = evaluator.score(adapter, partial(_on_batch_of_case, on_batch, done, total))
            scores.append(found.score)
            records.append(found.records)
        done += evaluator.batches
        on_batch(done, total)
    data = evidence_file(records, evaluator.batches)
    evidence.write_bytes(data)
    return Judgement(Outcome.SCORED, tuple(scores), digests.digest(data), evidence)


def score(
    manifest: Manifest,
    submission: Path,
    program: Path,
    examples: Path | SealedFile,
    *,
    sealed: bool,
    limits: EvaluationLimits,
    on_batch: OnBatch,
) -> Score:
    """Score one packed submission as a verifier does, on the practice set or, `sealed`, on the opened holdout.

    `submission` is a tensor file of the manifest's `submission_schema`, `examples` one of its `set_schema`, `program`
    an exact ONNX file; program and practice set must have the digests of the manifest. The holdout can be the opened
    file, or the sealed file with what the sponsor revealed. The score is in the unit of the manifest's metric.
    `on_batch` gets (batches done, batches in all).

    Errors: TaskError when a file cannot be read or is not what the manifest says; InvalidProgram, a TaskError too;
    NotEnoughMemory.
    """
    part = manifest.holdout if sealed else manifest.practice
    if part is None:
        raise TaskError("the task has no holdout: its practice set is the evaluation set")
    with _file_of_user(program, "the program of"):
        opened = open_program(StoredFile(program, digests.from_hex(manifest.program.digest)), manifest)
    named = examples.path if isinstance(examples, SealedFile) else examples
    with _file_of_user(named, "a set of"):
        file = examples if sealed else StoredFile(named, digests.from_hex(manifest.practice.digest))
        rows = read_tensors(file, manifest.set_schema(part.count))
    evaluator = Evaluator(opened, rows, manifest, limits)
    with _file_of_user(submission, "a submission to"):
        adapter = evaluator.open(submission)
    found = evaluator.score(adapter, on_batch)
    return Score(found.score, part.count)


def _on_batch_of_case(on_batch: OnBatch, before: int, total: int, done: int, _: int) -> None:
    """Report the progress of one submission as progress of the whole case."""
    on_batch(before + done, total)


@contextmanager
def _file_of_user(file: Path, what: str) -> Iterator[None]:
    """Turn what is wrong with a file that the user named into a TaskError that names it."""
    try:
        yield
    except UnreadableFile as error:
        raise TaskError(f"cannot read {file}: {error.reason}") from error
    except DamagedFile as error:
        found, expected = digests.to_hex(error.found), digests.to_hex(error.digest)
        raise TaskError(f"{file} is not the file of the manifest: its digest is {found}, not {expected}") from error
    except Misfit as error:
        raise TaskError(f"{file} is not {what} this task: {error}") from error
    except OSError as error:
        raise TaskError(f"cannot read {file}: {error.strerror}") from error


def open_program(file: StoredFile, manifest: Manifest) -> Program:
    """Read a program, prove it exact and hold it against its manifest.

    Errors: InvalidProgram, a fact about the two files; DamagedFile, MemoryError, OSError.
    """
    try:
        program = load_program(_read(file.path, MAX_PROGRAM_BYTES, file.digest))
    except NotExactError as error:
        raise InvalidProgram(str(error)) from error
    check_program(program, manifest)
    return program


def check_program(program: Program, manifest: Manifest) -> None:
    """Check that an exact program is the one its manifest describes. Errors: InvalidProgram.

    The result depends on the two files alone, so that every verifier finds the same.
    """
    described = {tensor.name: (tensor.dtype, tensor.shape) for tensor in (*manifest.submission, *manifest.examples)}
    taken = {tensor.name: (tensor.dtype, tuple(tensor.shape)) for tensor in program.inputs}
    for name in sorted(described.keys() | taken.keys()):
        if described.get(name) != taken.get(name):
            raise InvalidProgram(
                f"input {name}: the manifest has {_shown(described.get(name))}, the program {_shown(taken.get(name))}"
            )
    score = program.outputs[0]
    if score.name != "score" or any(dimension != 1 for dimension in score.shape) or score.grid != 0:
        raise InvalidProgram(
            f"output {score.name}: shape {list(score.shape)} on grid {score.grid}; "
            "the first output of an evaluation program is `score`, one integer on grid 0"
        )
    batches = manifest.rows(manifest.evaluation_count) // manifest.batch
    cost = program.macs * batches
    if cost > manifest.macs:
        raise InvalidProgram(f"macs: {cost} for {batches} batches, the manifest says {manifest.macs}")
    bound = max(map(abs, program.interval(score.name))) * batches
    if bound > manifest.metric.bound:
        raise InvalidProgram(f"score: up to {bound} over {batches} batches, the manifest says {manifest.metric.bound}")


def _shown(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "none" if tensor is None else f"{tensor[0]}{list(tensor[1])}"


def _open_evaluation_set(file: StoredFile | SealedFile, manifest: Manifest) -> Tensors:
    """Read the evaluation set of a case. Errors: InvalidHoldout, DamagedFile, OSError."""
    if isinstance(file, SealedFile):
        assert manifest.holdout is not None, "the service checks this against the task on chain"
        if digests.to_hex(file.sealed) != manifest.holdout.sealed_digest:
            raise InvalidHoldout("the revealed holdout is not the one of the manifest")
    try:
        return read_tensors(file, manifest.set_schema(manifest.evaluation_count))
    except Misfit as error:
        raise InvalidHoldout(str(error)) from error


def read_tensors(file: StoredFile | SealedFile | Path, schema: Schema) -> Tensors:
    """Read a tensor file: a stored or a sealed one with its digests, or a user's own, of which no digest is known.

    Errors: Misfit when the (unsealed) bytes do not have the revealed digest or the schema's length and header;
    DamagedFile when the bytes on disk cannot be read or do not have their digest; OSError.
    """
    max_bytes = tensors.size(schema)
    if isinstance(file, SealedFile):
        data = _read(file.path, max_bytes, file.sealed)
    elif isinstance(file, StoredFile):
        data = _read(file.path, max_bytes, file.digest)
    else:
        data = _read(file, max_bytes, digest=None)
    if len(data) > max_bytes:
        raise Misfit(f"the file is longer than the {max_bytes} bytes that its schema says")
    if isinstance(file, SealedFile):
        data = sealing.unseal(file.key, data)
        if digests.digest(data) != file.plain:
            raise Misfit("the unsealed bytes do not have the revealed digest")
    return tensors.decode(schema, data)


def _read(path: Path, max_bytes: int, digest: bytes | None) -> bytes:
    """Read a file and verify the digest of all its bytes.

    What is returned is what was hashed, also when the file changes its size while it is read. Of a file that is too
    long, the first `max_bytes` + 1 bytes are returned: enough for the caller to refuse it.
    Errors: DamagedFile when the digest is known and the file is missing, unreadable or has another digest; OSError when
    the digest is not known, or when this machine lacks descriptors or memory.
    """
    hasher = Hasher()
    kept: list[bytes] = []
    length = 0
    try:
        with path.open("rb") as file:
            piece_bytes = min(max_bytes, os.fstat(file.fileno()).st_size) + 1  # as a rule, all of the file
            while piece := file.read(piece_bytes):
                hasher.update(piece)
                if length <= max_bytes:
                    kept.append(piece)
                length += len(piece)
                piece_bytes = READ_BYTES
    except OSError as error:
        if digest is None:
            raise
        raise UnreadableFile.from_error(path, digest, error) from error
    if digest is not None and hasher.digest() != digest:
        raise DamagedFile(path, digest, hasher.digest())
    return kept[0] if len(kept) == 1 else b"".join(kept)[: max_bytes + 1]


class Evaluator:
    """A program and an evaluation set, opened and ready to score submissions."""

    def __init__(self, program: Program, examples: Tensors, manifest: Manifest, limits: EvaluationLimits) -> None:
        """Load the engine. Errors: NotEnoughMemory."""
        if program.memory_bytes > limits.memory_bytes:
            raise NotEnoughMemory(program.memory_bytes, limits.memory_bytes)
        self._program = program
        self._engine = Engine(program, threads=limits.threads)
        self._examples = examples
        self._schema = manifest.submission_schema
        self._batch = manifest.batch
        self.batches = len(next(iter(examples.values()))) // manifest.batch

    def open(self, submission: SealedFile | Path) -> Tensors:
        """Read the tensors of one submission. Errors: Misfit when it does not fit the task, DamagedFile, OSError."""
        return read_tensors(submission, self._schema)

    def score(self, adapter: Tensors, on_batch: OnBatch) -> SubmissionScore:
        """Score the tensors of one submission."""
        return evaluate(self._program, self._engine, adapter, self._examples, self._batch, on_batch)


def evaluate(
    program: Program,
    runner: Runner,
    submission: Tensors,
    examples: Tensors,
    batch: int,
    on_batch: OnBatch | None = None,
) -> SubmissionScore:
    """Score one submission over a whole set: run the program once for every batch and add up its first output.

    `submission` holds the submission's tensors and `examples` those of the set; axis 0 of the latter is the example,
    and its length is a multiple of `batch`. Errors: ValueError when it is not.
    """
    lengths = {len(tensor) for tensor in examples.values()}
    rows = lengths.pop() if len(lengths) == 1 else 0
    if rows == 0 or rows % batch:
        raise ValueError(f"the tensors of a set must have one number of rows, a multiple of the batch of {batch}")
    running = 0
    records = []
    for start in range(0, rows, batch):
        rows_of_batch = {name: tensor[start : start + batch] for name, tensor in examples.items()}
        outputs = runner.run({**submission, **rows_of_batch})
        running += int(outputs[program.outputs[0].name].item())
        records.append(Record(outputs_digest(outputs[output.name] for output in program.outputs), running))
        if on_batch is not None:
            on_batch(len(records), rows // batch)
    return SubmissionScore(running, tuple(records))
