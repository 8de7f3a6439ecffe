"""Influence through a matrix product: an element of the result depends on the terms of its sum that are not 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifier.exact.dependence.cells import MAX_CELLS, Cells, with_rank
from verifier.exact.dependence.facts import ElementFacts, Gate, Lanes, union, without

# Largest number of terms that are looked at one by one. Where there would be more, each element of the result is taken
# to depend on its whole row and column. 2**26 terms take some seconds, and are those of two rows of 4,096 tokens.
MAX_TERMS = 2**26


@dataclass(frozen=True)
class _Factor:
    """One operand of a product as cells [..., other axis, depth]: its planes, where it is 0, and its gates."""

    planes: tuple[Cells, ...]
    zero: Cells
    gates: tuple[Gate, ...]

    @staticmethod
    def of(facts: ElementFacts, rank: int, *, transposed: bool) -> _Factor:
        """Take an operand's facts, with its last two axes exchanged if it is the second operand."""

        def view(cells: Cells) -> Cells:
            wide = with_rank(cells, rank)
            return wide.swapaxes(-1, -2) if transposed else wide

        gates = tuple(Gate(view(gate.row), view(gate.position), gate.closed.mapped(view)) for gate in facts.gates)
        return _Factor(tuple(map(view, facts.planes)), view(facts.interval.zero), gates)

    def column(self, number: int) -> _Factor:
        """Return the factor at one position of the other axis."""

        def view(cells: Cells) -> Cells:
            return cells[..., number : number + 1, :] if cells.shape[-2] > 1 else cells

        gates = tuple(Gate(view(gate.row), view(gate.position), gate.closed.mapped(view)) for gate in self.gates)
        return _Factor(tuple(map(view, self.planes)), view(self.zero), gates)

    @property
    def arrays(self) -> list[Cells]:
        """All arrays that are as large as the terms."""
        return [*self.planes, self.zero, *(gate.position for gate in self.gates)]


def product_planes(a: ElementFacts, b: ElementFacts, lanes: Lanes | None) -> tuple[Cells, ...]:
    """Return the planes of the product of matrices a [..., rows, depth] and b [..., depth, columns]."""
    rank = max(len(a.frame), len(b.frame))
    if all(plane.shape[-1] == 1 for plane in a.planes) and all(plane.shape[-2] == 1 for plane in b.planes):
        return union([a.planes, b.planes], rank)
    left, right = _Factor.of(a, rank, transposed=False), _Factor.of(b, rank, transposed=True)
    if _terms(left, right) > MAX_TERMS:
        # Weights have a few zeros, which say nothing about positions. Without them, all columns may be alike.
        right = _Factor(right.planes, np.zeros((1,) * rank, np.bool_), ())
    if _terms(left, right) > MAX_TERMS:
        return _result([_joined(left, right)])
    columns = max(cells.shape[-2] for cells in right.arrays)
    return _result([_sum(left, right.column(number), lanes) for number in range(columns)])


def _terms(left: _Factor, right: _Factor) -> int:
    """Return the number of terms to look at; more than MAX_TERMS where a column alone has too many cells."""
    columns = max(cells.shape[-2] for cells in right.arrays)
    column = right.column(0).arrays
    size = math.prod(np.broadcast_shapes(*(cells.shape for cells in (*left.arrays, *column))))
    return size * columns if size <= MAX_CELLS else MAX_TERMS + 1


def _sum(left: _Factor, right: _Factor, lanes: Lanes | None) -> tuple[Cells, ...]:
    """Return the planes [..., rows, 1] of one column of the result."""
    terms = union([left.planes, right.planes], left.zero.ndim)
    terms = without(without(terms, left.zero), right.zero)
    for gate in (*left.gates, *right.gates):
        assert lanes is not None
        terms = lanes.cleared(terms, gate, gate.closed.zero)
    return tuple(np.bitwise_or.reduce(plane, axis=-1, keepdims=True) for plane in terms)


def _joined(left: _Factor, right: _Factor) -> tuple[Cells, ...]:
    """Return the planes [..., rows, columns] if every term counts."""
    whole = [[np.bitwise_or.reduce(p, axis=-1, keepdims=True) for p in factor.planes] for factor in (left, right)]
    return union([whole[0], [plane.swapaxes(-1, -2) for plane in whole[1]]], left.zero.ndim)


def _result(columns: Sequence[tuple[Cells, ...]]) -> tuple[Cells, ...]:
    """Put the planes of the columns beside each other."""
    if len(columns) == 1:
        return columns[0]
    found = []
    for same in zip(*columns, strict=True):
        shape = np.broadcast_shapes(*(cells.shape for cells in same))
        found.append(np.concatenate([np.broadcast_to(cells, shape) for cells in same], axis=-1))
    return tuple(found)
