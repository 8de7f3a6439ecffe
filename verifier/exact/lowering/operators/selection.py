"""Operators that find where an axis has its largest or smallest elements.

Lowers ArgMax, ArgMin, Hardmax, TopK. Results are exact: they compare the operand's numbers on its own grid, so that
numbers which round to the same step count as equal, and the element that comes first is taken.
"""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.float_node import FloatNode, Operand, as_float
from verifier.exact.lowering.operators.reductions import softmax_axes
from verifier.exact.program.values import FLOAT, Value

# Maximum k of TopK: every element found takes five instructions over the whole operand.
MAX_TOP_K = 128


def lower_arg_max_min(node: FloatNode) -> list[Operand]:
    """ArgMax, ArgMin: the smallest index, or the largest with select_last_index, of an element that equals the extreme.

    Returns int64 [operand's shape, with the axis of length 1 or without it].
    """
    builder, x = node.builder, as_float(node.builder, node.value(0))
    axis = node.attributes.get("axis", 0) % len(x.shape)
    last = bool(node.attributes.get("select_last_index", 0))
    index = builder.cast(place_of_extreme(builder, x, axis, largest=node.proto.op_type == "ArgMax", last=last), "int64")
    if node.attributes.get("keepdims", 1):
        return [index]
    return [builder.reshape(index, (*x.shape[:axis], *x.shape[axis + 1 :]))]


def lower_hardmax(node: FloatNode) -> list[Operand]:
    """Hardmax: 1 at the first maximum, 0 elsewhere; before opset 13 over all axes from the given one on."""
    builder, x = node.builder, as_float(node.builder, node.value(0))
    axes = softmax_axes(node)
    rows = x
    if len(axes) > 1:
        rows = builder.reshape(x, (*x.shape[: axes[0]], math.prod(x.shape[axis] for axis in axes)))
    found = place_of_extreme(builder, rows, axes[0], largest=True, last=False)
    ones = builder.cast(builder.op("Equal", _places(builder, rows, axes[0]), found), FLOAT)
    return [builder.reshape(ones, x.shape)]


def lower_top_k(node: FloatNode) -> list[Operand]:
    """TopK: k times the first extreme of the elements that are left; each is replaced by the other end afterwards.

    Returns the values and the indices, in order. Errors: LoweringError for a computed k, and for one above MAX_TOP_K.
    """
    builder, x = node.builder, as_float(node.builder, node.value(0))
    (k,) = node.integers(1, "k", "its k") or [1] if node.has(1) else [int(node.attributes["k"])]
    if k > MAX_TOP_K:
        raise node.fail(f"its k is {k}: use a k of at most {MAX_TOP_K}")
    axis = node.attributes.get("axis", -1) % len(x.shape)
    largest = bool(node.attributes.get("largest", 1))
    node.attributes.get("sorted")  # a sorted result is also a valid unsorted one
    taken = builder.constant(np.ldexp(np.float64(x.lo - 1 if largest else x.hi + 1), x.grid))
    places, left, found = _places(builder, x, axis), x, []
    for _ in range(k):
        found.append(place_of_extreme(builder, left, axis, largest=largest, last=False))
        left = builder.op("Where", builder.op("Equal", places, found[-1]), taken, left)
    indices = builder.cast(builder.op("Concat", *found, axis=axis) if k > 1 else found[0], "int64")
    values = builder.op("GatherElements", node.value(0), indices, axis=axis)
    return [values, indices]


def _places(builder: Builder, x: Value, axis: int) -> Value:
    """Add the indices along an axis, aligned with x."""
    return builder.constant(np.arange(x.shape[axis], dtype=np.float64).reshape(-1, *([1] * (len(x.shape) - 1 - axis))))


def place_of_extreme(builder: Builder, x: Value, axis: int, *, largest: bool, last: bool) -> Value:
    """Emit the index of the first or last extreme along an axis, which is kept with length 1."""
    axes = builder.constant(np.array([axis], np.int64))
    extreme = builder.op("ReduceMax" if largest else "ReduceMin", x, axes, keepdims=1)
    # Some element equals the extreme, so the index that stands for all others cannot win against it.
    other = builder.constant(np.float64(0 if last else x.shape[axis] - 1))
    here = builder.op("Where", builder.op("Equal", x, extreme), _places(builder, x, axis), other)
    return builder.op("ReduceMax" if last else "ReduceMin", here, axes, keepdims=1)
