"""Add, Sub, Mul, Neg, Max, Min, Clip: elementwise, exact on aligned grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.registry import Site, register, shifted
from verifier.exact.program.parse import Attribute
from verifier.exact.program.values import Value

Q = NDArray[Any]


def _infer_sum(site: Site) -> list[Value]:
    a, b = site.arguments(2)
    dtype, shape, grid = site.numeric(a, b), site.broadcast(a, b), site.align(a, b)
    (alo, ahi), (blo, bhi) = a.aligned(grid), b.aligned(grid)
    if site.op == "Sub":
        blo, bhi = -bhi, -blo
    return [site.result(dtype, shape, grid, alo + blo, ahi + bhi)]


def _compute_sum(operation: Callable[[Q, Q], Q]) -> Any:
    def compute(
        _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
    ) -> list[Q]:
        grid = outputs[0].grid
        return [operation(shifted(qs[0], values[0], grid), shifted(qs[1], values[1], grid))]

    return compute


def _infer_mul(site: Site) -> list[Value]:
    a, b = site.arguments(2)
    dtype, shape = site.numeric(a, b), site.broadcast(a, b)
    corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    constant = None
    if a.constant is not None and b.constant is not None and 1 in (a.size, b.size):
        # A weight times a power of two stays a weight: only its grid moves.
        for weight, factor in ((a, b), (b, a)):
            if factor.size == 1 and factor.lo == 1 and weight.shape == shape:
                constant = weight.constant
    return [site.result(dtype, shape, a.grid + b.grid, min(corners), max(corners), constant=constant)]


def _compute_mul(
    _attributes: Mapping[str, Attribute], _values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    return [qs[0].astype(np.int64) * qs[1].astype(np.int64)]


def _infer_neg(site: Site) -> list[Value]:
    (a,) = site.arguments(1)
    return [site.result(site.numeric(a), a.shape, a.grid, -a.hi, -a.lo)]


def _compute_neg(
    _attributes: Mapping[str, Attribute], _values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    return [-qs[0].astype(np.int64)]


def _infer_extreme(site: Site) -> list[Value]:
    values = site.arguments(1, 16)
    dtype, shape, grid = site.numeric(*values), site.broadcast(*values), site.align(*values)
    pick = max if site.op == "Max" else min
    bounds = [value.aligned(grid) for value in values]
    return [site.result(dtype, shape, grid, pick(lo for lo, _ in bounds), pick(hi for _, hi in bounds))]


def _compute_extreme(operation: Any) -> Any:
    def compute(
        _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
    ) -> list[Q]:
        grid = outputs[0].grid
        result = shifted(qs[0], values[0], grid)
        for q, value in zip(qs[1:], values[1:], strict=True):
            result = operation(result, shifted(q, value, grid))
        return [result]

    return compute


def _infer_clip(site: Site) -> list[Value]:
    values = site.arguments(3)
    x, low, high = values
    if low.constant is None or high.constant is None or low.size != 1 or high.size != 1:
        raise site.fail("its limits are not constant scalars")
    if low.shape or high.shape:
        raise site.fail("its limits have dimensions: onnxruntime wants scalars")
    dtype, grid = site.numeric(*values), site.align(*values)
    (lo, hi), (least, _), (most, _) = (value.aligned(grid) for value in values)
    if least > most:
        raise site.fail("its lower limit is above its upper one")
    return [site.result(dtype, x.shape, grid, min(max(lo, least), most), max(min(hi, most), least))]


def _compute_clip(
    _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    grid = outputs[0].grid
    x, low, high = (shifted(q, value, grid) for q, value in zip(qs, values, strict=True))
    return [np.minimum(np.maximum(x, low), high)]


register("Add", "Sub", infer=_infer_sum, compute={"Add": _compute_sum(np.add), "Sub": _compute_sum(np.subtract)})
register("Mul", infer=_infer_mul, compute=_compute_mul)
register("Neg", infer=_infer_neg, compute=_compute_neg)
register(
    "Max",
    "Min",
    infer=_infer_extreme,
    compute={"Max": _compute_extreme(np.maximum), "Min": _compute_extreme(np.minimum)},
)
register("Clip", infer=_infer_clip, compute=_compute_clip)
