"""Gather, GatherElements, Where, comparisons and logic: choosing, exact because nothing is computed but order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.registry import Site, register, shifted
from verifier.exact.program.parse import Attribute
from verifier.exact.program.values import BOOL, WIDE_INTEGERS, Value

Q = NDArray[Any]


def _infer_lookup(site: Site) -> list[Value]:
    data, indices = site.arguments(2)
    if not data.shape:
        raise site.fail("it looks up in a scalar")
    axis = site.axis(site.integer("axis", 0), len(data.shape))
    if indices.dtype not in WIDE_INTEGERS:
        raise site.fail(f"its indices are {indices.dtype}: int32 or int64 is needed")
    if indices.lo < 0 or indices.hi >= data.shape[axis]:
        raise site.fail(f"its index can be {indices.lo} to {indices.hi}, the axis has {data.shape[axis]}: clip before")
    if site.op == "Gather":
        shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
    else:
        if len(indices.shape) != len(data.shape) or any(
            i != axis and dim > data.shape[i] for i, dim in enumerate(indices.shape)
        ):
            raise site.fail(f"indices of shape {indices.shape} do not fit data of shape {data.shape}")
        shape = indices.shape
    constant = None
    if data.constant is not None and indices.constant is not None and site.op == "Gather":
        site.spend(math.prod(shape))
        constant = np.asarray(np.take(data.constant, indices.constant, axis=axis))
    return [site.moved(data, shape, constant)]


def _compute_gather(
    attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    return [np.take(qs[0], qs[1], axis=int(attributes.get("axis", 0)))]  # type: ignore[arg-type]


def _compute_gather_elements(
    attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    axis = int(attributes.get("axis", 0)) % len(values[0].shape)  # type: ignore[arg-type]
    # Other axes may be shorter in the indices: only that part of the data is reached.
    part = tuple(slice(None) if i == axis else slice(dim) for i, dim in enumerate(qs[1].shape))
    return [np.take_along_axis(qs[0][part], qs[1].astype(np.int64), axis=axis)]


def _infer_where(site: Site) -> list[Value]:
    condition, x, y = site.arguments(3)
    if condition.dtype != BOOL:
        raise site.fail("its condition is no bool")
    dtype, shape, grid = site.numeric(x, y), site.broadcast(condition, x, y), site.align(x, y)
    (xlo, xhi), (ylo, yhi) = x.aligned(grid), y.aligned(grid)
    return [site.result(dtype, shape, grid, min(xlo, ylo), max(xhi, yhi))]


def _compute_where(
    _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    grid = outputs[0].grid
    return [np.where(qs[0] != 0, shifted(qs[1], values[1], grid), shifted(qs[2], values[2], grid))]


def _infer_compare(site: Site) -> list[Value]:
    a, b = site.arguments(2)
    site.numeric(a, b)
    site.align(a, b)
    return [site.result(BOOL, site.broadcast(a, b), 0, 0, 1)]


def _compute_compare(operation: Any) -> Any:
    def compute(
        _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
    ) -> list[Q]:
        grid = min(value.grid for value in values)
        return [operation(shifted(qs[0], values[0], grid), shifted(qs[1], values[1], grid)).astype(np.int64)]

    return compute


def _infer_logic(site: Site) -> list[Value]:
    values = site.arguments(1 if site.op == "Not" else 2)
    if any(value.dtype != BOOL for value in values):
        raise site.fail("its operands are no bools")
    return [site.result(BOOL, site.broadcast(*values), 0, 0, 1)]


def _compute_logic(operation: Any) -> Any:
    def compute(
        _attributes: Mapping[str, Attribute], _values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
    ) -> list[Q]:
        return [operation(*(q != 0 for q in qs)).astype(np.int64)]

    return compute


register(
    "Gather",
    "GatherElements",
    infer=_infer_lookup,
    compute={"Gather": _compute_gather, "GatherElements": _compute_gather_elements},
)
register("Where", infer=_infer_where, compute=_compute_where)
register(
    "Equal",
    "Less",
    "Greater",
    "LessOrEqual",
    "GreaterOrEqual",
    infer=_infer_compare,
    compute={
        "Equal": _compute_compare(np.equal),
        "Less": _compute_compare(np.less),
        "Greater": _compute_compare(np.greater),
        "LessOrEqual": _compute_compare(np.less_equal),
        "GreaterOrEqual": _compute_compare(np.greater_equal),
    },
)
register(
    "And",
    "Or",
    "Not",
    infer=_infer_logic,
    compute={
        "And": _compute_logic(np.logical_and),
        "Or": _compute_logic(np.logical_or),
        "Not": _compute_logic(np.logical_not),
    },
)
