"""Operators that slide a window over spatial axes: convolutions and poolings.

Lowers AveragePool, Conv, ConvTranspose, GlobalAveragePool, GlobalMaxPool, LpPool, MaxPool, over any number of spatial
axes. The cells of all windows are one look-up. Channels are the last axis while they are gathered, so that the look-up
moves whole rows of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.float_node import WIDE_BITS, FloatNode, Operand, absolute, as_constant, as_float
from verifier.exact.lowering.operators.functions import square_root
from verifier.exact.lowering.operators.products import constant_bias
from verifier.exact.program.values import Value

# Bits of what a convolution's weight is multiplied with. Windows have no per-row scaling, and deep networks amplify the
# rounding errors of their first layers, so this is more than PRODUCT_BITS.
CONVOLUTION_BITS = 34
# Bits of what LpPool squares: a square has twice as many, of the 53 less those that the sum over a window needs.
SQUARED_BITS = 26
# Axis 2: the cells of gathered windows, and flattened space.
AXIS_2 = np.array([2], np.int64)


@dataclass(frozen=True)
class SlidingWindows:
    """Where each window reads.

    `index` [positions, cells] are flat spatial indices; `size`, one past the last, stands for padding. `counted`
    [positions, cells] tells whether a cell lies on the tensor or on its explicit padding. `shape` is that of the
    positions in space.
    """

    index: NDArray[np.int32]
    counted: NDArray[np.bool_]
    shape: tuple[int, ...]
    size: int

    @property
    def padding(self) -> NDArray[np.bool_]:
        """Which cells [positions, cells] lie outside of the tensor."""
        return np.asarray(self.index == self.size)


def _windows(node: FloatNode, size: tuple[int, ...], kernel: tuple[int, ...]) -> SlidingWindows:
    """Return the windows that a node's strides, dilations and pads describe over spatial axes of that size."""
    rank, attributes = len(size), node.attributes
    if len(kernel) != rank:
        raise node.fail(
            f"its kernel has {len(kernel)} axes, its operand has {rank} spatial axes: export the model with matching "
            "shapes"
        )
    strides = attributes.get("strides") or [1] * rank
    dilations = attributes.get("dilations") or [1] * rank
    index = np.zeros([1] * (2 * rank), np.int64)
    inside, counted = np.ones_like(index, np.bool_), np.ones_like(index, np.bool_)
    shape = []
    for axis, (dim, cells, stride, dilation) in enumerate(zip(size, kernel, strides, dilations, strict=True)):
        extent = (cells - 1) * dilation + 1
        before, after = _pads(node, axis, dim, extent)
        starts = _starts(node, (before, dim, after), extent, stride)
        place = starts[:, None] + np.arange(cells) * dilation
        aligned = [1] * (2 * rank)
        aligned[axis], aligned[rank + axis] = place.shape
        place = place.reshape(aligned)
        index = index * dim + place
        inside = inside & (place >= 0) & (place < dim)
        counted = counted & (place < dim + after)
        shape.append(len(starts))
    flat, whole = (math.prod(shape), math.prod(kernel)), math.prod(size)
    found = np.where(inside, index, whole).astype(np.int32).reshape(flat)
    return SlidingWindows(found, np.broadcast_to(counted, inside.shape).reshape(flat), tuple(shape), whole)


