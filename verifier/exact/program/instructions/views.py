"""Identity, Reshape, Transpose, Slice, Split, Concat, Expand, Squeeze, Unsqueeze: they move elements.

Each is an affine read of its input. What they read of a constant is a constant too, so that weights can be stored in
one layout and used in another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.site import InstructionSite, Operands
from verifier.exact.program.values import FLOAT, Integers, Value

# Largest number of tensors that one Concat joins.
MAX_PARTS = 4096


def infer_identity(site: InstructionSite) -> list[Value]:
    """Identity: the same tensor."""
    (x,) = site.arguments(1)
    return [site.moved(x, x.shape, x.constant)]


def infer_reshape(site: InstructionSite) -> list[Value]:
    """Reshape to a constant shape, in which 0 copies a dimension and one -1 stands for what is left."""
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
    site.spend(0 if x.constant is None else x.size)  # NumPy copies a constant that is transposed
    return [site.moved(x, tuple(dims), _read(x, lambda q: q.reshape(dims)))]


def compute_reshape(operands: Operands) -> list[NDArray[Any]]:
    """Identity, Reshape, Squeeze, Unsqueeze: the same elements in row order, in the result's shape."""
    return [operands.q[0].reshape(operands.outputs[0].shape)]


def infer_transpose(site: InstructionSite) -> list[Value]:
    """Transpose: the axes in the order `perm`, or reversed."""
    (x,) = site.arguments(1)
    order = site.integers("perm")
    if order is None:
        order = tuple(reversed(range(len(x.shape))))
    if sorted(order) != list(range(len(x.shape))):
        raise site.fail(f"perm {list(order)} does not fit {len(x.shape)} dimensions")
    return [site.moved(x, tuple(x.shape[axis] for axis in order), _read(x, lambda q: q.transpose(order)))]


def compute_transpose(operands: Operands) -> list[NDArray[Any]]:
    """Transpose: the axes in another order."""
    return [operands.q[0].transpose(operands.attributes.get("perm"))]


def infer_slice(site: InstructionSite) -> list[Value]:
    """Slice with constant starts, ends, axes and steps; the shape follows from these alone, without an array."""
    if not 3 <= len(site.inputs) <= 5 or site.inputs[0] is None:
        raise site.fail("it needs data, starts and ends")
    x = site.inputs[0]
    read = _slice_arguments(site, x)
    shape = tuple(len(range(*part.indices(dim))) for part, dim in zip(read, x.shape, strict=True))
    return [site.moved(x, shape, _read(x, lambda q: q[read]))]


def compute_slice(operands: Operands) -> list[NDArray[Any]]:
    """Slice: data[start:end:step] on the given axes."""
    shape = operands.inputs[0].shape
    starts, ends, axes, steps = ([] if q is None else q.tolist() for q in [*operands.q[1:], None, None][:4])
    axes = [axis % len(shape) for axis in axes] or list(range(len(starts)))
    return [operands.q[0][_slices(shape, starts, ends, axes, steps or [1] * len(starts))]]


def _slice_arguments(site: InstructionSite, x: Value) -> tuple[slice, ...]:
    """Check the constant lists of a Slice; returns what they read of each axis."""
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


def _slices(
    shape: tuple[int, ...], starts: list[int], ends: list[int], axes: list[int], steps: list[int]
) -> tuple[slice, ...]:
    """NumPy slices of an ONNX Slice. Both clamp bounds alike, except the end of a slice with a negative step."""
    read = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dim = shape[axis]
        if step < 0:
            read[axis] = slice(max(start, -dim), None if end < -dim else end, step)
        else:
            read[axis] = slice(start, end, step)
    return tuple(read)


def infer_split(site: InstructionSite) -> list[Value]:
    """Split one axis into parts of constant lengths, or into `num_outputs` equal parts.

    Lengths with an empty name are refused: onnxruntime before 1.32 fails on them.
    """
    x = site.first(2)
    axis = site.axis(site.integer("axis", 0), len(x.shape))
    parts = len(site.outputs)
    if len(site.inputs) > 1:
        lengths = site.known(site.optional(1), "the list of lengths", maximum=parts)
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


def compute_split(operands: Operands) -> list[NDArray[Any]]:
    """Split: consecutive parts along one axis."""
    axis = operands.axis()
    ends = np.cumsum([output.shape[axis] for output in operands.outputs])[:-1]
    return list(np.split(operands.q[0], ends, axis=axis))


