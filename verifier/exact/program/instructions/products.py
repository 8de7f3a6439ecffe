"""MatMul, ReduceSum, ReduceMax, ReduceMin.

Of products and sums the *partial sums* are bounded, by the sum of the absolute terms: a runtime may add in any order,
and a tighter interval of the result says nothing of what it passes through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.registry import Site, register
from verifier.exact.program.parse import Attribute
from verifier.exact.program.values import FLOAT, WIDE_INTEGERS, Value

Q = NDArray[Any]


def _infer_matmul(site: Site) -> list[Value]:
    a, b = site.arguments(2)
    if a.dtype != FLOAT or b.dtype != FLOAT:
        raise site.fail("products are of float64")
    if not a.shape or not b.shape:
        raise site.fail("an operand is a scalar")
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise site.fail(f"shapes {a.shape} and {b.shape} do not multiply")
    try:
        batch = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError as error:
        raise site.fail(f"shapes {a.shape} and {b.shape} do not broadcast") from error
    shape = (*batch, left[-2], right[-1])
    depth = left[-1]
    site.macs += math.prod(shape) * depth
    if len(b.shape) == 1:
        shape = shape[:-1]
    if len(a.shape) == 1:
        shape = (*shape[: len(batch)], *shape[len(batch) + 1 :])
    bound = min(
        depth * a.magnitude * b.magnitude,
        _absolute_sum(site, b, -2) * a.magnitude,
        _absolute_sum(site, a, -1) * b.magnitude,
    )
    site.bound(-bound, bound, FLOAT)
    lo = 0 if a.lo >= 0 and b.lo >= 0 else -bound
    return [site.result(FLOAT, shape, a.grid + b.grid, lo, bound)]


def _absolute_sum(site: Site, value: Value, axis: int) -> int:
    """Largest sum of |q| along the summed axis: of a constant its own, otherwise the most that fits its interval."""
    axis = axis if len(value.shape) > 1 else 0
    depth = value.shape[axis]
    if value.constant is None:
        return depth * value.magnitude
    view = value.constant
    key = (view.__array_interface__["data"][0], view.dtype.str, view.shape, view.strides, axis)
    if key not in site.budget.sums:
        site.spend(value.size)
        # Absolute values in int64, a slice at a time: a weight is not blown up eightfold at once.
        moved = np.moveaxis(view, axis, -1)
        if moved.ndim > 2:
            moved = moved.reshape(-1, depth)
        rows = moved.reshape(1, depth) if moved.ndim == 1 else moved
        step = max(1, 2**22 // depth)
        site.budget.sums[key] = max(
            int(np.abs(rows[start : start + step].astype(np.int64)).sum(axis=-1).max())
            for start in range(0, rows.shape[0], step)
        )
    return site.budget.sums[key]


def _compute_matmul(
    _attributes: Mapping[str, Attribute], _values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    return [np.matmul(qs[0].astype(np.int64), qs[1].astype(np.int64))]


def _reduced(site: Site, x: Value) -> tuple[tuple[int, ...], int]:
    """Result shape and number of elements that become one."""
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
    return shape, math.prod(x.shape[axis] for axis in axes)


def _infer_reduce(site: Site) -> list[Value]:
    x = site.inputs[0] if site.inputs else None
    if x is None or len(site.inputs) > 2:
        raise site.fail("it has no input or too many")
    if x.dtype not in (FLOAT, *WIDE_INTEGERS):
        raise site.fail(f"it reduces {x.dtype}: float64, int32 or int64 is needed")
    shape, count = _reduced(site, x)
    site.macs += x.size
    if site.op != "ReduceSum" and x.dtype == "int64" and x.magnitude > 2**31:
        # onnxruntime 1.24.4 on AVX2 takes the wrong one of two int64 whose upper halves are alike.
        raise site.fail(
            "it orders int64 beyond 32 bits, which some runtimes do wrongly: clip or cast to float64 before"
        )
    if site.op == "ReduceSum":
        # A partial sum may hold any part of the elements, none of one sign included; onnxruntime adds int64 in double.
        least, most = count * min(x.lo, 0), count * max(x.hi, 0)
        site.bound(least, most, FLOAT)
        site.bound(least, most, x.dtype)
        return [site.result(x.dtype, shape, x.grid, count * x.lo, count * x.hi)]
    return [site.result(x.dtype, shape, x.grid, x.lo, x.hi)]


def _compute_reduce(operation: Any) -> Any:
    def compute(
        attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
    ) -> list[Q]:
        rank = len(values[0].shape)
        axes = tuple(range(rank)) if len(qs) < 2 or qs[1] is None else tuple(int(a) % rank for a in qs[1].ravel())
        return [operation(qs[0].astype(np.int64), axis=axes).reshape(outputs[0].shape)]

    return compute


register("MatMul", infer=_infer_matmul, compute=_compute_matmul)
register(
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    infer=_infer_reduce,
    compute={
        "ReduceSum": _compute_reduce(np.sum),
        "ReduceMax": _compute_reduce(np.max),
        "ReduceMin": _compute_reduce(np.min),
    },
)
