"""Tile, Trilu, CumSum, GatherElements, ScatterND, ScatterElements, OneHot, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.operators.moving import index_within
from verifier.exact.lowering.registry import Item, Node, as_float, lowers
from verifier.exact.program.values import BOOL, FLOAT, Value


@lowers("Tile")
def lower_tile(node: Node) -> list[Item]:
    """Repeated along axes, each of which is unfolded for that and folded again."""
    builder, result = node.builder, node.value(0)
    for axis, times in enumerate(int(item) for item in node.needed(1, "its list of repeats").reshape(-1)):
        if times != 1:
            shape = result.shape
            wide = (*shape[:axis], times, *shape[axis:])
            result = builder.reshape(result, (*shape[:axis], 1, *shape[axis:]))
            result = builder.op("Expand", result, builder.constant(np.array(wide, np.int64)))
            result = builder.reshape(result, (*shape[:axis], times * shape[axis], *shape[axis + 1 :]))
    return [result]


@lowers("Trilu")
def lower_trilu(node: Node) -> list[Item]:
    """A triangle; the rest is zero."""
    builder, value = node.builder, node.value(0)
    diagonal = int(node.needed(1, "its diagonal").reshape(())) if node.has(1) else 0
    square = np.ones(value.shape[-2:], np.bool_)
    kept = builder.constant(np.triu(square, diagonal) if node.attributes.get("upper", 1) else np.tril(square, diagonal))
    if value.dtype == BOOL:
        return [builder.op("And", kept, value)]
    chosen = builder.op("Where", kept, as_float(builder, value), builder.constant(np.float64(0)))
    return [chosen if value.dtype == FLOAT else builder.cast(chosen, "int64")]


@lowers("CumSum")
def lower_cum_sum(node: Node) -> list[Item]:
    """Times a triangle of ones."""
    builder, shape = node.builder, node.value(0).shape
    axis = int(node.needed(1, "its axis").reshape(())) % len(shape)
    length = shape[axis]
    triangle = np.triu(np.ones((length, length), np.int8), 1 if node.attributes.get("exclusive") else 0)
    if node.attributes.get("reverse"):
        triangle = triangle.T
    ones = builder.cast(builder.constant(triangle), FLOAT)
    last = [*(i for i in range(len(shape)) if i != axis), axis]

    def emit(bits: int) -> Value:
        turned = builder.op("Transpose", as_float(builder, node.fitted(0, bits)), perm=last)
        rows = builder.reshape(turned, (math.prod(shape) // length, length))
        sums = builder.reshape(builder.op("MatMul", rows, ones), turned.shape)
        return builder.op("Transpose", sums, perm=[last.index(i) for i in range(len(shape))])

    return [node.restored(node.narrowing(emit, 53))]


@lowers("GatherElements")
def lower_gather_elements(node: Node) -> list[Item]:
    """Indices that are computed are clipped into range."""
    axis, value, known = node.attributes.get("axis", 0), node.value(0), node.constant(1)
    length = value.shape[axis]
    if known is not None:
        index = node.builder.constant(np.where(known < 0, known + length, known).astype(np.int64))
    else:
        index = index_within(node, node.value(1), length)
    return [node.builder.op("GatherElements", value, index, axis=axis)]


@lowers("ScatterND", "ScatterElements")
def lower_scatter(node: Node) -> list[Item]:
    """To places known now: a look-up in what was there, followed by what is new."""
    builder = node.builder
    if bytes(node.attributes.get("reduction", b"none")) != b"none":
        raise node.fail("it computes with what was there: gather, compute, and scatter the result")
    places = node.needed(1, "its list of places").astype(np.int64)
    old, new = (as_float(builder, node.value(index)) for index in (0, 2))
    source = np.arange(old.size).reshape(old.shape)
    fresh = old.size + np.arange(new.size).reshape(new.shape)
    if node.proto.op_type == "ScatterND":
        source[tuple(np.moveaxis(places, -1, 0))] = fresh
    else:
        axis = node.attributes.get("axis", 0)
        beside = list(np.indices(places.shape))
        beside[axis] = places
        source[tuple(beside)] = fresh
    both = builder.op("Concat", builder.reshape(old, (old.size,)), builder.reshape(new, (new.size,)), axis=0)
    result = builder.op("Gather", both, builder.constant(source.astype(np.int32)), axis=0)
    dtype = node.value(0).dtype
    return [result if dtype == FLOAT else builder.cast(result, "int64" if dtype != BOOL else BOOL)]


@lowers("OneHot")
def lower_one_hot(node: Node) -> list[Item]:
    """One number where the index is, another elsewhere; negative indices count from the end."""
    builder = node.builder
    depth = int(node.needed(1, "its depth").reshape(()))
    off, on = (builder.constant(np.float64(item)) for item in node.needed(2, "its pair of values"))
    index = as_float(builder, node.value(0))
    axis = node.attributes.get("axis", -1) % (len(index.shape) + 1)
    index = builder.reshape(index, (*index.shape[:axis], 1, *index.shape[axis:]))
    places = np.arange(depth, dtype=np.float64).reshape(-1, *([1] * (len(index.shape) - 1 - axis)))
    here, wrapped = (builder.op("Equal", index, builder.constant(at)) for at in (places, places - depth))
    return [builder.op("Where", builder.op("Or", here, wrapped), on, off)]


@lowers("DepthToSpace", "SpaceToDepth")
def lower_depth(node: Node) -> list[Item]:
    """Channels to blocks of pixels, and back."""
    builder, value = node.builder, node.value(0)
    batch, channels, height, width = value.shape
    block = node.attributes["blocksize"]
    if node.proto.op_type == "SpaceToDepth":
        shape: tuple[int, ...] = (batch, channels, height // block, block, width // block, block)
        order, result = [0, 3, 5, 1, 2, 4], (batch, channels * block**2, height // block, width // block)
    else:
        kept = channels // block**2
        by_column = bytes(node.attributes.get("mode", b"DCR")) == b"CRD"
        shape = (batch, kept, block, block, height, width) if by_column else (batch, block, block, kept, height, width)
        order = [0, 1, 4, 2, 5, 3] if by_column else [0, 3, 4, 1, 5, 2]
        result = (batch, kept, height * block, width * block)
    return [builder.reshape(builder.op("Transpose", builder.reshape(value, shape), perm=order), result)]
