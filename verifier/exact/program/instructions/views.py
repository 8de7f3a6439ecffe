"""Identity, Reshape, Transpose, Slice, Split, Concat, Expand, Squeeze, Unsqueeze: moving elements, an affine read each.

What they read of a constant is a constant too, so weights can be stored in one layout and used in another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.registry import Site, register, shifted
from verifier.exact.program.parse import Attribute
from verifier.exact.program.values import FLOAT, Value

Q = NDArray[Any]
Attributes = Mapping[str, Attribute]


def _constant(value: Value, read: Any) -> Q | None:
    return None if value.constant is None else read(value.constant)


def _infer_identity(site: Site) -> list[Value]:
    (x,) = site.arguments(1)
    return [site.moved(x, x.shape, x.constant)]


def _infer_reshape(site: Site) -> list[Value]:
    x, wanted = site.arguments(2)
    if site.flag("allowzero", 0):
        raise site.fail("allowzero is not allowed")
    dims = site.known(wanted, "the shape")
    if sum(dim == -1 for dim in dims) > 1 or any(dim < -1 for dim in dims):
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
    site.spend(0 if x.constant is None else x.size)  # a transposed constant is copied
    return [site.moved(x, tuple(dims), _constant(x, lambda q: q.reshape(dims)))]


def _infer_transpose(site: Site) -> list[Value]:
    (x,) = site.arguments(1)
    order = site.integers("perm")
    if order is None:
        order = tuple(reversed(range(len(x.shape))))
    if sorted(order) != list(range(len(x.shape))):
        raise site.fail(f"perm {list(order)} does not fit {len(x.shape)} dimensions")
    return [site.moved(x, tuple(x.shape[axis] for axis in order), _constant(x, lambda q: q.transpose(order)))]


def _compute_transpose(
    attributes: Attributes, _values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    return [qs[0].transpose(attributes.get("perm"))]


def _slices(shape: tuple[int, ...], starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Any:
    """NumPy slices of an ONNX Slice, which clamps as NumPy does but when it goes backwards."""
    read = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dim = shape[axis]
        if step < 0:
            read[axis] = slice(max(start, -dim), None if end < -dim else end, step)
        else:
            read[axis] = slice(start, end, step)
    return tuple(read)


def _slice_arguments(site: Site, x: Value) -> Any:
    starts = site.known(site.optional(1), "the list of starts")
    ends = site.known(site.optional(2), "the list of ends")
    axes_value, steps_value = site.optional(3), site.optional(4)
    axes = list(range(len(starts))) if axes_value is None else site.known(axes_value, "the list of axes")
    steps = [1] * len(starts) if steps_value is None else site.known(steps_value, "the list of steps")
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps or not starts:
        raise site.fail("its lists are empty or of different lengths, or a step is 0")
    axes = [site.axis(axis, len(x.shape)) for axis in axes]
    if len(set(axes)) != len(axes):
        raise site.fail("an axis is sliced twice")
    return _slices(x.shape, starts, ends, axes, steps)


def _infer_slice(site: Site) -> list[Value]:
    if not 3 <= len(site.inputs) <= 5 or site.inputs[0] is None:
        raise site.fail("it needs data, starts and ends")
    x = site.inputs[0]
    read = _slice_arguments(site, x)
    # Lengths follow from the slices alone; no array is made for them.
    shape = tuple(len(range(*part.indices(dim))) for part, dim in zip(read, x.shape, strict=True))
    return [site.moved(x, shape, _constant(x, lambda q: q[read]))]


def _compute_slice(
    _attributes: Attributes, values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    rank = len(values[0].shape)
    starts, ends, axes, steps = ([] if q is None else q.tolist() for q in [*qs[1:], None, None][:4])
    axes = [axis % rank for axis in axes] or list(range(len(starts)))
    return [qs[0][_slices(values[0].shape, starts, ends, axes, steps or [1] * len(starts))]]


def _infer_split(site: Site) -> list[Value]:
    x = site.inputs[0] if site.inputs else None
    if x is None or len(site.inputs) > 2:
        raise site.fail("it has no input or too many")
    axis = site.axis(site.integer("axis", 0), len(x.shape))
    parts = len(site.outputs)
    lengths_value = site.optional(1)
    if lengths_value is not None:
        lengths = site.known(lengths_value, "the list of lengths", most=parts)
    else:
        if site.integer("num_outputs") != parts or x.shape[axis] % parts:
            raise site.fail("it has no lengths, and num_outputs does not cut the axis into equal parts")
        lengths = [x.shape[axis] // parts] * parts
    if len(lengths) != parts or min(lengths) < 1 or sum(lengths) != x.shape[axis]:
        raise site.fail(f"its lengths do not cut {x.shape[axis]} into {parts} parts")
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
            raise site.fail(f"parts of {first.dtype} {first.shape} and {value.dtype} {value.shape} do not fit together")
        if 0 in value.shape:
            raise site.fail("a part is empty")
    grid = site.align(*values)
    bounds = [value.aligned(grid) for value in values]
    shape = tuple(sum(v.shape[axis] for v in values) if i == axis else dim for i, dim in enumerate(first.shape))
    constant = None
    if first.dtype != FLOAT and all(value.constant is not None for value in values):
        site.spend(math.prod(shape))
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
    dims = site.known(wanted, "the shape")
    if any(dim < 1 for dim in dims):
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
    if axes_value is None and site.op == "Squeeze":
        listed = [axis for axis, dim in enumerate(x.shape) if dim == 1]
    else:
        listed = site.known(axes_value, "the list of axes")
        if not listed:
            raise site.fail("its list of axes is empty, which runtimes take for all or for none")
    rank = len(x.shape) + (len(listed) if site.op == "Unsqueeze" else 0)
    axes = {site.axis(axis, rank) for axis in listed}
    if len(axes) != len(listed):
        raise site.fail("its axes repeat")
    if site.op == "Unsqueeze":
        dims = iter(x.shape)
        shape = tuple(1 if axis in axes else next(dims) for axis in range(rank))
    else:
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
