"""Normalisations, each as one unit: a sum of squares, one integer square root and one floor division.

Lowers BatchNormalization, InstanceNormalization, LayerNormalization, RMSNormalization, SimplifiedLayerNormalization.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.float_node import (
    WIDE_BITS,
    FloatNode,
    Operand,
    as_constant,
    as_float,
    headroom_bits,
)
from verifier.exact.lowering.operators.functions import ROOT_FRACTION_BITS, integer_root
from verifier.exact.lowering.operators.products import (
    ROW_SCALED_BITS,
    last_axis,
    max_row_doublings,
    row_factors,
    scale_rows,
)
from verifier.exact.program.values import Value

# Bits of the radicand, so that with epsilon it stays below 2**52, and of the quotient's numerator, below 2**53.
ROW_RADICAND_BITS = 51
NUMERATOR_BITS = 52
# Bits of x before it is centred: depth * x - sum has log2(depth) more.
INPUT_BITS = 37
# Bits of the sum of a normalised tensor and a bias.
RESULT_BITS = 40


def lower_batch_normalization(node: FloatNode) -> list[Operand]:
    """BatchNormalization at inference: x times a constant plus a constant per channel.

    Fusion folds one that follows a product with a constant weight into that weight; this one is left over.
    """
    if node.attributes.get("training_mode"):
        raise node.fail("it normalises by the batch's own statistics: export the model in evaluation mode")
    if not node.attributes.get("spatial", 1):
        raise node.fail("it has parameters per element, not per channel (spatial=0): write it as Mul and Add")
    builder = node.builder
    weight, bias, mean, variance = (
        node.require_constant(index, description).astype(np.float64)
        for index, description in enumerate(("its weight", "its bias", "its mean", "its variance"), 1)
    )
    factor = weight / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    x = node.value(0)
    per_channel = (-1, *([1] * (len(x.shape) - 2)))
    scale = as_constant(builder, factor.reshape(per_channel))
    grid = grid_for(node.output_magnitude, WIDE_BITS)
    offset = as_constant(builder, (bias - mean * factor).reshape(per_channel), grid=grid)

    def emit(bits: int) -> Value:
        scaled = builder.op("Mul", as_float(builder, node.fitted(0, bits)), scale)
        return builder.op("Add", scaled, offset)

    return [node.widest_provable(emit, WIDE_BITS)]


def lower_layer_normalization(node: FloatNode) -> list[Operand]:
    """LayerNormalization: (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axes."""
    return [_normalised(node, _rows(node), _centred, *_weight_and_bias(node))]


def lower_rms_normalization(node: FloatNode) -> list[Operand]:
    """RMSNormalization, SimplifiedLayerNormalization: x / sqrt(mean(x²) + epsilon) * weight over the last axes."""
    return [_normalised(node, _rows(node), _uncentred, *_weight_and_bias(node))]


def lower_instance_normalization(node: FloatNode) -> list[Operand]:
    """InstanceNormalization: as LayerNormalization over all of space; weight and bias are per channel."""
    batch, channels, *size = node.value(0).shape
    weight, bias = (
        node.require_constant(index, description).reshape(-1, 1)
        for index, description in ((1, "its weight"), (2, "its bias"))
    )
    return [_normalised(node, (batch, channels, math.prod(size)), _centred, weight, bias)]


def _rows(node: FloatNode) -> tuple[int, ...]:
    """Return the operand's shape with all axes that are normalised over merged into one."""
    shape = node.value(0).shape
    axis = node.attributes.get("axis", -1) % len(shape)
    return (*shape[:axis], math.prod(shape[axis:]))


def _weight_and_bias(node: FloatNode) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return the weight and the bias, each as long as a row or of one element."""
    weight = node.require_constant(1, "its weight").reshape(-1) if node.has(1) else None
    bias = node.require_constant(2, "its bias").reshape(-1) if node.has(2) else None
    return weight, bias


def _normalised(
    node: FloatNode,
    rows: tuple[int, ...],
    prepare: Callable[[FloatNode, Value, float], tuple[Value, float, float]],
    weight: NDArray[Any] | None,
    bias: NDArray[Any] | None,
) -> Value:
    """Emit the normalised operand, seen as `rows`, times a weight and plus a bias.

    `prepare` takes the node, the rows and their maximum magnitude; it returns the numbers that are normalised, their
    maximum magnitude and the epsilon that belongs to the sum of their squares.
    """

    def emit(bits: int) -> Value:
        x = node.builder.reshape(as_float(node.builder, node.fitted(0, bits)), rows)
        x, reach, epsilon = prepare(node, x, _reach(node, bits))
        return _affine(node, _unit_rows(node, x, reach, epsilon), weight, bias)

    return node.builder.reshape(node.widest_provable(emit, INPUT_BITS), node.value(0).shape)


def _centred(node: FloatNode, x: Value, reach: float) -> tuple[Value, float, float]:
    """Prepare depth * (x - mean), which is exact; the sum of its squares is depth**3 times the variance of x."""
    depth = float(x.shape[-1])
    total = node.builder.op("ReduceSum", x, last_axis(node.builder, x), keepdims=1)
    centred = node.builder.op("Sub", node.builder.op("Mul", x, node.builder.constant(np.array(depth))), total)
    return centred, 2.0 * depth * reach, node.attributes.get("epsilon", 1e-5) * depth**3


def _uncentred(node: FloatNode, x: Value, reach: float) -> tuple[Value, float, float]:
    """Prepare x itself; the sum of its squares is depth times their mean."""
    return x, reach, node.attributes.get("epsilon", 1e-5) * float(x.shape[-1])


def _reach(node: FloatNode, bits: int) -> float:
    """Return the largest magnitude of the operand once it is fitted to `bits` bits."""
    return node.magnitude(0) * 2.0 ** headroom_bits(bits)


def _unit_rows(node: FloatNode, x: Value, reach: float, epsilon: float) -> Value:
    """Emit x * sqrt(depth) / sqrt(sum of squares + epsilon) over the last axis, for |x| up to `reach`."""
    builder, depth = node.builder, x.shape[-1]
    max_doublings = max_row_doublings(node, _reach(node, INPUT_BITS))
    x, doublings = scale_rows(node, builder.fitted(x, reach, ROW_SCALED_BITS), reach, max_doublings)

    # The squares are those of a narrower copy of x: its rounding errors average out over the row.
    wide = builder.fitted(x, reach, WIDE_BITS)
    narrow = builder.fitted(wide, reach, (ROW_RADICAND_BITS - math.ceil(math.log2(depth))) // 2 + 1)
    squares = builder.op("ReduceSum", builder.op("Mul", narrow, narrow), last_axis(node.builder, x), keepdims=1)
    # A row that was multiplied by a factor has the epsilon times its square.
    epsilons = np.clip(
        np.rint(np.ldexp(epsilon * row_factors(max_doublings) ** 2, -squares.grid)), 1, 2.0**ROW_RADICAND_BITS
    )
    if doublings is None:
        row_epsilon = builder.constant(epsilons[0])
    else:
        row_epsilon = builder.lookup(builder.constant(epsilons), doublings)
    radicand = builder.op("Add", builder.scale(squares, -squares.grid), row_epsilon)
    root = integer_root(builder, builder.clipped(radicand, 1, 2**52 - 1))
    divisor = builder.op("Max", root, builder.constant(np.array(1.0)))

    # The factor sqrt(depth) gets the bits that the numerator leaves.
    factor_bits = NUMERATOR_BITS - (wide.magnitude - 1).bit_length()
    factor_grid = grid_for(math.sqrt(depth), factor_bits + 1)
    factor = builder.constant(np.array(float(round(math.ldexp(math.sqrt(depth), -factor_grid)))))
    quotient = builder.quotient(builder.op("Mul", builder.scale(wide, -wide.grid), factor), divisor)
    # squares.grid is even, because it is the grid of a product of a number with itself.
    unit = builder.scale(quotient, wide.grid + factor_grid - squares.grid // 2 + ROOT_FRACTION_BITS)
    # Entries exceed sqrt(depth) only by rounding errors, which are well below 2 %.
    return builder.fitted(unit, 1.02 * math.sqrt(depth), WIDE_BITS)


def _affine(node: FloatNode, unit: Value, weight: NDArray[Any] | None, bias: NDArray[Any] | None) -> Value:
    builder = node.builder
    if weight is not None:
        unit = builder.op("Mul", unit, as_constant(builder, weight))
    if bias is None:
        return unit
    grid = max(unit.grid, grid_for(node.output_magnitude, RESULT_BITS))
    return builder.op("Add", unit, as_constant(builder, bias, grid=grid))
