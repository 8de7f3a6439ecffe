"""MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool, Pad."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.operators.windows import Windows, gathered, spread, windows
from verifier.exact.lowering.registry import WIDE_BITS, Array, Item, Node, as_float, lowers, number
from verifier.exact.program.values import Value

CELLS = np.array([2], np.int64)


def _windows(node: Node) -> Windows:
    return windows(node, node.value(0).shape[2:], tuple(node.attributes["kernel_shape"]))


@lowers("MaxPool")
def lower_max_pool(node: Node) -> list[Item]:
    """Exact; padding is as low as the operand can be."""
    builder, found = node.builder, _windows(node)
    if found.padding.all(axis=1).any():
        raise node.fail("a window lies on padding alone: pad by less than the kernel")
    x = as_float(builder, node.value(0))
    return [
        spread(
            node,
            builder.op("ReduceMax", gathered(node, x, found, x.lo), builder.constant(CELLS), keepdims=0),
            found.shape,
        )
    ]


@lowers("AveragePool")
def lower_average_pool(node: Node) -> list[Item]:
    """Exact sums times the reciprocal of the count, which padding is part of with count_include_pad."""
    builder, found = node.builder, _windows(node)
    counted = found.counted if node.attributes.get("count_include_pad") else ~found.padding
    shares = 1.0 / counted.sum(axis=1, keepdims=True).astype(np.float64)
    # Where all windows are alike one number will do.
    shares = number(builder, shares[0] if (shares == shares[0]).all() else shares)

    def emit(bits: int) -> Value:
        cells = gathered(node, as_float(builder, node.fitted(0, bits)), found, 0)
        return builder.op("Mul", builder.op("ReduceSum", cells, builder.constant(CELLS), keepdims=0), shares)

    return [spread(node, node.narrowing(emit, WIDE_BITS), found.shape)]


@lowers("GlobalMaxPool", "GlobalAveragePool")
def lower_global_pool(node: Node) -> list[Item]:
    """Over all of space."""
    builder, x = node.builder, node.value(0)
    batch, channels, *size = x.shape
    kept = (batch, channels, *([1] * len(size)))

    def emit(bits: int) -> Value:
        flat = builder.reshape(as_float(builder, node.fitted(0, bits)), (batch, channels, math.prod(size)))
        if node.proto.op_type == "GlobalMaxPool":
            return builder.reshape(builder.op("ReduceMax", flat, builder.constant(CELLS), keepdims=0), kept)
        total = builder.op("ReduceSum", flat, builder.constant(CELLS), keepdims=0)
        return builder.reshape(builder.op("Mul", total, number(builder, np.array(1.0 / math.prod(size)))), kept)

    return [node.narrowing(emit, 53 if node.proto.op_type == "GlobalMaxPool" else WIDE_BITS)]


@lowers("Pad")
def lower_pad(node: Node) -> list[Item]:
    """With a constant, or with what the operand has at its edges; negative pads cut off."""
    builder = node.builder
    mode = bytes(node.attributes.get("mode", b"constant")).decode()
    result = node.value(0)
    rank = len(result.shape)
    pads = node.listed(1, "pads", "its list of pads") or [0] * (2 * rank)
    axes = [int(axis) % rank for axis in node.needed(3, "its axes")] if node.has(3) else list(range(rank))
    filler = np.array(node.attributes.get("value", 0.0), np.float32)
    filler = node.needed(2, "its padding").reshape(()) if node.has(2) else filler
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        result = _cut(builder, result, axis, max(-before, 0), max(-after, 0))
        lengths = (max(before, 0), max(after, 0))
        if mode == "constant":
            result = _extended(builder, result, axis, lengths, filler)
        elif any(lengths):
            index = np.pad(np.arange(result.shape[axis]), lengths, mode=mode)  # type: ignore[call-overload]
            result = builder.op("Gather", result, builder.constant(index.astype(np.int32)), axis=axis)
    return [result]


def _cut(builder: Builder, value: Value, axis: int, before: int, after: int) -> Value:
    if before == after == 0:
        return value
    bounds = (before, value.shape[axis] - after, axis)
    return builder.op("Slice", value, *(builder.constant(np.array([bound], np.int64)) for bound in bounds))


def _extended(builder: Builder, value: Value, axis: int, lengths: tuple[int, int], filler: Array) -> Value:
    parts = [value]
    for length, place in zip(lengths, (0, 2), strict=True):
        if length:
            shape = (*value.shape[:axis], length, *value.shape[axis + 1 :])
            wide = builder.constant(np.array(shape, np.int64))
            part = builder.op("Expand", builder.cast(number(builder, filler), value.dtype), wide)
            parts.insert(place, part)
    return builder.op("Concat", *parts, axis=axis) if len(parts) > 1 else value
