"""Add, Sub, Mul, Neg, Abs, Div, Pow by small constants, Max, Min, Clip, Relu, Cast."""

from __future__ import annotations

import math

import numpy as np
import onnx

from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.registry import CONSTANT_BITS, WIDE_BITS, Array, Item, Node, as_float, lowers, number
from verifier.exact.values import FLOAT, MAX_STEPS, WIDE_INTEGERS, Value

# Bits of a computed quotient below its binary point, relative to its calibrated range.
QUOTIENT_BITS = 28


def _operands(node: Node, bits: int) -> tuple[Value, Value]:
    """Both operands, floats in at most `bits` bits; constants take the grid of the other where they are added to it."""
    return as_float(node.builder, node.fitted(0, bits)), as_float(node.builder, node.fitted(1, bits))


def _integers(node: Node) -> bool:
    return all(isinstance(node.item(i), Value) and node.value(i).dtype in WIDE_INTEGERS for i in (0, 1))


@lowers("Add", "Sub")
def lower_sum(node: Node) -> list[Item]:
    """Exact on the finer grid; operands are narrowed only when the sum would not fit 53 bits."""
    builder, op = node.builder, node.proto.op_type
    if _integers(node):
        return [builder.op(op, node.value(0), node.value(1))]
    for index, other in ((0, 1), (1, 0)):
        array = node.constant(index)
        if array is not None and np.issubdtype(array.dtype, np.floating):

            def with_constant(bits: int, index: int = index, other: int = other) -> Value:
                value = as_float(builder, node.fitted(other, bits))
                array = _unrepeated(node.needed(index, "the constant"), value.shape)
                grid = grid_for(max(node.magnitude(index), node.magnitude(other)), WIDE_BITS)
                constant = number(builder, array, grid=grid)
                return builder.op(op, *((constant, value) if index == 0 else (value, constant)))

            return [node.narrowing(with_constant, 53)]
    return [node.narrowing(lambda bits: builder.op(op, *_operands(node, bits)), 53)]


def _unrepeated(array: Array, shape: tuple[int, ...]) -> Array:
    """A constant without what broadcasting to `shape` brings back: exporters fold the same row for every example."""
    for axis, size in enumerate(array.shape):
        matching = axis - array.ndim + len(shape)
        if size > 1 and matching >= 0 and shape[matching] == size:
            first = array.take([0], axis)
            array = first if (array == first).all() else array
    return array


@lowers("Mul")
def lower_mul(node: Node) -> list[Item]:
    """Exact product; the operands share 52 bits, a constant taking CONSTANT_BITS of them."""
    builder = node.builder
    if _integers(node):
        return [builder.op("Mul", node.value(0), node.value(1))]
    if node.proto.input[0] == node.proto.input[1]:
        return [node.narrowing(lambda bits: builder.op("Mul", *_operands(node, bits)), 27)]
    start = WIDE_BITS if node.constant(0) is not None or node.constant(1) is not None else 27
    return [node.narrowing(lambda bits: builder.op("Mul", *_operands(node, bits)), start)]


@lowers("Neg")
def lower_neg(node: Node) -> list[Item]:
    """Exact."""
    return [node.builder.op("Neg", as_float(node.builder, node.value(0)))]


@lowers("Abs")
def lower_abs(node: Node) -> list[Item]:
    """Exact: the larger of a number and its negative."""
    value = as_float(node.builder, node.value(0))
    return [node.builder.op("Max", value, node.builder.op("Neg", value))]


@lowers("Div")
def lower_div(node: Node) -> list[Item]:
    """By a constant: times its reciprocal. By a computed tensor: floor division of a scaled numerator."""
    builder = node.builder
    divisor = node.constant(1)
    if divisor is not None:
        factor = number(builder, 1.0 / divisor.astype(np.float64))
        return [
            node.narrowing(lambda bits: builder.op("Mul", as_float(builder, node.fitted(0, bits)), factor), WIDE_BITS)
        ]
    return [node.narrowing(lambda bits: _quotient(node, bits), 28)]


