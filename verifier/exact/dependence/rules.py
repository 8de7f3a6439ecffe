"""How influence passes through each instruction.

An element of a result is influenced by what influences the elements that it is computed from, except

- by nothing, where its interval holds one number,
- by the other factor of a product, where one factor is 0,
- by a number that can never be the largest of a ReduceMax or Max, or the smallest of a ReduceMin or Min,
- by the choice of a Where that is never made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verifier.exact.dependence.cells import MAX_CELLS, Cells, concatenated, reshaped, taken, tidied, viewed, with_rank
from verifier.exact.dependence.facts import MAX_GATES, ElementFacts, Gate, Lanes, union, without
from verifier.exact.dependence.intervals import ELEMENTWISE, Interval, elementwise, never_chosen, reduced
from verifier.exact.dependence.products import product_planes
from verifier.exact.program.instructions import REGISTRY, Operands
from verifier.exact.program.proof import Instruction
from verifier.exact.program.values import Value


@dataclass(frozen=True)
class InfluenceSite:
    """One instruction, with the proven values of its operands and the facts about them, and its results' values.

    An operand left out is in none of these. `lists` holds the constant of each input, such as the axes of a reduction;
    None for an input that is left out or not constant.
    """

    instruction: Instruction
    values: Sequence[Value]
    facts: Sequence[ElementFacts]
    lists: Sequence[Cells | None]
    results: Sequence[Value]
    lanes: Lanes | None

    @property
    def op(self) -> str:
        """The operator."""
        return self.instruction.op

    def operand(self, index: int) -> ElementFacts:
        """The facts about an operand, in its own shape."""
        return self.facts[index].settled(self.values[index].shape)

    def axis(self) -> int:
        """The attribute `axis`, counted from the front of the first operand's axes."""
        return int(self.instruction.attributes.get("axis", 0)) % len(self.values[0].shape)  # type: ignore[arg-type]


def influence(site: InfluenceSite) -> list[ElementFacts]:
    """Return the facts about each result of an instruction."""
    rule = _elementwise if site.op in ELEMENTWISE else _RULES[site.op]
    return [_without_fixed(site, facts) for facts in rule(site)]


def _without_fixed(site: InfluenceSite, facts: ElementFacts) -> ElementFacts:
    """Clear what influences elements that hold one number, always or where the mask is 0."""
    planes = without(facts.planes, facts.interval.fixed)
    for gate in facts.gates:
        assert site.lanes is not None
        planes = site.lanes.cleared(planes, gate, gate.closed.fixed)
    return ElementFacts(facts.frame, facts.interval, planes, facts.gates)


# Elementwise instructions


def _elementwise(site: InfluenceSite) -> list[ElementFacts]:
    (result,) = site.results
    single = len(site.facts) == 1
    x = list(site.facts) if single else [site.operand(index) for index in range(len(site.facts))]
    frame = x[0].frame if single else result.shape

    def bounds(intervals: Sequence[Interval]) -> Interval:
        return elementwise(site.instruction, site.values, result, intervals, len(frame))

    interval = bounds([item.interval for item in x])
    gates: list[Gate] = []
    for gate in (gate for item in x for gate in item.gates):
        if len(gates) < MAX_GATES and not any(gate.same_place(other) for other in gates):
            closed = bounds([_closed(item, gate) for item in x])
            found = Gate(with_rank(gate.row, len(frame)), with_rank(gate.position, len(frame)), closed)
            gates += [found] if found.tightens(interval) else []
    planes = union(_relevant(site, x, len(frame)), len(frame))
    return [ElementFacts(frame, interval, planes, tuple(gates))]


def _closed(facts: ElementFacts, gate: Gate) -> Interval:
    """Return the interval of a tensor where the mask is 0 at a gate."""
    return next((other.closed for other in facts.gates if other.same_place(gate)), facts.interval)


