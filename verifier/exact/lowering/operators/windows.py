"""Windows that slide over spatial axes: what Conv and the poolings read, as one look-up.

Channels come last while windows are gathered, so that a look-up moves whole rows of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.registry import Node
from verifier.exact.program.values import Value


@dataclass(frozen=True)
class Windows:
    """Where each window reads: flat spatial indices [positions, cells], one past the end for padding.

    `counted` says of each cell whether it lies on the tensor or on its explicit padding; `shape` is how the positions
    lie in space.
    """

    index: NDArray[np.int32]
    counted: NDArray[np.bool_]
    shape: tuple[int, ...]
    size: int

    @property
    def padding(self) -> NDArray[np.bool_]:
        """Which cells lie outside of the tensor."""
        return np.asarray(self.index == self.size)


def windows(node: Node, size: tuple[int, ...], kernel: tuple[int, ...]) -> Windows:
    """The windows that a node's strides, dilations and pads describe over spatial axes of that size."""
    rank, attributes = len(size), node.attributes
    if len(kernel) != rank:
        raise node.fail(f"its kernel has {len(kernel)} axes where its operand has {rank} spatial ones")
    strides = attributes.get("strides") or [1] * rank
    dilations = attributes.get("dilations") or [1] * rank
    index = np.zeros([1] * (2 * rank), np.int64)
    inside, counted = np.ones_like(index, np.bool_), np.ones_like(index, np.bool_)
    shape = []
    for axis, (dim, cells, stride, dilation) in enumerate(zip(size, kernel, strides, dilations, strict=True)):
        before, after = _pads(node, axis, dim, (cells - 1) * dilation + 1)
        starts = _starts(node, dim, before, after, (cells - 1) * dilation + 1, stride)
        place = starts[:, None] + np.arange(cells) * dilation
        beside = [1] * (2 * rank)
        beside[axis], beside[rank + axis] = place.shape
        place = place.reshape(beside)
        index = index * dim + place
        inside = inside & (place >= 0) & (place < dim)
        counted = counted & (place < dim + after)
        shape.append(len(starts))
    flat, whole = (math.prod(shape), math.prod(kernel)), math.prod(size)
    found = np.where(inside, index, whole).astype(np.int32).reshape(flat)
    return Windows(found, np.broadcast_to(counted, inside.shape).reshape(flat), tuple(shape), whole)


def _pads(node: Node, axis: int, dim: int, extent: int) -> tuple[int, int]:
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


def _starts(node: Node, dim: int, before: int, after: int, extent: int, stride: int) -> NDArray[np.int64]:
    """Where along an axis windows start; with ceil_mode the last may reach over the padding, but not start on it."""
    free = dim + before + after - extent
    if free < 0:
        raise node.fail(f"its kernel reaches over {extent} elements, its padded operand has {dim + before + after}")
    starts = np.arange(0, free + 1, stride)
    if node.attributes.get("ceil_mode") and free % stride and starts[-1] + stride < dim + before:
        starts = np.append(starts, starts[-1] + stride)
    return starts - before


def gathered(node: Node, x: Value, found: Windows, padding: int) -> Value:
    """The cells of each window of x [batch, channels, *space]: [batch, positions, cells, channels].

    Padding counts as `padding` steps of x's grid.
    """
    builder = node.builder
    batch, channels = x.shape[:2]
    rows = builder.op("Transpose", builder.reshape(x, (batch, channels, found.size)), perm=[0, 2, 1])
    if found.padding.any():
        filler = builder.scale(builder.constant(np.float64(padding)), x.grid)
        row = builder.op("Expand", filler, builder.constant(np.array((batch, 1, channels), np.int64)))
        rows = builder.op("Concat", rows, row, axis=1)
    flat = found.index.reshape(-1)
    if not np.array_equal(flat, np.arange(rows.shape[1])):
        rows = builder.op("Gather", rows, builder.constant(flat), axis=1)
    return builder.reshape(rows, (batch, *found.index.shape, channels))


def spread(node: Node, rows: Value, shape: tuple[int, ...]) -> Value:
    """Rows [batch, positions, channels] as [batch, channels, *space]."""
    batch, _, channels = rows.shape
    return node.builder.reshape(node.builder.op("Transpose", rows, perm=[0, 2, 1]), (batch, channels, *shape))
