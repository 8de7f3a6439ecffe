"""MatMul, ReduceSum, ReduceMax, ReduceMin.

The proof bounds the *partial sums* of products and sums, by the sum of the absolute terms: a runtime may add in any
order, and a tighter interval of the result would not bound the sums on the way to it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.site import InstructionSite, Operands
from verifier.exact.program.values import FLOAT, WIDE_INTEGERS, Value

# Number of elements of a constant whose absolute values are added up at a time, 32 MiB of int64: an int8 weight would
# take eight times its size at once.
SUM_ELEMENTS = 2**22


def infer_matmul(site: InstructionSite) -> list[Value]:
    """MatMul of float64: the grids add, and the interval is the bound on the partial sums."""
    a, b = site.arguments(2)
    if a.dtype != FLOAT or b.dtype != FLOAT:
        raise site.fail(f"it multiplies {a.dtype} by {b.dtype}: both must be float64")
    if not a.shape or not b.shape:
        raise site.fail("an operand is a scalar")
    shape, depth = _product_shape(site, a, b)
    bound = min(
        depth * a.magnitude * b.magnitude,
        _absolute_sum(site, b, -2) * a.magnitude,
        _absolute_sum(site, a, -1) * b.magnitude,
    )
    site.bound(-bound, bound, FLOAT)
    lo = 0 if a.lo >= 0 and b.lo >= 0 else -bound
    return [site.result(FLOAT, shape, a.grid + b.grid, lo, bound)]


def _product_shape(site: InstructionSite, a: Value, b: Value) -> tuple[tuple[int, ...], int]:
    """The shape of a product and the number of terms of each element; counts its multiplications."""
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    depth = left[-1]
    if depth != right[-2]:
        raise site.fail(f"shapes {a.shape} and {b.shape} do not multiply")
    try:
        batch = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError as error:
        raise site.fail(f"shapes {a.shape} and {b.shape} do not broadcast") from error
    rows = left[-2:-1] if len(a.shape) > 1 else ()
    columns = right[-1:] if len(b.shape) > 1 else ()
    shape = (*batch, *rows, *columns)
    site.macs += math.prod(shape) * depth
    return shape, depth


def _absolute_sum(site: InstructionSite, value: Value, axis: int) -> int:
    """The largest sum of |q| along an axis: of a constant the actual one, otherwise the largest in its interval."""
    axis = axis if len(value.shape) > 1 else 0
    depth = value.shape[axis]
    if value.constant is None:
        return depth * value.magnitude
    view = value.constant
    key = (view.__array_interface__["data"][0], view.dtype.str, view.shape, view.strides, axis)
    if key not in site.budget.sums:
        site.spend(value.size)
        moved = np.moveaxis(view, axis, -1)
        if moved.ndim > 2:
            moved = moved.reshape(-1, depth)
        rows = moved.reshape(1, depth) if moved.ndim == 1 else moved
        step = max(1, SUM_ELEMENTS // depth)
        site.budget.sums[key] = max(
            int(np.abs(rows[start : start + step].astype(np.int64)).sum(axis=-1).max())
            for start in range(0, rows.shape[0], step)
        )
    return site.budget.sums[key]


def compute_matmul(operands: Operands) -> list[NDArray[Any]]:
    """MatMul: the sum over k of a[…, k] * b[…, k, …]."""
    a, b = operands.q
    return [np.matmul(a.astype(np.int64), b.astype(np.int64))]


def infer_reduce_sum(site: InstructionSite) -> list[Value]:
    """ReduceSum: as many times the interval as elements are added.

    A partial sum can include any subset of the elements, for example only the positive ones. onnxruntime adds int64 in
    float64, so 2**53 bounds these sums too.
    """
    x, shape, count = _reduced(site)
    lowest, highest = count * min(x.lo, 0), count * max(x.hi, 0)
    site.bound(lowest, highest, FLOAT)
    site.bound(lowest, highest, x.dtype)
    return [site.result(x.dtype, shape, x.grid, count * x.lo, count * x.hi)]


def infer_reduce_extreme(site: InstructionSite) -> list[Value]:
    """ReduceMax, ReduceMin: the same interval.

    onnxruntime 1.24.4 on AVX2 takes the wrong one of two int64 whose upper halves are equal, so int64 beyond 32
    bits is refused: from 2**31 on, the lower half of a positive number has the sign bit set. An empty
    list has no largest element, so it is refused too.
    """
    x, shape, _ = _reduced(site)
    if x.size == 0:
        raise site.fail("it takes an extreme of an empty list")
    if x.dtype == "int64" and (x.lo < -(2**31) or x.hi >= 2**31):
        raise site.fail(
            "it orders int64 beyond 32 bits, which some runtimes do wrongly: clip it, or cast it to float64 first"
        )
    return [site.result(x.dtype, shape, x.grid, x.lo, x.hi)]


def _reduced(site: InstructionSite) -> tuple[Value, tuple[int, ...], int]:
    """The operand of a reduction, the result's shape, and the number of elements that become one; counts the reads."""
    x = site.first(2)
    if x.dtype not in (FLOAT, *WIDE_INTEGERS):
        raise site.fail(f"it reduces {x.dtype}: float64, int32 or int64 is needed")
    axes_value = site.optional(1)
    everything = not site.flag("noop_with_empty_axes", 0)
    if axes_value is not None:
        axes = tuple(site.axis(axis, len(x.shape)) for axis in site.known(axes_value, "the list of axes"))
    else:
        axes = tuple(range(len(x.shape))) if everything else ()
    if len(set(axes)) != len(axes) or not axes:
        raise site.fail("its axes are empty or repeat")
    keep = site.flag("keepdims", 1)
    shape = tuple(1 if axis in axes else dim for axis, dim in enumerate(x.shape) if keep or axis not in axes)
    site.macs += x.size
    return x, shape, math.prod(x.shape[axis] for axis in axes)


def compute_reduce_sum(operands: Operands) -> list[NDArray[Any]]:
    """ReduceSum: the sum over the axes."""
    return [operands.q[0].astype(np.int64).sum(axis=_axes(operands)).reshape(operands.outputs[0].shape)]


def compute_reduce_max(operands: Operands) -> list[NDArray[Any]]:
    """ReduceMax: the largest element along the axes."""
    return [operands.q[0].astype(np.int64).max(axis=_axes(operands)).reshape(operands.outputs[0].shape)]


def compute_reduce_min(operands: Operands) -> list[NDArray[Any]]:
    """ReduceMin: the smallest element along the axes."""
    return [operands.q[0].astype(np.int64).min(axis=_axes(operands)).reshape(operands.outputs[0].shape)]


def _axes(operands: Operands) -> tuple[int, ...]:
    """The axes of a reduction; all where none are given."""
    rank = len(operands.inputs[0].shape)
    if len(operands.q) < 2 or operands.q[1] is None:
        return tuple(range(rank))
    return tuple(int(axis) % rank for axis in operands.q[1].ravel())
