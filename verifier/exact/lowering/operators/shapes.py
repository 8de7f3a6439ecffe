"""Operators that change a tensor's shape, or the order or number of its elements.

Lowers Concat, DepthToSpace, Expand, EyeLike, Flatten, Pad, Reshape, Shape, Size, Slice, SpaceToDepth, Split, Squeeze,
Tile, Transpose, Unsqueeze. Shapes are static, so what only depends on a shape is a constant.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.float_node import Array, FloatNode, Operand, as_constant
from verifier.exact.program.values import FLOAT, Value


def lower_reshape(node: FloatNode) -> list[Operand]:
    """Reshape to a constant shape; 0 keeps a dimension unless allowzero is set, -1 is inferred."""
    value = node.value(0)
    dims = [int(dim) for dim in node.require_constant(1, "its shape").reshape(-1)]
    if not node.attributes.get("allowzero"):
        dims = [value.shape[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    if -1 in dims:
        dims[dims.index(-1)] = value.size // math.prod(dim for dim in dims if dim != -1)
    return [node.builder.reshape(value, tuple(dims))]


def lower_flatten(node: FloatNode) -> list[Operand]:
    """Flatten to two dimensions, split at an axis."""
    value, axis = node.value(0), node.attributes.get("axis", 1)
    return [node.builder.reshape(value, (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))]


def lower_transpose(node: FloatNode) -> list[Operand]:
    """Transpose: the same instruction."""
    value = node.value(0)
    order = list(node.attributes.get("perm") or reversed(range(len(value.shape))))
    return [node.builder.op("Transpose", value, perm=order)]


def lower_slice(node: FloatNode) -> list[Operand]:
    """Slice with constant bounds, which are operands or, in older opsets, attributes."""
    names = ("starts", "ends", "axes", "steps")
    starts, ends, axes, steps = (node.integers(index, name, f"its {name}") for index, name in enumerate(names, 1))
    axes = axes if axes is not None else list(range(len(starts or [])))
    bounds = [np.array(item, np.int64) for item in (starts, ends, axes, steps) if item is not None]
    return [node.builder.op("Slice", node.value(0), *(node.builder.constant(bound) for bound in bounds))]


def lower_split(node: FloatNode) -> list[Operand]:
    """Split by constant lengths; without them in equal parts, of which the last may be shorter."""
    value, axis = node.value(0), node.attributes.get("axis", 0)
    parts = len(node.proto.output)
    lengths = node.integers(1, "split", "its list of lengths")
    if lengths is None:
        size = value.shape[axis]
        each = -(-size // parts)
        lengths = [min(each, size - each * part) for part in range(parts)]
    filled = [length for length in lengths if length]
    listed = node.builder.constant(np.array(filled, np.int64))
    made = iter(node.builder.ops("Split", (value, listed), len(filled), axis=axis) if len(filled) > 1 else [value])
    empty = np.empty([0 if at == axis % len(value.shape) else dim for at, dim in enumerate(value.shape)], np.float32)
    return [next(made) if length else empty for length in lengths]


def lower_concat(node: FloatNode) -> list[Operand]:
    """Concat on the finest grid; operands are narrowed where they would not fit it, and empty ones are left out."""
    indices = [index for index in range(len(node.proto.input)) if node.operand(index).size]
    if len(indices) == 1:
        return [node.operand(indices[0])]

    def emit(bits: int) -> Value:
        operands = [node.fitted(index, bits) for index in indices]
        if len({operand.dtype for operand in operands}) > 1:  # int64 beside int32, as which inputs of integers are kept
            dtype = FLOAT if any(operand.dtype == FLOAT for operand in operands) else "int64"
            operands = [node.builder.cast(operand, dtype) for operand in operands]
        return node.builder.op("Concat", *operands, axis=node.attributes["axis"])

    return [node.widest_provable(emit, 53)]


def lower_expand(node: FloatNode) -> list[Operand]:
    """Expand to a constant shape."""
    value = node.value(0)
    shape = node.require_constant(1, "its shape").astype(np.int64).reshape(-1)
    return [node.builder.op("Expand", value, node.builder.constant(shape))]


def lower_squeeze(node: FloatNode) -> list[Operand]:
    """Squeeze: a reshape without axes of length 1, all of them where none are listed."""
    value = node.value(0)
    axes = node.integers(1, "axes", "its list of axes")
    if axes is None:
        dropped = {axis for axis, dim in enumerate(value.shape) if dim == 1}
    else:
        dropped = {axis % len(value.shape) for axis in axes}
    return [node.builder.reshape(value, tuple(dim for axis, dim in enumerate(value.shape) if axis not in dropped))]


def lower_unsqueeze(node: FloatNode) -> list[Operand]:
    """Unsqueeze: a reshape with more axes of length 1."""
    value = node.value(0)
    axes = node.integers(1, "axes", "its list of axes")
    assert axes is not None
    rank = len(value.shape) + len(axes)
    added = {axis % rank for axis in axes}
    dims = iter(value.shape)
    return [node.builder.reshape(value, tuple(1 if axis in added else next(dims) for axis in range(rank)))]


def lower_tile(node: FloatNode) -> list[Operand]:
    """Tile: for each axis that repeats, an Expand along a new axis before it, which is then merged with it."""
    builder, result = node.builder, node.value(0)
    for axis, times in enumerate(int(item) for item in node.require_constant(1, "its list of repeats").reshape(-1)):
        if times != 1:
            shape = result.shape
            wide = (*shape[:axis], times, *shape[axis:])
            result = builder.reshape(result, (*shape[:axis], 1, *shape[axis:]))
            result = builder.op("Expand", result, builder.constant(np.array(wide, np.int64)))
            result = builder.reshape(result, (*shape[:axis], times * shape[axis], *shape[axis + 1 :]))
    return [result]


def lower_pad(node: FloatNode) -> list[Operand]:
    """Pad with a constant, or by reflection, repetition of the edge or wrapping; negative pads remove elements."""
    builder = node.builder
    mode = bytes(node.attributes.get("mode", b"constant")).decode()
    result = node.value(0)
    rank = len(result.shape)
    pads = node.integers(1, "pads", "its list of pads") or [0] * (2 * rank)
    axes = list(range(rank))
    if node.has(3):
        axes = [int(axis) % rank for axis in node.require_constant(3, "its list of axes")]
    filler = np.array(node.attributes.get("value", 0.0), np.float32)
    filler = node.require_constant(2, "its padding").reshape(()) if node.has(2) else filler
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        result = _shortened(builder, result, axis, max(-before, 0), max(-after, 0))
        lengths = (max(before, 0), max(after, 0))
        if mode == "constant":
            result = _lengthened(builder, result, axis, lengths, filler)
        elif any(lengths):
            index = np.pad(np.arange(result.shape[axis]), lengths, mode=mode)  # type: ignore[call-overload]
            result = builder.op("Gather", result, builder.constant(index.astype(np.int32)), axis=axis)
    return [result]


def _shortened(builder: Builder, value: Value, axis: int, before: int, after: int) -> Value:
    if before == after == 0:
        return value
    bounds = (before, value.shape[axis] - after, axis)
    return builder.op("Slice", value, *(builder.constant(np.array([bound], np.int64)) for bound in bounds))


def _lengthened(builder: Builder, value: Value, axis: int, lengths: tuple[int, int], filler: Array) -> Value:
    parts = [value]
    for length, place in zip(lengths, (0, 2), strict=True):
        if length:
            shape = (*value.shape[:axis], length, *value.shape[axis + 1 :])
            wide = builder.constant(np.array(shape, np.int64))
            part = builder.op("Expand", builder.cast(as_constant(builder, filler), value.dtype), wide)
            parts.insert(place, part)
    return builder.op("Concat", *parts, axis=axis) if len(parts) > 1 else value


def lower_depth_to_space(node: FloatNode) -> list[Operand]:
    """DepthToSpace: channels to blocks of pixels, in the order DCR or CRD."""
    value = node.value(0)
    batch, channels, height, width = value.shape
    block = node.attributes["blocksize"]
    kept = channels // block**2
    by_column = bytes(node.attributes.get("mode", b"DCR")) == b"CRD"
    shape = (batch, kept, block, block, height, width) if by_column else (batch, block, block, kept, height, width)
    order = [0, 1, 4, 2, 5, 3] if by_column else [0, 3, 4, 1, 5, 2]
    return [_rearranged(node.builder, value, shape, order, (batch, kept, height * block, width * block))]


def lower_space_to_depth(node: FloatNode) -> list[Operand]:
    """SpaceToDepth: blocks of pixels to channels, in the order DCR or CRD."""
    value = node.value(0)
    batch, channels, height, width = value.shape
    block = node.attributes["blocksize"]
    shape = (batch, channels, height // block, block, width // block, block)
    result = (batch, channels * block**2, height // block, width // block)
    by_column = bytes(node.attributes.get("mode", b"DCR")) == b"CRD"
    return [_rearranged(node.builder, value, shape, [0, 1, 3, 5, 2, 4] if by_column else [0, 3, 5, 1, 2, 4], result)]


def _rearranged(
    builder: Builder, value: Value, shape: tuple[int, ...], order: list[int], result: tuple[int, ...]
) -> Value:
    """Split axes, transpose, and merge axes."""
    return builder.reshape(builder.op("Transpose", builder.reshape(value, shape), perm=order), result)


def lower_shape(node: FloatNode) -> list[Operand]:
    """Shape: the dimensions, or those from `start` to `end`, as a constant."""
    whole = np.array(node.operand(0).shape, np.int64)
    return [whole[node.attributes.get("start", 0) : node.attributes.get("end")]]


def lower_size(node: FloatNode) -> list[Operand]:
    """Size: the number of elements, as a constant."""
    return [np.array(node.operand(0).size, np.int64)]


def lower_eye_like(node: FloatNode) -> list[Operand]:
    """EyeLike: ones on a diagonal, as a constant."""
    value = node.value(0)
    default = np.dtype(np.float32 if value.dtype == FLOAT else value.dtype)
    named = node.attributes.get("dtype")
    dtype = default if named is None else onnx.helper.tensor_dtype_to_np_dtype(named)
    rows, columns = value.shape
    return [np.eye(rows, columns, k=node.attributes.get("k", 0), dtype=dtype)]
