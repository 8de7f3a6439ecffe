"""Quiet rows beside loud ones: some tokens are ten thousand times louder than others.

On one grid for a whole tensor the quiet rows would have few bits. A row is what the last axis holds; each is multiplied
by 16 as often as it stays below the tensor's reach, and what is made of it is divided again.
"""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.registry import Node
from verifier.exact.values import FLOAT, Value

# Of a tensor before its rows are lifted: together with the lift 53.
LIFTED_BITS = 37
LEVEL_BITS = 4
MOST_LEVELS = 4
FACTORS = 2.0 ** (LEVEL_BITS * np.arange(MOST_LEVELS + 1))


def last_axis(builder: Builder, x: Value) -> Value:
    """The axes operand of a reduction over rows."""
    return builder.constant(np.array([len(x.shape) - 1], np.int64))


def levels(node: Node, reach: float) -> int:
    """How often the quietest row that calibration saw of the first operand can be lifted."""
    quietest = max(node.context.range(node.proto.input[0]).quietest, 1e-9)
    return min(max(math.ceil(math.log2(reach / quietest) / LEVEL_BITS), 0), MOST_LEVELS)


def lifted(node: Node, x: Value, reach: float, most: int) -> tuple[Value, Value | None]:
    """x with its quiet rows multiplied, and how often each was, at most `most` times; None when none can be."""
    if most == 0:
        return x, None
    builder = node.builder
    loudest = builder.op(
        "Max",
        builder.op("ReduceMax", x, last_axis(builder, x), keepdims=1),
        builder.op("Neg", builder.op("ReduceMin", x, last_axis(builder, x), keepdims=1)),
    )
    count: Value | None = None
    for level in range(1, most + 1):
        limit = builder.constant(builder.quantised(np.array(reach / FACTORS[level]), x.grid))
        below = builder.cast(builder.op("LessOrEqual", loudest, limit), FLOAT)
        count = below if count is None else builder.op("Add", count, below)
    assert count is not None
    return builder.op("Mul", x, builder.lookup(builder.constant(FACTORS), count)), count


def lowered_again(builder: Builder, y: Value, count: Value) -> Value:
    """What was made of lifted rows, at its own size; y in at most LIFTED_BITS bits."""
    return builder.op("Mul", y, builder.lookup(builder.constant(1 / FACTORS), count))
