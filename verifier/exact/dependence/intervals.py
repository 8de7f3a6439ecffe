"""Intervals of single elements, finer than those of the proof, which has one for a whole tensor.

A mask is a tensor of which some elements are known: the entries of a causal triangle are constants, and those of a mask
of padding are known where the mask is. From the intervals of an instruction's operands follows that of its result,
which never exceeds the proven one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from verifier.exact.dependence.cells import MAX_CELLS, Cells, coarsened, fit, tidied, with_rank
from verifier.exact.program.instructions import REGISTRY, Operands
from verifier.exact.program.proof import Instruction
from verifier.exact.program.values import BOOL, Value


@dataclass(frozen=True)
class Interval:
    """Bounds on the q of each element, as int64 cells."""

    lo: Cells
    hi: Cells

    @staticmethod
    def of(value: Value) -> Interval:
        """Return the proven interval of a tensor, or the numbers of a constant that has at most MAX_CELLS."""
        if value.constant is not None and 0 < value.size <= MAX_CELLS:
            known = tidied(value.constant.astype(np.int64))
            return Interval(known, known)
        shape = (1,) * len(value.shape)
        return Interval(np.full(shape, value.lo, np.int64), np.full(shape, value.hi, np.int64))

    @property
    def fixed(self) -> Cells:
        """Where there is one possible number."""
        return np.asarray(self.lo == self.hi)

    @property
    def zero(self) -> Cells:
        """Where that number is 0."""
        return np.asarray((self.lo == 0) & (self.hi == 0))

    def mapped(self, view: Callable[[Cells], Cells]) -> Interval:
        """Return the interval of a view of the tensor."""
        return Interval(view(self.lo), view(self.hi))

    def within(self, value: Value) -> Interval:
        """Limit the bounds to those that are proven for the whole tensor."""
        lo = np.clip(self.lo, value.lo, value.hi)
        hi = np.clip(self.hi, value.lo, value.hi)
        return Interval(coarsened(tidied(lo), np.minimum), coarsened(tidied(hi), np.maximum))


# Instructions whose result grows with an operand ("+") or falls with it ("-"), one sign for each; the last one repeats.
MONOTONE = {
    "Add": "+",
    "Sub": "+-",
    "Neg": "-",
    "Max": "+",
    "Min": "+",
    "Clip": "+",
    "Round": "+",
    "Floor": "+",
    "Cast": "+",
    "Less": "-+",
    "LessOrEqual": "-+",
    "Greater": "+-",
    "GreaterOrEqual": "+-",
    "And": "+",
    "Or": "+",
    "Not": "-",
}
ELEMENTWISE = frozenset((*MONOTONE, "Mul", "Div", "Sqrt", "Equal", "Where"))


def elementwise(
    instruction: Instruction, values: Sequence[Value], result: Value, x: Sequence[Interval], rank: int
) -> Interval:
    """Return the interval of an elementwise instruction's result from its operands', in cells of `rank` axes."""
    op = instruction.op
    lows, highs = [with_rank(item.lo, rank) for item in x], [with_rank(item.hi, rank) for item in x]
    if not fit(*lows, *highs):
        lows = [coarsened(low, np.minimum, 1) for low in lows]
        highs = [coarsened(high, np.maximum, 1) for high in highs]

    def compute(q: Sequence[Cells]) -> Cells:
        return np.asarray(REGISTRY[op].compute(Operands(instruction.attributes, values, q, [result]))[0])

    if op == "Sqrt":  # exact below 2**52, as the proof says
        lo, hi = (
            np.floor(np.sqrt((q[0] << values[0].grid).astype(np.float64))).astype(np.int64) for q in (lows, highs)
        )
    elif op in ("Mul", "Div"):
        corners = [compute(q) for q in itertools.product(*zip(lows, highs, strict=True))]
        lo, hi = functools.reduce(np.minimum, corners), functools.reduce(np.maximum, corners)
    elif op == "Equal":
        (alo, blo), (ahi, bhi) = (Operands({}, values, q, [result]).aligned() for q in (lows, highs))
        lo, hi = (alo == ahi) & (blo == bhi) & (alo == blo), (alo <= bhi) & (blo <= ahi)
    elif op == "Where":
        least, most = ([compute([condition[0], *q[1:]]) for condition in (lows, highs)] for q in (lows, highs))
        lo, hi = np.minimum(*least), np.maximum(*most)
    elif op == "Cast" and result.dtype == BOOL:
        lo, hi = (lows[0] > 0) | (highs[0] < 0), (lows[0] != 0) | (highs[0] != 0)
    else:
        rising = [sign == "+" for sign in MONOTONE[op].ljust(len(x), MONOTONE[op][-1])]
        lo = compute([low if up else high for up, low, high in zip(rising, lows, highs, strict=True)])
        hi = compute([high if up else low for up, low, high in zip(rising, lows, highs, strict=True)])
    return Interval(lo.astype(np.int64), hi.astype(np.int64)).within(result)


def never_chosen(op: str, values: Sequence[Value], x: Sequence[Interval], rank: int) -> list[Cells]:
    """Return where each operand of a Max or Min is never more extreme than another one."""
    lows, highs = (
        Operands({}, values, [with_rank(end, rank) for end in ends], ()).aligned()
        for ends in ([item.lo for item in x], [item.hi for item in x])
    )
    found = []
    for index in range(len(x)):
        others = [number for number in range(len(x)) if number != index]
        never = [highs[index] <= lows[j] if op == "Max" else lows[index] >= highs[j] for j in others]
        found.append(functools.reduce(np.logical_or, never))
    return found


def reduced(op: str, x: Interval, shape: Sequence[int], axes: tuple[int, ...]) -> Interval:
    """Return the interval of a ReduceSum, ReduceMax or ReduceMin of a tensor of this shape, with its axes kept."""
    if op != "ReduceSum":
        join = np.maximum if op == "ReduceMax" else np.minimum
        return Interval(join.reduce(x.lo, axis=axes, keepdims=True), join.reduce(x.hi, axis=axes, keepdims=True))
    ends = []
    for end in (x.lo, x.hi):
        repeats = math.prod(shape[axis] for axis in axes if end.shape[axis] == 1)
        ends.append(end.sum(axis=axes, keepdims=True) * repeats)
    return Interval(*ends)
