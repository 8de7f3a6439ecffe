"""ReduceSum, ReduceMean, ReduceMax, ReduceMin."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, as_float, lowers, number
from verifier.exact.values import Value


def reduced_axes(node: Node) -> list[int]:
    """The axes over which a reduction goes: an operand or, in older opsets, an attribute; without either all."""
    rank = len(node.value(0).shape)
    if node.has(1):
        return [int(axis) % rank for axis in node.needed(1, "its axes").reshape(-1)]
    return [axis % rank for axis in node.attributes.get("axes", range(rank))]


@lowers("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
def lower_reduce(node: Node) -> list[Item]:
    """Exact sums and extremes; a mean is a sum times the reciprocal of the count."""
    builder, op = node.builder, node.proto.op_type
    axes = reduced_axes(node)
    keep = node.attributes.get("keepdims", 1)
    listed = builder.constant(np.array(axes, np.int64))
    exact_op = "ReduceSum" if op == "ReduceMean" else op

    def emit(bits: int) -> Value:
        value = as_float(builder, node.fitted(0, bits))
        reduced = builder.op(exact_op, value, listed, keepdims=keep)
        if op != "ReduceMean":
            return reduced
        count = math.prod(value.shape[axis] for axis in axes)
        return builder.op("Mul", reduced, number(builder, np.array(1.0 / count)))

    return [node.narrowing(emit, WIDE_BITS if op == "ReduceMean" else 53)]
