"""Depthwise convolutions of wide integers from float32 ones.

Float32 holds every integer up to 2**24, so a float32 convolution of integers is exact in any order of additions as long
as the sum of the absolute products stays within that. Wider operands are written in digits to a base 2**b,

    x = sum of x_i * 2**(b*i)  and  w = sum of w_j * 2**(b*j),  |x_i|, |w_j| <= 2**(b-1) but for the highest,

and the convolution of x and w is the sum over t of 2**(b*t) times the sum of the convolutions of x_i and w_j with
i + j = t. Each of these *orders* is accumulated in float32, and they are added in float64. An operand that is narrow
enough stays whole, and then only the filters are split.

The filters of one channel count a unit of their own, the largest power of two that divides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.values import MAX_STEPS

Integers = NDArray[Any]

# Largest sum of absolute products that float32 adds exactly.
MAX_FLOAT32_SUM = 2**24
# The most digits of an operand and of the filters that are tried.
MAX_OPERAND_DIGITS = 3
MAX_WEIGHT_DIGITS = 5
# Largest number of bits of a digit: the two lower digits of three have to fit the 24 bits of float32 together.
MAX_SPLIT_BITS = 12
# Estimated costs in passes over one tensor of float64, measured on AVX-512: splitting the operand, by its number of
# digits; bringing each order back into float64 and adding it; and one convolution, for each cell of its filters.
OPERAND_PASSES = (1.5, 4.0, 7.0)
ORDER_PASSES = 3.0
CELL_PASSES = 0.09


@dataclass(frozen=True)
class DigitPlan:
    """How one depthwise convolution is computed in digits.

    `operand_digits` digits of the operand to the base 2**bits, which is also the base of the filters' digits. `weights`
    [filters, cells], least significant first, hold the digits of the filters; they stand for themselves times
    2**(bits * position + units[filter]).
    """

    operand_digits: int
    bits: int
    weights: tuple[Integers, ...]
    units: NDArray[np.int64]

    @property
    def orders(self) -> list[list[tuple[int, int]]]:
        """For each order, least significant first: the digits of operand and filters that it adds."""
        count = len(self.weights)
        return [
            [(mine, order - mine) for mine in range(self.operand_digits) if 0 <= order - mine < count]
            for order in range(self.operand_digits + count - 1)
        ]


def plan_digits(q: Integers, magnitude: int, sizes: tuple[int, int]) -> DigitPlan | None:
    """Choose the digits for filters q [filters, cells] and an operand of |x| <= magnitude, or None where none fit.

    `sizes` are the numbers of elements of the operand and of the result, for the estimate of the cost.
    """
    units = _units(q)
    reduced = q >> units[:, None]
    best, least = None, float("inf")
    for operand_digits in range(1, MAX_OPERAND_DIGITS + 1):
        for weight_digits in range(1, MAX_WEIGHT_DIGITS + 1):
            cost = _cost(operand_digits, weight_digits, q.shape[1], sizes)
            if cost >= least:
                continue
            plan = _with_digits(reduced, units, magnitude, (operand_digits, weight_digits))
            if plan is not None:
                best, least = plan, cost
    return best


def _cost(operand_digits: int, weight_digits: int, cells: int, sizes: tuple[int, int]) -> float:
    orders, convolutions = operand_digits + weight_digits - 1, operand_digits * weight_digits
    per_result = ORDER_PASSES * orders + CELL_PASSES * cells * convolutions
    return OPERAND_PASSES[operand_digits - 1] * sizes[0] + per_result * sizes[1]


def _units(q: Integers) -> NDArray[np.int64]:
    """The exponent of the largest power of two that divides each filter; 0 for a filter of zeros."""
    joined = np.bitwise_or.reduce(q, axis=1)
    lowest = joined & -joined
    return np.where(lowest > 0, np.frexp(lowest.astype(np.float64))[1] - 1, 0).astype(np.int64)


def _with_digits(q: Integers, units: NDArray[np.int64], magnitude: int, digits: tuple[int, int]) -> DigitPlan | None:
    """The plan with these numbers of digits of operand and filters, to the smallest base that fits."""
    operand_digits, weight_digits = digits
    for bits in range(1, MAX_SPLIT_BITS + 1):
        weights = split_digits(q, bits, weight_digits)
        plan = DigitPlan(operand_digits, bits, weights, units)
        if _fits(plan, operand_bounds(magnitude, bits, operand_digits)):
            return plan
    return None


def split_digits(q: Integers, bits: int, count: int) -> tuple[Integers, ...]:
    """Write q as `count` digits to the base 2**bits, least significant first; the highest takes what is left."""
    digits = []
    for _ in range(count - 1):
        low = ((q + (1 << bits >> 1)) & ((1 << bits) - 1)) - (1 << bits >> 1)
        digits.append(low)
        q = (q - low) >> bits
    return (*digits, q)


def operand_bounds(magnitude: int, bits: int, count: int) -> tuple[int, ...]:
    """Bounds on the digits of |x| <= magnitude, least significant first: rounded from the top, ties to either side."""
    half = 1 << bits >> 1
    step = 1 << bits * (count - 1)
    return (*[half] * (count - 1), (magnitude + step // 2) // step)


def _fits(plan: DigitPlan, bounds: tuple[int, ...]) -> bool:
    """Whether every order stays exact in float32, and the sum of all but the highest in float64."""
    sums = [int(np.abs(weight).sum(axis=1).max()) for weight in plan.weights]
    totals = [sum(bounds[mine] * sums[theirs] for mine, theirs in order) for order in plan.orders]
    # The sum of all orders is the result, which the program's proof bounds. The units count at most in the result.
    lower = sum(total << plan.bits * order for order, total in enumerate(totals[:-1]))
    return max(totals) <= MAX_FLOAT32_SUM and lower << int(plan.units.max()) <= MAX_STEPS
