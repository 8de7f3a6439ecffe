"""Add, Sub, Sum, Mul, Neg, Abs, Max, Min, Mean, Clip, Relu."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.registry import (
    CONSTANT_BITS,
    WIDE_BITS,
    Array,
    Item,
    Node,
    absolute,
    as_float,
    clamped,
    lowers,
    number,
)
from verifier.exact.program.values import MAX_STEPS, Value


def _operands(node: Node, bits: int) -> tuple[Value, Value]:
    """Both operands, floats in at most `bits` bits; constants take the grid of the other where they are added to it."""
    return as_float(node.builder, node.fitted(0, bits)), as_float(node.builder, node.fitted(1, bits))


def _integers(node: Node) -> list[Value]:
    return [node.builder.cast(node.value(index), "int64") for index in (0, 1)]


@lowers("Add", "Sub")
def lower_sum(node: Node) -> list[Item]:
    """Exact on the finer grid; operands are narrowed only when the sum would not fit 53 bits."""
    builder, op = node.builder, node.proto.op_type
    if node.integral:
        return [builder.op(op, *_integers(node))]
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
    if node.integral:
        return [builder.op("Mul", *_integers(node))]
    if node.proto.input[0] == node.proto.input[1]:
        return [node.narrowing(lambda bits: builder.op("Mul", *_operands(node, bits)), 27)]
    start = WIDE_BITS if node.constant(0) is not None or node.constant(1) is not None else 27
    return [node.narrowing(lambda bits: builder.op("Mul", *_operands(node, bits)), start)]


@lowers("Sum", "Mean")
def lower_sum_of_many(node: Node) -> list[Item]:
    """Of any number of operands; a mean is the sum times the reciprocal of their number."""
    builder, count = node.builder, len(node.proto.input)

    def emit(bits: int) -> Value:
        total = as_float(builder, node.fitted(0, bits))
        for index in range(1, count):
            total = builder.op("Add", total, as_float(builder, node.fitted(index, bits)))
        return total if node.proto.op_type == "Sum" else builder.op("Mul", total, number(builder, np.array(1 / count)))

    return [node.narrowing(emit, 53 if node.proto.op_type == "Sum" else WIDE_BITS)]


@lowers("Neg")
def lower_neg(node: Node) -> list[Item]:
    """Exact."""
    return [node.restored(node.builder.op("Neg", as_float(node.builder, node.value(0))))]


@lowers("Abs")
def lower_abs(node: Node) -> list[Item]:
    """Exact: the larger of a number and its negative."""
    value = as_float(node.builder, node.value(0))
    return [node.restored(absolute(node.builder, value))]


@lowers("Max", "Min")
def lower_extreme(node: Node) -> list[Item]:
    """Exact on the finest grid; what is constant goes to the grid of what is computed."""
    builder, op = node.builder, node.proto.op_type
    indices = sorted(range(len(node.proto.input)), key=lambda index: node.constant(index) is not None)
    result = as_float(builder, node.value(indices[0]))
    for index in indices[1:]:
        limit = node.constant(index)
        other = as_float(builder, node.value(index)) if limit is None else _limit(builder, result, limit)
        result = builder.op(op, result, other)
    return [node.restored(result)]


@lowers("Clip", "Relu")
def lower_clip(node: Node) -> list[Item]:
    """Exact; a limit that is left out is none."""
    builder = node.builder
    value = as_float(builder, node.value(0))
    low, high = (np.float64(0.0), None) if node.proto.op_type == "Relu" else (_bound(node, 1), _bound(node, 2))
    for op, limit in (("Max", low), ("Min", high)):
        # A limit that nothing reaches may have no place on the value's grid.
        if limit is not None and _binds(op, math.ldexp(float(limit), -value.grid), value):
            value = builder.op(op, value, _limit(builder, value, np.asarray(limit, np.float64)))
    return [node.restored(value)]


def _bound(node: Node, index: int) -> Array | None:
    """A limit of Clip: an operand or, in older opsets, an attribute."""
    if node.has(index):
        return node.needed(index, "its limit").reshape(())
    attribute = node.attributes.get("min" if index == 1 else "max")
    return None if attribute is None else np.asarray(attribute)


def _binds(op: str, steps: float, value: Value) -> bool:
    return value.lo < steps if op == "Max" else steps < value.hi


def _limit(builder: Builder, value: Value, limit: Array) -> Value:
    """Limits on the finest grid that they and the value can use: a clamp at 1e-9 must not cost a count its bits."""
    limit = clamped(limit.astype(np.float64))
    finest = value.grid - (MAX_STEPS // max(value.magnitude, 1)).bit_length() + 1
    return number(builder, limit, grid=max(grid_for(float(np.abs(limit).max(initial=0)), CONSTANT_BITS), finest))


@lowers("Identity", "Dropout")
def lower_identity(node: Node) -> list[Item]:
    """The operand itself."""
    return [node.item(0)]