def _quotient(node: Node, bits: int) -> Value:
    """floor(a * 2**s / b) with b at least one of its steps, s giving the result QUOTIENT_BITS bits."""
    builder = node.builder
    b = as_float(builder, node.fitted(1, min(bits, 26)))
    if b.lo < 0:
        raise node.fail("its divisor can be negative: divide by a norm, a sum of masks or of exponentials")
    b = builder.op("Max", b, builder.constant(np.float64(2.0**b.grid)))
    a = as_float(builder, node.fitted(0, bits))
    target = grid_for(node.context.magnitude(node.proto.output[0]), QUOTIENT_BITS)
    # On whole numbers: a = qa * 2**ga, b = qb * 2**gb; floor(qa * 2**s / qb) has grid ga - gb - s.
    shift = max(0, a.grid - b.grid - target)
    numerator, divisor = builder.scale(a, shift - a.grid), builder.scale(b, -b.grid)
    whole = builder.quotient(numerator, divisor)
    return builder.fitted(
        builder.scale(whole, a.grid - b.grid - shift), node.context.magnitude(node.proto.output[0]), WIDE_BITS
    )


@lowers("Max", "Min")
def lower_extreme(node: Node) -> list[Item]:
    """Exact on the finest grid."""
    builder = node.builder
    result = as_float(builder, node.value(0))
    for index in range(1, len(node.proto.input)):
        result = builder.op(node.proto.op_type, result, as_float(builder, node.value(index)))
    return [result]


@lowers("Clip", "Relu")
def lower_clip(node: Node) -> list[Item]:
    """Exact; a limit that is left out is none."""
    builder = node.builder
    value = as_float(builder, node.value(0))
    low = np.float64(0.0) if node.proto.op_type == "Relu" else (node.needed(1, "its limit") if node.has(1) else None)
    high = node.needed(2, "its limit") if node.has(2) else None
    for op, limit in (("Max", low), ("Min", high)):
        # A limit that nothing reaches may have no place on the value's grid.
        if limit is not None and _binds(op, math.ldexp(float(limit), -value.grid), value):
            value = builder.op(op, value, _limit(builder, value, float(limit)))
    return [value]


def _binds(op: str, steps: float, value: Value) -> bool:
    return value.lo < steps if op == "Max" else steps < value.hi


def _limit(builder: Builder, value: Value, limit: float) -> Value:
    """A limit on the finest grid that both it and the value can use: a clamp at 1e-9 must not cost a count its bits."""
    finest = value.grid - (MAX_STEPS // max(value.magnitude, 1)).bit_length() + 1
    return number(builder, np.array(limit), grid=max(grid_for(abs(limit), CONSTANT_BITS), finest))


@lowers("Pow")
def lower_pow(node: Node) -> list[Item]:
    """Squares and cubes."""
    exponent = node.needed(1, "its exponent")
    if exponent.size != 1 or float(exponent.reshape(())) not in (1.0, 2.0, 3.0):
        raise node.fail(f"exponent {exponent}: 1, 2 and 3 are lowered")
    builder, power = node.builder, int(exponent.reshape(()))
    bits = {1: 53, 2: 26, 3: 17}[power]

    def emit(bits: int) -> Value:
        base = as_float(builder, node.fitted(0, bits))
        result = base
        for _ in range(power - 1):
            result = builder.op("Mul", result, base)
        return result

    return [node.narrowing(emit, bits)]


@lowers("Identity", "Dropout")
def lower_identity(node: Node) -> list[Item]:
    """The operand itself."""
    return [node.item(0)]


@lowers("Cast")
def lower_cast(node: Node) -> list[Item]:
    """Between floats: nothing. To bool: a comparison. To integers: of integers and bools."""
    target = onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"])
    value = node.value(0)
    if np.issubdtype(target, np.floating):
        return [as_float(node.builder, value)]
    if target == np.bool_:
        return [node.builder.cast(value, "bool")]
    if value.dtype == FLOAT:
        raise node.fail("it casts floats to integers: round them explicitly, with Floor or Round")
    return [node.builder.cast(value, "int64")]
