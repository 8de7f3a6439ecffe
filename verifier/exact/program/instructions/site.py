"""Arguments of an instruction's rules: InstructionSite for `infer`, Operands for `compute`."""

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
class ProofBudget:
    """The number of elements of constants that the proof may still copy or add up, which bounds its time and memory.

    `sums` remembers what was added up, so that a weight read by many nodes, in whatever view, is counted once.
    """

    left: int
    sums: dict[tuple[Any, ...], int] = field(default_factory=dict)


@dataclass
class InstructionSite:
    """One node while it is proven: the values of its inputs, its attributes, and a record of its width and cost.

    `inputs` holds None for an input left out. `peak` is the largest |q| of anything the node computes, partial sums
    included. `used` are the attributes that the rule has read: a node with others is refused.
    """

    node: str
    op: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    peak: int = 0
    macs: int = 0
    used: set[str] = field(default_factory=set)
    budget: ProofBudget = field(default_factory=lambda: ProofBudget(MAX_STEPS))

    def fail(self, reason: str) -> NotExactError:
        """Make the error for this node, which the caller raises."""
        return NotExactError(self.node, reason)

    # Inputs and attributes

    def arguments(self, minimum: int, maximum: int | None = None) -> list[Value]:
        """The inputs, of which there must be `minimum` to `maximum`, none left out."""
        maximum = minimum if maximum is None else maximum
        if not minimum <= len(self.inputs) <= maximum or any(item is None for item in self.inputs):
            wanted = str(minimum) if minimum == maximum else f"{minimum} to {maximum}"
            raise self.fail(f"it has {len(self.inputs)} inputs, {wanted} are needed")
        return [item for item in self.inputs if item is not None]

    def first(self, maximum: int) -> Value:
        """The first input, which must be there; at most `maximum` inputs are allowed."""
        if not self.inputs or self.inputs[0] is None or len(self.inputs) > maximum:
            raise self.fail(f"its first input is missing, or it has more than {maximum} inputs")
        return self.inputs[0]

    def optional(self, index: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def known(self, value: Value | None, what: str, maximum: int = MAX_RANK) -> list[int]:
        """The integers of an input that must be a constant int64 list with at most `maximum` entries."""
        if value is None or value.constant is None or value.dtype != "int64" or len(value.shape) != 1:
            raise self.fail(f"{what} is not a constant int64 list")
        if value.size > maximum:
            raise self.fail(f"{what} has {value.size} entries, at most {maximum} are possible")
        return [int(item) for item in value.constant]

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute; one without a default must be there."""
        self.used.add(name)
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.fail(f"attribute {name!r} is missing or not an integer")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list attribute; None when it is left out."""
        self.used.add(name)
        value = self.attributes.get(name)
        if value is not None and not isinstance(value, tuple):
            raise self.fail(f"attribute {name!r} is not a list")
        return value

    def flag(self, name: str, default: int) -> bool:
        """An attribute that must be 0 or 1: runtimes disagree about other numbers."""
        value = self.integer(name, default)
        if value not in (0, 1):
            raise self.fail(f"attribute {name!r} is {value}: 0 or 1 is needed")
        return value == 1

    def axis(self, axis: int, rank: int) -> int:
        """An axis of a tensor with `rank` dimensions, counted from the front; a negative one counts from the end."""
        if not -rank <= axis < rank:
            raise self.fail(f"axis {axis} of a tensor with {rank} dimensions")
        return axis % rank

    # Rules that several instructions share

    def numeric(self, *values: Value) -> str:
        """The common dtype of operands of arithmetic: float64, int32 or int64."""
        dtype = values[0].dtype
        if any(value.dtype != dtype for value in values) or dtype not in (FLOAT, *WIDE_INTEGERS):
            raise self.fail(
                f"operands are {[value.dtype for value in values]}: all must be float64, all int32 or all int64"
            )
        return dtype

    def broadcast(self, *values: Value) -> tuple[int, ...]:
        """The shape that the values broadcast to."""
        try:
            return np.broadcast_shapes(*(value.shape for value in values))
        except ValueError as error:
            raise self.fail(f"shapes {[value.shape for value in values]} do not broadcast") from error

    def align(self, *values: Value) -> int:
        """The finest grid of the operands, each of which must stay within 2**53 steps of that grid."""
        grid = min(value.grid for value in values)
        for value in values:
            self.bound(*value.aligned(grid), value.dtype)
        return grid

    def bound(self, lo: int, hi: int, dtype: str) -> None:
        """Record the width of an interval, and refuse one in which the dtype could round or overflow."""
        width = max(abs(lo), abs(hi))
        self.peak = max(self.peak, width)
        if dtype == FLOAT and width > MAX_STEPS:
            raise self.fail(
                f"it can need {width.bit_length()} bits where float64 is exact to 53: clip or requantise its inputs"
            )
        if dtype in INTEGER_RANGES and not (INTEGER_RANGES[dtype][0] <= lo and hi <= INTEGER_RANGES[dtype][1]):
            raise self.fail(f"it can reach {lo} to {hi}, outside {dtype}")

    def spend(self, elements: int) -> None:
        """Take elements of constants that are copied or added up from the budget."""
        self.budget.left -= elements
        if self.budget.left < 0:
            raise self.fail("its constants are copied or added up more often than a check can afford: store the result")

    # Results

    def shaped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a result, which must be within the limits on dimensions and elements."""
        if len(shape) > MAX_RANK or not 1 <= math.prod(shape) <= MAX_ELEMENTS:
            raise self.fail(
                f"its result has shape {shape}: at most {MAX_RANK} dimensions, 1 to {MAX_ELEMENTS} elements are allowed"
            )
        return shape

    def result(
        self, dtype: str, shape: tuple[int, ...], grid: int, lo: int, hi: int, constant: Integers | None = None
    ) -> Value:
        """The value of the only output, with the interval lo..hi, whose bounds are recorded."""
        if abs(grid) > MAX_GRID:
            raise self.fail(f"grid 2**{grid}: at most 2**{MAX_GRID} and at least 2**-{MAX_GRID} is allowed")
        if lo > hi:
            raise self.fail("its interval is empty")
        self.bound(lo, hi, dtype)
        return Value(self.outputs[0], dtype, self.shaped(shape), grid, lo, hi, constant)

    def moved(self, value: Value, shape: tuple[int, ...], constant: Integers | None, index: int = 0) -> Value:
        """The value of output `index`, which holds some elements of an input."""
        return replace(value, name=self.outputs[index], shape=self.shaped(shape), constant=constant)


@dataclass(frozen=True)
class Operands:
    """One instruction while it is computed: its inputs' proven values and integers q, and its outputs' proven values.

    `inputs` and `q` hold None for an input left out; a rule that allows that says so in its proof.
    """

    attributes: Mapping[str, Attribute]
    inputs: Sequence[Any]
    q: Sequence[Any]
    outputs: Sequence[Value]

    def at(self, index: int, grid: int) -> NDArray[Any]:
        """The q of an input in steps of a finer grid, as int64: the proof has bounded them."""
        shifted: NDArray[Any] = self.q[index].astype(np.int64) << (self.inputs[index].grid - grid)
        return shifted

    def aligned(self) -> list[NDArray[Any]]:
        """The q of every input in steps of the finest grid among them."""
        grid = min(value.grid for value in self.inputs)
        return [self.at(index, grid) for index in range(len(self.q))]

    def axis(self, default: int = 0) -> int:
        """The attribute `axis`, counted from the front of the first input's axes."""
        return int(self.attributes.get("axis", default)) % len(self.inputs[0].shape)  # type: ignore[arg-type]


Infer = Callable[[InstructionSite], list[Value]]
Compute = Callable[[Operands], list[NDArray[Any]]]


@dataclass(frozen=True)
class InstructionRule:
    """An instruction of the closed list.

    `infer` is the proof: dtype, shape, grid and interval of every output, or NotExactError. `compute` is the meaning:
    the q of every output from those of the inputs.
    """

    infer: Infer
    compute: Compute
