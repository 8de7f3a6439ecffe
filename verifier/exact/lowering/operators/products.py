"""Matrix products, and the per-row scaling of their operands.

Lowers FusedMatMul (of onnxruntime), Gemm, MatMul. A product itself is exact; its operands are
rounded to few enough bits that every partial sum fits in 53 bits.

Per-row scaling: in decoders some tokens have activations ten thousand times larger than others. A tensor has one grid,
on which the rows of the others would have few bits. Therefore each row, which is what the last axis holds, is
multiplied by the largest power of two that keeps it within the tensor's range, and the result of the row is divided by
it. This is block floating point with one exponent per row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.calibrate import Range
from verifier.exact.lowering.float_node import (
    OPERAND_BITS,
    PRODUCT_BITS,
    WIDE_BITS,
    Array,
    FloatNode,
    Operand,
    as_constant,
    as_float,
    headroom_bits,
)
from verifier.exact.program.values import FLOAT, Value

# Bits of a tensor before its rows are scaled. With up to MAX_ROW_DOUBLINGS doublings these make 53.
ROW_SCALED_BITS = 37
MAX_ROW_DOUBLINGS = 16
# Rows are not scaled where the smallest row needs at most this many doublings: it loses as many bits then, which costs
# less than the scaling.
MAX_UNSCALED_DOUBLINGS = 3
# Minimum magnitude of a row in calibration: a row of zeros must not ask for an unlimited number of doublings.
MIN_ROW_PEAK = 1e-9
# Bits of a row-scaled result above its calibrated range. A scaled row's results are about as large as those of the
# largest row, but results vary more than their operands do.
RESULT_HEADROOM_BITS = 8
# Minimum |alpha| for the size of the unscaled product, which is that of the result divided by alpha.
MIN_ALPHA = 1e-12


# Per-row scaling


def max_row_doublings(node: FloatNode, reach: float) -> int:
    """Return how often the smallest row of the first operand, as calibrated, can be doubled within `reach`."""
    smallest = max(node.context.range(node.proto.input[0]).min_row_peak, MIN_ROW_PEAK)
    return min(max(math.floor(math.log2(reach / smallest)), 0), MAX_ROW_DOUBLINGS)


def row_factors(max_doublings: int) -> NDArray[np.float64]:
    """Return the factors of rows that are doubled 0, 1, …, `max_doublings` times: 2**0, …, 2**max_doublings."""
    return np.asarray(2.0 ** np.arange(max_doublings + 1))


def last_axis(builder: Builder, x: Value) -> Value:
    """Emit the axes operand of a reduction over rows."""
    return builder.constant(np.array([len(x.shape) - 1], np.int64))


def scale_rows(node: FloatNode, x: Value, reach: float, max_doublings: int) -> tuple[Value, Value | None]:
    """Double each row of x as often as it stays within `reach`, `max_doublings` times at most.

    Returns the scaled rows and the number of doublings of each row, with a last axis of 1; no number (None)
    where `max_doublings` is 0.
    """
    if max_doublings == 0:
        return x, None
    builder = node.builder
    peak = builder.op(
        "Max",
        builder.op("ReduceMax", x, last_axis(builder, x), keepdims=1),
        builder.op("Neg", builder.op("ReduceMin", x, last_axis(builder, x), keepdims=1)),
    )
    limit = builder.constant(np.float64(math.floor(math.ldexp(reach, -x.grid))))
    steps = builder.op("Max", builder.scale(peak, -x.grid), builder.constant(np.float64(1)))
    # The table gives floor(log2(limit / peak)) for the floor of limit / peak; a floor of 0 counts as 1.
    ratio = builder.clipped(builder.quotient(limit, steps), 0, 2**max_doublings)
    logarithms = np.floor(np.log2(np.maximum(np.arange(2**max_doublings + 1), 1)))
    doublings = builder.lookup(builder.cast(builder.constant(logarithms.astype(np.int8)), FLOAT), ratio)
    return builder.op("Mul", x, builder.lookup(builder.constant(row_factors(max_doublings)), doublings)), doublings


def _unscale_rows(builder: Builder, y: Value, doublings: Value, max_doublings: int) -> Value:
    """Divide each row of y, of at most ROW_SCALED_BITS bits, by the factor of its doublings."""
    return builder.op("Mul", y, builder.lookup(builder.constant(1 / row_factors(max_doublings)), doublings))


# MatMul


def lower_matmul(node: FloatNode) -> list[Operand]:
    """MatMul: by a constant weight [in, out], with a scale per column; otherwise of two fitted operands.

    A product of integers is exact.
    """
    if node.all_integers:
        factors = [_integer_factor(node, index) for index in (0, 1)]
        return [node.builder.cast(node.builder.op("MatMul", *factors), "int64")]
    weight = node.constant(1)
    if weight is not None and weight.ndim == 2 and node.constant(0) is None:
        return [product_with_weight(node, weight)]
    known = {index: node.constant(index) for index in (0, 1)}
    builder = node.builder
    weights = {index: builder.weight(array) for index, array in known.items() if array is not None}

    def emit(bits: int) -> Value:
        operands = [weights.get(index) or as_float(builder, node.fitted(index, bits)) for index in (0, 1)]
        return builder.op("MatMul", *operands)

    return [node.widest_provable(emit, OPERAND_BITS)]


def _integer_factor(node: FloatNode, index: int) -> Value:
    """Return an operand of integers as floats; a constant is stored in as few bytes as hold it."""
    array = node.constant(index)
    if array is None:
        return as_float(node.builder, node.value(index))
    types = (np.int8, np.int16, np.int32, np.int64)
    narrow = next(item for item in types if np.iinfo(item).min <= array.min() and array.max() <= np.iinfo(item).max)
    return node.builder.cast(node.builder.constant(array.astype(narrow)), FLOAT)


def product_with_weight(
    node: FloatNode, array: NDArray[Any], finish: Callable[[Value], Value] = lambda result: result
) -> Value:
    """Emit the first operand times a weight [in, out], with a scale per column and, where it pays, per row.

    `finish` adds what follows the product; where the proof of that needs it, the product gives up bits.
    """
    builder = node.builder
    weight, scales = builder.scaled_weight(array)

    def product(x: Value) -> Value:
        return builder.op("Mul", builder.op("MatMul", x, weight), scales)

    if max_row_doublings(node, node.magnitude(0)) <= MAX_UNSCALED_DOUBLINGS:
        return node.widest_provable(lambda bits: finish(product(as_float(builder, node.fitted(0, bits)))), PRODUCT_BITS)

    headroom = 2.0 ** headroom_bits(ROW_SCALED_BITS)
    result_reach = node.output_magnitude * headroom

    def with_scaled_rows(bits: int) -> Value:
        reach = node.magnitude(0) * headroom
        # The headroom above the largest row is also available to the others.
        max_doublings = max_row_doublings(node, reach)
        x, doublings = scale_rows(node, as_float(builder, node.fitted(0, ROW_SCALED_BITS)), reach, max_doublings)
        result = product(builder.fitted(x, reach, bits))
        assert doublings is not None
        fitted = builder.fitted(result, result_reach, ROW_SCALED_BITS, RESULT_HEADROOM_BITS)
        return finish(_unscale_rows(builder, fitted, doublings, max_doublings))

    return node.widest_provable(with_scaled_rows, PRODUCT_BITS)


# Gemm


def lower_gemm(node: FloatNode) -> list[Operand]:
    """Gemm: alpha * A' * B' + beta * C, with alpha folded into a constant B and beta into a constant C."""
    builder, attributes = node.builder, node.attributes
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    weight = node.constant(1)

    def with_bias(result: Value) -> Value:
        return builder.op("Add", result, _gemm_bias(node, beta)) if node.has(2) else result

    if weight is not None and not attributes.get("transA"):
        weight = np.ascontiguousarray(weight.T if attributes.get("transB") else weight)
        return [product_with_weight(node, weight * np.float32(alpha), with_bias)]
    factor = None if alpha == 1.0 else as_constant(builder, np.array(alpha))
    # The product is at most as large as the result and the bias together, divided by alpha.
    bias_reach = abs(beta) * node.magnitude(2) if node.has(2) else 0.0
    reach = (node.output_magnitude + bias_reach) / max(abs(alpha), MIN_ALPHA)

    def emit(bits: int) -> Value:
        product = _computed_product(node, bits)
        if factor is not None:
            product = builder.op("Mul", builder.fitted(product, reach, WIDE_BITS), factor)
        return with_bias(product)

    return [node.widest_provable(emit, OPERAND_BITS)]


def _gemm_bias(node: FloatNode, beta: float) -> Value:
    bias = node.constant(2)
    if bias is not None:
        return constant_bias(node, bias * beta)
    fitted = as_float(node.builder, node.fitted(2, WIDE_BITS))
    return fitted if beta == 1.0 else node.builder.op("Mul", fitted, as_constant(node.builder, np.array(beta)))


def constant_bias(node: FloatNode, bias: Array) -> Value:
    """Add the bias of a product, its third operand, on a grid that gives it and the result WIDE_BITS bits."""
    return _on_result_grid(node, bias, node.magnitude(2))


def constant_bias_at(node: FloatNode, index: int) -> Value:
    """Add a product's bias, the operand at `index`, which must be constant. Errors: LoweringError."""
    return _on_result_grid(node, node.require_constant(index, "its bias"), node.magnitude(index))