def _relevant(site: InfluenceSite, x: Sequence[ElementFacts], rank: int) -> list[tuple[Cells, ...]]:
    """Return the planes of each operand, without elements that the result never depends on."""
    planes = [item.planes for item in x]
    if site.op == "Where":
        condition = x[0].interval
        return [planes[0], _hidden(planes[1], condition.hi == 0, rank), _hidden(planes[2], condition.lo == 1, rank)]
    if site.op in ("Max", "Min") and len(x) > 1:
        never = never_chosen(site.op, site.values, [item.interval for item in x], rank)
        return [_hidden(item, hidden, rank) for item, hidden in zip(planes, never, strict=True)]
    return planes


def _hidden(planes: Sequence[Cells], where: Cells, rank: int) -> tuple[Cells, ...]:
    return without([with_rank(plane, rank) for plane in planes], with_rank(where, rank))


# Reductions and products


def _reduction(site: InfluenceSite) -> list[ElementFacts]:
    (result,), x, shape = site.results, site.operand(0), site.values[0].shape
    listed = site.lists[1] if len(site.lists) > 1 else None
    axes = tuple(range(len(shape))) if listed is None else tuple(int(axis) % len(shape) for axis in listed)
    interval = reduced(site.op, x.interval, shape, axes)
    planes, gates = x.planes, []
    if site.op == "ReduceMax":
        planes = without(planes, x.interval.hi <= interval.lo)
    elif site.op == "ReduceMin":
        planes = without(planes, x.interval.lo >= interval.hi)
    for gate in x.gates:
        assert site.lanes is not None
        if site.op == "ReduceMax":
            planes = site.lanes.cleared(planes, gate, gate.closed.hi <= interval.lo)
        if all(cells.shape[axis] == 1 for cells in (gate.row, gate.position) for axis in axes):
            gates.append(Gate(gate.row, gate.position, reduced(site.op, gate.closed, shape, axes)))
    planes = tuple(np.bitwise_or.reduce(plane, axis=axes, keepdims=True) for plane in planes)
    kept = tuple(1 if axis in axes else length for axis, length in enumerate(shape))
    found = ElementFacts(kept, interval.within(result), planes, tuple(gates))
    return [found.viewed(result.shape, lambda cells, join: reshaped(cells, kept, result.shape, join))]


def _product(site: InfluenceSite) -> list[ElementFacts]:
    (result,) = site.results
    a, b = _as_matrix(site, 0), _as_matrix(site, 1)
    shape = (*np.broadcast_shapes(a.frame[:-2], b.frame[:-2]), a.frame[-2], b.frame[-1])
    # The result's rank lacks an axis for each operand that is a vector.
    proven = Interval.of(result).mapped(lambda end: end.reshape((1,) * len(shape)))
    found = ElementFacts(shape, proven, product_planes(a, b, site.lanes))
    return [found.viewed(result.shape, lambda cells, join: reshaped(cells, shape, result.shape, join))]


def _as_matrix(site: InfluenceSite, index: int) -> ElementFacts:
    """Return the facts about an operand of a product; a vector becomes a row if it is the first, else a column."""
    facts, shape = site.operand(index), site.values[index].shape
    if len(shape) > 1:
        return facts
    matrix = (1, *shape) if index == 0 else (*shape, 1)
    return facts.viewed(matrix, lambda cells, join: reshaped(cells, shape, matrix, join))


# Look-ups


def _gather(site: InfluenceSite) -> list[ElementFacts]:
    (result,), data, axis = site.results, site.operand(0), site.axis()
    indices = site.values[1]
    if indices.constant is not None:
        known = indices.constant.astype(np.int64)

        def pick(cells: Cells, join: np.ufunc | None) -> Cells | None:
            if cells.shape[axis] > 1 and cells.size // cells.shape[axis] * known.size > MAX_CELLS:
                if join is None:
                    return None
                cells = join.reduce(cells, axis=axis, keepdims=True)
            return taken(cells, known, axis)

        return [data.viewed(result.shape, pick)]
    rank, behind = len(indices.shape), len(site.values[0].shape) - axis - 1

    def anywhere(cells: Cells, join: np.ufunc | None) -> Cells | None:
        single = _joined_along(axis, cells, join)
        return None if single is None else single.reshape(single.shape[:axis] + (1,) * rank + single.shape[axis + 1 :])

    found = data.viewed(result.shape, anywhere)
    index_planes = [plane.reshape((1,) * axis + plane.shape + (1,) * behind) for plane in site.operand(1).planes]
    planes = union([found.planes, index_planes], len(result.shape))
    return [ElementFacts(result.shape, found.interval, planes, found.gates)]


