"""What is found about a task's inputs: facts about bytes and integers, the same on every machine.

In this order: a program that is not exact, or not the one its manifest describes, or dearer than declared, makes
PROGRAM_INVALID; a holdout that is not what the manifest and its own opening say makes HOLDOUT_INVALID; else every
scored submission gets its score, or the misfit score when its bytes are not what was announced. That something could
not be fetched, or that this machine is too small or too slow, is no fact: it is raised, and the service abstains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from verifier.artifacts import digests, sealing, tensors
from verifier.artifacts.errors import Misfit
from verifier.artifacts.evidence import Record, evidence_file
from verifier.artifacts.tensors import Schema
from verifier.errors import TouchstoneError
from verifier.exact import Engine, NotExactError, Program, load_program
from verifier.execution.sandbox import Case, Judgement, SealedFile
from verifier.protocol import commitments
from verifier.protocol.constants import MISFIT_SCORE, Outcome
from verifier.tasks.errors import ProgramMismatch
from verifier.tasks.evaluation import check_program, evaluate
from verifier.tasks.manifest import Manifest

Tensors = Mapping[str, NDArray[Any]]


class Damaged(TouchstoneError):
    """A file on this machine that does not have its digest: nothing about the task follows from it."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"the stored file {digests.to_hex(digest)} does not have its digest")
        self.digest = digest


class TooLarge(TouchstoneError):
    """A program that needs more memory than the operator allows."""


def judge(case: Case, evidence: Path, limits: Mapping[str, int], on_batch: Callable[[int, int], None]) -> Judgement:
    """Judge a case and write the evidence file. `on_batch` gets (batches done, batches in all).

    Every file is checked against its digest as it is read, so that what this machine's disk did to it is never judged.
    Of `limits`, `threads` and `memory_bytes` are looked at. Errors: Damaged, TooLarge, ManifestError, MemoryError, and
    whatever onnxruntime raises when it cannot load or run what is proven exact: none of these is a verdict.
    """
    manifest = Manifest.from_bytes(_read(case.manifest.path, case.manifest.digest))
    program_bytes = _read(case.program.path, case.program.digest)
    try:
        program = load_program(program_bytes)
        check_program(program, manifest)
    except (NotExactError, ProgramMismatch) as error:
        return _fault(Outcome.PROGRAM_INVALID, error)
    try:
        examples = _evaluation_set(case, manifest)
    except Misfit as error:
        return _fault(Outcome.HOLDOUT_INVALID, error)
    if program.memory_bytes > limits["memory_bytes"]:
        raise TooLarge(
            f"the program needs {program.memory_bytes} bytes of memory, "
            f"sandbox.memory_bytes allows {limits['memory_bytes']}"
        )
    scores, records = _score(case, manifest, program, examples, limits["threads"], on_batch)
    batches = manifest.rows(manifest.evaluation_count) // manifest.batch
    data = evidence_file(records, batches)
    evidence.write_bytes(data)
    return Judgement(Outcome.SCORED, tuple(scores), digests.digest(data), evidence)


def _fault(outcome: int, error: TouchstoneError) -> Judgement:
    """No scores and no evidence: the outcome alone says it. The reason is for the log."""
    return Judgement(outcome, (), commitments.ZERO, evidence=None, fault=str(error))


def _evaluation_set(case: Case, manifest: Manifest) -> Tensors:
    """The tensors of the set that decides. Errors: Misfit when the opened holdout is not what it was said to be."""
    schema = manifest.set_schema(manifest.evaluation_count)
    if case.holdout is None:
        assert case.practice is not None
        return tensors.decode(schema, _read(case.practice.path, case.practice.digest))
    assert manifest.holdout is not None
    if digests.to_hex(case.holdout.sealed) != manifest.holdout.sealed_digest:
        raise Misfit("the holdout that was revealed is not the one of the manifest")
    return _open(case.holdout, schema)


def _read(path: Path, digest: bytes) -> bytes:
    """A file's bytes. Errors: Damaged when they do not have that digest."""
    data = path.read_bytes()
    if digests.digest(data) != digest:
        raise Damaged(digest)
    return data


def _open(file: SealedFile, schema: Schema) -> Tensors:
    """Unseal and decode. Errors: Misfit by digest, length or header (the only definition); Damaged."""
    plain = sealing.unseal(file.key, _read(file.path, file.sealed))
    if digests.digest(plain) != file.plain:
        raise Misfit("the unsealed bytes do not have the revealed digest")
    return tensors.decode(schema, plain)


def _score(
    case: Case,
    manifest: Manifest,
    program: Program,
    examples: Tensors,
    threads: int,
    on_batch: Callable[[int, int], None],
) -> tuple[list[int], list[tuple[Record, ...] | None]]:
    """Scores and records of all submissions in commit order; those that are not scored have 0 and none."""
    engine = Engine(program, threads=threads)
    batches = manifest.rows(manifest.evaluation_count) // manifest.batch
    total = batches * sum(entry is not None for entry in case.submissions)
    before = 0
    scores: list[int] = []
    records: list[tuple[Record, ...] | None] = []
    for entry in case.submissions:
        if entry is None:
            scores.append(0)
            records.append(None)
            continue
        try:
            submission = _open(entry, manifest.submission_schema)
        except Misfit:
            scores.append(MISFIT_SCORE)
            records.append(None)
        else:
            found = evaluate(
                program, engine, submission, examples, manifest.batch, partial(_report, on_batch, before, total)
            )
            scores.append(found.score)
            records.append(found.records)
        before += batches
        on_batch(before, total)
    return scores, records


def _report(on_batch: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    """Progress of one submission as progress of the whole case."""
    on_batch(before + done, total)
