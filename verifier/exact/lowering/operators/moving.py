"""Reshape, Transpose, Slice, Split, Concat, Expand, Squeeze, Unsqueeze, Flatten, Gather and its kin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.registry import WEIGHT_BITS, Item, Node, lowers
from verifier.exact.program.values import Value


def _static(node: Node, index: int, what: str) -> Value:
    """A shape, axes or lengths operand as an int64 constant."""
    return node.builder.constant(node.needed(index, what).astype(np.int64).reshape(-1))


@lowers("Reshape")
def lower_reshape(node: Node) -> list[Item]:
    """To a shape known now."""
    value = node.value(0)
    dims = [int(dim) for dim in node.needed(1, "its shape").reshape(-1)]
    if not node.attributes.get("allowzero"):
        dims = [value.shape[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    if -1 in dims:
        dims[dims.index(-1)] = value.size // math.prod(dim for dim in dims if dim != -1)
    return [node.builder.reshape(value, tuple(dims))]


@lowers("Flatten")
def lower_flatten(node: Node) -> list[Item]:
    """To two dimensions."""
    value, axis = node.value(0), node.attributes.get("axis", 1)
    return [node.builder.reshape(value, (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))]


@lowers("Transpose")
def lower_transpose(node: Node) -> list[Item]:
    """As it is."""
    value = node.value(0)
    order = list(node.attributes.get("perm") or reversed(range(len(value.shape))))
    return [node.builder.op("Transpose", value, perm=order)]


@lowers("Slice")
def lower_slice(node: Node) -> list[Item]:
    """With constant bounds."""
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (node.listed(index, name, "a bound") for index, name in enumerate(names, 1))
    axes = axes if axes is not None else list(range(len(starts or [])))
    bounds = [np.array(item, np.int64) for item in (starts, ends, axes, steps) if item is not None]
    return [node.builder.op("Slice", node.value(0), *(node.builder.constant(bound) for bound in bounds))]


@lowers("Split")
def lower_split(node: Node) -> list[Item]:
    """With constant lengths; without any, in equal parts of which the last may be shorter."""
    value, axis = node.value(0), node.attributes.get("axis", 0)
    parts = len(node.proto.output)
    lengths = node.listed(1, "split", "its lengths")
    if lengths is None:
        size = value.shape[axis]
        each = -(-size // parts)
        lengths = [min(each, size - each * part) for part in range(parts)]
    filled = [length for length in lengths if length]
    listed = node.builder.constant(np.array(filled, np.int64))
    made = iter(node.builder.ops("Split", (value, listed), len(filled), axis=axis) if len(filled) > 1 else [value])
    empty = np.empty([0 if at == axis % len(value.shape) else dim for at, dim in enumerate(value.shape)], np.float32)
    return [next(made) if length else empty for length in lengths]


@lowers("Concat")
def lower_concat(node: Node) -> list[Item]:
    """On the finest grid; operands are narrowed when they would not fit it, and left out when they are empty."""
    indices = [index for index in range(len(node.proto.input)) if node.item(index).size]
    if len(indices) == 1:
        return [node.item(indices[0])]
    return [
        node.narrowing(
            lambda bits: node.builder.op(
                "Concat", *(node.fitted(index, bits) for index in indices), axis=node.attributes["axis"]
            ),
            53,
        )
    ]


@lowers("Expand")
def lower_expand(node: Node) -> list[Item]:
    """To a shape known now."""
    return [node.builder.op("Expand", node.value(0), _static(node, 1, "its shape"))]


@lowers("Squeeze", "Unsqueeze")
def lower_squeeze(node: Node) -> list[Item]:
    """As a reshape."""
    value = node.value(0)
    axes = node.listed(1, "axes", "its axes")
    if node.proto.op_type == "Unsqueeze":
        assert axes is not None
        rank = len(value.shape) + len(axes)
        places = {axis % rank for axis in axes}
        dims = iter(value.shape)
        return [node.builder.reshape(value, tuple(1 if i in places else next(dims) for i in range(rank)))]
    places = (
        {a % len(value.shape) for a in axes} if axes is not None else {i for i, d in enumerate(value.shape) if d == 1}
    )
    return [node.builder.reshape(value, tuple(dim for i, dim in enumerate(value.shape) if i not in places))]


def index_within(node: Node, index: Value, length: int) -> Value:
    """A computed index within 0..length-1: negative ones count from the end, and what is beyond is clipped."""
    builder = node.builder
    wide = builder.cast(index, "int64") if index.dtype not in ("int32", "int64") else index
    if wide.lo >= 0 and wide.hi < length:
        return wide
    least, whole, last = (builder.constant(np.array(limit, wide.dtype)) for limit in (0, length, length - 1))
    if wide.lo < 0:
        wide = builder.op("Clip", wide, builder.constant(np.array(-length, wide.dtype)), last)
        wide = builder.op("Where", builder.op("Less", wide, least), builder.op("Add", wide, whole), wide)
    return builder.op("Clip", wide, least, last)


@lowers("Gather")
def lower_gather(node: Node) -> list[Item]:
    """A table of floats is stored in 16 bits and cast after the look-up; indices are clipped into range."""
    builder, axis = node.builder, node.attributes.get("axis", 0)
    table = node.constant(0)
    known = node.constant(1)
    data = node.value(0) if table is None or not np.issubdtype(table.dtype, np.floating) else None
    length = (table.shape if table is not None else node.value(0).shape)[axis]
    if known is not None:
        index = builder.constant(np.where(known < 0, known + length, known).astype(np.int64))
    else:
        index = index_within(node, node.value(1), length)
    if data is not None:
        return [builder.op("Gather", data, index, axis=axis)]
    assert table is not None
    if table.ndim == 2 and axis == 0:
        return [_rows(node, table, index)]
    weight = builder.weight(table, WEIGHT_BITS)
    return [builder.op("Gather", weight, index, axis=axis)]


def _rows(node: Node, table: NDArray[Any], index: Value) -> Value:
    """Rows of an embedding, whose scale is looked up beside them; tied to an output layer it is stored once."""
    builder = node.builder
    turned, scales = builder.scaled_weight(table.T, WEIGHT_BITS)
    rows = builder.op("Gather", builder.op("Transpose", turned, perm=[1, 0]), index, axis=0)
    return builder.op(
        "Mul",
        rows,
        builder.op(
            "Unsqueeze", builder.op("Gather", scales, index, axis=0), builder.constant(np.array([-1], np.int64))
        ),
    )


@lowers("GatherND")
def lower_gather_nd(node: Node) -> list[Item]:
    """With constant indices: a look-up in the flattened tensor."""
    if node.attributes.get("batch_dims"):
        raise node.fail("batch_dims is not lowered")
    value = node.value(0)
    indices = node.needed(1, "its indices").astype(np.int64)
    depth = indices.shape[-1]
    strides = np.array([math.prod(value.shape[i + 1 : depth]) for i in range(depth)], np.int64)
    lengths = np.array(value.shape[:depth], np.int64)
    flat = (np.where(indices < 0, indices + lengths, indices) * strides).sum(axis=-1)
    rows = node.builder.reshape(value, (int(lengths.prod()), *value.shape[depth:]))
    return [node.builder.op("Gather", rows, node.builder.constant(flat), axis=0)]
