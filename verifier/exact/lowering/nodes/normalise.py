"""LayerNormalization and RMSNormalization as one unit: squares summed, one integer square root, one floor division."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.nodes.lifting import FACTORS, LIFTED_BITS, last_axis, levels, lifted
from verifier.exact.lowering.nodes.roots import EXTRA_BITS, root
from verifier.exact.lowering.registry import CONSTANT_BITS, WIDE_BITS, Item, Node, as_float, lowers, number, room
from verifier.exact.values import Value

# The root's argument stays below 2**52, the quotient's numerator below 2**53.
RADICAND_BITS = 51
NUMERATOR_BITS = 52
# Of x before it is centred: depth * x - sum has log2(depth) more.
INPUT_BITS = 37
RESULT_BITS = 40


@lowers("LayerNormalization")
def lower_layer_norm(node: Node) -> list[Item]:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis."""
    weight, bias = _parameters(node)

    def emit(bits: int) -> Value:
        builder = node.builder
        x = as_float(builder, node.fitted(0, bits))
        depth = x.shape[-1]
        # depth * (x - mean), exactly
        total = builder.op("ReduceSum", x, last_axis(node.builder, x), keepdims=1)
        centred = builder.op("Sub", builder.op("Mul", x, builder.constant(np.array(float(depth)))), total)
        epsilon = node.attributes.get("epsilon", 1e-5) * float(depth) ** 3
        return _affine(node, _unit(node, centred, 2.0 * depth * _reach(node, bits), epsilon), weight, bias)

    return [node.narrowing(emit, INPUT_BITS)]


@lowers("RMSNormalization", "SimplifiedLayerNormalization")
def lower_rms_norm(node: Node) -> list[Item]:
    """x / sqrt(mean of squares + epsilon) * weight over the last axis."""
    weight, bias = _parameters(node)

    def emit(bits: int) -> Value:
        x = as_float(node.builder, node.fitted(0, bits))
        epsilon = node.attributes.get("epsilon", 1e-5) * float(x.shape[-1])
        return _affine(node, _unit(node, x, _reach(node, bits), epsilon), weight, bias)

    return [node.narrowing(emit, INPUT_BITS)]


def _reach(node: Node, bits: int) -> float:
    """How large the operand can be once it is fitted to that many bits."""
    return node.magnitude(0) * 2.0 ** room(bits)


def _parameters(node: Node) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    rank = len(node.value(0).shape)
    if node.attributes.get("axis", -1) % rank != rank - 1:
        raise node.fail("it normalises over more than the last axis: reshape before")
    weight = node.needed(1, "its weight") if node.has(1) else None
    bias = node.needed(2, "its bias") if node.has(2) else None
    return weight, bias


def _unit(node: Node, x: Value, reach: float, epsilon: float) -> Value:
    """x * sqrt(depth) / sqrt(sum of squares + epsilon) over the last axis, for |x| up to `reach`."""
    builder, depth = node.builder, x.shape[-1]
    x, lifts = lifted(node, builder.fitted(x, reach, LIFTED_BITS), reach, levels(node, _reach(node, INPUT_BITS)))

    # The sum of squares is from a narrower copy: its rounding errors average out over the row.
    wide = builder.fitted(x, reach, WIDE_BITS)
    narrow = builder.fitted(wide, reach, (RADICAND_BITS - math.ceil(math.log2(depth))) // 2 + 1)
    squares = builder.op("ReduceSum", builder.op("Mul", narrow, narrow), last_axis(node.builder, x), keepdims=1)
    floors = np.clip(np.rint(np.ldexp(epsilon * FACTORS**2, -squares.grid)), 1, 2.0**RADICAND_BITS)
    floor = builder.constant(floors[0]) if lifts is None else builder.lookup(builder.constant(floors), lifts)
    whole = builder.op("Add", builder.scale(squares, -squares.grid), floor)
    divisor = builder.op("Max", root(builder, builder.clipped(whole, 1, 2**52 - 1)), builder.constant(np.array(1.0)))

    # The factor sqrt(depth) takes the bits that the numerator leaves.
    factor_bits = NUMERATOR_BITS - (wide.magnitude - 1).bit_length()
    factor_grid = grid_for(math.sqrt(depth), factor_bits + 1)
    factor = builder.constant(np.array(float(round(math.ldexp(math.sqrt(depth), -factor_grid)))))
    quotient = builder.quotient(builder.op("Mul", builder.scale(wide, -wide.grid), factor), divisor)
    # squares.grid is even: it is that of a product with itself.
    normal = builder.scale(quotient, wide.grid + factor_grid - squares.grid // 2 + EXTRA_BITS)
    # No entry exceeds sqrt(depth), but for rounding.
    return builder.fitted(normal, 1.02 * math.sqrt(depth), WIDE_BITS)


def _affine(node: Node, normal: Value, weight: NDArray[Any] | None, bias: NDArray[Any] | None) -> Value:
    builder = node.builder
    if weight is not None:
        normal = builder.op("Mul", normal, number(builder, weight, CONSTANT_BITS))
    if bias is None:
        return normal
    grid = max(normal.grid, grid_for(node.context.magnitude(node.proto.output[0]), RESULT_BITS))
    return builder.op("Add", normal, number(builder, bias, grid=grid))