def infer_concat(site: InstructionSite) -> list[Value]:
    """Concat along one axis: the interval that holds all parts, on their finest grid; integer constants stay known."""
    values = site.arguments(1, MAX_PARTS)
    first = values[0]
    axis = site.axis(site.integer("axis"), len(first.shape))
    _check_parts(site, values, axis)
    grid = site.align(*values)
    bounds = [value.aligned(grid) for value in values]
    shape = tuple(sum(v.shape[axis] for v in values) if i == axis else dim for i, dim in enumerate(first.shape))
    constant = None
    constants = [value.constant for value in values if value.constant is not None]
    if first.dtype != FLOAT and len(constants) == len(values):
        site.spend(math.prod(shape))
        constant = np.concatenate(constants, axis=axis)
    lo, hi = min(lo for lo, _ in bounds), max(hi for _, hi in bounds)
    return [site.result(first.dtype, shape, grid, lo, hi, constant)]


def _check_parts(site: InstructionSite, values: list[Value], axis: int) -> None:
    """Check that the parts have one dtype and, on the other axes, one shape, and that none is empty."""
    first = values[0]
    others = first.shape[:axis] + first.shape[axis + 1 :]
    for value in values:
        same = len(value.shape) == len(first.shape) and value.shape[:axis] + value.shape[axis + 1 :] == others
        if not same or value.dtype != first.dtype:
            raise site.fail(f"parts of {first.dtype} {first.shape} and {value.dtype} {value.shape} do not fit together")
        if 0 in value.shape:
            raise site.fail("a part is empty")


def compute_concat(operands: Operands) -> list[NDArray[Any]]:
    """Concat: the parts one after another along one axis."""
    return [np.concatenate(operands.aligned(), axis=operands.axis())]


def infer_expand(site: InstructionSite) -> list[Value]:
    """Expand to a constant shape by broadcasting. The result is not a constant: it could be arbitrarily large."""
    x, wanted = site.arguments(2)
    dims = site.known(wanted, "the shape")
    if any(dim < 1 for dim in dims):
        raise site.fail(f"shape {dims}")
    try:
        shape = np.broadcast_shapes(x.shape, tuple(dims))
    except ValueError as error:
        raise site.fail(f"{x.shape} does not expand to {dims}") from error
    return [site.moved(x, shape, None)]


def compute_expand(operands: Operands) -> list[NDArray[Any]]:
    """Expand: x broadcast to the result's shape."""
    return [np.broadcast_to(operands.q[0], operands.outputs[0].shape)]


def infer_squeeze(site: InstructionSite) -> list[Value]:
    """Squeeze: remove axes of length 1, the listed ones or all.

    A list with an empty name is refused: onnxruntime fails on it, although the standard takes it for a list left out.
    """
    x = site.first(2)
    if len(site.inputs) == 1:
        axes = {axis for axis, dim in enumerate(x.shape) if dim == 1}
    else:
        axes = _listed_axes(site, added=False)
    if any(x.shape[axis] != 1 for axis in axes):
        raise site.fail(f"it squeezes axes {sorted(axes)} of {x.shape}")
    shape = tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)
    return [site.moved(x, shape, _read(x, lambda q: q.reshape(shape)))]


def infer_unsqueeze(site: InstructionSite) -> list[Value]:
    """Unsqueeze: add axes of length 1 at the listed places of the result."""
    x = site.first(2)
    axes = _listed_axes(site, added=True)
    dims = iter(x.shape)
    shape = tuple(1 if axis in axes else next(dims) for axis in range(len(x.shape) + len(axes)))
    return [site.moved(x, shape, _read(x, lambda q: q.reshape(shape)))]


def _listed_axes(site: InstructionSite, *, added: bool) -> set[int]:
    """The constant axes of Squeeze, or of Unsqueeze, which adds them to those of its input."""
    listed = site.known(site.optional(1), "the list of axes")
    if not listed:
        raise site.fail("its list of axes is empty, which some runtimes take for all axes and others for none")
    rank = len(site.first(2).shape) + (len(listed) if added else 0)
    axes = {site.axis(axis, rank) for axis in listed}
    if len(axes) != len(listed):
        raise site.fail("its axes repeat")
    return axes


def _read(value: Value, read: Callable[[Integers], Integers]) -> Integers | None:
    """What is read of a constant; None of a tensor that is not constant."""
    return None if value.constant is None else read(value.constant)
