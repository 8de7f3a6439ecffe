"""What an instruction module registers, and what it is handed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import NotExactError
from verifier.exact.program.parse import MAX_ELEMENTS, MAX_RANK, Attribute
from verifier.exact.program.values import FLOAT, INTEGER_RANGES, MAX_GRID, MAX_STEPS, WIDE_INTEGERS, Integers, Value


@dataclass
class Budget:
    """Elements of constants that the proof may still copy or add up, so that it stays as small as the file.

    `sums` remembers what was added up: a weight that many nodes use, in whatever view, is read once.
    """

    left: int
    sums: dict[tuple[Any, ...], int] = field(default_factory=dict)


@dataclass
class Site:
    """One node under inference: its inputs' values, and where bounds and cost are noted."""

    node: str
    op: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    peak: int = 0  # widest |q| of anything computed here, partial sums included
    macs: int = 0
    used: set[str] = field(default_factory=set)
    budget: Budget = field(default_factory=lambda: Budget(MAX_STEPS))

    def fail(self, reason: str) -> NotExactError:
        """The error for this node; to be raised by the caller."""
        return NotExactError(self.node, reason)

    def arguments(self, least: int, most: int | None = None) -> list[Value]:
        """The inputs, all present, between `least` and `most` of them."""
        most = least if most is None else most
        if not least <= len(self.inputs) <= most or any(item is None for item in self.inputs):
            raise self.fail(f"it has {len(self.inputs)} inputs, {least} to {most} are needed")
        return [item for item in self.inputs if item is not None]

    def optional(self, index: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        self.used.add(name)
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.fail(f"attribute {name!r} is missing or no integer")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list attribute, None when it is left out."""
        self.used.add(name)
        value = self.attributes.get(name)
        if value is not None and not isinstance(value, tuple):
            raise self.fail(f"attribute {name!r} is no list")
        return value

    def spend(self, elements: int) -> None:
        """Account for copying or reading that many elements of constants."""
        self.budget.left -= elements
        if self.budget.left < 0:
            raise self.fail("its constants are copied or added up more often than a check can afford: store the result")

    def known(self, value: Value | None, what: str, most: int = MAX_RANK) -> list[int]:
        """The integers of an input that has to be a constant list of at most `most`."""
        if value is None or value.constant is None or value.dtype != "int64" or len(value.shape) != 1:
            raise self.fail(f"{what} is not a constant int64 list")
        if value.size > most:
            raise self.fail(f"{what} has {value.size} entries, at most {most} are possible")
        return [int(item) for item in value.constant]

    def flag(self, name: str, default: int) -> bool:
        """An attribute that is 0 or 1: runtimes take other numbers for either."""
        value = self.integer(name, default)
        if value not in (0, 1):
            raise self.fail(f"attribute {name!r} is {value}: 0 or 1 is needed")
        return value == 1

    def axis(self, axis: int, rank: int) -> int:
        """A possibly negative axis, normalised."""
        if not -rank <= axis < rank:
            raise self.fail(f"axis {axis} of a tensor with {rank} dimensions")
        return axis % rank

    def broadcast(self, *values: Value) -> tuple[int, ...]:
        """The shape that the values broadcast to."""
        try:
            return np.broadcast_shapes(*(value.shape for value in values))
        except ValueError as error:
            raise self.fail(f"shapes {[value.shape for value in values]} do not broadcast") from error

    def numeric(self, *values: Value) -> str:
        """The common dtype of operands of arithmetic: float64, int32 or int64."""
        dtype = values[0].dtype
        if any(value.dtype != dtype for value in values) or dtype not in (FLOAT, *WIDE_INTEGERS):
            raise self.fail(
                f"operands are {[value.dtype for value in values]}: alike and float64, int32 or int64 is needed"
            )
        return dtype

    def align(self, *values: Value) -> int:
        """The finest of the operands' grids; every operand must stay within 2**53 steps of it."""
        grid = min(value.grid for value in values)
        for value in values:
            self.bound(*value.aligned(grid), value.dtype)
        return grid

    def bound(self, lo: int, hi: int, dtype: str) -> None:
        """Note how wide something gets, and refuse what could round or overflow."""
        width = max(abs(lo), abs(hi))
        self.peak = max(self.peak, width)
        if dtype == FLOAT and width > MAX_STEPS:
            raise self.fail(
                f"it can need {width.bit_length()} bits where float64 is exact to 53: clip or requantise before"
            )
        if dtype in INTEGER_RANGES and not (INTEGER_RANGES[dtype][0] <= lo and hi <= INTEGER_RANGES[dtype][1]):
            raise self.fail(f"it can reach {lo} to {hi}, outside {dtype}")

    def shaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a result, when it may have it."""
        if len(shape) > MAX_RANK or not 1 <= math.prod(shape) <= MAX_ELEMENTS:
            raise self.fail(
                f"its result has shape {shape}: at most {MAX_RANK} dimensions, 1 to {MAX_ELEMENTS} elements are allowed"
            )
        return shape

    def result(
        self, dtype: str, shape: tuple[int, ...], grid: int, lo: int, hi: int, index: int = 0, **more: Any
    ) -> Value:
        """The value of an output, its bounds noted."""
        if abs(grid) > MAX_GRID:
            raise self.fail(f"grid 2**{grid}: at most 2**{MAX_GRID} and at least 2**-{MAX_GRID} is allowed")
        if lo > hi:
            raise self.fail("its interval is empty")
        self.bound(lo, hi, dtype)
        return Value(self.outputs[index], dtype, self.shaped(shape), grid, lo, hi, **more)

    def moved(self, value: Value, shape: tuple[int, ...], constant: Integers | None, index: int = 0) -> Value:
        """An output that holds some of an input's elements."""
        return replace(value, name=self.outputs[index], shape=self.shaped(shape), constant=constant)


Infer = Callable[[Site], list[Value]]
# (attributes, inputs' values, inputs' q, outputs' values) -> outputs' q; an input left out is None.
Compute = Callable[[Mapping[str, Attribute], Sequence[Any], Sequence[Any], Sequence[Value]], list[NDArray[Any]]]


@dataclass(frozen=True)
class Operator:
    """An ONNX operator of the closed list."""

    name: str
    infer: Infer
    compute: Compute


REGISTRY: dict[str, Operator] = {}


def register(*names: str, infer: Infer, compute: Compute | Mapping[str, Compute]) -> None:
    """Add operators that share a rule."""
    for name in names:
        REGISTRY[name] = Operator(name, infer, compute if callable(compute) else compute[name])


def shifted(q: NDArray[Any], value: Value, grid: int) -> NDArray[Any]:
    """q in steps of a finer grid, as int64: the proof has bounded the result."""
    return q.astype(np.int64) << (value.grid - grid)
