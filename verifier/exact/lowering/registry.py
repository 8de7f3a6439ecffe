"""What a lowering of one float operator registers, and what it is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.errors import LoweringError, NotExactError
from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.calibrate import Range
from verifier.exact.program.values import BOOL, FLOAT, Value

Array = NDArray[Any]
Item = Value | Array  # a lowered tensor, or a constant of the float graph not yet used

# Weights of products and tables of embeddings.
WEIGHT_BITS = 16
# What a weight is multiplied with: two bytes each, which many processors multiply faster than anything wider.
PRODUCT_BITS = 16
# Operands of products of computed tensors: in float64 these are exact for depths of several thousand.
OPERAND_BITS = 24
# Elementwise tensors.
WIDE_BITS = 30
# Constants in elementwise arithmetic.
CONSTANT_BITS = 22
# In place of minus infinity: below what any softmax here tells from zero.
MASK = -(2.0**16)


@dataclass
class Context:
    """A graph being lowered: tensors by their float name, and how large each was in calibration.

    `opset` says by which version of its operators the float graph is written.
    """

    builder: Builder
    opset: int
    ranges: dict[str, Range]
    headroom: float
    functions: Mapping[str, Callable[[Array], Array]]
    items: dict[str, Item] = field(default_factory=dict)

    def magnitude(self, name: str) -> float:
        """How large a float tensor may get: what calibration saw, with headroom."""
        return max(self.range(name).magnitude, 1e-6) * self.headroom

    def range(self, name: str) -> Range:
        """What calibration saw of a float tensor."""
        return self.ranges.get(name, Range())


@dataclass
class Node:
    """One float node: its operands, and the ways a lowering gets at them."""

    context: Context
    proto: onnx.NodeProto
    attributes: dict[str, Any]

    @property
    def builder(self) -> Builder:
        """The exact graph under construction."""
        return self.context.builder

    def fail(self, reason: str) -> LoweringError:
        """The error for this node; to be raised by the caller."""
        name = self.proto.name or next(iter(self.proto.output), "")
        return LoweringError(f"{self.proto.op_type} node {name!r}", reason)

    def has(self, index: int) -> bool:
        """Whether an optional operand is given."""
        return index < len(self.proto.input) and self.proto.input[index] != ""

    def item(self, index: int) -> Item:
        """An operand as it is: lowered, or a constant of the float graph."""
        item = self.context.items.get(self.proto.input[index])
        if item is None:
            raise self.fail(f"its operand {self.proto.input[index]!r} is a result that is not lowered")
        return item

    def constant(self, index: int) -> Array | None:
        """The array of a constant operand, None for a computed one."""
        item = self.item(index)
        return item if isinstance(item, np.ndarray) else None

    def needed(self, index: int, what: str) -> Array:
        """The array of an operand that has to be constant."""
        found = self.constant(index)
        if found is None:
            raise self.fail(f"{what} is computed: fix the shapes before lowering so that it becomes a constant")
        return found

    def listed(self, index: int, attribute: str, what: str) -> list[int] | None:
        """Integers that are an operand or, in older opsets, an attribute; None when they are left out."""
        if self.has(index):
            return [int(item) for item in self.needed(index, what).reshape(-1)]
        found = self.attributes.get(attribute)
        return None if found is None else [int(item) for item in found]

    @property
    def integral(self) -> bool:
        """Whether all operands hold integers, of which arithmetic makes integers again."""
        items = [self.item(index) for index in range(len(self.proto.input)) if self.has(index)]
        return all(np.dtype(item.dtype).kind in "iu" for item in items)

    def restored(self, value: Value) -> Value:
        """What was computed in float64, as integers where all operands hold such."""
        return self.builder.cast(value, "int64") if self.integral else value

    def value(self, index: int) -> Value:
        """An operand as a tensor of the exact graph; constants get CONSTANT_BITS bits."""
        item = self.item(index)
        return number(self.builder, item) if isinstance(item, np.ndarray) else item

    def magnitude(self, index: int) -> float:
        """How large an operand may get."""
        item = self.item(index)
        if isinstance(item, np.ndarray):
            return float(np.abs(clamped(item)).max(initial=0))
        return self.context.magnitude(self.proto.input[index])

    def fitted(self, index: int, bits: int) -> Value:
        """An operand in at most `bits` bits, saturated at its calibrated range; of many bits some are room above it."""
        value = self.value(index)
        if value.dtype != FLOAT or value.magnitude <= 2 ** (bits - 1):
            return value
        return self.builder.fitted(value, self.magnitude(index), bits, room(bits))

    def narrowing(self, emit: Callable[[int], Value], start: int, stop: int = 12) -> Value:
        """Try to emit with operands of `start` bits, then of fewer, until it is proven."""
        for bits in range(start, stop - 1, -1):
            try:
                return emit(bits)
            except NotExactError as error:
                reason = error.reason
        raise self.fail(f"no precision of {stop} bits or more is provably exact: {reason}")


def room(bits: int) -> int:
    """How many of an operand's bits lie above its calibrated range: some tokens are louder than any seen before."""
    return min(max(0, bits - 22) // 2, 8)


def clamped(array: Array) -> Array:
    """Minus infinity and its stand-ins as MASK; floats of any width in float64: half precision lacks the range."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    wide = array.astype(np.float64)
    return np.where(wide < MASK, MASK, wide)


def number(builder: Builder, array: Array, bits: int = CONSTANT_BITS, grid: int | None = None) -> Value:
    """A constant of the float graph: floats rounded to `bits` bits or to a grid, integers and bools as they are."""
    if not np.issubdtype(array.dtype, np.floating):
        return builder.constant(array.astype(np.int64) if array.dtype.kind in "iu" else array)
    finite = clamped(array)
    if grid is None:
        grid = grid_for(float(np.abs(finite).max(initial=0)), bits)
    return builder.constant(np.ldexp(np.rint(np.ldexp(finite, -grid)), grid) + 0.0)


def as_float(builder: Builder, value: Value) -> Value:
    """Integers and bools as float64, so that they take part in arithmetic."""
    return builder.cast(value, FLOAT) if value.dtype != FLOAT else value


def absolute(builder: Builder, value: Value) -> Value:
    """How large numbers are; proven not to be negative."""
    return builder.op("Max", value, builder.op("Neg", value), builder.constant(np.float64(0)))


def as_bool(builder: Builder, value: Value) -> Value:
    """Anything as a bool."""
    return builder.cast(value, BOOL)


Lowering = Callable[[Node], list[Item]]
REGISTRY: dict[str, Lowering] = {}


def lowers(*operators: str) -> Callable[[Lowering], Lowering]:
    """Register a lowering for float operators."""

    def add(lowering: Lowering) -> Lowering:
        for operator in operators:
            REGISTRY[operator] = lowering
        return lowering

    return add