def _gather_elements(site: InfluenceSite) -> list[ElementFacts]:
    (result,), data, axis = site.results, site.operand(0), site.axis()
    if len(result.shape) == 1:
        return [_table_lookup(data, site.facts[1])]

    def anywhere(cells: Cells, join: np.ufunc | None) -> Cells | None:
        single = _joined_along(axis, cells, join)
        read = tuple(slice(length if i != axis else None) for i, length in enumerate(result.shape))
        return None if single is None else single[read]

    found = data.viewed(result.shape, anywhere)
    planes = union([found.planes, site.operand(1).planes], len(result.shape))
    return [ElementFacts(result.shape, found.interval, planes)]


def _joined_along(axis: int, cells: Cells, join: np.ufunc | None) -> Cells | None:
    """Join all positions of an axis, any of which an index can read; None where that needs a function."""
    if cells.shape[axis] == 1:
        return cells
    return None if join is None else np.asarray(join.reduce(cells, axis=axis, keepdims=True))


def _table_lookup(data: ElementFacts, index: ElementFacts) -> ElementFacts:
    """Look up elements of a list. The index keeps its frame: a flattened tensor has too many elements of its own."""
    rank = len(index.frame)

    def read(at: Interval) -> Interval:
        ends = []
        for end, join in ((data.interval.lo, np.minimum), (data.interval.hi, np.maximum)):
            known = end[np.clip(at.lo, 0, end.size - 1)]
            ends.append(np.where(at.fixed, known, join.reduce(end)))
        return Interval(*ends)

    all_data = [np.bitwise_or.reduce(plane).reshape((1,) * rank) for plane in data.planes]
    gates = tuple(Gate(gate.row, gate.position, read(gate.closed)) for gate in index.gates)
    return ElementFacts(index.frame, read(index.interval), union([all_data, index.planes], rank), gates)


# Views


def _reshape(site: InfluenceSite) -> list[ElementFacts]:
    (result,), x = site.results, site.facts[0]
    # The frame stays where cells would be repeated, until an instruction needs the shape.
    return [x.settled(result.shape) if x.keeps_cells(result.shape) else x]


def _view(site: InfluenceSite) -> list[ElementFacts]:
    """Transpose, Slice, Split, Expand: NumPy views."""
    x, shape = site.operand(0), site.values[0].shape

    def view(index: int) -> Callable[[Cells, Any], Cells]:
        def compute(full: Cells) -> Cells:
            operands = Operands(site.instruction.attributes, site.values, [full, *site.lists[1:]], site.results)
            return REGISTRY[site.op].compute(operands)[index]

        return lambda cells, _: viewed(cells, shape, compute)

    return [x.viewed(result.shape, view(index)) for index, result in enumerate(site.results)]


def _concat(site: InfluenceSite) -> list[ElementFacts]:
    (result,), axis = site.results, site.axis()
    parts = [site.operand(index) for index in range(len(site.facts))]
    lengths = [value.shape[axis] for value in site.values]
    shifts = [value.grid - result.grid for value in site.values]
    lo = [part.interval.lo << shift for part, shift in zip(parts, shifts, strict=True)]
    hi = [part.interval.hi << shift for part, shift in zip(parts, shifts, strict=True)]
    interval = Interval(concatenated(lo, lengths, axis, np.minimum), concatenated(hi, lengths, axis, np.maximum))
    planes = [
        concatenated(list(same), lengths, axis, np.bitwise_or)
        for same in zip(*(part.planes for part in parts), strict=True)
    ]
    return [ElementFacts(result.shape, interval.within(result), tuple(tidied(plane) for plane in planes))]


_RULES: dict[str, Callable[[InfluenceSite], list[ElementFacts]]] = {
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin"), _reduction),
    "MatMul": _product,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    **dict.fromkeys(("Identity", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Transpose", "Slice", "Split", "Expand"), _view),
    "Concat": _concat,
}
