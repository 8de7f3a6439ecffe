"""Comparisons, logic, selection, rounding to integers and casts.

Lowers And, Cast, CastLike, Ceil, Equal, Floor, Greater, GreaterOrEqual, IsInf, IsNaN, Less, LessOrEqual, Not, Or,
Round, Sign, Where, Xor. All results are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from verifier.exact.lowering.attributes import Attributes
from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.float_node import Array, FloatNode, Operand, as_bool, as_constant, as_float
from verifier.exact.lowering.mask_margin import masked_operand
from verifier.exact.lowering.masks import MASK, MASK_FLOOR
from verifier.exact.lowering.operators.reductions import softmax_axes
from verifier.exact.program.values import BOOL, FLOAT, Value


def lower_and_or_not(node: FloatNode) -> list[Operand]:
    """And, Or, Not: the same instruction on bools."""
    operands = [as_bool(node.builder, node.value(index)) for index in range(len(node.proto.input))]
    return [node.builder.op(node.proto.op_type, *operands)]


def lower_xor(node: FloatNode) -> list[Operand]:
    """Xor: (a or b) and not (a and b)."""
    builder = node.builder
    a, b = (as_bool(builder, node.value(index)) for index in (0, 1))
    both = builder.op("And", a, b)
    return [builder.op("And", builder.op("Or", a, b), builder.op("Not", both))]


def lower_comparison(node: FloatNode) -> list[Operand]:
    """Equal, Less, Greater, LessOrEqual, GreaterOrEqual in float64, to which integers are cast.

    Equal with infinity is false, because an exact tensor has none. Equal with minus infinity, by which exporters test
    the maximum of a masked row, compares with MASK, which stands for it.
    """
    operands = [node.operand(index) for index in (0, 1)]
    if node.proto.op_type == "Equal" and any(_is_infinity(operand, np.isposinf) for operand in operands):
        return [np.zeros(np.broadcast_shapes(*(operand.shape for operand in operands)), np.bool_)]
    values = [
        as_constant(node.builder, np.full(operand.shape, MASK))
        if node.proto.op_type == "Equal" and _is_infinity(operand, np.isneginf)
        else as_float(node.builder, node.value(index))
        for index, operand in enumerate(operands)
    ]
    return [node.builder.op(node.proto.op_type, *values)]


def _is_infinity(operand: Operand, test: Callable[[Array], Any]) -> bool:
    """Return whether an operand is a constant of infinities of the sign that `test` asks for."""
    return isinstance(operand, np.ndarray) and operand.dtype.kind == "f" and bool(test(operand).all())


def lower_where(node: FloatNode) -> list[Operand]:
    """Where: selection by the condition. A constant condition that is the same everywhere selects now."""
    builder = node.builder
    known = node.constant(0)
    if known is not None and (known.all() or not known.any()):
        chosen = node.operand(1 if known.all() else 2)
        if np.broadcast_shapes(known.shape, node.operand(1).shape, node.operand(2).shape) == chosen.shape:
            return [chosen]
    condition = as_bool(builder, node.value(0))
    branches = [node.value(index) for index in (1, 2)]
    if all(branch.dtype == BOOL for branch in branches):
        chosen = builder.op("And", condition, branches[0])
        other = builder.op("And", builder.op("Not", condition), branches[1])
        return [builder.op("Or", chosen, other)]
    chosen = node.widest_provable(
        lambda bits: builder.op("Where", condition, *(masked_operand(node, index, bits) for index in (1, 2))),
        53,
    )
    whole = all(np.dtype(node.operand(index).dtype).kind in "iu" for index in (1, 2))
    return [builder.cast(chosen, "int64") if whole else chosen]


def lower_is_nan_inf(node: FloatNode) -> list[Operand]:
    """IsNaN, IsInf: constant false, because exact tensors are finite; a Where that reads it then selects now.

    Two masks are exceptions. Numbers that stand for minus infinity are found by IsInf, and rows of which a softmax
    reads nothing else are NaN in float32, as exporters test for them.
    """
    masks, name, builder = node.context.masks, node.proto.input[0], node.builder
    shape = node.value(0).shape
    if node.proto.op_type == "IsInf":
        if not masks.infinite(name) or not node.attributes.get("detect_negative", 1):
            return [np.zeros(shape, np.bool_)]
        return [_is_masked(builder, as_float(builder, node.value(0)))]
    softmax = masks.undefined.get(name)
    if softmax is None:
        return [np.zeros(shape, np.bool_)]
    source = FloatNode(node.context, softmax, Attributes(softmax))
    axes = builder.constant(np.array(softmax_axes(source), np.int64))
    largest = builder.op("ReduceMax", as_float(builder, source.value(0)), axes, keepdims=1)
    return [builder.op("And", _is_masked(builder, largest), builder.constant(np.ones(shape, np.bool_)))]


def _is_masked(builder: Builder, x: Value) -> Value:
    """Emit whether numbers stand for minus infinity: other scores are above MASK_FLOOR."""
    return builder.op("LessOrEqual", x, builder.constant(np.float64(MASK_FLOOR)))


def lower_rounding(node: FloatNode) -> list[Operand]:
    """Floor, Ceil, Round (ties to even)."""
    builder, op = node.builder, node.proto.op_type
    value = as_float(builder, node.value(0))
    if value.grid >= 0:
        return [value]
    if op == "Round":
        return [builder.rounded(value, 0)]
    return [builder.op("Floor", value) if op == "Floor" else _ceiling(builder, value)]


def _ceiling(builder: Builder, value: Value) -> Value:
    return builder.op("Neg", builder.op("Floor", builder.op("Neg", value)))


def lower_sign(node: FloatNode) -> list[Operand]:
    """Sign: (x > 0) - (x < 0)."""
    builder = node.builder
    value, zero = as_float(builder, node.value(0)), builder.constant(np.float64(0))
    above, below = (builder.cast(builder.op(op, value, zero), FLOAT) for op in ("Greater", "Less"))
    return [node.restore_integers(builder.op("Sub", above, below))]


def lower_cast(node: FloatNode) -> list[Operand]:
    """Cast: nothing between floats, a comparison with 0 to bool, truncation towards 0 from floats to integers."""
    return [_cast(node, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"])))]


def lower_cast_like(node: FloatNode) -> list[Operand]:
    """CastLike: Cast to the dtype of the second operand. Minus infinity stays a constant that its reader interprets."""
    known = node.constant(0)
    if known is not None and _is_infinity(known, np.isneginf):
        return [known]
    return [_cast(node, np.dtype(node.operand(1).dtype))]


def _cast(node: FloatNode, target: np.dtype[np.generic]) -> Value:
    builder, value = node.builder, node.value(0)
    if target.kind in "fV":  # NumPy gives bfloat16 the kind V
        return as_float(builder, value)
    if target == np.bool_:
        return builder.cast(value, BOOL)
    real = value.dtype == FLOAT
    if real and value.grid < 0:
        zero = builder.constant(np.float64(0))
        down = builder.op("Floor", builder.op("Max", value, zero))
        value = builder.op("Add", down, _ceiling(builder, builder.op("Min", value, zero)))
    limits = np.iinfo(target.name)
    if (
        target.itemsize < 4
        and not limits.min <= math.ldexp(value.lo, value.grid) <= math.ldexp(value.hi, value.grid) <= limits.max
    ):
        if real:
            raise node.fail(
                f"its operand can exceed {target.name}, where its result is undefined: clip the operand to "
                f"{limits.min}..{limits.max}"
            )
        return _wrapped(builder, value, limits)
    return builder.cast(value, "int64")


def _wrapped(builder: Builder, value: Value, limits: Any) -> Value:
    """Emit integers as a type of those limits holds them: plus or minus a multiple of its number of values."""
    count = builder.constant(np.float64(2**limits.bits))
    lowest = builder.constant(np.float64(limits.min))
    shifted = builder.op("Sub", as_float(builder, value), lowest)
    wraps = builder.quotient(shifted, count)
    rest = builder.op("Sub", shifted, builder.op("Mul", wraps, count))
    return builder.cast(builder.op("Add", rest, lowest), "int64")
