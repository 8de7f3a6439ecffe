"""Identity, Reshape, Transpose, Slice, Split, Concat, Expand, Squeeze, Unsqueeze: moving elements, an affine read each.

What they read of a constant is a constant too, so weights can be stored in one layout and used in another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.instructions.registry import Site, register, shifted
from verifier.exact.parse import Attribute
from verifier.exact.values import FLOAT, Value

Q = NDArray[Any]
Attributes = Mapping[str, Attribute]


def _constant(value: Value, read: Any) -> Q | None:
    return None if value.constant is None else read(value.constant)


def _infer_identity(site: Site) -> list[Value]:
    (x,) = site.arguments(1)
    return [site.moved(x, x.shape, x.constant)]


def _infer_reshape(site: Site) -> list[Value]:
    x, wanted = site.arguments(2)
    if site.integer("allowzero", 0):
        raise site.fail("allowzero is not allowed")
    dims = [int(dim) for dim in site.known(wanted, "the shape").ravel()]
    if len(dims) > 8 or sum(dim == -1 for dim in dims) > 1 or any(dim < -1 for dim in dims):
        raise site.fail(f"shape {dims}")
    for index, dim in enumerate(dims):
        if dim == 0:
            if index >= len(x.shape):
                raise site.fail(f"shape {dims} copies a dimension that {x.shape} lacks")
            dims[index] = x.shape[index]
    if -1 in dims:
        rest = math.prod(dim for dim in dims if dim != -1)
        if rest == 0 or x.size % rest:
            raise site.fail(f"{x.shape} does not reshape to {dims}")
        dims[dims.index(-1)] = x.size // rest
    if math.prod(dims) != x.size:
        raise site.fail(f"{x.shape} does not reshape to {dims}")
    return [site.moved(x, tuple(dims), _constant(x, lambda q: q.reshape(dims)))]


def _infer_transpose(site: Site) -> list[Value]:
    (x,) = site.arguments(1)
    order = site.integers("perm") or tuple(reversed(range(len(x.shape))))
    if sorted(order) != list(range(len(x.shape))):
        raise site.fail(f"perm {list(order)} does not fit {len(x.shape)} dimensions")
    return [site.moved(x, tuple(x.shape[axis] for axis in order), _constant(x, lambda q: q.transpose(order)))]


def _compute_transpose(
    attributes: Attributes, _values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    return [qs[0].transpose(attributes.get("perm"))]


def _slices(shape: tuple[int, ...], starts: Q, ends: Q, axes: Q, steps: Q) -> tuple[slice, ...]:
    """NumPy slices of an ONNX Slice, which clamps as NumPy does but for negative steps' ends."""
    read = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        dim = shape[axis]
        if step < 0 and end < -dim:
            read[axis] = slice(start, None, step)
        else:
            read[axis] = slice(start, end, step)
    return tuple(read)


def _slice_arguments(site: Site, x: Value) -> tuple[slice, ...]:
    starts = site.known(site.optional(1), "the list of starts").ravel()
    ends = site.known(site.optional(2), "the list of ends").ravel()
    axes_value, steps_value = site.optional(3), site.optional(4)
    axes = np.arange(len(starts)) if axes_value is None else site.known(axes_value, "the list of axes").ravel()
    steps = (
        np.ones(len(starts), np.int64) if steps_value is None else site.known(steps_value, "the list of steps").ravel()
    )
    if not len(starts) == len(ends) == len(axes) == len(steps) or (steps == 0).any():
        raise site.fail("its lists have different lengths, or a step is 0")
    axes = np.array([site.axis(int(axis), len(x.shape)) for axis in axes], np.int64)
    if len(set(axes.tolist())) != len(axes):
        raise site.fail("an axis is sliced twice")
    return _slices(x.shape, starts, ends, axes, steps)


def _infer_slice(site: Site) -> list[Value]:
    if not 3 <= len(site.inputs) <= 5 or site.inputs[0] is None:
        raise site.fail("it needs data, starts and ends")
    x = site.inputs[0]
    read = _slice_arguments(site, x)
    # Lengths follow from the slices alone; no array is made for them.
    shape = tuple(len(range(*part.indices(dim))) for part, dim in zip(read, x.shape, strict=True))
    if 0 in shape:
        raise site.fail("it reads nothing")
    return [site.moved(x, shape, _constant(x, lambda q: q[read]))]


