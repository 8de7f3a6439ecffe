"""What a lowering function receives: one float node, its operands, and the precisions that all lowerings share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.errors import LoweringError, NotExactError
from verifier.exact.lowering.builder import NOT_FINITE, Builder, grid_for
from verifier.exact.lowering.calibrate import Range
from verifier.exact.lowering.masks import MASK, Masks
from verifier.exact.program.values import BOOL, FLOAT, Value

Array = NDArray[Any]
# A tensor of the float graph: a value of the exact graph, or a constant that no exact node reads yet.
Operand = Value | Array

# Bits of the computed operand of a product with a constant weight. Two bytes each, because byte dot products are faster
# on many processors than products of any wider type.
PRODUCT_BITS = 16
# Bits of both operands of a product of two computed tensors. The product is exact in float64 up to a depth of 2**7;
# for deeper products the lowering takes as many bits fewer as the proof needs.
OPERAND_BITS = 24
# Bits of the operands of elementwise arithmetic.
WIDE_BITS = 30
# Bits of constants in elementwise arithmetic.
CONSTANT_BITS = 22
# Minimum number of operand bits to try. A result coarser than 12 bits is not worth having; refusing the node is better.
MIN_BITS = 12
# Minimum magnitude of a calibrated tensor, so that one that was always 0 still has a grid.
MIN_MAGNITUDE = 1e-6
# Operators that sum over axes, so that the sum of zeros and ones is a count.
_COUNTING = frozenset(("ReduceL1", "ReduceMean", "ReduceSum", "ReduceSumSquare"))
# Operators whose result is a count, or nearly one, where all of their computed operands are counts.
_COUNTED = frozenset(
    (
        "Add",
        "Cast",
        "CastLike",
        "Clip",
        "Expand",
        "Flatten",
        "Identity",
        "Max",
        "Reshape",
        "Sqrt",
        "Squeeze",
        "Sum",
        "Tile",
        "Transpose",
        "Unsqueeze",
    )
)


@dataclass
class LoweringContext:
    """The state of one lowering: the exact graph, the calibrated ranges, and the float graph's tensors by name.

    `opset` is the version of ONNX's own operators in which the float graph is written. `functions` holds the function
    of each Univariate node by the name of its output. `masks` tells which tensors hold numbers that stand for minus
    infinity. `counts` are tensors that count elements, such as the tokens of a text.
    """

    builder: Builder
    opset: int
    ranges: dict[str, Range]
    headroom: float
    functions: Mapping[str, Callable[[Array], Array]]
    masks: Masks
    tensors: dict[str, Operand] = field(default_factory=dict)
    counts: set[str] = field(default_factory=set)

    def magnitude(self, name: str) -> float:
        """Return the largest magnitude that a float tensor may take: the calibrated one times the headroom."""
        return max(self.range(name).magnitude, MIN_MAGNITUDE) * self.headroom

    def range(self, name: str) -> Range:
        """Return the calibrated range of a float tensor; an empty range if calibration did not see it."""
        return self.ranges.get(name, Range())

    def note_count(self, node: onnx.NodeProto) -> None:
        """Add a lowered node's first output to `counts` if it counts elements.

        The calibrated range says little about a count: a mask has more ones in longer texts. But it is bounded by the
        number of elements, which is proven.
        """
        computed = [name for name in node.input if isinstance(self.tensors.get(name), Value)]
        if node.op_type in _COUNTING and computed:
            source = self.tensors[computed[0]]
            assert isinstance(source, Value)
            binary = source.lo >= 0 and math.ldexp(source.hi, source.grid) <= 1
            if binary or self.range(computed[0]).binary:
                self.counts.add(node.output[0])
        elif node.op_type in _COUNTED and computed and self.counts.issuperset(computed):
            self.counts.add(node.output[0])


@dataclass
class FloatNode:
    """One node of the float graph, with access to its operands as exact values or as constants."""

    context: LoweringContext
    proto: onnx.NodeProto
    attributes: Mapping[str, Any]

    @property
    def builder(self) -> Builder:
        """The exact graph under construction."""
        return self.context.builder

    @property
    def output_magnitude(self) -> float:
        """The largest magnitude that the node's first output may take."""
        return self.context.magnitude(self.proto.output[0])

    def fail(self, reason: str) -> LoweringError:
        """Return the error that names this node; the caller raises it."""
        name = self.proto.name or next(filter(None, self.proto.output), "")
        return LoweringError(f"{self.proto.op_type} node {name!r}", reason)

    def has(self, index: int) -> bool:
        """Return whether an optional operand is given."""
        return index < len(self.proto.input) and self.proto.input[index] != ""

    def operand(self, index: int) -> Operand:
        """Return an operand as it is: an exact value, or a constant array of the float graph.

        Errors: LoweringError for an output that the lowering of its producer does not compute.
        """
        found = self.context.tensors.get(self.proto.input[index])
        if found is None:
            raise self.fail(
                f"its operand {self.proto.input[index]!r} is an output that is not lowered: "
                "change the model so that nothing reads it"
            )
        return found

    def constant(self, index: int) -> Array | None:
        """Return the array of a constant operand, None for a computed one."""
        found = self.operand(index)
        return found if isinstance(found, np.ndarray) else None

    def require_constant(self, index: int, description: str) -> Array:
        """Return the array of an operand that must be constant. Errors: LoweringError where it is computed."""
        found = self.constant(index)
        if found is None:
            raise self.fail(
                f"{description} must be constant, but it is computed: export the model with fixed shapes, or simplify "
                "it so that the value becomes a constant"
            )
        return found

    def integers(self, index: int, attribute: str, description: str) -> list[int] | None:
        """Return a list of integers that is an operand or, in older opsets, an attribute; None where it is omitted."""
        if self.has(index):
            return [int(item) for item in self.require_constant(index, description).reshape(-1)]
        found = self.attributes.get(attribute)
        return None if found is None else [int(item) for item in found]

    def whole(self, index: int) -> bool:
        """Return whether an operand held nothing but whole numbers in calibration, which a grid of 1 holds exactly."""
        samples = self.context.range(self.proto.input[index]).samples
        return samples.size > 0 and bool((np.rint(samples) == samples).all())

    @property
    def all_integers(self) -> bool:
        """Whether all operands hold integers, so that the result must hold integers too."""
        operands = [self.operand(index) for index in range(len(self.proto.input)) if self.has(index)]
        return all(np.dtype(operand.dtype).kind in "iu" for operand in operands)

    def restore_integers(self, value: Value) -> Value:
        """Cast a float64 result back to int64 where all operands hold integers."""
        return self.builder.cast(value, "int64") if self.all_integers else value

    def value(self, index: int) -> Value:
        """Return an operand as a value of the exact graph; float constants are rounded to CONSTANT_BITS bits."""
        found = self.operand(index)
        return as_constant(self.builder, self.clamped(index, found)) if isinstance(found, np.ndarray) else found

    def is_mask(self, index: int) -> bool:
        """Return whether an operand holds large negative numbers that stand for minus infinity."""
        return self.context.masks.threshold(self.proto.input[index]) > -np.inf

    def clamped(self, index: int, array: Array) -> Array:
        """Return a constant operand with MASK in place of everything below it where the operand is a mask."""
        return clamp_masks(array) if self.is_mask(index) else array

    def magnitude(self, index: int) -> float:
        """Return the largest magnitude that an operand may take."""
        found = self.operand(index)
        if isinstance(found, np.ndarray):
            return float(np.abs(self.clamped(index, found)).max(initial=0))
        return self.context.magnitude(self.proto.input[index])

    def fitted(self, index: int, bits: int) -> Value:
        """Return an operand in at most `bits` bits, saturated at its calibrated range.

        Where there are many bits, `headroom_bits` of them lie above that range. A count that can exceed these is not
        saturated: its grid is as coarse as its proven bound requires.
        """
        value = self.value(index)
        if value.dtype != FLOAT or value.magnitude <= 2 ** (bits - 1):
            return value
        magnitude, headroom = self.magnitude(index), headroom_bits(bits)
        if self.proto.input[index] in self.context.counts:
            bound = math.ldexp(value.magnitude, value.grid)
            if grid_for(bound, bits) > grid_for(magnitude, bits - headroom):
                return self.builder.fitted(value, bound, bits)
        return self.builder.fitted(value, magnitude, bits, headroom)

    def widest_provable(self, emit: Callable[[int], Value], bits: int) -> Value:
        """Emit with operands of `bits` bits or, where that is not proven exact, with the most bits that are.

        Errors: LoweringError where MIN_BITS bits are not proven either.
        """
        reason = ""
        for narrower in range(bits, MIN_BITS - 1, -1):
            try:
                return emit(narrower)
            except NotExactError as error:
                reason = error.reason
        raise self.fail(
            f"it is not proven exact even with operands of {MIN_BITS} bits ({reason}): split it into nodes that sum "
            "over fewer elements"
        )


