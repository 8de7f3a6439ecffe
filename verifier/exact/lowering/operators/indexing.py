"""Operators that read or write elements by index, and triangles.

Lowers Compress, CumSum, Gather, GatherElements, GatherND, OneHot, ReverseSequence, Scatter, ScatterElements, ScatterND,
Trilu. An index that is computed is clipped into its table, so that the proof holds for any input.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.float_node import FloatNode, Operand, as_float
from verifier.exact.lowering.masks import MASK
from verifier.exact.lowering.operators.elementwise import FACTOR_BITS
from verifier.exact.program.values import BOOL, FLOAT, Value


def _index(node: FloatNode, length: int) -> Value:
    """Return the second operand as indices into `length` elements; negative ones count from the end."""
    known = node.constant(1)
    if known is not None:
        return node.builder.constant(np.where(known < 0, known + length, known).astype(np.int64))
    return _clipped_index(node, node.value(1), length)


def _clipped_index(node: FloatNode, index: Value, length: int) -> Value:
    builder = node.builder
    wide = builder.cast(index, "int64") if index.dtype not in ("int32", "int64") else index
    if wide.lo >= 0 and wide.hi < length:
        return wide
    zero, whole, last = (builder.constant(np.array(limit, wide.dtype)) for limit in (0, length, length - 1))
    if wide.lo < 0:
        wide = builder.op("Clip", wide, builder.constant(np.array(-length, wide.dtype)), last)
        wide = builder.op("Where", builder.op("Less", wide, zero), builder.op("Add", wide, whole), wide)
    return builder.op("Clip", wide, zero, last)


def lower_gather(node: FloatNode) -> list[Operand]:
    """Gather: a constant table of floats is stored in 16 bits and cast after the look-up."""
    builder, axis = node.builder, node.attributes.get("axis", 0)
    table = node.constant(0)
    if table is None or not np.issubdtype(table.dtype, np.floating):
        data = node.value(0)
        return [builder.op("Gather", data, _index(node, data.shape[axis]), axis=axis)]
    index = _index(node, table.shape[axis])
    if np.isneginf(table).any():
        return [_masked_rows(builder, table, index, axis)]
    if table.ndim == 2 and axis == 0:
        return [_embedding_rows(node, table, index)]
    weight = builder.weight(table)
    return [builder.op("Gather", weight, index, axis=axis)]


def _masked_rows(builder: Builder, table: NDArray[Any], index: Value, axis: int) -> Value:
    """Look up the finite entries and, in a second table, the masks, so that these do not coarsen the grid of those."""
    masked = np.isneginf(table)
    finite = builder.weight(np.where(masked, 0.0, table))
    masks = builder.weight(np.where(masked, MASK, 0.0))
    return builder.op("Add", *(builder.op("Gather", part, index, axis=axis) for part in (finite, masks)))


def _embedding_rows(node: FloatNode, table: NDArray[Any], index: Value) -> Value:
    """Look up rows of an embedding and their scales. A table that is tied to an output layer is stored once."""
    builder = node.builder
    transposed, scales = builder.scaled_weight(table.T)
    rows = builder.op("Gather", builder.op("Transpose", transposed, perm=[1, 0]), index, axis=0)
    row_scales = builder.op("Gather", scales, index, axis=0)
    return builder.op("Mul", rows, builder.op("Unsqueeze", row_scales, builder.constant(np.array([-1], np.int64))))


def lower_gather_elements(node: FloatNode) -> list[Operand]:
    """GatherElements: the same instruction."""
    axis, value = node.attributes.get("axis", 0), node.value(0)
    return [node.builder.op("GatherElements", value, _index(node, value.shape[axis]), axis=axis)]


def lower_gather_nd(node: FloatNode) -> list[Operand]:
    """GatherND with constant indices: a Gather from the flattened tensor."""
    if node.attributes.get("batch_dims"):
        raise node.fail("batch_dims is not supported: write it as GatherElements")
    value = node.value(0)
    indices = node.require_constant(1, "its list of indices").astype(np.int64)
    depth = indices.shape[-1]
    strides = np.array([math.prod(value.shape[i + 1 : depth]) for i in range(depth)], np.int64)
    lengths = np.array(value.shape[:depth], np.int64)
    flat = (np.where(indices < 0, indices + lengths, indices) * strides).sum(axis=-1)
    rows = node.builder.reshape(value, (int(lengths.prod()), *value.shape[depth:]))
    return [node.builder.op("Gather", rows, node.builder.constant(flat), axis=0)]


def lower_scatter(node: FloatNode) -> list[Operand]:
    """Scatter, ScatterElements, ScatterND at constant places: a Gather from the old elements followed by the new ones.

    With a reduction the new elements are combined with the old ones, in as many rounds as a place has new elements.
    """
    builder = node.builder
    reduction = bytes(node.attributes.get("reduction", b"none")).decode()
    dtype, shape = node.value(0).dtype, node.value(0).shape
    targets = _scatter_targets(node, shape)
    if reduction == "none":
        old, new = (as_float(builder, node.value(index)) for index in (0, 2))
        source = np.arange(old.size)
        source[targets] = old.size + np.arange(new.size)
        result = _picked(builder, [old, new], source, shape)
    else:
        bits = FACTOR_BITS if reduction == "mul" else 53
        result = node.widest_provable(lambda bits: _reduced(node, targets, reduction, bits), bits)
    return [result if dtype == FLOAT else builder.cast(result, "int64" if dtype != BOOL else BOOL)]


def _scatter_targets(node: FloatNode, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the flat index into the old elements at which each new element is written."""
    places = node.require_constant(1, "its list of places").astype(np.int64)
    flat = np.arange(math.prod(shape)).reshape(shape)
    if node.proto.op_type == "ScatterND":
        return np.asarray(flat[tuple(np.moveaxis(places, -1, 0))].reshape(-1))
    axis = node.attributes.get("axis", 0)
    targets = list(np.indices(places.shape))
    targets[axis] = places
    return np.asarray(flat[tuple(targets)].reshape(-1))


