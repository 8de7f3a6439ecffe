"""Add, Sub, Mul, Neg, Max, Min, Clip: elementwise arithmetic, exact on aligned grids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.site import InstructionSite, Operands
from verifier.exact.program.values import Value


def infer_sum(site: InstructionSite) -> list[Value]:
    """Add, Sub: the sum of the operands' intervals, on the finer of their grids."""
    a, b = site.arguments(2)
    dtype, shape, grid = site.numeric(a, b), site.broadcast(a, b), site.align(a, b)
    (alo, ahi), (blo, bhi) = a.aligned(grid), b.aligned(grid)
    if site.op == "Sub":
        blo, bhi = -bhi, -blo
    return [site.result(dtype, shape, grid, alo + blo, ahi + bhi)]


def compute_add(operands: Operands) -> list[NDArray[Any]]:
    """Add: a + b."""
    a, b = operands.aligned()
    return [a + b]


def compute_sub(operands: Operands) -> list[NDArray[Any]]:
    """Sub: a - b."""
    a, b = operands.aligned()
    return [a - b]


def infer_mul(site: InstructionSite) -> list[Value]:
    """Mul: the grids add, and the interval is spanned by the products of the operands' bounds.

    A constant times one power of two stays a constant: only its grid changes.
    """
    a, b = site.arguments(2)
    dtype, shape = site.numeric(a, b), site.broadcast(a, b)
    corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    constant = None
    if a.constant is not None and b.constant is not None and 1 in (a.size, b.size):
        for weight, factor in ((a, b), (b, a)):
            if factor.size == 1 and factor.lo == 1 and weight.shape == shape:
                constant = weight.constant
    return [site.result(dtype, shape, a.grid + b.grid, min(corners), max(corners), constant)]


def compute_mul(operands: Operands) -> list[NDArray[Any]]:
    """Mul: a * b."""
    a, b = operands.q
    return [a.astype(np.int64) * b.astype(np.int64)]


def infer_neg(site: InstructionSite) -> list[Value]:
    """Neg: the interval with its sign changed."""
    (a,) = site.arguments(1)
    return [site.result(site.numeric(a), a.shape, a.grid, -a.hi, -a.lo)]


def compute_neg(operands: Operands) -> list[NDArray[Any]]:
    """Neg: -a."""
    return [-operands.q[0].astype(np.int64)]


def infer_extreme(site: InstructionSite) -> list[Value]:
    """Max, Min of 1 to 16 operands: the largest or smallest of their bounds, on the finest of their grids."""
    values = site.arguments(1, 16)
    dtype, shape, grid = site.numeric(*values), site.broadcast(*values), site.align(*values)
    pick = max if site.op == "Max" else min
    bounds = [value.aligned(grid) for value in values]
    return [site.result(dtype, shape, grid, pick(lo for lo, _ in bounds), pick(hi for _, hi in bounds))]


def compute_max(operands: Operands) -> list[NDArray[Any]]:
    """Max: the largest of the operands, element by element."""
    result, *others = operands.aligned()
    for other in others:
        result = np.maximum(result, other)
    return [result]


def compute_min(operands: Operands) -> list[NDArray[Any]]:
    """Min: the smallest of the operands, element by element."""
    result, *others = operands.aligned()
    for other in others:
        result = np.minimum(result, other)
    return [result]


def infer_clip(site: InstructionSite) -> list[Value]:
    """Clip between two constant scalars: the interval, limited by them."""
    values = site.arguments(3)
    x, low, high = values
    if low.constant is None or high.constant is None or low.size != 1 or high.size != 1:
        raise site.fail("its limits are not constant scalars")
    if low.shape or high.shape:
        raise site.fail("its limits have dimensions: onnxruntime needs scalars")
    dtype, grid = site.numeric(*values), site.align(*values)
    (lo, hi), (lower, _), (upper, _) = (value.aligned(grid) for value in values)
    if lower > upper:
        raise site.fail("its lower limit is above its upper one")
    return [site.result(dtype, x.shape, grid, min(max(lo, lower), upper), max(min(hi, upper), lower))]


def compute_clip(operands: Operands) -> list[NDArray[Any]]:
    """Clip: min(max(x, low), high)."""
    x, low, high = operands.aligned()
    return [np.minimum(np.maximum(x, low), high)]
