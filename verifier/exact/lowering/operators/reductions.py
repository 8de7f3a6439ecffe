"""Reductions over axes: sums, means, extremes and norms, softmax, and logarithms of sums of exponentials.

Lowers LogSoftmax, ReduceL1, ReduceL2, ReduceLogSumExp, ReduceMax, ReduceMean, ReduceMin, ReduceSum, ReduceSumSquare,
Softmax.
"""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.float_node import (
    OPERAND_BITS,
    WIDE_BITS,
    FloatNode,
    Operand,
    absolute,
    as_constant,
    as_float,
)
from verifier.exact.lowering.masks import MASK_FLOOR
from verifier.exact.lowering.operators.functions import logarithm, square_root, truncated_quotient
from verifier.exact.program.values import Value

# Bits of the operand to try first, for reductions that multiply it: a mean by the reciprocal of the count, the others
# by itself. All others start with 53.
REDUCED_BITS = {"ReduceMean": WIDE_BITS, "ReduceSumSquare": 26, "ReduceL2": 26}

# Softmax: exp(-x) is tabulated in steps of 2**-12 up to 20, where it is 2e-9, with entries of 26 bits.
SOFTMAX_STEP_BITS = 12
SOFTMAX_REACH = 20
SOFTMAX_ENTRY_BITS = 26
# Maximum bits of a softmax's weights. Fewer are used where a product of the weights with values of OPERAND_BITS bits
# over the row would exceed 53 bits.
MAX_SHARE_BITS = 24

# Log-sum-exp: exp(-x) is tabulated in steps of 2**-10 up to 28, beyond which it is below half a step of an entry. For
# up to half a step between entries it is the entry times 1 - rest, off by a relative 2**-23 at most. This is finer than
# a softmax needs, because 50,000 classes of negligible weight each can have a large sum.
EXP_STEP_BITS = 10
EXP_REST_BITS = 26
EXP_REACH = 28
EXP_ENTRY_BITS = 38
# Bits of the numbers whose exponentials are summed: the difference of two has one more, which makes 53.
EXPONENT_BITS = 52


def reduced_axes(node: FloatNode) -> list[int]:
    """Return the axes of a reduction, which are an operand or, in older opsets, an attribute; without either, all."""
    rank = len(node.value(0).shape)
    listed = node.integers(1, "axes", "its list of axes")
    if not listed:
        return [] if node.attributes.get("noop_with_empty_axes") else list(range(rank))
    return [axis % rank for axis in listed]


def lower_reduction(node: FloatNode) -> list[Operand]:
    """ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceL1, ReduceL2, ReduceSumSquare.

    Sums and extremes are exact. A mean is a sum times the reciprocal of the count, an L2 norm a square root of a sum. A
    mean of integers is truncated towards 0, as onnxruntime does.
    """
    builder, op = node.builder, node.proto.op_type
    axes = reduced_axes(node)
    keep = node.attributes.get("keepdims", 1)
    if node.all_integers and op == "ReduceL2":
        raise node.fail("its result is a root that is rounded to integers: cast its operand to floats before it")
    listed = builder.constant(np.array(axes, np.int64))
    exact_op = op if op in ("ReduceMax", "ReduceMin") else "ReduceSum"

    def emit(bits: int) -> Value:
        value = as_float(builder, node.fitted(0, bits))
        if op == "ReduceL1":
            value = absolute(builder, value)
        elif op in ("ReduceL2", "ReduceSumSquare"):
            value = builder.op("Mul", value, value)
        reduced = builder.op(exact_op, value, listed, keepdims=keep) if axes else value
        if op == "ReduceL2":
            return square_root(builder, reduced)
        if op != "ReduceMean":
            return reduced
        count = math.prod(value.shape[axis] for axis in axes)
        if node.all_integers:
            return truncated_quotient(builder, reduced, builder.constant(np.float64(count)))
        return builder.op("Mul", reduced, as_constant(builder, np.array(1.0 / count)))

    return [node.restore_integers(node.widest_provable(emit, REDUCED_BITS.get(op, 53)))]


def softmax_axes(node: FloatNode) -> list[int]:
    """Return the axes over which a softmax sums.

    ONNX sums over one axis; before opset 13, over all from that one on. A fused softmax names any axes.
    """
    rank = len(node.value(0).shape)
    if "axes" in node.attributes:
        return [axis % rank for axis in node.attributes["axes"]]
    if node.context.opset < 13:
        return list(range(node.attributes.get("axis", 1) % rank, rank))
    return [node.attributes.get("axis", -1) % rank]


