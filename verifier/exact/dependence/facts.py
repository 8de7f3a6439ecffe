"""What the analysis knows of a tensor: the intervals of its elements, and the sources that can influence each.

Sources are numbered bits. 64 of them share a *plane*: uint64 cells in which a bit is set where its source may influence
the element. Bits that are not set are the statement of the analysis: whatever the source holds, the element stays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from verifier.exact.dependence.cells import Cells, Shape, coarsened, fit, keeps_cells, reshaped, tidied, with_rank
from verifier.exact.dependence.intervals import Interval

# Bits of a plane.
PLANE_BITS = 64
# Number of planes that tell rows apart, and so many rows are told apart: two digits to base 64.
ROW_PLANES = 2
MAX_ROWS = PLANE_BITS**ROW_PLANES
# Maximum number of gates that are followed for one tensor: those of the query and of the key of attention scores.
MAX_GATES = 2

# Maps cells of a tensor to those of a view of it. Where these are too many, they are joined by the function; without a
# function, the result is None then.
CellMap = Callable[[Cells, np.ufunc | None], Cells | None]


@dataclass(frozen=True)
class Gate:
    """The intervals that elements have where an element of the mask is 0: `row` and `position` say which element."""

    row: Cells
    position: Cells
    closed: Interval

    def same_place(self, other: Gate) -> bool:
        """Return whether both gates depend on the same elements of the mask."""
        pairs = ((self.row, other.row), (self.position, other.position))
        return all(np.array_equal(with_rank(a, 8), with_rank(b, 8)) for a, b in pairs)

    def tightens(self, interval: Interval) -> bool:
        """Return whether the closed interval is smaller than this one anywhere."""
        return bool((self.closed.lo > interval.lo).any() or (self.closed.hi < interval.hi).any())


@dataclass(frozen=True)
class ElementFacts:
    """The facts about a tensor, in cells of `frame`: its shape, or the shape that it had before it was reshaped."""

    frame: Shape
    interval: Interval
    planes: tuple[Cells, ...]
    gates: tuple[Gate, ...] = ()

    @staticmethod
    def unmoved(shape: Shape, interval: Interval, planes: int) -> ElementFacts:
        """Return the facts about a tensor that no source influences."""
        return ElementFacts(shape, interval, (np.zeros((1,) * len(shape), np.uint64),) * planes)

    @property
    def size(self) -> int:
        """The number of cells of all arrays."""
        gates = sum(gate.closed.lo.size + gate.closed.hi.size for gate in self.gates)
        return self.interval.lo.size + self.interval.hi.size + sum(plane.size for plane in self.planes) + gates

    def single(self) -> ElementFacts:
        """Return the same facts in one cell for all elements: the tensor's shape no longer matters."""
        lo, hi = coarsened(self.interval.lo, np.minimum, 1), coarsened(self.interval.hi, np.maximum, 1)
        return ElementFacts(self.frame, Interval(lo, hi), tuple(coarsened(p, np.bitwise_or, 1) for p in self.planes))

    def viewed(self, frame: Shape, view: CellMap) -> ElementFacts:
        """Return the facts about a view of the tensor. Gates that would have to be joined are dropped."""
        lo, hi = view(self.interval.lo, np.minimum), view(self.interval.hi, np.maximum)
        planes = [view(plane, np.bitwise_or) for plane in self.planes]
        gates = []
        for gate in self.gates:
            found = [view(cells, None) for cells in (gate.row, gate.position, gate.closed.lo, gate.closed.hi)]
            row, position, closed_lo, closed_hi = (None if cells is None else tidied(cells) for cells in found)
            if row is not None and position is not None and closed_lo is not None and closed_hi is not None:
                gates.append(Gate(row, position, Interval(closed_lo, closed_hi)))
        assert lo is not None
        assert hi is not None
        kept = tuple(tidied(plane) for plane in planes if plane is not None)
        return ElementFacts(frame, Interval(tidied(lo), tidied(hi)), kept, tuple(gates))

    def keeps_cells(self, shape: Shape) -> bool:
        """Return whether a reshape of the tensor repeats no cells."""
        arrays = [self.interval.lo, self.interval.hi, *self.planes]
        arrays += [cells for gate in self.gates for cells in (gate.row, gate.position)]
        return all(keeps_cells(cells, self.frame, shape) for cells in arrays)

    def settled(self, shape: Shape) -> ElementFacts:
        """Return the facts in cells of the tensor's own shape."""
        if self.frame == shape:
            return self
        return self.viewed(shape, lambda cells, join: reshaped(cells, self.frame, shape, join))


def row_planes(rows: Cells) -> list[Cells]:
    """Return the planes that hold the digits of these row numbers. Different sets of one row each differ in a plane."""
    digits = [rows % PLANE_BITS, rows // PLANE_BITS]
    return [np.left_shift(np.uint64(1), digit.astype(np.uint64)) for digit in digits]


@dataclass(frozen=True)
class Lanes:
    """How planes number sources where a mask is assumed: two planes for rows, the others for positions.

    The first plane holds the last digit of a row's number to base 64, the second the digit before it. A position's bit
    stands for the elements of all rows at that position; for each of these it is assumed that the mask is 0 there.
    `first` is the position of the first bit of the third plane.
    """

    first: int

    def cleared(self, planes: Sequence[Cells], gate: Gate, where: Cells) -> tuple[Cells, ...]:
        """Clear the bits of positions at elements that are fixed where the mask is 0 at their gate.

        The assumption about one row says nothing about other rows. Therefore nothing is cleared at elements that other
        rows can influence.
        """
        rank = max(cells.ndim for cells in (*planes, gate.row, gate.position, where))
        row, position, where = (with_rank(cells, rank) for cells in (gate.row, gate.position, where))
        rows = [with_rank(plane, rank) for plane in planes[:ROW_PLANES]]
        if not fit(*rows, row, where, position):
            return tuple(planes)
        for plane, own in zip(rows, row_planes(row), strict=True):
            where = where & ((plane & ~own) == 0)
        allowed = tidied(where)
        found = list(planes[:ROW_PLANES])
        for index, plane in enumerate(planes[ROW_PLANES:]):
            offset = position - self.first - index * PLANE_BITS
            inside = (offset >= 0) & (offset < PLANE_BITS)
            bits = np.where(inside, np.left_shift(np.uint64(1), np.where(inside, offset, 0).astype(np.uint64)), 0)
            bits = np.where(allowed, bits, 0).astype(np.uint64)
            found.append(tidied(with_rank(plane, rank) & ~bits) if fit(with_rank(plane, rank), bits) else plane)
        return tuple(found)


def without(planes: Sequence[Cells], where: Cells) -> tuple[Cells, ...]:
    """Clear all bits at some elements."""
    if not where.any():
        return tuple(planes)
    return tuple(np.where(where, np.uint64(0), plane) if fit(where, plane) else plane for plane in planes)


def union(planes: Sequence[Sequence[Cells]], rank: int) -> tuple[Cells, ...]:
    """Return the planes of a tensor that several tensors influence, element by element."""
    found = []
    for same in zip(*planes, strict=True):
        arrays = [with_rank(cells, rank) for cells in same]
        if not fit(*arrays):
            arrays = [coarsened(cells, np.bitwise_or, 1) for cells in arrays]
        found.append(functools.reduce(np.bitwise_or, arrays))
    return tuple(found)