def _compute_slice(
    _attributes: Attributes, values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    lists = [None if q is None else q.ravel() for q in qs[1:]]
    starts, ends = lists[0], lists[1]
    assert starts is not None
    assert ends is not None
    axes = lists[2] if len(lists) > 2 and lists[2] is not None else np.arange(len(starts))
    steps = lists[3] if len(lists) > 3 and lists[3] is not None else np.ones(len(starts), np.int64)
    rank = len(values[0].shape)
    return [qs[0][_slices(values[0].shape, starts, ends, axes % rank, steps)]]


def _infer_split(site: Site) -> list[Value]:
    x = site.inputs[0] if site.inputs else None
    if x is None or len(site.inputs) > 2:
        raise site.fail("it has no input or too many")
    axis = site.axis(site.integer("axis", 0), len(x.shape))
    parts = len(site.outputs)
    lengths_value = site.optional(1)
    if lengths_value is not None:
        lengths = [int(length) for length in site.known(lengths_value, "the list of lengths").ravel()]
    else:
        if site.integer("num_outputs", parts) != parts or x.shape[axis] % parts:
            raise site.fail("its parts are not equal: give their lengths")
        lengths = [x.shape[axis] // parts] * parts
    if len(lengths) != parts or min(lengths) < 1 or sum(lengths) != x.shape[axis]:
        raise site.fail(f"lengths {lengths} do not make up {x.shape[axis]}")
    results, start = [], 0
    for index, length in enumerate(lengths):
        read = tuple(slice(start, start + length) if i == axis else slice(None) for i in range(len(x.shape)))
        shape = tuple(length if i == axis else dim for i, dim in enumerate(x.shape))
        results.append(site.moved(x, shape, None if x.constant is None else x.constant[read], index))
        start += length
    return results


def _compute_split(
    attributes: Attributes, _values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    axis = int(attributes.get("axis", 0)) % qs[0].ndim  # type: ignore[arg-type]
    ends = np.cumsum([output.shape[axis] for output in outputs])[:-1]
    return list(np.split(qs[0], ends, axis=axis))


def _infer_concat(site: Site) -> list[Value]:
    values = site.arguments(1, 4096)
    axis = site.axis(site.integer("axis"), len(values[0].shape))
    first = values[0]
    for value in values:
        same = [dim for i, dim in enumerate(value.shape) if i != axis] == [
            d for i, d in enumerate(first.shape) if i != axis
        ]
        if len(value.shape) != len(first.shape) or not same or value.dtype != first.dtype:
            raise site.fail(f"parts of shapes {[value.shape for value in values]} do not fit together")
    grid = site.align(*values)
    bounds = [value.aligned(grid) for value in values]
    shape = tuple(sum(v.shape[axis] for v in values) if i == axis else dim for i, dim in enumerate(first.shape))
    constant = None
    if first.dtype != FLOAT and all(value.constant is not None for value in values):
        constant = np.concatenate([value.constant for value in values], axis=axis)
    lo, hi = min(lo for lo, _ in bounds), max(hi for _, hi in bounds)
    return [site.result(first.dtype, shape, grid, lo, hi, constant=constant)]


def _compute_concat(
    attributes: Attributes, values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    parts = [shifted(q, value, outputs[0].grid) for q, value in zip(qs, values, strict=True)]
    return [np.concatenate(parts, axis=int(attributes["axis"]))]  # type: ignore[arg-type]


def _infer_expand(site: Site) -> list[Value]:
    x, wanted = site.arguments(2)
    dims = [int(dim) for dim in site.known(wanted, "the shape").ravel()]
    if len(dims) > 8 or any(dim < 1 for dim in dims) or math.prod(dims) > 2**31:
        raise site.fail(f"shape {dims}")
    try:
        shape = np.broadcast_shapes(x.shape, tuple(dims))
    except ValueError as error:
        raise site.fail(f"{x.shape} does not expand to {dims}") from error
    # A constant is not kept: expanding could make a small file's constant as large as one likes.
    return [site.moved(x, shape, None)]


def _infer_squeeze(site: Site) -> list[Value]:
    x = site.inputs[0] if site.inputs else None
    if x is None or len(site.inputs) > 2:
        raise site.fail("it has no input or too many")
    axes_value = site.optional(1)
    if site.op == "Unsqueeze":
        listed = site.known(axes_value, "the list of axes").ravel()
        rank = len(x.shape) + len(listed)
        axes = {site.axis(int(axis), rank) for axis in listed}
        if len(axes) != len(listed) or rank > 8:
            raise site.fail("its axes repeat or are too many")
        dims = iter(x.shape)
        shape = tuple(1 if axis in axes else next(dims) for axis in range(rank))
    else:
        if axes_value is None:
            axes = {axis for axis, dim in enumerate(x.shape) if dim == 1}
        else:
            axes = {site.axis(int(a), len(x.shape)) for a in site.known(axes_value, "the list of axes").ravel()}
        if any(x.shape[axis] != 1 for axis in axes):
            raise site.fail(f"it squeezes axes {sorted(axes)} of {x.shape}")
        shape = tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)
    return [site.moved(x, shape, _constant(x, lambda q: q.reshape(shape)))]


def _compute_reshaped(
    _attributes: Attributes, _values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    return [qs[0].reshape(outputs[0].shape)]


def _compute_expand(
    _attributes: Attributes, _values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    return [np.broadcast_to(qs[0], outputs[0].shape)]


register("Identity", infer=_infer_identity, compute=_compute_reshaped)
register("Reshape", infer=_infer_reshape, compute=_compute_reshaped)
register("Transpose", infer=_infer_transpose, compute=_compute_transpose)
register("Slice", infer=_infer_slice, compute=_compute_slice)
register("Split", infer=_infer_split, compute=_compute_split)
register("Concat", infer=_infer_concat, compute=_compute_concat)
register("Expand", infer=_infer_expand, compute=_compute_expand)
register("Squeeze", "Unsqueeze", infer=_infer_squeeze, compute=_compute_reshaped)