def _on_result_grid(node: FloatNode, bias: Array, magnitude: float) -> Value:
    grid = grid_for(max(magnitude, node.output_magnitude), WIDE_BITS)
    return as_constant(node.builder, bias, grid=grid)


def _computed_product(node: FloatNode, bits: int) -> Value:
    """Emit the product of two computed matrices, transposed as the attributes say."""
    builder = node.builder
    operands = []
    for index, attribute in ((0, "transA"), (1, "transB")):
        value = as_float(builder, node.fitted(index, bits))
        operands.append(builder.op("Transpose", value, perm=[1, 0]) if node.attributes.get(attribute) else value)
    return builder.op("MatMul", *operands)


# FusedMatMul: MatMul of rearranged operands


def lower_fused_matmul(node: FloatNode) -> list[Operand]:
    """FusedMatMul: alpha * A' * B', with alpha folded into a constant operand."""
    if node.attributes.get("transBatchA") or node.attributes.get("transBatchB"):
        raise node.fail("it transposes batch axes: lower the model as it was before onnxruntime optimised it")
    alpha = float(node.attributes.get("alpha", 1.0))
    operands = []
    for index, attribute in enumerate(("transA", "transB")):
        operand = node.operand(index)
        if node.attributes.get(attribute):
            rank = len(operand.shape)
            operand = transposed(node, operand, [*range(rank - 2), rank - 1, rank - 2])
        if isinstance(operand, np.ndarray):
            operand, alpha = operand * np.float32(alpha), 1.0
        operands.append(operand)
    product = matmul_of(node, operands, [node.context.range(name) for name in node.proto.input])
    if alpha == 1.0:
        return [product]
    wide = node.builder.fitted(product, node.output_magnitude / max(abs(alpha), MIN_ALPHA), WIDE_BITS)
    return [node.builder.op("Mul", wide, as_constant(node.builder, np.array(alpha)))]


def transposed(node: FloatNode, operand: Operand, order: list[int]) -> Operand:
    """Return an operand with its axes in another order."""
    if order == sorted(order):
        return operand
    if isinstance(operand, np.ndarray):
        return operand.transpose(order)
    return node.builder.op("Transpose", operand, perm=order)


def matmul_of(node: FloatNode, operands: list[Operand], ranges: Sequence[Range]) -> Value:
    """Lower MatMul of rearranged operands, of which at least one is computed, as if the float graph had such a node.

    `ranges` are those of the operands.
    """
    context, output = node.context, node.proto.output[0]
    names = [f"{output}/{index}" for index in range(2)]
    for name, found, operand in zip(names, ranges, operands, strict=True):
        context.tensors[name], context.ranges[name] = operand, found
    matmul = FloatNode(context, helper.make_node("MatMul", names, [output], name=node.proto.name), {})
    (product,) = lower_matmul(matmul)
    assert isinstance(product, Value)
    return product
