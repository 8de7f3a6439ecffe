"""Round, Floor, Div, Sqrt: the instructions that return to whole numbers.

Round and Floor take numbers on any grid to whole numbers; scaling before and after rounds to 2**k. Div and Sqrt leave
the grid. Their one reader must be a Floor, which makes them floor division and integer square root. Both are exact: a
quotient a / b of integers up to 2**53 that is not whole lies at least 1/b from the next whole number, more than its
rounding error; and below 2**52 no square root of a non-square rounds up to a whole number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.site import InstructionSite, Operands
from verifier.exact.program.values import FLOAT, Value

# Upper limit, exclusive, of a square root's argument. The first integer whose rounded root is too large, (2**26 + 1)**2
# - 1, lies just above it.
MAX_RADICAND = 2**52
# Largest |x| that Round accepts. Up to it, (x + 1.5 * 2**52) - 1.5 * 2**52 rounds x exactly as Round does, and this is
# the fastest form.
MAX_ROUNDED = 2**51


def infer_round(site: InstructionSite) -> list[Value]:
    """Round: the rounded bounds, on grid 0; numbers that are whole already keep their grid."""
    x = _rounded(site)
    if x.grid >= 0:
        return [site.result(FLOAT, x.shape, x.grid, x.lo, x.hi)]
    shift = -x.grid
    if x.magnitude > MAX_ROUNDED << shift:
        raise site.fail("it rounds numbers above 2**51, where adding and subtracting 1.5 * 2**52 would not do the same")
    return [site.result(FLOAT, x.shape, 0, nearest_even(x.lo, shift), nearest_even(x.hi, shift))]


def compute_round(operands: Operands) -> list[NDArray[Any]]:
    """Round: the nearest whole number, ties to even."""
    (q,) = operands.q
    shift = -operands.inputs[0].grid
    if shift <= 0:
        return [q]
    if shift > 54:  # |q| <= 2**53 is less than half a whole number
        return [np.zeros_like(q)]
    floor, rest, half = q >> shift, q & ((1 << shift) - 1), 1 << (shift - 1)
    return [floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))]


def infer_floor(site: InstructionSite) -> list[Value]:
    """Floor: the floors of the bounds, on grid 0.

    Div and Sqrt have stored the bounds of their results' floors; numbers that are whole already keep their grid.
    """
    x = _rounded(site)
    if x.unrounded:
        return [site.result(FLOAT, x.shape, 0, x.lo, x.hi)]
    if x.grid >= 0:
        return [site.result(FLOAT, x.shape, x.grid, x.lo, x.hi)]
    return [site.result(FLOAT, x.shape, 0, x.lo >> -x.grid, x.hi >> -x.grid)]


def compute_floor(operands: Operands) -> list[NDArray[Any]]:
    """Floor: the largest whole number that is not larger. The meaning of Div and Sqrt includes their Floor."""
    (x,), (q,) = operands.inputs, operands.q
    if x.unrounded or x.grid >= 0:
        return [q]
    return [q >> min(-x.grid, 63)]


def infer_div(site: InstructionSite) -> list[Value]:
    """Div of float64 by a proven positive divisor: unrounded, with the bounds of its floor."""
    a, b = site.arguments(2)
    if a.dtype != FLOAT or b.dtype != FLOAT:
        raise site.fail(f"it divides {a.dtype} by {b.dtype}: both must be float64")
    grid = site.align(a, b)
    (alo, ahi), (blo, bhi) = a.aligned(grid), b.aligned(grid)
    if blo < 1:
        raise site.fail("its divisor is not proven positive: apply Max(x, step) to it first")
    floors = [x // y for x in (alo, ahi) for y in (blo, bhi)]
    shape = site.shaped(site.broadcast(a, b))
    return [Value(site.outputs[0], FLOAT, shape, grid, min(floors), max(floors), unrounded=True)]


def compute_div(operands: Operands) -> list[NDArray[Any]]:
    """Div, and the Floor that reads it: floor(a / b)."""
    a, b = operands.aligned()
    return [np.floor_divide(a, b)]


def infer_sqrt(site: InstructionSite) -> list[Value]:
    """Sqrt of whole float64 numbers from 0 to 2**52 - 1: unrounded, with the bounds of its floor."""
    (a,) = site.arguments(1)
    if a.dtype != FLOAT or a.grid < 0:
        raise site.fail(f"it takes roots of {a.dtype} on grid {a.grid}: whole float64 numbers are needed")
    lo, hi = a.aligned(0)
    if lo < 0 or hi >= MAX_RADICAND:
        raise site.fail(f"its argument can be {lo} to {hi}: 0 to 2**52 - 1 is exact")
    return [Value(site.outputs[0], FLOAT, a.shape, 0, math.isqrt(lo), math.isqrt(hi), unrounded=True)]


def compute_sqrt(operands: Operands) -> list[NDArray[Any]]:
    """Sqrt, and the Floor that reads it: the largest whole number whose square is not larger than a."""
    whole = operands.at(0, 0)
    return [np.array([math.isqrt(int(x)) for x in whole.ravel()], np.int64).reshape(whole.shape)]


def nearest_even(q: int, shift: int) -> int:
    """Round q / 2**shift, for a positive shift, to the nearest whole number, ties to even."""
    floor, rest = q >> shift, q & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return floor + (1 if rest > half or (rest == half and floor & 1) else 0)


def _rounded(site: InstructionSite) -> Value:
    """The operand of Round or Floor, which must be float64."""
    (x,) = site.arguments(1)
    if x.dtype != FLOAT:
        raise site.fail(f"it rounds {x.dtype}: integers are whole already")
    return x
