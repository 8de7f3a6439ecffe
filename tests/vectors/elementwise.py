"""Vectors of add, sub, mul, neg, scale, clip, max, min: the ends of their types, broadcasts and unequal grids."""

from __future__ import annotations

from tests.vectors.case import RANGES, Case

TOP = 2**53
# Longer than any vector register, and not a multiple of its length, so that vector lanes and scalar tails compute.
SIDES = [2**52, 2**52 - 1, 1, 0, -1, -(2**52) + 1, -(2**52), 3, -7, 2**51 + 1, -(2**51) - 1, 12345]


def _pairs(values: list[int]) -> tuple[list[int], list[int]]:
    return [x for x in values for _ in values], [y for _ in values for y in values]


def add() -> list[Case]:
    """Sums and differences."""
    cases = []
    a, b = _pairs(SIDES)
    for op, results in (
        ("Add", [x + y for x, y in zip(a, b, strict=True)]),
        ("Sub", [x - y for x, y in zip(a, b, strict=True)]),
    ):
        case = Case(f"{op}: to ±2**53")
        case.output(case.op(op, case.real("a", a, 52), case.real("b", b, 52)), results)
        cases.append(case)
    for op, sign in (("Add", 1), ("Sub", -1)):
        case = Case(f"{op}: a column and a row on unequal grids")
        column, row = [5, -3, 2**40], [1, -1, 2**41 - 1, -(2**41)]
        total = case.op(op, case.real("a", column, 40, -2, [3, 1]), case.real("b", row, 41, -7, [4]))
        case.output(total, [x * 32 + sign * y for x in column for y in row], grid=-7, shape=[3, 4])
        cases.append(case)
    for dtype, bits in (("int32", 30), ("int64", 62)):
        case = Case(f"Add and Sub: {dtype} to the ends of its range")
        values = [2**bits - 1, 2**bits - 2, -(2**bits), 1, 0, -1, 77]
        a, b = _pairs(values)
        low, high = case.const(dtype, -(2**bits)), case.const(dtype, 2**bits - 1)
        x, y = (case.op("Clip", case.input(n, dtype, q), low, high) for n, q in (("a", a), ("b", b)))
        case.output(case.op("Add", x, y), [p + q for p, q in zip(a, b, strict=True)], dtype)
        case.output(case.op("Sub", x, y), [p - q for p, q in zip(a, b, strict=True)], dtype)
        cases.append(case)
    return cases


def mul() -> list[Case]:
    """Products, negation and scales."""
    case = Case("Mul: 31 by 22 bits, to ±2**53")
    wide, narrow = [-(2**31), 2**31 - 1, -(2**31) + 1, 1, 0, -1], [2**22, -(2**22), 2**22 - 1, -(2**22) + 1, 3, 0]
    a, b = [x for x in wide for _ in narrow], [y for _ in wide for y in narrow]
    left = case.op("Cast", case.input("a", "int32", a), to="float64")
    case.output(case.op("Mul", left, case.real("b", b, 22)), [x * y for x, y in zip(a, b, strict=True)])
    cases = [case]

    case = Case("Mul: grids add up, a scalar broadcasts")
    values = [-(2**15), 2**15 - 1, 1, 0, -1]
    x = case.op(
        "Mul", case.op("Cast", case.input("x", "int16", values), to="float64"), case.const("float64", 1, grid=-9)
    )
    case.output(case.op("Mul", x, case.const("float64", -37, grid=-20)), [-37 * v for v in values], grid=-29)
    cases.append(case)

    case = Case("Mul: int64 to both ends of its range")
    halves = [2**31, 2**31 - 1, -(2**31), 1, 0]
    a, b = _pairs(halves)
    x, y = (
        case.op("Clip", case.input(n, "int64", q), case.const("int64", -(2**31)), case.const("int64", 2**31))
        for n, q in (("a", a), ("b", b))
    )
    case.output(case.op("Mul", x, y), [p * q for p, q in zip(a, b, strict=True)], "int64")
    cases.append(case)

    case = Case("Mul: scale by powers of two at both ends of the allowed grids")
    values = [TOP, TOP - 1, -TOP, 1, 0, -1, 2**26 + 1]
    for grid in (-400, -53, -1, 1, 400):
        case.output(
            case.op("Mul", case.real(f"x{grid + 400}", values, 53), case.const("float64", 1, grid=grid)),
            values,
            grid=grid,
        )
    cases.append(case)

    case = Case("Neg: float64, int32, int64")
    case.output(case.op("Neg", case.real("x", [TOP, -TOP, 1, 0, -1], 53, -5)), [-TOP, TOP, -1, 0, 1], grid=-5)
    for dtype in ("int32", "int64"):
        low, high = RANGES[dtype]
        limited = case.op(
            "Max", case.input(f"x_{dtype}", dtype, [low, high, low + 1, 0, 5]), case.const(dtype, low + 1)
        )
        case.output(case.op("Neg", limited), [high, -high, high, 0, -5], dtype)
    cases.append(case)
    return cases


