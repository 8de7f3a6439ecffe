"""Quiet rows beside loud ones: some tokens are ten thousand times louder than others.

On one grid for a whole tensor the quiet rows would have few bits. A row is what the last axis holds; each is multiplied
by the largest power of two that keeps it within the tensor's reach, and what is made of it is divided again.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.registry import Node
from verifier.exact.program.values import FLOAT, Value

# Of a tensor before its rows are lifted: together with the lift 53.
LIFTED_BITS = 37
MOST_LIFTS = 16


def factors(most: int) -> NDArray[np.float64]:
    """2**0, …, 2**most: by how much a row is multiplied that is lifted so often."""
    return np.asarray(2.0 ** np.arange(most + 1))


def last_axis(builder: Builder, x: Value) -> Value:
    """The axes operand of a reduction over rows."""
    return builder.constant(np.array([len(x.shape) - 1], np.int64))


def lifts(node: Node, reach: float) -> int:
    """How often the quietest row that calibration saw of the first operand can be doubled within `reach`."""
    quietest = max(node.context.range(node.proto.input[0]).quietest, 1e-9)
    return min(max(math.floor(math.log2(reach / quietest)), 0), MOST_LIFTS)


def lifted(node: Node, x: Value, reach: float, most: int) -> tuple[Value, Value | None]:
    """x with its quiet rows doubled, and how often each was, at most `most` times; None when none can be."""
    if most == 0:
        return x, None
    builder = node.builder
    loudest = builder.op(
        "Max",
        builder.op("ReduceMax", x, last_axis(builder, x), keepdims=1),
        builder.op("Neg", builder.op("ReduceMin", x, last_axis(builder, x), keepdims=1)),
    )
    within = builder.constant(np.float64(math.floor(math.ldexp(reach, -x.grid))))
    steps = builder.op("Max", builder.scale(loudest, -x.grid), builder.constant(np.float64(1)))
    times = builder.clipped(builder.quotient(within, steps), 0, 2**most)
    doublings = np.floor(np.log2(np.maximum(np.arange(2**most + 1), 1)))
    count = builder.lookup(builder.cast(builder.constant(doublings.astype(np.int8)), FLOAT), times)
    return builder.op("Mul", x, builder.lookup(builder.constant(factors(most)), count)), count


def lowered_again(builder: Builder, y: Value, count: Value, most: int) -> Value:
    """What was made of lifted rows, at its own size; y in at most LIFTED_BITS bits."""
    return builder.op("Mul", y, builder.lookup(builder.constant(1 / factors(most)), count))
