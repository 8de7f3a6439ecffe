"""Vectors of lookups, where, comparisons, logic, casts: first and last indices, ties, and the ends of every type."""

from __future__ import annotations

from itertools import product
from operator import eq, ge, gt, le, lt

from tests.vectors.case import RANGES, Case

TOP = 2**53
STORED = {
    "bool": [1, 0, 0, 1, 1],
    "int8": [-128, 127, 0, -1, 5],
    "uint8": [255, 0, 128, 127, 1],
    "int16": [-(2**15), 2**15 - 1, 0, -1, 5],
    "int32": [-(2**31), 2**31 - 1, 0, -1, 5],
    "int64": [-(2**63), 2**63 - 1, 0, -1, 5],
    "float64": [-TOP, TOP, 0, -1, 5],
}


def lookup() -> list[Case]:
    """Gather and GatherElements."""
    cases = []
    for dtype, table in STORED.items():
        case = Case(f"Gather and GatherElements: a table of {dtype}, first and last index")
        data = case.const(dtype, table, grid=-7)
        grid = -7 if dtype == "float64" else 0
        for op, kind in (("Gather", "int64"), ("GatherElements", "int32")):
            indices = [0, 4, 4, 0, 2, 1, 3]
            index = case.op("Clip", case.input(f"i_{kind}", kind, indices), case.const(kind, 0), case.const(kind, 4))
            case.output(case.op(op, data, index, axis=0), [table[i] for i in indices], dtype, grid)
        cases.append(case)

    case = Case("Gather: rows and columns of a matrix that is computed, a scalar index, a negative axis")
    values = [31 * n - 200 for n in range(12)]
    x = case.real("x", values, 10, -2, [3, 4])
    index = case.op(
        "Clip", case.input("i", "int32", [2, 0, 0, 2], [2, 2]), case.const("int32", 0), case.const("int32", 2)
    )
    rows = [values[4 * i + j] for i in (2, 0, 0, 2) for j in range(4)]
    case.output(case.op("Gather", x, index, axis=0), rows, grid=-2, shape=[2, 2, 4])
    case.output(
        case.op("Gather", x, index, axis=-1),
        [values[4 * r + i] for r in range(3) for i in (2, 0, 0, 2)],
        grid=-2,
        shape=[3, 2, 2],
    )
    case.output(case.op("Gather", x, case.const("int64", 1), axis=1), [values[4 * r + 1] for r in range(3)], grid=-2)
    cases.append(case)

    case = Case("GatherElements: shorter than the data on the other axis")
    indices = [2, 0, 1, 1, 2, 2]
    index = case.op("Clip", case.input("i", "int64", indices, [2, 3]), case.const("int64", 0), case.const("int64", 2))
    case.output(
        case.op("GatherElements", case.real("x", values, 10, 0, [3, 4]), index, axis=0),
        [values[4 * i + j] for (_, j), i in zip(product(range(2), range(3)), indices, strict=True)],
        shape=[2, 3],
    )
    along = case.op("GatherElements", case.real("z", values, 10, 0, [3, 4]), index, axis=-1)
    case.output(
        along, [values[4 * r + i] for (r, _), i in zip(product(range(2), range(3)), indices, strict=True)], shape=[2, 3]
    )
    cases.append(case)
    return cases


def select() -> list[Case]:
    """Where, comparisons, logic."""
    cases = []
    for dtype, ends in (
        ("float64", [TOP, TOP - 1, 1, 0, -1, -TOP + 1, -TOP]),
        ("int32", [2**31 - 1, 2**31 - 2, 1, 0, -1, -(2**31)]),
        ("int64", [2**63 - 1, 2**63 - 2, TOP + 1, TOP, 0, -1, -(2**63)]),
    ):
        case = Case(f"Comparisons and Where: {dtype}, every pair of extremes")
        a, b = [p for p in ends for _ in ends], [q for _ in ends for q in ends]
        if dtype == "float64":
            x, y = case.real("a", a, 53, -4), case.real("b", b, 53, -4)
        else:
            x, y = case.input("a", dtype, a), case.input("b", dtype, b)
        grid = -4 if dtype == "float64" else 0
        for op, holds in (("Equal", eq), ("Less", lt), ("Greater", gt), ("LessOrEqual", le), ("GreaterOrEqual", ge)):
            truth = [int(holds(p, q)) for p, q in zip(a, b, strict=True)]
            flags = case.op(op, x, y)
            case.output(flags, truth, "bool")
            chosen = case.op("Where", flags, x, y)
            case.output(chosen, [p if t else q for p, q, t in zip(a, b, truth, strict=True)], dtype, grid)
        cases.append(case)

    case = Case("Where and Less: broadcast, on unequal grids")
    rows, columns = [1, 2**30, -(2**30)], [16, 15, -(2**34), 2**34 + 1]
    x, y = case.real("a", rows, 30, 0, [3, 1]), case.real("b", columns, 35, -4, [4])
    less = case.op("Less", x, y)
    pairs = [(16 * p, q) for p in rows for q in columns]
    case.output(less, [int(p < q) for p, q in pairs], "bool", shape=[3, 4])
    case.output(case.op("Where", less, x, y), [p if p < q else q for p, q in pairs], grid=-4, shape=[3, 4])
    cases.append(case)

    case = Case("And, Or, Not")
    a, b = [0, 0, 1, 1], [0, 1, 0, 1]
    zero = case.const("int32", 0)
    x, y = (case.op("Greater", case.input(n, "int32", q), zero) for n, q in (("a", a), ("b", b)))
    case.output(case.op("And", x, y), [0, 0, 0, 1], "bool")
    case.output(case.op("Or", x, y), [0, 1, 1, 1], "bool")
    case.output(case.op("Not", x), [1, 1, 0, 0], "bool")
    case.output(case.op("And", x, case.const("bool", 1)), [0, 0, 1, 1], "bool")
    cases.append(case)
    return cases


def casts() -> list[Case]:
    """Cast, between all types, at the ends of the narrower one."""
    cases = []
    for target in STORED:
        case = Case(f"Cast: everything to {target}")
        low, high = RANGES[target]
        for source in STORED:
            if target == "bool":
                values = STORED[source]
                results = [int(value != 0) for value in values]
            else:
                smallest, largest = max(low, RANGES[source][0]), min(high, RANGES[source][1])
                values = sorted({smallest, largest, smallest + 1, largest - 1, 0, 1}) if source != "bool" else [0, 1, 1]
                results = values
            if source == "bool":
                x = case.op("Greater", case.input("x_bool", "int32", values), case.const("int32", 0))
            elif source == "float64":
                x = case.real("x_float64", values, 53)
                if target not in ("bool", "int64", "float64"):
                    x = case.op("Clip", x, case.const("float64", low), case.const("float64", high))
            else:
                x = case.input(f"x_{source}", source, values)
                if target != "bool" and (RANGES[source][0] < low or RANGES[source][1] > high):
                    if source in ("int16", "uint8", "int8"):
                        x = case.op("Cast", x, to="int32")
                    kind = "int64" if source == "int64" else "int32"
                    x = case.op("Clip", x, case.const(kind, low), case.const(kind, high))
            case.output(case.op("Cast", x, to=target), results, target)
        cases.append(case)
    case = Case("Cast: a coarse grid to integers")
    x = case.real("x", [3, -3, 2**40], 40, 9)
    case.output(case.op("Cast", x, to="int64"), [3 * 512, -3 * 512, 2**49], "int64")
    cases.append(case)
    return cases


FAMILIES = {"lookup": lookup, "select": select, "casts": casts}