def saturation() -> list[Case]:
    """Clip, Max, Min."""
    case = Case("Clip: to 16 bits in two's complement, on a grid")
    values = [2**30, -(2**30), 2**15, 2**15 - 1, -(2**15), -(2**15) - 1, 0, -1, 1, 2**15 - 2, 7, -9, 11]
    clipped = case.op(
        "Clip",
        case.real("x", values, 40, -12),
        case.const("float64", -(2**15), grid=-12),
        case.const("float64", 2**15 - 1, grid=-12),
    )
    case.output(clipped, [max(-(2**15), min(2**15 - 1, v)) for v in values], grid=-12)
    cases = [case]
    for dtype in ("int32", "int64"):
        low, high = RANGES[dtype]
        case = Case(f"Clip, Max and Min: {dtype} from the ends of its range")
        values = [low, low + 1, -101, -100, -1, 0, 1, 99, 100, high - 1, high]
        pairs = [0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, -(2**31), -(2**31) - 1, 2**40 + 2**31, 2**40 + 5]
        x = case.input("x", dtype, values)
        case.output(
            case.op("Clip", x, case.const(dtype, -100), case.const(dtype, 99)),
            [max(-100, min(99, v)) for v in values],
            dtype,
        )
        case.output(case.op("Max", x, case.const(dtype, high)), [high] * len(values), dtype)
        case.output(case.op("Min", x, case.const(dtype, low)), [low] * len(values), dtype)
        case.output(case.op("Max", x, case.const(dtype, low)), values, dtype)
        cases.append(case)
        # Pairs with equal upper halves, whose lower halves differ in the sign bit.
        a, b = _pairs(pairs if dtype == "int64" else values)
        case = Case(f"Max, Min and Clip: {dtype}, pairs that differ in any half")
        x, y = case.input("a", dtype, a), case.input("b", dtype, b)
        case.output(case.op("Max", x, y, x), [max(p, q) for p, q in zip(a, b, strict=True)], dtype)
        case.output(case.op("Min", x, y), [min(p, q) for p, q in zip(a, b, strict=True)], dtype)
        low, high = (5, 2**31 + 7) if dtype == "int64" else (-100, 99)
        clipped = case.op("Clip", x, case.const(dtype, low), case.const(dtype, high))
        case.output(clipped, [max(low, min(high, p)) for p in a], dtype)
        cases.append(case)
    case = Case("Clip: both limits alike")
    limit = case.const("float64", 5)
    case.output(case.op("Clip", case.real("x", [-(2**53), 4, 5, 6, 2**53], 53), limit, limit), [5] * 5)
    cases.append(case)
    for op, pick in (("Max", max), ("Min", min)):
        case = Case(f"{op}: three operands on unequal grids, broadcast")
        a, b = [2**44, -(2**44), 3, -3], [2**51, -(2**51)]
        result = case.op(
            op,
            case.real("a", a, 44, 0, [4]),
            case.real("b", b, 51, -8, [2, 1]),
            case.const("float64", 700, grid=-8),
        )
        case.output(result, [pick(x * 256, y, 700) for y in b for x in a], grid=-8, shape=[2, 4])
        cases.append(case)
    return cases


FAMILIES = {"add": add, "mul": mul, "saturation": saturation}
