"""Depthwise convolutions of wide integers from float32 ones.

Float32 holds every integer up to 2**24, so a float32 convolution of integers is exact in any order of additions as long
as the sum of the absolute products stays within that. Wider operands are written in digits to a base 2**b,

    x = sum of x_i * 2**(b*i),  |x_i| <= 2**(b-1) but for the highest,

filters w likewise to a base 2**c, and the convolution of x and w is the sum over i and j of 2**(b*i + c*j) times the
convolution of x_i and w_j. Those of the same exponent are one *order*, which is accumulated in float32; the orders are
added in float64. An operand that is narrow enough stays whole, and then only the filters are split.

The filters of one channel count a unit of their own, the largest power of two that divides them. The constant scales of
the channels are multiplied into the filters, or into the result where that saves digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.values import MAX_STEPS

Integers = NDArray[Any]

# Largest sum of absolute products that float32 adds exactly.
MAX_FLOAT32_SUM = 2**24
# The most digits of an operand and of the filters that are tried, and the most bits of all but the highest.
MAX_OPERAND_DIGITS = 3
MAX_WEIGHT_DIGITS = 5
MAX_DIGIT_BITS = 16
# Estimated costs in passes over one tensor of float64, measured on AVX-512: splitting the operand, by its number of
# digits; bringing each order back into float64 and adding it; one convolution, for each cell of its filters; and
# scaling the result.
OPERAND_PASSES = (1.5, 4.0, 7.0)
ORDER_PASSES = 3.0
CELL_PASSES = 0.09
SCALE_PASSES = 1.0


@dataclass(frozen=True)
class DigitPlan:
    """How one depthwise convolution is computed in digits.

    The operand takes `operand_digits` digits to the base 2**operand_bits. `weights` [filters, cells], least significant
    first, hold the digits of the filters; each stands for itself times 2**(weight_bits * position + units[filter]).
    `scaled` tells whether the filters include the scales of the channels; otherwise the result has to be scaled.
    """

    operand_digits: int
    operand_bits: int
    weights: tuple[Integers, ...]
    weight_bits: int
    units: NDArray[np.int64]
    scaled: bool

    @cached_property
    def orders(self) -> dict[int, list[tuple[int, int]]]:
        """For each exponent, from the least: the pairs of digits of operand and filters whose products it counts."""
        found: dict[int, list[tuple[int, int]]] = {}
        for mine, theirs in product(range(self.operand_digits), range(len(self.weights))):
            found.setdefault(self.operand_bits * mine + self.weight_bits * theirs, []).append((mine, theirs))
        return dict(sorted(found.items()))


class _Filters:
    """Filters q [filters, cells] that are split into digits in several ways."""

    def __init__(self, q: Integers) -> None:
        self.units = _units(q)
        self._reduced = q >> self.units[:, None]
        self._sums: dict[tuple[int, int], tuple[int, ...]] = {}

    def digits(self, bits: int, count: int) -> tuple[Integers, ...]:
        """The digits to the base 2**bits, in units, least significant first."""
        return split_digits(self._reduced, bits, count)

    def sums(self, bits: int, count: int) -> tuple[int, ...]:
        """For each digit, the largest sum of its magnitudes over the cells of a filter."""
        key = (bits, count)
        if key not in self._sums:
            self._sums[key] = tuple(int(np.abs(digit).sum(axis=1).max()) for digit in self.digits(bits, count))
        return self._sums[key]


def plan_digits(q: Integers, scales: Integers, magnitude: int, sizes: tuple[int, int]) -> DigitPlan | None:
    """Choose the digits for filters q [filters, cells] with scales [filters], and an operand of |x| <= magnitude.

    `sizes` are the numbers of elements of the operand and of the result, for the estimate of the cost. Returns None
    where the operands fit no digits.
    """
    filters = {True: _Filters(q * scales[:, None]), False: _Filters(q)}
    shapes = product(range(1, MAX_OPERAND_DIGITS + 1), range(1, MAX_WEIGHT_DIGITS + 1), (True, False))
    # A number of orders cannot be less than if both bases were equal.
    costs = {shape: _cost(shape, shape[0] + shape[1] - 1, q.shape[1], sizes) for shape in shapes}
    best, least = None, float("inf")
    for shape in sorted(costs, key=lambda shape: costs[shape]):
        if costs[shape] >= least:
            break
        operand_digits, weight_digits, scaled = shape
        of = filters[scaled]
        for operand_bits, weight_bits in product(_bases(operand_digits), _bases(weight_digits)):
            bounds = operand_bounds(magnitude, operand_bits, operand_digits)
            orders = _orders(bounds, operand_bits, of.sums(weight_bits, weight_digits), weight_bits)
            cost = _cost(shape, len(orders), q.shape[1], sizes)
            if cost < least and _fits(orders, int(of.units.max())):
                best, least = (shape, operand_bits, weight_bits), cost
    if best is None:
        return None
    (operand_digits, weight_digits, scaled), operand_bits, weight_bits = best
    of = filters[scaled]
    weights = of.digits(weight_bits, weight_digits)
    return DigitPlan(operand_digits, operand_bits, weights, weight_bits, of.units, scaled)


def _bases(digits: int) -> range:
    """The exponents of the bases that are tried for a number of digits; a single digit needs none."""
    return range(2, MAX_DIGIT_BITS + 1) if digits > 1 else range(1)


def _cost(shape: tuple[int, int, bool], orders: int, cells: int, sizes: tuple[int, int]) -> float:
    """The estimated cost of a convolution with those digits of operand and filters, scaled or not."""
    operand_digits, weight_digits, scaled = shape
    per_result = ORDER_PASSES * orders + CELL_PASSES * cells * operand_digits * weight_digits
    return OPERAND_PASSES[operand_digits - 1] * sizes[0] + (per_result + (0 if scaled else SCALE_PASSES)) * sizes[1]


def _units(q: Integers) -> NDArray[np.int64]:
    """The exponent of the largest power of two that divides each filter; 0 for a filter of zeros."""
    joined = np.bitwise_or.reduce(q, axis=1)
    lowest = joined & -joined
    return np.where(lowest > 0, np.frexp(lowest.astype(np.float64))[1] - 1, 0).astype(np.int64)


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


def _orders(bounds: tuple[int, ...], operand_bits: int, sums: tuple[int, ...], weight_bits: int) -> dict[int, int]:
    """For each exponent, the bound on the sum of absolute products that it counts."""
    totals: dict[int, int] = {}
    for (mine, bound), (theirs, total) in product(enumerate(bounds), enumerate(sums)):
        exponent = operand_bits * mine + weight_bits * theirs
        totals[exponent] = totals.get(exponent, 0) + bound * total
    return totals


def _fits(orders: dict[int, int], unit: int) -> bool:
    """Whether every order stays exact in float32, and the sum of all but the highest in float64.

    The sum of all orders is the product, which the program's proof bounds. `unit` is the largest of all filters.
    """
    lower = sum(total << exponent for exponent, total in orders.items()) - (orders[max(orders)] << max(orders))
    return max(orders.values()) <= MAX_FLOAT32_SUM and lower << unit <= MAX_STEPS