# A lowering emits the exact form of one float node and returns its outputs, or the first of them.
Lowering = Callable[[FloatNode], list[Operand]]


def headroom_bits(bits: int) -> int:
    """Return how many of an operand's bits lie above its calibrated range.

    A token outside of the calibration feeds may exceed the range. Half of the bits beyond 22 are spent on that, 8 at
    most; operands of 22 bits or fewer need all of theirs for precision.
    """
    return min(max(0, bits - 22) // 2, 8)


def clamp_masks(array: Array) -> Array:
    """Return floats as float64, with MASK in place of everything below it; other arrays unchanged.

    float64 because the range of half precision does not contain MASK.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return array
    wide = array.astype(np.float64)
    return np.where(wide < MASK, MASK, wide)


def as_constant(builder: Builder, array: Array, grid: int | None = None) -> Value:
    """Add a constant of the float graph: floats rounded to CONSTANT_BITS bits or to a grid, others unchanged."""
    if not np.issubdtype(array.dtype, np.floating):
        return builder.constant(array.astype(np.int64) if array.dtype.kind in "iu" else array)
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise NotExactError("a constant", NOT_FINITE)
    if grid is None:
        grid = grid_for(float(np.abs(wide).max(initial=0)), CONSTANT_BITS)
    return builder.constant(np.ldexp(np.rint(np.ldexp(wide, -grid)), grid) + 0.0)


def as_float(builder: Builder, value: Value) -> Value:
    """Cast integers and bools to float64, so that they can take part in arithmetic."""
    return builder.cast(value, FLOAT) if value.dtype != FLOAT else value


def as_bool(builder: Builder, value: Value) -> Value:
    """Cast to bool: whether an element differs from 0."""
    return builder.cast(value, BOOL)


def absolute(builder: Builder, value: Value) -> Value:
    """Emit max(x, -x, 0); the 0 lets the proof see that the result is not negative."""
    return builder.op("Max", value, builder.op("Neg", value), builder.constant(np.float64(0)))
