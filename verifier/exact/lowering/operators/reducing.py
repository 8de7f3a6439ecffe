"""Reductions to sums, means, extremes and norms."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.operators.roots import square_root
from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, absolute, as_float, lowers, number
from verifier.exact.program.values import Value

# Bits of the operand to try first, where the proof has no room for all.
SUMMED_BITS = {"ReduceMean": WIDE_BITS, "ReduceSumSquare": 26, "ReduceL2": 26}


def reduced_axes(node: Node) -> list[int]:
    """The axes over which a reduction goes: an operand or, in older opsets, an attribute; without either all."""
    rank = len(node.value(0).shape)
    listed = node.listed(1, "axes", "its axes")
    if not listed:
        return [] if node.attributes.get("noop_with_empty_axes") else list(range(rank))
    return [axis % rank for axis in listed]


@lowers("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
def lower_reduce(node: Node) -> list[Item]:
    """Exact sums and extremes; a mean is a sum times the reciprocal of the count."""
    builder, op = node.builder, node.proto.op_type
    axes = reduced_axes(node)
    keep = node.attributes.get("keepdims", 1)
    listed = builder.constant(np.array(axes, np.int64))
    exact_op = op if op in ("ReduceMax", "ReduceMin") else "ReduceSum"

    def emit(bits: int) -> Value:
        value = as_float(builder, node.fitted(0, bits))
        if op == "ReduceL1":
            value = absolute(builder, value)
        elif op in ("ReduceL2", "ReduceSumSquare"):
            value = builder.op("Mul", value, value)
        reduced = builder.op(exact_op, value, listed, keepdims=keep) if axes else value
        if op == "ReduceL2":
            return square_root(builder, reduced)
        if op != "ReduceMean":
            return reduced
        count = math.prod(value.shape[axis] for axis in axes)
        return builder.op("Mul", reduced, number(builder, np.array(1.0 / count)))

    result = node.narrowing(emit, SUMMED_BITS.get(op, 53))
    return [result if op in ("ReduceMean", "ReduceL2") else node.restored(result)]
