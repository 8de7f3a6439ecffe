"""What the proof knows about a tensor: dtype, shape, grid and interval.

A float64 tensor of an exact program lies on a dyadic grid: its values are q * 2**grid with integers |q| <= 2**53.
Integer tensors have grid 0 and are their own q; a bool is 0 or 1. Intervals are bounds on q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[Any]

# Largest |q| of a float64 tensor. Integers up to 2**53 are exact in float64, and so is every sum of them that stays
# within it, in any order.
MAX_STEPS = 2**53
# Largest |grid| of a tensor. The values of a program, at most 2**453 and at least 2**-400 unless they are 0, stay far
# inside float64's exponents, so that none overflows or becomes subnormal.
MAX_GRID = 400

BOOL = "bool"
FLOAT = "float64"
INTEGER_RANGES: dict[str, tuple[int, int]] = {
    name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("int8", "uint8", "int16", "int32", "int64")
}
DTYPES = (BOOL, FLOAT, *INTEGER_RANGES)
# The integer dtypes of arithmetic. Tensors of narrower ones are only stored, moved and cast.
WIDE_INTEGERS = ("int32", "int64")


@dataclass(frozen=True)
class Value:
    """A tensor of a program.

    `lo` and `hi` bound its q. `constant` holds the q of a tensor that is known before anything runs, in an integer
    dtype and in the tensor's shape. `unrounded` marks the result of Div or Sqrt, which is not on the grid; its one
    reader, a Floor, returns to the whole numbers within `lo` and `hi`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    grid: int
    lo: int
    hi: int
    constant: Integers | None = None
    unrounded: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def magnitude(self) -> int:
        """Largest |q|."""
        return max(abs(self.lo), abs(self.hi))

    def aligned(self, grid: int) -> tuple[int, int]:
        """The interval in steps of another grid, which must not be coarser."""
        shift = self.grid - grid
        return self.lo << shift, self.hi << shift


def grid_of(values: NDArray[np.float64]) -> tuple[Integers, int]:
    """Find the coarsest grid of float64 constants; returns the integers q and the grid: values == q * 2**grid.

    q has the shape of values, dtype int64. Errors: ValueError when no grid holds all values within 2**53 steps, and for
    NaN and infinite values.
    """
    if not np.isfinite(values).all():
        raise ValueError("it has NaN or infinite values")
    nonzero = values[values != 0]
    if nonzero.size == 0:
        return np.zeros(values.shape, np.int64), 0
    mantissa, exponent = np.frexp(nonzero)
    # |mantissa| in [0.5, 1) is m / 2**53 with an integer m, whose trailing zeros give the last significant bit.
    scaled = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    trailing = np.frexp((scaled & -scaled).astype(np.float64))[1].astype(np.int64) - 1
    grid = int((exponent.astype(np.int64) - 53 + trailing).min())
    if abs(grid) > MAX_GRID or int(exponent.max()) - grid > 54:
        raise ValueError("its values share no grid of 2**53 steps")
    q = np.ldexp(values, -grid)
    if np.abs(q).max() > MAX_STEPS:
        raise ValueError("its values share no grid of 2**53 steps")
    return q.astype(np.int64), grid
