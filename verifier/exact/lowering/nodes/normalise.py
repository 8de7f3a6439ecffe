"""LayerNormalization as one unit: centred exactly, squares summed, one integer square root, one floor division."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, as_float, lowers, number
from verifier.exact.values import Value

# The root's argument stays below 2**52; the quotient's numerator below 2**53.
RADICAND_BITS = 51
NUMERATOR_BITS = 52


@lowers("LayerNormalization")
def lower_layer_norm(node: Node) -> list[Item]:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis."""
    rank = len(node.value(0).shape)
    if node.attributes.get("axis", -1) % rank != rank - 1:
        raise node.fail("it normalises over more than the last axis: reshape before")
    weight = node.needed(1, "its weight")
    bias = node.needed(2, "its bias") if node.has(2) else np.zeros(weight.shape)
    return [node.narrowing(lambda bits: _layer_norm(node, bits, weight, bias), 34)]


def _layer_norm(node: Node, bits: int, weight: np.ndarray, bias: np.ndarray) -> Value:  # type: ignore[type-arg]
    builder = node.builder
    x = as_float(builder, node.fitted(0, bits))
    depth = x.shape[-1]
    axes = builder.constant(np.array([len(x.shape) - 1], np.int64))
    # depth * (x - mean), exactly
    total = builder.op("ReduceSum", x, axes, keepdims=1)
    centred = builder.op("Sub", builder.op("Mul", x, builder.constant(np.float64(depth))), total)
    reach = 2.0 * depth * node.magnitude(0)

    # sqrt(sum of squares) from a narrower copy: its rounding errors average out over the row
    narrow_bits = (RADICAND_BITS - math.ceil(math.log2(depth))) // 2 + 1
    narrow = builder.fitted(centred, reach, narrow_bits)
    squares = builder.op("ReduceSum", builder.op("Mul", narrow, narrow), axes, keepdims=1)
    whole = builder.scale(squares, -squares.grid)
    epsilon = node.attributes.get("epsilon", 1e-5) * float(depth) ** 3
    floor = max(1, round(math.ldexp(epsilon, -squares.grid)))
    radicand = builder.clipped(builder.op("Add", whole, builder.constant(np.float64(floor))), 1, 2**52 - 1)
    root = builder.op("Max", builder.op("Floor", builder.op("Sqrt", radicand)), builder.constant(np.float64(1)))
    root_grid = squares.grid // 2  # narrow * narrow: an even exponent

    # centred * sqrt(depth) / root: the factor takes the bits that the numerator leaves
    wide = builder.fitted(centred, reach, WIDE_BITS)
    factor_bits = NUMERATOR_BITS - (wide.magnitude - 1).bit_length()
    factor_grid = grid_for(math.sqrt(depth), factor_bits + 1)
    factor = round(math.ldexp(math.sqrt(depth), -factor_grid))
    numerator = builder.op("Mul", builder.scale(wide, -wide.grid), builder.constant(np.float64(factor)))
    quotient = builder.quotient(numerator, root)
    normal = builder.scale(quotient, wide.grid + factor_grid - root_grid)
    # No normalised entry exceeds sqrt(depth - 1).
    normal = builder.fitted(normal, 1.02 * math.sqrt(depth), WIDE_BITS)
    scaled = builder.op("Mul", normal, number(builder, weight, 22))
    grid = max(scaled.grid, grid_for(node.context.magnitude(node.proto.output[0]), 40))
    return builder.op("Add", scaled, number(builder, bias, grid=grid))
