"""What can be asked of a program: which inputs an output depends on, and which positions of an input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.exact.dependence.cells import MAX_CELLS, Cells, coarsened
from verifier.exact.dependence.facts import MAX_ROWS, PLANE_BITS, ROW_PLANES, ElementFacts, Gate, Lanes, row_planes
from verifier.exact.dependence.intervals import Interval
from verifier.exact.dependence.propagate import propagate
from verifier.exact.errors import DependenceError
from verifier.exact.program.proof import Program, Tensor

# Largest number of positions of an axis. Attention over more than 2,048 is followed without telling pairs apart.
MAX_POSITIONS = 4096
# Largest number of planes of one pass, and of cells that the planes of pairs of positions may take together, 128 MiB.
MAX_PLANES = 16
MAX_PAIR_CELLS = 2**24


@dataclass(frozen=True)
class Reach:
    """Which positions of an input's axis can influence which elements of an output.

    `cells` are bools [..., positions]: the axes of the output, each of length 1 where all of its positions are alike,
    and then one for each position of the input's axis.
    """

    output: Tensor
    cells: NDArray[np.bool_]

    @property
    def positions(self) -> NDArray[np.bool_]:
        """Whether each position of the input's axis can influence the output at all."""
        return np.asarray(self.cells.reshape(-1, self.cells.shape[-1]).any(axis=0))

    def along(self, axis: int) -> NDArray[np.bool_]:
        """Return a matrix [positions of an axis of the output, positions of the input's axis]."""
        others = tuple(index for index in range(len(self.output.shape)) if index != axis)
        matrix = self.cells.any(axis=others)
        return np.broadcast_to(matrix, (self.output.shape[axis], matrix.shape[-1]))


