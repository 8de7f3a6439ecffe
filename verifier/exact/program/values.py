"""What is known of a tensor before anything runs: dtype, shape, grid and interval.

A float64 tensor of an exact program lies on a dyadic grid: its values are q * 2**grid with integers |q| <= 2**53.
Integer tensors have grid 0 and are their own q; a bool is 0 or 1. Intervals are in q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[Any]

# Steps of a grid that float64 represents exactly, in any order of summation.
MAX_STEPS = 2**53
# Far inside float64's exponents: no value of a program overflows or becomes subnormal.
MAX_GRID = 400

BOOL = "bool"
FLOAT = "float64"
INTEGER_RANGES: dict[str, tuple[int, int]] = {
    name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("int8", "uint8", "int16", "int32", "int64")
}
DTYPES = (BOOL, FLOAT, *INTEGER_RANGES)
# Integer tensors that take part in arithmetic; narrower ones are only stored, moved and cast.
WIDE_INTEGERS = ("int32", "int64")


@dataclass(frozen=True)
class Value:
    """A tensor of a program.

    `lo` and `hi` bound its q; `constant` holds the q of a value known beforehand, in an integer dtype, in the value's
    shape. `quotient` marks what is off the grid until a Floor brings it back: ("div", a, b) or ("sqrt", a).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    grid: int
    lo: int
    hi: int
    constant: Integers | None = None
    quotient: tuple[Any, ...] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def magnitude(self) -> int:
        """Largest |q|."""
        return max(abs(self.lo), abs(self.hi))

    def aligned(self, grid: int) -> tuple[int, int]:
        """The interval in steps of a finer grid."""
        shift = self.grid - grid
        return self.lo << shift, self.hi << shift


def grid_of(values: NDArray[np.float64]) -> tuple[Integers, int]:
    """The integers q and the coarsest grid of float64 constants, so that values == q * 2**grid.

    Errors: ValueError for what lies on no grid within 2**53 steps (NaN, infinities, wide mixtures).
    """
    if not np.isfinite(values).all():
        raise ValueError("it has NaN or infinite values")
    nonzero = values[values != 0]
    if nonzero.size == 0:
        return np.zeros(values.shape, np.int64), 0
    mantissa, exponent = np.frexp(nonzero)
    # |mantissa| in [0.5, 1) is m / 2**53 with an integer m; trailing zeros of m tell the last significant bit.
    scaled = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    trailing = np.frexp((scaled & -scaled).astype(np.float64))[1].astype(np.int64) - 1
    grid = int((exponent.astype(np.int64) - 53 + trailing).min())
    if abs(grid) > MAX_GRID or int(exponent.max()) - grid > 54:
        raise ValueError("its values share no grid of 2**53 steps")
    q = np.ldexp(values, -grid)
    if np.abs(q).max() > MAX_STEPS:
        raise ValueError("its values share no grid of 2**53 steps")
    return q.astype(np.int64), grid