def _picked(builder: Builder, parts: list[Value], source: NDArray[Any], shape: tuple[int, ...]) -> Value:
    """Emit the elements of all parts, one after another, at the indices `source`."""
    both = builder.op("Concat", *(builder.reshape(part, (part.size,)) for part in parts), axis=0)
    return builder.op("Gather", both, builder.constant(source.reshape(shape).astype(np.int32)), axis=0)


def _reduced(node: FloatNode, targets: NDArray[np.int64], reduction: str, bits: int) -> Value:
    """Emit the old elements, each combined with all new elements of its place."""
    builder = node.builder
    result, new = (as_float(builder, node.fitted(index, bits)) for index in (0, 2))
    rank = np.array([(targets[:number] == target).sum() for number, target in enumerate(targets)])
    for turn in range(int(rank.max(initial=-1)) + 1):
        chosen = np.flatnonzero(rank == turn)
        # Where there is no new element, the operand is neutral: 0, 1, or the old element itself.
        if reduction in ("add", "mul"):
            neutral = builder.reshape(builder.constant(np.float64(reduction == "mul")), (1,))
            source, before = np.zeros(result.size, np.int64), 1
        else:
            neutral, source, before = result, np.arange(result.size), result.size
        source[targets[chosen]] = before + chosen
        other = _picked(builder, [neutral, new], source, result.shape)
        result = builder.op({"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}[reduction], result, other)
    return result


def lower_compress(node: FloatNode) -> list[Operand]:
    """Compress by a constant condition: a Gather along its axis, or from the flattened operand."""
    kept = np.flatnonzero(node.require_constant(1, "its condition")).astype(np.int32)
    axis, value = node.attributes.get("axis"), node.value(0)
    if axis is None:
        axis, value = 0, node.builder.reshape(value, (value.size,))
    return [node.builder.op("Gather", value, node.builder.constant(kept), axis=axis % len(value.shape))]


def lower_reverse_sequence(node: FloatNode) -> list[Operand]:
    """ReverseSequence by constant lengths: a Gather from the flattened operand."""
    value = node.value(0)
    lengths = node.require_constant(1, "its list of lengths").astype(np.int64)
    batch, time = node.attributes.get("batch_axis", 1), node.attributes.get("time_axis", 0)
    source = np.arange(value.size).reshape(value.shape)
    ordered = np.moveaxis(source, (batch, time), (0, 1))  # a view
    for row, length in zip(ordered, lengths, strict=True):
        row[:length] = row[:length][::-1].copy()
    flat = node.builder.reshape(value, (value.size,))
    return [node.builder.op("Gather", flat, node.builder.constant(source.astype(np.int32)), axis=0)]


def lower_one_hot(node: FloatNode) -> list[Operand]:
    """OneHot: a Where by equality with the index; negative indices count from the end."""
    builder = node.builder
    depth = int(node.require_constant(1, "its depth").reshape(()))
    off, on = (builder.constant(np.float64(item)) for item in node.require_constant(2, "its pair of values"))
    index = as_float(builder, node.value(0))
    axis = node.attributes.get("axis", -1) % (len(index.shape) + 1)
    index = builder.reshape(index, (*index.shape[:axis], 1, *index.shape[axis:]))
    places = np.arange(depth, dtype=np.float64).reshape(-1, *([1] * (len(index.shape) - 1 - axis)))
    here, wrapped = (builder.op("Equal", index, builder.constant(at)) for at in (places, places - depth))
    return [builder.op("Where", builder.op("Or", here, wrapped), on, off)]


def lower_trilu(node: FloatNode) -> list[Operand]:
    """Trilu: a Where by a constant triangle; the rest is 0."""
    builder, value = node.builder, node.value(0)
    diagonal = int(node.require_constant(1, "its diagonal").reshape(())) if node.has(1) else 0
    square = np.ones(value.shape[-2:], np.bool_)
    kept = builder.constant(np.triu(square, diagonal) if node.attributes.get("upper", 1) else np.tril(square, diagonal))
    if value.dtype == BOOL:
        return [builder.op("And", kept, value)]
    chosen = builder.op("Where", kept, as_float(builder, value), builder.constant(np.float64(0)))
    return [chosen if value.dtype == FLOAT else builder.cast(chosen, "int64")]


def lower_cum_sum(node: FloatNode) -> list[Operand]:
    """CumSum: a matrix product with a triangle of ones."""
    builder, shape = node.builder, node.value(0).shape
    axis = int(node.require_constant(1, "its axis").reshape(())) % len(shape)
    length = shape[axis]
    triangle = np.triu(np.ones((length, length), np.int8), 1 if node.attributes.get("exclusive") else 0)
    if node.attributes.get("reverse"):
        triangle = triangle.T
    ones = builder.cast(builder.constant(triangle), FLOAT)
    axis_last = [*(i for i in range(len(shape)) if i != axis), axis]

    def emit(bits: int) -> Value:
        ordered = builder.op("Transpose", as_float(builder, node.fitted(0, bits)), perm=axis_last)
        rows = builder.reshape(ordered, (math.prod(shape) // length, length))
        sums = builder.reshape(builder.op("MatMul", rows, ones), ordered.shape)
        return builder.op("Transpose", sums, perm=[axis_last.index(i) for i in range(len(shape))])

    return [node.restore_integers(node.widest_provable(emit, 53))]