def inputs_of_outputs(program: Program) -> dict[str, tuple[str, ...]]:
    """Return for each output the inputs that it can depend on, in the program's order."""
    sources = np.arange(len(program.inputs))
    found: dict[str, list[str]] = {item.name: [] for item in program.outputs}
    per_pass = MAX_PLANES * PLANE_BITS
    for first in range(0, len(sources), per_pass):
        group = program.inputs[first : first + per_pass]
        count = -(-len(group) // PLANE_BITS)
        known = {
            item.name: _facts(program, item, _planes(sources[number : number + 1], 0, count))
            for number, item in enumerate(group)
        }
        for output, planes in propagate(program, known, count, -(-len(sources) // per_pass)).items():
            bits = np.concatenate([_unpacked(plane).reshape(-1, PLANE_BITS).any(axis=0) for plane in planes])
            found[output] += [item.name for item, bit in zip(group, bits, strict=False) if bit]
    return {output: tuple(names) for output, names in found.items()}


def reach(program: Program, name: str, axis: int, unmasked: str | None = None) -> dict[str, Reach]:
    """Return for each output which positions of an input's axis can influence which of its elements.

    What is not reached stays as it is, bit for bit, when the input changes at that position and whatever the program's
    inputs are; with `unmasked`, an input [rows, positions] such as a mask of padding, whenever that is 1 at the first
    position of each row. Errors: DependenceError for an input or axis that the program does not have, and for an axis
    that is too long.
    """
    source = _input(program, name)
    length = _length(source, axis)
    mask = None if unmasked is None else _mask(program, unmasked, gated=False)
    found: dict[str, list[Cells]] = {item.name: [] for item in program.outputs}
    passes = list(_passes(length))
    for first, count in passes:
        along = [1] * len(source.shape)
        along[axis] = length
        planes = [plane.reshape(along) for plane in _planes(np.arange(length), first, count)]
        known = {} if mask is None or unmasked is None else {unmasked: _with_planes(mask, count)}
        known[name] = _facts(program, source, planes)
        for output, cells in propagate(program, known, count, len(passes)).items():
            found[output].append(_positions(cells))
    return _reaches(program, found, length)


def reach_of_padding(program: Program, name: str, mask: str) -> dict[str, Reach]:
    """Return which positions of an input's axis 1 can influence which elements of each output where a mask is 0.

    Input and mask have the axes [rows, positions]. An element that is not reached stays as it is, bit for bit, when the
    input changes at that position of any row of which the mask is 0 there, if the mask is 1 at the first position of
    each row. Nothing is assumed of a first position, nor of the mask elsewhere. Errors: as those of `reach`.
    """
    source = _input(program, name)
    length = _length(source, 1)
    rows = source.shape[0]
    if program_shape(program, mask) != source.shape[:2]:
        raise DependenceError(
            f"the mask {mask!r} has the shape {list(program_shape(program, mask))}, it must have the first two axes of "
            f"{name!r}, {list(source.shape[:2])}"
        )
    if not 1 <= rows <= MAX_ROWS:
        raise DependenceError(f"input {name!r} has {rows} rows: 1 to {MAX_ROWS} can be told apart")
    rest = (1,) * (len(source.shape) - 2)
    fixed = row_planes(np.arange(rows).reshape(rows, 1, *rest))
    gate = _mask(program, mask, gated=True)
    found: dict[str, list[Cells]] = {item.name: [] for item in program.outputs}
    passes = list(_passes(length))
    for first, count in passes:
        planes = [*fixed, *(p.reshape(1, length, *rest) for p in _planes(np.arange(length), first, count))]
        known = {mask: _with_planes(gate, ROW_PLANES + count), name: _facts(program, source, planes)}
        for output, cells in propagate(program, known, ROW_PLANES + count, len(passes), Lanes(first)).items():
            found[output].append(_positions(cells[ROW_PLANES:]))
    return _reaches(program, found, length)


def program_shape(program: Program, name: str) -> tuple[int, ...]:
    """Return the shape of an input. Errors: DependenceError."""
    return _input(program, name).shape


def _input(program: Program, name: str) -> Tensor:
    for item in program.inputs:
        if item.name == name:
            return item
    raise DependenceError(f"no input is called {name!r}; inputs are {[item.name for item in program.inputs]}")


def _length(source: Tensor, axis: int) -> int:
    if not 0 <= axis < len(source.shape):
        raise DependenceError(f"input {source.name!r} has no axis {axis}: its shape is {list(source.shape)}")
    length = source.shape[axis]
    if not 1 <= length <= MAX_POSITIONS:
        raise DependenceError(
            f"axis {axis} of input {source.name!r} has {length} positions: 1 to {MAX_POSITIONS} can be told apart"
        )
    return length


def _passes(length: int) -> Iterator[tuple[int, int]]:
    """Cut positions into passes: the first position of each, and its number of planes."""
    count = min(max(MAX_PAIR_CELLS // length**2, 1), MAX_PLANES, -(-length // PLANE_BITS))
    for first in range(0, length, count * PLANE_BITS):
        yield first, count


def _planes(numbers: NDArray[np.int64], first: int, count: int) -> list[Cells]:
    """Return planes in which each of these sources has its own bit, if the first bit is source `first`."""
    planes = []
    for plane in range(count):
        offset = numbers - first - plane * PLANE_BITS
        inside = (offset >= 0) & (offset < PLANE_BITS)
        bits = np.left_shift(np.uint64(1), np.where(inside, offset, 0).astype(np.uint64))
        planes.append(np.where(inside, bits, np.uint64(0)))
    return planes


def _facts(program: Program, item: Tensor, planes: list[Cells]) -> ElementFacts:
    shaped = [plane.reshape((1,) * len(item.shape)) if plane.size == 1 else plane for plane in planes]
    return ElementFacts(item.shape, Interval.of(program.values[item.name]), tuple(shaped))


def _mask(program: Program, name: str, *, gated: bool) -> ElementFacts:
    """Return the facts about a mask that is 1 at its first position; with its gates if they are wanted."""
    item, value = _input(program, name), program.values[name]
    if len(item.shape) != 2:
        raise DependenceError(f"the mask {name!r} has the shape {list(item.shape)}, it must be [rows, positions]")
    rows, length = item.shape
    position = np.arange(length).reshape(1, length)
    first = position == 0
    interval = Interval(np.where(first, 1, value.lo), np.where(first, 1, value.hi))
    closed = first.astype(np.int64)
    gate = Gate(np.arange(rows).reshape(rows, 1), position, Interval(closed, closed))
    return ElementFacts(item.shape, interval, (), (gate,) if gated else ())


def _with_planes(facts: ElementFacts, count: int) -> ElementFacts:
    empty = np.zeros((1,) * len(facts.frame), np.uint64)
    return ElementFacts(facts.frame, facts.interval, (empty,) * count, facts.gates)


def _unpacked(plane: Cells) -> NDArray[np.bool_]:
    """Return the bits of a plane's cells as bools, along a last axis."""
    bits = np.arange(PLANE_BITS, dtype=np.uint64)
    words = coarsened(plane, np.bitwise_or, MAX_CELLS // PLANE_BITS)
    return np.asarray(words[..., None] >> bits & np.uint64(1)).astype(np.bool_)


def _positions(planes: tuple[Cells, ...]) -> NDArray[np.bool_]:
    """Return bools [..., positions] of the positions of one pass."""
    parts = [_unpacked(plane) for plane in planes]
    shape = np.broadcast_shapes(*(part.shape for part in parts))
    return np.concatenate([np.broadcast_to(part, shape) for part in parts], axis=-1)


def _reaches(program: Program, found: Mapping[str, list[Cells]], length: int) -> dict[str, Reach]:
    reaches = {}
    for item in program.outputs:
        parts = found[item.name]
        shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
        whole = [np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
        reaches[item.name] = Reach(item, np.concatenate(whole, axis=-1)[..., :length])
    return reaches