def lower_softmax(node: FloatNode) -> list[Operand]:
    """Softmax: subtract the maximum, look exp up in a table, divide each by their sum and round down."""
    builder = node.builder
    value = as_float(builder, node.value(0))
    summed = softmax_axes(node)
    axes = builder.constant(np.array(summed, np.int64))

    def below_maximum(bits: int) -> Value:
        x = as_float(builder, node.fitted(0, bits)) if bits < 52 else value
        x = _floored(builder, x) if node.context.masks.absorbing(node.proto.input[0]) else x
        return builder.op("Sub", builder.op("ReduceMax", x, axes, keepdims=1), x)

    distance = node.widest_provable(below_maximum, 52)
    last = SOFTMAX_REACH << SOFTMAX_STEP_BITS
    steps = builder.op("Round", builder.scale(distance, SOFTMAX_STEP_BITS))
    index = builder.op("Clip", steps, builder.constant(np.float64(0)), builder.constant(np.float64(last)))
    table = np.rint(np.exp(-np.arange(last + 1) / 2.0**SOFTMAX_STEP_BITS) * 2.0**SOFTMAX_ENTRY_BITS)
    # Numbers that are SOFTMAX_REACH or more below the maximum get weight 0, so that masked ones do.
    table[-1] = 0.0
    weights = builder.lookup(builder.table(table, 0), index)
    total = builder.op("Max", builder.op("ReduceSum", weights, axes, keepdims=1), builder.constant(np.float64(1)))
    count = math.prod(value.shape[axis] for axis in summed)
    bits = min(MAX_SHARE_BITS, 53 - OPERAND_BITS - math.ceil(math.log2(count + 1)))
    shares = builder.quotient(builder.scale(weights, bits), total)
    return [builder.scale(builder.clipped(shares, 0, 2**bits), -bits)]


def _floored(builder: Builder, x: Value) -> Value:
    """Emit max(x, MASK_FLOOR) where x can be below it."""
    if math.ldexp(x.lo, x.grid) >= MASK_FLOOR:
        return x
    return builder.op("Max", x, builder.constant(np.float64(MASK_FLOOR)))


def log_sum_exp(builder: Builder, x: Value, axes: list[int]) -> Value:
    """Emit ln(sum of exp(x)) over `axes`, kept with length 1; off by less than 2**-20 for up to 2**16 numbers.

    Errors: NotExactError where differences of x have more than 53 bits.
    """
    listed = builder.constant(np.array(axes, np.int64))
    largest = builder.op("ReduceMax", x, listed, keepdims=1)
    powers = _exponentials(builder, builder.op("Sub", largest, x), math.prod(x.shape[axis] for axis in axes))
    total = builder.op("ReduceSum", powers, listed, keepdims=1)
    # The sum is at least 1, the maximum's own exponential. The proof does not know that; with it, the logarithm tries
    # fewer octaves.
    total = builder.op("Max", total, builder.constant(np.float64(1)))
    return builder.op("Add", largest, logarithm(builder, total))


def _exponentials(builder: Builder, distance: Value, count: int) -> Value:
    """Emit exp(-distance) for distances of at least 0, on the finest grid on which a sum of `count` fits in 53 bits."""
    # Between entries the proven bound exceeds 1 by up to one part in 2048.
    bits = min(EXP_ENTRY_BITS, 53 - (count + count // 1024 + 1).bit_length())
    limits = [builder.constant(np.float64(limit)) for limit in (0, EXP_REACH)]
    near = builder.rounded(builder.op("Clip", distance, *limits), -EXP_REST_BITS)
    cell = builder.op("Round", builder.scale(near, EXP_STEP_BITS))
    half = 2.0 ** -(EXP_STEP_BITS + 1)
    rest = builder.op("Sub", near, builder.scale(cell, -EXP_STEP_BITS))
    rest = builder.op("Clip", rest, *(builder.constant(np.float64(limit)) for limit in (-half, half)))
    table = builder.quantised(np.exp(-np.arange((EXP_REACH << EXP_STEP_BITS) + 1) / 2.0**EXP_STEP_BITS), -bits)
    powers = builder.lookup(builder.constant(table), cell)
    return builder.op("Sub", powers, builder.rounded(builder.op("Mul", powers, rest), -bits))


def lower_reduce_log_sum_exp(node: FloatNode) -> list[Operand]:
    """ReduceLogSumExp: relative to the maximum, so that no exponential overflows or vanishes."""
    shape = node.value(0).shape
    axes = reduced_axes(node)
    if node.all_integers:
        raise node.fail("its result is a logarithm that is rounded to integers: cast its operand to floats before it")

    def emit(bits: int) -> Value:
        return log_sum_exp(node.builder, as_float(node.builder, node.fitted(0, bits)), axes)

    result = node.widest_provable(emit, EXPONENT_BITS)
    if node.attributes.get("keepdims", 1):
        return [result]
    return [node.builder.reshape(result, tuple(dim for axis, dim in enumerate(shape) if axis not in axes))]


def lower_log_softmax(node: FloatNode) -> list[Operand]:
    """LogSoftmax: x - ln(sum of exp(x)), so that improbable classes are as precise as probable ones."""
    axes = softmax_axes(node)

    def emit(bits: int) -> Value:
        x = as_float(node.builder, node.fitted(0, bits))
        if node.context.masks.absorbing(node.proto.input[0]):
            x = _floored(node.builder, x)
        return node.builder.op("Sub", x, log_sum_exp(node.builder, x, axes))

    return [node.widest_provable(emit, EXPONENT_BITS)]
