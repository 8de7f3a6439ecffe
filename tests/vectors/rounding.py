"""Vectors of round, floor, floor_div, isqrt: ties, negatives, and arguments that reveal a changed rounding mode."""

from __future__ import annotations

from fractions import Fraction
from math import floor, isqrt

from tests.vectors.case import Case

TOP = 2**53


def nearest_even(q: int, shift: int) -> int:
    """Round q / 2**shift as Python rounds a fraction: to the nearest integer, ties to even."""
    return round(Fraction(q, 2**shift))


def around(*middles: int) -> list[int]:
    """Return each number and its neighbours, with both signs."""
    return [sign * (m + d) for m in middles for d in (-1, 0, 1) for sign in (1, -1)]


def rounding() -> list[Case]:
    """Round and floor shift."""
    cases = []
    for shift in (1, 2, 8, 30, 52):
        half = 2 ** (shift - 1)
        limit = min(TOP, 2 ** (51 + shift))
        values = [
            q
            for q in around(
                0, half, 2 * half, 3 * half, 4 * half, 5 * half, 7 * half, limit - half, limit // 2 + half, limit // 3
            )
            if abs(q) <= limit
        ] + [limit, -limit]
        case = Case(f"Round and Floor: by {shift} bits, ties and their neighbours")
        x = case.real("x", values, limit.bit_length() - 1, -shift)
        case.output(case.op("Round", x), [nearest_even(q, shift) for q in values])
        case.output(case.op("Floor", x), [q // 2**shift for q in values])
        cases.append(case)

    case = Case("Round: to a multiple of 2**-4 from 2**-11, as Mul, Round, Mul")
    values = around(0, 64, 128, 192, 256, 320, 2**40 + 64, 2**40 + 192)
    scaled = case.op("Mul", case.real("x", values, 41, -11), case.const("float64", 1, grid=4))
    rounded = case.op("Mul", case.op("Round", scaled), case.const("float64", 1, grid=-4))
    case.output(rounded, [nearest_even(q, 7) for q in values], grid=-4)
    cases.append(case)

    case = Case("Floor: x * 2**-k + 0.5 rounds ties up")
    values = around(0, 2, 4, 6, 8, 10, 2**40 + 4, 2**40 + 12)
    half_up = case.op("Floor", case.op("Add", case.real("x", values, 41, -3), case.const("float64", 1, grid=-1)))
    case.output(half_up, [(q + 4) // 8 for q in values])
    cases.append(case)

    case = Case("Floor and Round: everything shifted out, to 0, -1 and 1")
    values = [TOP, TOP - 1, 1, 0, -1, -TOP + 1, -TOP]
    for shift in (53, 54, 55, 100, 400):
        x = case.real(f"x{shift}", values, 53, -shift)
        case.output(case.op("Floor", x), [q // 2**shift for q in values])
        case.output(case.op("Round", x), [nearest_even(q, shift) for q in values])
    cases.append(case)

    case = Case("Floor and Round: whole numbers stay, on coarse grids too")
    values = [TOP, -TOP, TOP - 1, 1, 0, -1]
    for grid in (0, 9):
        x = case.real(f"x{grid}", values, 53, grid)
        case.output(case.op("Floor", x), values, grid=grid)
        case.output(case.op("Round", x), values, grid=grid)
    cases.append(case)
    return cases


def floor_div() -> list[Case]:
    """Floor(a / b)."""
    cases = []
    pairs = []
    for divisor in (1, 2, 3, 7, 10, 2**26 - 1, 2**26 + 1, 94906267, 2**30 - 35, 2**52 - 1, 2**53 - 1, 2**53):
        for multiple in (TOP // divisor, TOP // divisor - 1, (TOP // divisor) // 2 + 1, 1, 0):
            # The rounded quotient of one below a multiple must not reach it, nor that of one above a negative multiple.
            pairs += [
                (sign * (divisor * multiple + d), divisor)
                for d in (-1, 0, 1)
                for sign in (1, -1)
                if abs(divisor * multiple + d) <= TOP
            ]
    case = Case("Div, Floor: next to multiples, up to 2**53")
    a, b = [p for p, _ in pairs], [q for _, q in pairs]
    positive = case.op("Max", case.real("b", b, 53), case.const("float64", 1))
    case.output(case.op("Floor", case.op("Div", case.real("a", a, 53), positive)), [x // y for x, y in pairs])
    cases.append(case)

    case = Case("Div, Floor: numerator and divisor on unequal grids, broadcast")
    a, b = [2**40 + 1, -(2**40) - 1, 0, 17, -17], [1, 3, 1000]
    divisor = case.op("Max", case.real("b", b, 30, -3, [3, 1]), case.const("float64", 1, grid=-3))
    quotient = case.op("Floor", case.op("Div", case.real("a", a, 41, -7, [5]), divisor))
    case.output(quotient, [floor(Fraction(x, 2**7) / Fraction(y, 2**3)) for y in b for x in a], shape=[3, 5])
    cases.append(case)
    return cases


def square_root() -> list[Case]:
    """Floor(Sqrt(a))."""
    last = 2**52 - 1
    roots = [0, 1, 2, 3, 181, 2**13, 2**20 + 7, 2**25, 47453132, 2**26 - 2, 2**26 - 1]
    values = sorted(
        {q for r in roots for q in (r * r - 1, r * r, r * r + 1, r * r + 2 * r) if 0 <= q <= last} | {last, last - 1}
    )
    case = Case("Sqrt, Floor: perfect squares and their neighbours, to 2**52 - 1")
    limited = case.op("Clip", case.real("x", values, 53), case.const("float64", 0), case.const("float64", last))
    case.output(case.op("Floor", case.op("Sqrt", limited)), [isqrt(q) for q in values])
    return [case]


FAMILIES = {"rounding": rounding, "floor_div": floor_div, "square_root": square_root}
