"""Round, Floor, Div and Sqrt: the ways down to whole numbers.

Round and Floor take any grid to the whole numbers (scale before and after to round to 2**k). Div and Sqrt leave the
grid; their one consumer has to be a Floor, which makes them floor division and integer square root. Both are exact: a
quotient of integers below 2**53 that is not whole lies at least 1/b from the next whole number, more than its rounding
error; and below 2**52 no square root of a non-square rounds up to a whole number.
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
# The first argument whose rounded root reaches the next whole number is (2**26 + 1)**2 - 1.
MAX_RADICAND = 2**52
# Up to here (x + 1.5 * 2**52) - 1.5 * 2**52 rounds x too, the cheapest form of Round there is.
MAX_ROUNDED = 2**51


def nearest_even(q: int, shift: int) -> int:
    """q / 2**shift to the nearest whole number, ties to even."""
    floor, rest = q >> shift, q & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return floor + (1 if rest > half or (rest == half and floor & 1) else 0)


def _infer_whole(site: Site) -> list[Value]:
    (x,) = site.arguments(1)
    if x.dtype != FLOAT:
        raise site.fail(f"it rounds {x.dtype}: integers are whole already")
    if site.op == "Floor" and x.quotient is not None:
        return [_floored(site, x)]
    if x.grid >= 0:
        return [site.result(FLOAT, x.shape, x.grid, x.lo, x.hi)]
    shift = -x.grid
    if site.op == "Round" and x.magnitude > MAX_ROUNDED << shift:
        raise site.fail("it rounds numbers above 2**51, where adding and subtracting 1.5 * 2**52 would not do the same")
    rounded = nearest_even if site.op == "Round" else (lambda q, s: q >> s)
    return [site.result(FLOAT, x.shape, 0, rounded(x.lo, shift), rounded(x.hi, shift))]


def _floored(site: Site, x: Value) -> Value:
    """The whole numbers under a quotient or a root: x carries the interval of the true, unrounded result's floor."""
    return site.result(FLOAT, x.shape, 0, x.lo, x.hi)


def _compute_floor(
    _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    if values[0].quotient is not None or values[0].grid >= 0:
        return [qs[0]]
    return [qs[0] >> min(-values[0].grid, 63)]


def _compute_round(
    _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    shift = -values[0].grid
    if shift <= 0:
        return [qs[0]]
    if shift > 54:  # |q| <= 2**53 is below half a step
        return [np.zeros_like(qs[0])]
    floor, rest, half = qs[0] >> shift, qs[0] & ((1 << shift) - 1), 1 << (shift - 1)
    return [floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))]


def _infer_div(site: Site) -> list[Value]:
    a, b = site.arguments(2)
    if a.dtype != FLOAT or b.dtype != FLOAT:
        raise site.fail("floor division is of float64")
    grid = site.align(a, b)
    (alo, ahi), (blo, bhi) = a.aligned(grid), b.aligned(grid)
    if blo < 1:
        raise site.fail("its divisor is not proven positive: put Max(x, step) before it")
    floors = [x // y for x in (alo, ahi) for y in (blo, bhi)]
    quotient = ("div", a, b)
    shape = site.shaped(site.broadcast(a, b))
    return [Value(site.outputs[0], FLOAT, shape, grid, min(floors), max(floors), quotient=quotient)]


def _compute_div(
    _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    grid = outputs[0].grid
    return [np.floor_divide(shifted(qs[0], values[0], grid), shifted(qs[1], values[1], grid))]


def _infer_sqrt(site: Site) -> list[Value]:
    (a,) = site.arguments(1)
    if a.dtype != FLOAT or a.grid < 0:
        raise site.fail("integer square root is of whole float64 numbers")
    lo, hi = a.aligned(0)
    if lo < 0 or hi >= MAX_RADICAND:
        raise site.fail(f"its argument can be {lo} to {hi}: 0 to 2**52 - 1 is exact")
    return [Value(site.outputs[0], FLOAT, a.shape, 0, math.isqrt(lo), math.isqrt(hi), quotient=("sqrt", a))]


def _compute_sqrt(
    _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], _outputs: Sequence[Value]
) -> list[Q]:
    whole = shifted(qs[0], values[0], 0)
    return [np.array([math.isqrt(int(x)) for x in whole.ravel()], np.int64).reshape(whole.shape)]


register("Round", infer=_infer_whole, compute=_compute_round)
register("Floor", infer=_infer_whole, compute=_compute_floor)
register("Div", infer=_infer_div, compute=_compute_div)
register("Sqrt", infer=_infer_sqrt, compute=_compute_sqrt)
