"""Softmax: exponentials from a table, divided by their sum."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.registry import MASK, OPERAND_BITS, Item, Node, as_float, lowers
from verifier.exact.program.values import Value

# exp(-x) is tabulated for x in steps of 2**-12 up to 20, where it is 2e-9.
STEP_BITS = 12
REACH = 20
EXP_BITS = 26
# Below this a number is what a mask left of it: a float32 mask of minus infinity leaves nothing.
FLOOR = MASK / 2


def softmax_axes(node: Node) -> list[int]:
    """The axes over which a softmax sums: one, but before opset 13 all from that one on; of one that was fused any."""
    rank = len(node.value(0).shape)
    if "axes" in node.attributes:
        return [axis % rank for axis in node.attributes["axes"]]
    if node.context.opset < 13:
        return list(range(node.attributes.get("axis", 1) % rank, rank))
    return [node.attributes.get("axis", -1) % rank]


def _floored(builder: Builder, x: Value) -> Value:
    """What is masked all alike: where nothing else is in a row, as beside padding, all of it weighs the same."""
    return builder.op("Max", x, builder.constant(np.float64(FLOOR))) if math.ldexp(x.lo, x.grid) < FLOOR else x


@lowers("Softmax")
def lower_softmax(node: Node) -> list[Item]:
    """Subtract the largest, look exp up, divide by the sum with a floor."""
    builder = node.builder
    value = as_float(builder, node.value(0))
    summed = softmax_axes(node)
    axes = builder.constant(np.array(summed, np.int64))

    def below_maximum(bits: int) -> Value:
        x = _floored(builder, as_float(builder, node.fitted(0, bits)) if bits < 52 else value)
        return builder.op("Sub", builder.op("ReduceMax", x, axes, keepdims=1), x)

    distance = node.narrowing(below_maximum, 52)
    steps = builder.op("Round", builder.scale(distance, STEP_BITS))
    index = builder.op("Clip", steps, builder.constant(np.float64(0)), builder.constant(np.float64(REACH << STEP_BITS)))
    table = np.rint(np.exp(-np.arange((REACH << STEP_BITS) + 1) / 2.0**STEP_BITS) * 2.0**EXP_BITS)
    table[-1] = 0.0  # what is masked, or as far away as that, weighs nothing
    weights = builder.lookup(builder.table(table, 0), index)
    total = builder.op("Max", builder.op("ReduceSum", weights, axes, keepdims=1), builder.constant(np.float64(1)))
    # A product of these with OPERAND_BITS-bit values over the row must stay below 2**53.
    count = math.prod(value.shape[axis] for axis in summed)
    bits = min(24, 53 - OPERAND_BITS - math.ceil(math.log2(count + 1)))
    shares = builder.quotient(builder.scale(weights, bits), total)
    return [builder.scale(builder.clipped(shares, 0, 2**bits), -bits)]
