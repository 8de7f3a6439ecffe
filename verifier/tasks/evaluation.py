"""Evaluates a submission: the program runs once for every batch of the set, and the scores add up.

Knows no task kind: a program takes the submission's tensors and one batch of examples, and its first output is the
score of that batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.evidence import Record, outputs_digest
from verifier.tasks.errors import ProgramMismatch
from verifier.tasks.manifest import Manifest

Tensors = Mapping[str, NDArray[Any]]
OnBatch = Callable[[int, int], None]  # (batches done, batches in all)


class Input(Protocol):
    """An input arrives as integers of one dtype. On which grid they are meant is written inside the program."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...


class Output(Protocol):
    """An output is integers, standing for q * 2^grid."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def grid(self) -> int: ...


class Program(Protocol):
    """What an evaluation needs to know of verifier.exact.Program."""

    @property
    def inputs(self) -> Sequence[Input]: ...
    @property
    def outputs(self) -> Sequence[Output]: ...
    @property
    def macs(self) -> int: ...
    def interval(self, name: str, /) -> tuple[int, int]: ...


class Engine(Protocol):
    """What runs a program: verifier.exact.Engine, or the reference interpreter behind the same method."""

    def run(self, feeds: dict[str, NDArray[Any]], /) -> Mapping[str, NDArray[np.int64]]: ...


@dataclass(frozen=True)
class Evaluation:
    """The score of one submission, and one record for every batch."""

    score: int
    records: tuple[Record, ...]


def check_program(program: Program, manifest: Manifest) -> None:
    """Whether an exact program is the one its manifest describes. Errors: ProgramMismatch.

    A function of the two files alone, so that every verifier finds the same: a program that fails here is invalid.
    """
    described = {tensor.name: (tensor.dtype, tensor.shape) for tensor in (*manifest.submission, *manifest.examples)}
    taken = {tensor.name: (tensor.dtype, tuple(tensor.shape)) for tensor in program.inputs}
    for name in sorted(described.keys() | taken.keys()):
        if described.get(name) != taken.get(name):
            raise ProgramMismatch(
                f"input {name}: the manifest has {_shown(described.get(name))}, the program {_shown(taken.get(name))}"
            )
    score = _score(program)
    batches = manifest.rows(manifest.evaluation_count) // manifest.batch
    cost = program.macs * batches
    if cost > manifest.macs:
        raise ProgramMismatch(f"macs: {cost} for {batches} batches, the manifest says {manifest.macs}")
    bound = max(map(abs, program.interval(score.name))) * batches
    if bound > manifest.metric.bound:
        raise ProgramMismatch(f"score: up to {bound} over {batches} batches, the manifest says {manifest.metric.bound}")


def evaluate(
    program: Program,
    engine: Engine,
    submission: Tensors,
    examples: Tensors,
    batch: int,
    on_batch: OnBatch | None = None,
) -> Evaluation:
    """Score one submission over a whole set.

    `submission` holds the submission's tensors, `examples` those of the set: axis 0 is the example, and its length a
    multiple of `batch`. Errors: ProgramMismatch when the program has no score or the rows are not whole batches.
    """
    score = _score(program)
    lengths = {len(tensor) for tensor in examples.values()}
    rows = lengths.pop() if len(lengths) == 1 else 0
    if rows == 0 or rows % batch:
        raise ProgramMismatch(f"the tensors of a set have one number of rows, a multiple of the batch of {batch}")
    running = 0
    records = []
    for start in range(0, rows, batch):
        rows_of_batch = {name: tensor[start : start + batch] for name, tensor in examples.items()}
        outputs = engine.run({**submission, **rows_of_batch})
        running += int(outputs[score.name].item())
        records.append(Record(outputs_digest(outputs[output.name] for output in program.outputs), running))
        if on_batch is not None:
            on_batch(len(records), rows // batch)
    return Evaluation(running, tuple(records))


def _score(program: Program) -> Output:
    """The first output, which is one integer. Errors: ProgramMismatch."""
    score = program.outputs[0]
    if score.name != "score" or any(dimension != 1 for dimension in score.shape) or score.grid != 0:
        raise ProgramMismatch(
            f"output {score.name}: shape {list(score.shape)} on grid {score.grid}; "
            "the first output of an evaluation program is `score`, one integer on grid 0"
        )
    return score


def _shown(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "none" if tensor is None else f"{tensor[0]}{list(tensor[1])}"
