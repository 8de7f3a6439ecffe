"""Arrays of facts about a tensor's elements, which store what is equal along an axis once.

An array of *cells* has as many axes as the tensor, each of the tensor's length or of length 1: a cell of an axis of
length 1 states a fact about all positions of that axis. Hidden features of a network need one cell for all channels,
and attention scores one for each pair of tokens.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[Any]
Shape = tuple[int, ...]

# Largest number of cells of one array, 32 MiB: the pairs of 2,048 tokens. Larger arrays are coarsened, which makes the
# result less precise and never wrong.
MAX_CELLS = 2**22


def with_rank(cells: Cells, rank: int) -> Cells:
    """Add leading axes of length 1 up to a rank, as broadcasting does."""
    return cells.reshape((1,) * (rank - cells.ndim) + cells.shape)


def tidied(cells: Cells) -> Cells:
    """Reduce every axis along which all cells are equal to length 1."""
    for axis, length in enumerate(cells.shape):
        if length > 1:
            first = cells.take([0], axis)
            if bool((cells == first).all()):
                cells = first
    return cells


def coarsened(cells: Cells, join: np.ufunc, limit: int = MAX_CELLS) -> Cells:
    """Join the cells of the longest axes by `join` until at most `limit` are left."""
    while cells.size > limit:
        cells = join.reduce(cells, axis=int(np.argmax(cells.shape)), keepdims=True)
    return cells


def fit(*arrays: Cells) -> bool:
    """Return whether what the arrays broadcast to has at most MAX_CELLS."""
    return math.prod(np.broadcast_shapes(*(array.shape for array in arrays))) <= MAX_CELLS


def fitted(arrays: Sequence[Cells], join: np.ufunc) -> list[Cells]:
    """Return the arrays, each joined to one cell by `join` if they would broadcast to too many."""
    return list(arrays) if fit(*arrays) else [coarsened(array, join, 1) for array in arrays]


def keeps_cells(cells: Cells, old: Shape, new: Shape) -> bool:
    """Return whether a reshape of a tensor repeats no cells."""
    return all(
        _lengths(cells.shape, before) in (_lengths(old, before), _lengths(new, after), [])
        for before, after in _groups(old, new)
    )


def reshaped(cells: Cells, old: Shape, new: Shape, join: np.ufunc | None = None) -> Cells | None:
    """Return the cells of a tensor of shape `old` after its reshape to `new`.

    Axes are matched in groups of equal sizes. Where a group is no longer one of axes, cells are repeated, or joined by
    `join` if they would be too many; without it, the result is None then.
    """
    wide, result, joined = list(cells.shape), [], []
    for before, after in _groups(old, new):
        if not _lengths(cells.shape, before):
            result += [1] * len(after)
            continue
        if _lengths(cells.shape, before) != _lengths(new, after):
            for axis in before:
                wide[axis] = old[axis]
        if math.prod(wide) <= MAX_CELLS:
            result += [new[axis] for axis in after]
            continue
        for axis in before:
            wide[axis] = 1
        joined += before
        result += [1] * len(after)
    if joined:
        if join is None:
            return None
        cells = join.reduce(cells, axis=tuple(joined), keepdims=True)
    return np.broadcast_to(cells, wide).reshape(result)


def _lengths(shape: Shape, axes: list[int]) -> list[int]:
    """Return the lengths of some axes without those of length 1."""
    return [shape[axis] for axis in axes if shape[axis] > 1]


def _groups(old: Shape, new: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the smallest groups of consecutive axes that have the same number of elements before and after."""
    before: list[int] = []
    after: list[int] = []
    left = right = 1
    i = j = 0
    while i < len(old) or j < len(new):
        if i < len(old) and (left <= right or j == len(new)):
            before, left, i = [*before, i], left * old[i], i + 1
        else:
            after, right, j = [*after, j], right * new[j], j + 1
        if left == right and before and after and left > 1:
            yield before, after
            before, after, left, right = [], [], 1, 1
    if before or after:
        yield before, after


def viewed(cells: Cells, shape: Shape, view: Callable[[Cells], Cells]) -> Cells:
    """Return the cells after a NumPy view of the whole tensor, such as a transpose or a slice."""
    # An axis that is broadcast has stride 0, also in the view.
    found = view(np.broadcast_to(cells, shape))
    return found[tuple(slice(None) if stride else slice(1) for stride in found.strides)]


def taken(cells: Cells, indices: NDArray[np.int64], axis: int) -> Cells:
    """Read constant indices along an axis, which the axes of the indices replace."""
    if cells.shape[axis] == 1:
        return cells.reshape(cells.shape[:axis] + (1,) * indices.ndim + cells.shape[axis + 1 :])
    return np.take(cells, indices, axis=axis)


def concatenated(parts: Sequence[Cells], lengths: Sequence[int], axis: int, join: np.ufunc) -> Cells:
    """Put tensors of these lengths one after another along an axis, or join them if that has too many cells."""
    single = [join.reduce(part, axis=axis, keepdims=True) for part in parts]
    shape = np.broadcast_shapes(*(part.shape for part in single))
    if math.prod(shape) * sum(lengths) > MAX_CELLS:
        return functools.reduce(join, fitted(single, join))
    shapes = [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]
    return np.concatenate([np.broadcast_to(part, wide) for part, wide in zip(parts, shapes, strict=True)], axis=axis)
