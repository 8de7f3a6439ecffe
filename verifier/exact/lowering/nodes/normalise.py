"""LayerNormalization and RMSNormalization, each as one unit: squares summed, one integer square root, one division."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, as_float, lowers, number
from verifier.exact.values import Value

# The root's argument stays below 2**52; the quotient's numerator below 2**53.
RADICAND_BITS = 51
NUMERATOR_BITS = 52
WEIGHT_BITS = 22
# Operands are tried from here down.
START_BITS = 34


@lowers("LayerNormalization")
def lower_layer_norm(node: Node) -> list[Item]:
    """(x - mean) / sqrt(variance + epsilon), times weight and plus bias where they are given, over the last axis."""
    return [_weighted(node, node.narrowing(lambda bits: _normalised(node, bits, centred=True), START_BITS))]


@lowers("RMSNormalization")
def lower_rms_norm(node: Node) -> list[Item]:
    """x / sqrt(mean square + epsilon), times weight where it is given, over the last axis."""
    return [_weighted(node, node.narrowing(lambda bits: _normalised(node, bits, centred=False), START_BITS))]


def _normalised(node: Node, bits: int, centred: bool) -> Value:
    """The quotient: with n the length of a row, n·(x - mean) or x, times √n, over the root of its sum of squares."""
    builder = node.builder
    x = as_float(builder, node.fitted(0, bits))
    if node.attributes.get("axis", -1) % len(x.shape) != len(x.shape) - 1:
        raise node.fail("it normalises over more than the last axis: reshape before")
    depth = x.shape[-1]
    axes = builder.constant(np.array([len(x.shape) - 1], np.int64))
    epsilon = node.attributes.get("epsilon", 1e-5) * depth
    reach = node.magnitude(0)
    if centred:
        # n times the difference is exact, where the mean would not be
        total = builder.op("ReduceSum", x, axes, keepdims=1)
        x = builder.op("Sub", builder.op("Mul", x, builder.constant(np.float64(depth))), total)
        epsilon *= float(depth) ** 2
        reach *= 2.0 * depth

    # The sum of squares from a narrower copy: its rounding errors average out over the row.
    narrow_bits = (RADICAND_BITS - math.ceil(math.log2(depth))) // 2 + 1
    narrow = builder.fitted(x, reach, narrow_bits)
    squares = builder.op("ReduceSum", builder.op("Mul", narrow, narrow), axes, keepdims=1)
    # Times 4^k: a row that came on a coarse grid gets a root with as many bits.
    spare = max(0, (RADICAND_BITS - squares.magnitude.bit_length()) // 2)
    whole = builder.scale(squares, 2 * spare - squares.grid)
    offset = round(math.ldexp(epsilon, 2 * spare - squares.grid)) | 1  # odd: the sum's grid is 2^0, as the root needs
    radicand = builder.clipped(builder.op("Add", whole, builder.constant(np.float64(offset))), 1, 2**52 - 1)
    root = builder.op("Max", builder.op("Floor", builder.op("Sqrt", radicand)), builder.constant(np.float64(1)))
    root_grid = squares.grid // 2 - spare  # of narrow * narrow: an even exponent

    # The factor √n takes the bits that the numerator leaves.
    wide = builder.fitted(x, reach, WIDE_BITS)
    factor_bits = NUMERATOR_BITS - (wide.magnitude - 1).bit_length()
    factor_grid = grid_for(math.sqrt(depth), factor_bits + 1)
    factor = round(math.ldexp(math.sqrt(depth), -factor_grid))
    numerator = builder.op("Mul", builder.scale(wide, -wide.grid), builder.constant(np.float64(factor)))
    quotient = builder.scale(builder.quotient(numerator, root), wide.grid + factor_grid - root_grid)
    return builder.fitted(quotient, 1.02 * math.sqrt(depth), WIDE_BITS)  # no entry of a row of n exceeds √n


def _weighted(node: Node, normal: Value) -> Value:
    """Times the weight, plus the bias."""
    builder = node.builder
    if not node.has(1):
        return normal
    scaled = builder.op("Mul", normal, number(builder, node.needed(1, "its weight"), WEIGHT_BITS))
    if not node.has(2):
        return scaled
    grid = max(scaled.grid, grid_for(node.context.magnitude(node.proto.output[0]), 40))
    return builder.op("Add", scaled, number(builder, node.needed(2, "its bias"), grid=grid))