def _pads(node: FloatNode, axis: int, dim: int, extent: int) -> tuple[int, int]:
    """Return how many cells of padding lie before and after an axis."""
    attributes = node.attributes
    automatic = bytes(attributes.get("auto_pad", b"NOTSET")).decode()
    if automatic == "VALID":
        return 0, 0
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        stride = (attributes.get("strides") or [1] * (axis + 1))[axis]
        total = max((-(-dim // stride) - 1) * stride + extent - dim, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if automatic == "SAME_UPPER" else (more, less)
    pads = attributes.get("pads")
    return (pads[axis], pads[len(pads) // 2 + axis]) if pads else (0, 0)


def _starts(node: FloatNode, lengths: tuple[int, int, int], extent: int, stride: int) -> NDArray[np.int64]:
    """Return where along an axis windows start; `lengths` are those of leading padding, axis and trailing padding.

    With ceil_mode the last window may extend over the trailing padding, but not start on it.
    """
    before, dim, after = lengths
    free = dim + before + after - extent
    if free < 0:
        raise node.fail(
            f"its kernel spans {extent} elements, its padded operand has {dim + before + after}: use a smaller kernel "
            "or more padding"
        )
    starts = np.arange(0, free + 1, stride)
    if node.attributes.get("ceil_mode") and free % stride and starts[-1] + stride < dim + before:
        starts = np.append(starts, starts[-1] + stride)
    return starts - before


def _gathered(node: FloatNode, x: Value, windows: SlidingWindows, padding: int) -> Value:
    """Gather the cells of each window of x [batch, channels, *space]: [batch, positions, cells, channels].

    Padding counts as `padding` steps of x's grid.
    """
    builder = node.builder
    batch, channels = x.shape[:2]
    rows = builder.op("Transpose", builder.reshape(x, (batch, channels, windows.size)), perm=[0, 2, 1])
    if windows.padding.any():
        filler = builder.scale(builder.constant(np.float64(padding)), x.grid)
        row = builder.op("Expand", filler, builder.constant(np.array((batch, 1, channels), np.int64)))
        rows = builder.op("Concat", rows, row, axis=1)
    flat = windows.index.reshape(-1)
    if not np.array_equal(flat, np.arange(rows.shape[1])):
        rows = builder.op("Gather", rows, builder.constant(flat), axis=1)
    return builder.reshape(rows, (batch, *windows.index.shape, channels))


def _in_space(node: FloatNode, rows: Value, shape: tuple[int, ...]) -> Value:
    """Turn rows [batch, positions, channels] into [batch, channels, *space]."""
    batch, _, channels = rows.shape
    return node.builder.reshape(node.builder.op("Transpose", rows, perm=[0, 2, 1]), (batch, channels, *shape))


def lower_conv(node: FloatNode) -> list[Operand]:
    """Conv: a matrix product of the windows with the constant weight, which has a scale per output channel."""
    array = node.require_constant(1, "its weight")
    outputs, inner, *kernel = array.shape
    windows = _windows(node, node.value(0).shape[2:], tuple(kernel))
    return [_convolved(node, array.reshape(outputs, inner, -1), windows)]


def lower_conv_transpose(node: FloatNode) -> list[Operand]:
    """ConvTranspose: as Conv, where a window holds the elements that are multiplied into one element of the result."""
    array = node.require_constant(1, "its weight")
    inputs, outputs, *kernel = array.shape
    groups = int(node.attributes.get("group", 1))
    windows = _transposed_windows(node, node.value(0).shape[2:], tuple(kernel))
    parts = array.reshape(groups, inputs // groups, outputs, -1).transpose(0, 2, 1, 3)
    return [_convolved(node, parts.reshape(groups * outputs, inputs // groups, -1), windows)]


def _transposed_windows(node: FloatNode, size: tuple[int, ...], kernel: tuple[int, ...]) -> SlidingWindows:
    """Return, for each element of the result of a ConvTranspose, the elements that are multiplied into it."""
    rank = len(size)
    strides = node.attributes.get("strides") or [1] * rank
    dilations = node.attributes.get("dilations") or [1] * rank
    node.attributes.get("kernel_shape")  # it is the weight's
    index = np.zeros([1] * (2 * rank), np.int64)
    inside = np.ones_like(index, np.bool_)
    shape = []
    for axis, (dim, cells, stride, dilation) in enumerate(zip(size, kernel, strides, dilations, strict=True)):
        before, length = _transposed_extent(node, axis, (dim, stride, (cells - 1) * dilation + 1))
        steps = np.arange(length)[:, None] + before - np.arange(cells) * dilation
        place = steps // stride
        aligned = [1] * (2 * rank)
        aligned[axis], aligned[rank + axis] = place.shape
        index = index * dim + place.reshape(aligned)
        inside = inside & ((steps % stride == 0) & (place >= 0) & (place < dim)).reshape(aligned)
        shape.append(length)
    flat = np.where(inside, index, math.prod(size)).reshape(math.prod(shape), math.prod(kernel))
    return SlidingWindows(flat.astype(np.int32), np.ones_like(flat, np.bool_), tuple(shape), math.prod(size))


def _transposed_extent(node: FloatNode, axis: int, lengths: tuple[int, int, int]) -> tuple[int, int]:
    """Return the leading padding and the length of the result along an axis; `lengths`: operand, stride, kernel."""
    dim, stride, extent = lengths
    attributes = node.attributes
    extra = (attributes.get("output_padding") or [0] * (axis + 1))[axis]
    full = stride * (dim - 1) + extra + extent
    mode = bytes(attributes.get("auto_pad", b"NOTSET"))
    listed, pads = attributes.get("output_shape"), attributes.get("pads")
    if not listed and mode in (b"NOTSET", b"VALID"):
        before, after = (pads[axis], pads[len(pads) // 2 + axis]) if pads and mode == b"NOTSET" else (0, 0)
        return before, full - before - after
    length = listed[len(listed) - (len(node.value(0).shape) - 2) + axis] if listed else dim * stride
    total = full - length
    if total < 0:
        raise node.fail(f"its windows give {full} elements, fewer than the {length} of its result: give its pads")
    return (total // 2 if mode == b"SAME_UPPER" else total - total // 2), length


def _convolved(node: FloatNode, array: NDArray[Any], windows: SlidingWindows) -> Value:
    """Emit the products of the windows with a weight [outputs, inputs of a group, cells], plus the bias."""
    builder = node.builder
    outputs, inner, cells = array.shape
    groups = int(node.attributes.get("group", 1))
    batch, positions = node.value(0).shape[0], windows.index.shape[0]

    # The rows of the weight are the cells of a window, each with all channels of a group.
    weight, scales = builder.scaled_weight(np.ascontiguousarray(array.transpose(2, 1, 0)).reshape(-1, outputs))
    if groups > 1:
        parted = builder.reshape(weight, (cells * inner, groups, outputs // groups))
        weight = builder.op("Transpose", parted, perm=[1, 0, 2])

    def product(bits: int) -> Value:
        rows = _gathered(node, as_float(builder, node.fitted(0, bits)), windows, 0)
        if groups == 1:
            return builder.op("MatMul", builder.reshape(rows, (batch, positions, cells * inner)), weight)
        parts = builder.reshape(rows, (batch, positions, cells, groups, inner))
        parts = builder.op("Transpose", parts, perm=[0, 3, 1, 2, 4])
        parts = builder.op("MatMul", builder.reshape(parts, (batch, groups, positions, cells * inner)), weight)
        return builder.reshape(builder.op("Transpose", parts, perm=[0, 2, 1, 3]), (batch, positions, outputs))

    def emit(bits: int) -> Value:
        result = builder.op("Mul", product(bits), scales)
        if not node.has(2):
            return result
        return builder.op("Add", result, constant_bias(node, node.require_constant(2, "its bias")))

    return _in_space(node, node.widest_provable(emit, CONVOLUTION_BITS), windows.shape)


def _pooling_windows(node: FloatNode) -> SlidingWindows:
    return _windows(node, node.value(0).shape[2:], tuple(node.attributes["kernel_shape"]))


def lower_max_pool(node: FloatNode) -> list[Operand]:
    """MaxPool: exact. Padding counts as the least number that the operand is proven to take."""
    builder, windows = node.builder, _pooling_windows(node)
    if windows.padding.all(axis=1).any():
        raise node.fail("one of its windows contains padding only: use less padding than the kernel's size")
    x = as_float(builder, node.value(0))
    maxima = builder.op("ReduceMax", _gathered(node, x, windows, x.lo), builder.constant(AXIS_2), keepdims=0)
    return [_in_space(node, maxima, windows.shape)]


def lower_average_pool(node: FloatNode) -> list[Operand]:
    """AveragePool: exact sums times the reciprocal of the count, which with count_include_pad includes padding."""
    builder, windows = node.builder, _pooling_windows(node)
    counted = windows.counted if node.attributes.get("count_include_pad") else ~windows.padding
    shares = 1.0 / counted.sum(axis=1, keepdims=True).astype(np.float64)
    # Where all windows have the same count, one number is enough.
    reciprocals = as_constant(builder, shares[0] if (shares == shares[0]).all() else shares)

    def emit(bits: int) -> Value:
        cells = _gathered(node, as_float(builder, node.fitted(0, bits)), windows, 0)
        return builder.op("Mul", builder.op("ReduceSum", cells, builder.constant(AXIS_2), keepdims=0), reciprocals)

    return [_in_space(node, node.widest_provable(emit, WIDE_BITS), windows.shape)]


def lower_lp_pool(node: FloatNode) -> list[Operand]:
    """LpPool: the sum of the magnitudes of a window for p = 1, the root of the sum of their squares for p = 2."""
    builder, power = node.builder, int(node.attributes.get("p", 2))
    if power not in (1, 2):
        raise node.fail(f"its p is {power}: use a p of 1 or 2")
    windows = _pooling_windows(node)

    def emit(bits: int) -> Value:
        x = as_float(builder, node.fitted(0, bits))
        terms = absolute(builder, x) if power == 1 else builder.op("Mul", x, x)
        cells = _gathered(node, terms, windows, 0)
        total = builder.op("ReduceSum", cells, builder.constant(AXIS_2), keepdims=0)
        return total if power == 1 else square_root(builder, total)

    return [_in_space(node, node.widest_provable(emit, 53 if power == 1 else SQUARED_BITS), windows.shape)]


def lower_global_pool(node: FloatNode) -> list[Operand]:
    """GlobalMaxPool, GlobalAveragePool: a reduction over all of space."""
    builder, x = node.builder, node.value(0)
    batch, channels, *size = x.shape
    kept = (batch, channels, *([1] * len(size)))

    def emit(bits: int) -> Value:
        flat = builder.reshape(as_float(builder, node.fitted(0, bits)), (batch, channels, math.prod(size)))
        if node.proto.op_type == "GlobalMaxPool":
            return builder.reshape(builder.op("ReduceMax", flat, builder.constant(AXIS_2), keepdims=0), kept)
        total = builder.op("ReduceSum", flat, builder.constant(AXIS_2), keepdims=0)
        mean = builder.op("Mul", total, as_constant(builder, np.array(1.0 / math.prod(size))))
        return builder.reshape(mean, kept)

    return [node.widest_provable(emit, 53 if node.proto.op_type == "GlobalMaxPool" else WIDE_BITS)]
