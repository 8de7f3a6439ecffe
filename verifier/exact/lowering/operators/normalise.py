"""Layer, RMS and instance norms as one unit: squares summed, one integer square root, one floor division."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.operators.lifting import LIFTED_BITS, factors, last_axis, lifted, lifts
from verifier.exact.lowering.operators.roots import EXTRA_BITS, root
from verifier.exact.lowering.registry import CONSTANT_BITS, WIDE_BITS, Item, Node, as_float, lowers, number, room
from verifier.exact.program.values import Value

# The root's argument stays below 2**52, the quotient's numerator below 2**53.
RADICAND_BITS = 51
NUMERATOR_BITS = 52
# Of x before it is centred: depth * x - sum has log2(depth) more.
INPUT_BITS = 37
RESULT_BITS = 40


@lowers("LayerNormalization")
def lower_layer_norm(node: Node) -> list[Item]:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axes, which become one."""
    weight, bias = _parameters(node)
    return [_normalised(node, _rows(node), _centred, weight, bias)]


@lowers("RMSNormalization", "SimplifiedLayerNormalization")
def lower_rms_norm(node: Node) -> list[Item]:
    """x / sqrt(mean of squares + epsilon) * weight over the last axes, which become one."""
    weight, bias = _parameters(node)
    return [_normalised(node, _rows(node), _whole, weight, bias)]


@lowers("InstanceNormalization")
def lower_instance_norm(node: Node) -> list[Item]:
    """Of each channel over all of space, as LayerNormalization; a weight and a bias belong to a channel."""
    batch, channels, *size = node.value(0).shape
    weight, bias = (node.needed(index, what).reshape(-1, 1) for index, what in ((1, "its weight"), (2, "its bias")))
    return [_normalised(node, (batch, channels, math.prod(size)), _centred, weight, bias)]


def _normalised(
    node: Node,
    rows: tuple[int, ...],
    taken: Callable[[Node, Value, float], tuple[Value, float, float]],
    weight: NDArray[Any] | None,
    bias: NDArray[Any] | None,
) -> Value:
    """The operand in `rows`, of which `taken` makes what is divided by its size, times a weight and plus a bias."""

    def emit(bits: int) -> Value:
        x = node.builder.reshape(as_float(node.builder, node.fitted(0, bits)), rows)
        x, reach, epsilon = taken(node, x, _reach(node, bits))
        return _affine(node, _unit(node, x, reach, epsilon), weight, bias)

    return node.builder.reshape(node.narrowing(emit, INPUT_BITS), node.value(0).shape)


def _centred(node: Node, x: Value, reach: float) -> tuple[Value, float, float]:
    """depth * (x - mean), exactly, how large it can be, and its epsilon."""
    depth = float(x.shape[-1])
    total = node.builder.op("ReduceSum", x, last_axis(node.builder, x), keepdims=1)
    centred = node.builder.op("Sub", node.builder.op("Mul", x, node.builder.constant(np.array(depth))), total)
    return centred, 2.0 * depth * reach, node.attributes.get("epsilon", 1e-5) * depth**3


def _whole(node: Node, x: Value, reach: float) -> tuple[Value, float, float]:
    """x as it is."""
    return x, reach, node.attributes.get("epsilon", 1e-5) * float(x.shape[-1])


def _rows(node: Node) -> tuple[int, ...]:
    """The operand's shape with the axes over which it is normalised as one."""
    shape = node.value(0).shape
    axis = node.attributes.get("axis", -1) % len(shape)
    return (*shape[:axis], math.prod(shape[axis:]))


def _reach(node: Node, bits: int) -> float:
    """How large the operand can be once it is fitted to that many bits."""
    return node.magnitude(0) * 2.0 ** room(bits)


def _parameters(node: Node) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The weight and the bias, as long as a row or one number."""
    weight = node.needed(1, "its weight").reshape(-1) if node.has(1) else None
    bias = node.needed(2, "its bias").reshape(-1) if node.has(2) else None
    return weight, bias


def _unit(node: Node, x: Value, reach: float, epsilon: float) -> Value:
    """x * sqrt(depth) / sqrt(sum of squares + epsilon) over the last axis, for |x| up to `reach`."""
    builder, depth = node.builder, x.shape[-1]
    most = lifts(node, _reach(node, INPUT_BITS))
    x, doubled = lifted(node, builder.fitted(x, reach, LIFTED_BITS), reach, most)

    # The sum of squares is from a narrower copy: its rounding errors average out over the row.
    wide = builder.fitted(x, reach, WIDE_BITS)
    narrow = builder.fitted(wide, reach, (RADICAND_BITS - math.ceil(math.log2(depth))) // 2 + 1)
    squares = builder.op("ReduceSum", builder.op("Mul", narrow, narrow), last_axis(node.builder, x), keepdims=1)
    floors = np.clip(np.rint(np.ldexp(epsilon * factors(most) ** 2, -squares.grid)), 1, 2.0**RADICAND_BITS)
    floor = builder.constant(floors[0]) if doubled is None else builder.lookup(builder.constant(floors), doubled)
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
