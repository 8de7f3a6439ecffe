"""Vectors of views, which move elements, and of negative zero."""

from __future__ import annotations

from itertools import product

from tests.vectors.case import Case
from tests.vectors.selecting import STORED

SHAPE = (2, 3, 4)
VALUES = [(-1) ** n * (2**53 - n) for n in range(24)]
AT = {index: VALUES[n] for n, index in enumerate(product(*map(range, SHAPE)))}
FAR = 2**63 - 1


def views() -> list[Case]:
    """One case for each operator, on a computed tensor [2, 3, 4]."""

    def start(name: str) -> tuple[Case, str]:
        case = Case(name)
        return case, case.real("x", VALUES, 53, -3, SHAPE)

    cases = []
    case, x = start("Reshape: given, copied and inferred dimensions, and to a list")
    for wanted, shape in (([4, 6], [4, 6]), ([0, -1], [2, 12]), ([-1], [24]), ([2, 1, 3, 4], [2, 1, 3, 4])):
        case.output(case.op("Reshape", x, case.list(*wanted)), VALUES, grid=-3, shape=shape)
    one = case.op("Slice", x, case.list(0, 0, 0), case.list(1, 1, 1))
    case.output(case.op("Reshape", one, case.const("int64", [], [0])), VALUES[:1], grid=-3, shape=[])
    cases.append(case)

    case, x = start("Transpose: every order of three axes, and without perm")
    for perm in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        shape = [SHAPE[axis] for axis in perm]
        moved = []
        for index in product(*map(range, shape)):
            source = [0, 0, 0]
            for axis, i in zip(perm, index, strict=True):
                source[axis] = i
            moved.append(AT[source[0], source[1], source[2]])
        case.output(case.op("Transpose", x, perm=perm), moved, grid=-3, shape=shape)
    transposed = [AT[i, j, k] for k in range(4) for j in range(3) for i in range(2)]
    case.output(case.op("Transpose", x), transposed, grid=-3, shape=[4, 3, 2])
    cases.append(case)

    case, x = start("Slice: to the end and beyond, from the end, backwards, with steps longer than the axis")
    for starts, ends, axes, steps, picked in (
        ([1], [FAR], [2], [1], [1, 2, 3]),
        ([-3], [-1], [-1], [1], [1, 2]),
        ([-100], [100], [2], [3], [0, 3]),
        ([3], [-FAR - 1], [2], [-1], [3, 2, 1, 0]),
        ([-1], [0], [2], [-2], [3, 1]),
        ([100], [-5], [2], [-3], [3, 0]),
        ([0], [FAR], [2], [FAR], [0]),
        ([-1], [-FAR], [2], [-FAR], [3]),
    ):
        part = case.op("Slice", x, *(case.list(*item) for item in (starts, ends, axes, steps)))
        results = [AT[i, j, k] for i in range(2) for j in range(3) for k in picked]
        case.output(part, results, grid=-3, shape=[2, 3, len(picked)])
    part = case.op("Slice", x, case.list(1, -1), case.list(2, -4), case.list(0, 1), case.list(1, -1))
    case.output(part, [AT[1, j, k] for j in (2, 1, 0) for k in range(4)], grid=-3, shape=[1, 3, 4])
    cases.append(case)

    case, x = start("Split: into given lengths and into equal parts")
    first, second = case.ops("Split", x, case.list(1, 3), outputs=2, axis=-1)
    case.output(first, [AT[i, j, 0] for i in range(2) for j in range(3)], grid=-3, shape=[2, 3, 1])
    case.output(second, [AT[i, j, k] for i in range(2) for j in range(3) for k in (1, 2, 3)], grid=-3, shape=[2, 3, 3])
    for n, part in enumerate(case.ops("Split", x, outputs=3, axis=1, num_outputs=3)):
        case.output(part, [AT[i, n, k] for i in range(2) for k in range(4)], grid=-3, shape=[2, 1, 4])
    cases.append(case)

    case = Case("Concat: on a middle axis, of unequal lengths and grids")
    a, b = [5, -5, 7, -7], [2**40, 1, -1, 0, 3, -(2**40), 9, 8]
    parts = case.op("Concat", case.real("a", a, 10, -1, [2, 1, 2]), case.real("b", b, 40, -3, [2, 2, 2]), axis=1)
    case.output(parts, [20, -20, *b[:4], 28, -28, *b[4:]], grid=-3, shape=[2, 3, 2])
    cases.append(case)

    case = Case("Expand: both ways of broadcasting")
    row = case.real("x", [2**53, -1, 3], 53, 0, [1, 3])
    case.output(case.op("Expand", row, case.list(2, 2, 1)), [2**53, -1, 3] * 4, shape=[2, 2, 3])
    case.output(case.op("Expand", row, case.list(3)), [2**53, -1, 3], shape=[1, 3])
    cases.append(case)

    case = Case("Squeeze and Unsqueeze: given, negative and all axes")
    x = case.real("x", [1, -2, 3], 53, -1, [1, 3, 1])
    case.output(case.op("Squeeze", x, case.list(-1)), [1, -2, 3], grid=-1, shape=[1, 3])
    case.output(case.op("Squeeze", x), [1, -2, 3], grid=-1)
    case.output(case.op("Unsqueeze", x, case.list(0, -1)), [1, -2, 3], grid=-1, shape=[1, 1, 3, 1, 1])
    cases.append(case)

    for dtype, values in STORED.items():
        if dtype == "float64":
            continue
        case = Case(f"Views of {dtype}: reverse, stack, transpose, repeat, split")
        if dtype == "bool":
            x = case.op("Greater", case.input("x", "int32", values), case.const("int32", 0))
        else:
            x = case.input("x", dtype, values)
        back = case.op("Slice", x, case.list(-1), case.list(-FAR - 1), case.list(0), case.list(-1))
        rows = [case.op("Unsqueeze", part, case.list(0)) for part in (x, back)]
        stack = case.op("Transpose", case.op("Concat", *rows, axis=0))
        both = [item for pair in zip(values, reversed(values), strict=True) for item in pair]
        case.output(stack, both, dtype, shape=[5, 2])
        flat = case.op("Reshape", case.op("Expand", stack, case.list(2, 1, 1)), case.list(-1))
        head, tail = case.ops("Split", flat, case.list(7, 13), outputs=2, axis=0)
        case.output(head, (both * 2)[:7], dtype)
        case.output(case.op("Squeeze", case.op("Unsqueeze", tail, case.list(1))), (both * 2)[7:], dtype)
        cases.append(case)
    return cases


def negative_zero() -> list[Case]:
    """Zeros with a sign from every operator that can make one: an output -0.0 is the integer 0."""
    case = Case("-0.0: from Neg, Mul, Round, a constant; it equals 0, divides to 0, has the root 0, is false")
    values = [0] * 9
    x = case.real("x", values, 10)
    minus = case.op("Neg", x)
    case.output(minus, values)
    case.output(case.op("Mul", x, case.const("float64", -3)), values)
    zero = case.const("float64", ["-0"], [])
    case.output(case.op("Mul", x, zero), values)
    case.output(case.op("Max", minus, zero), values)
    case.output(case.op("Min", minus, x), values)
    case.output(case.op("Equal", minus, x), [1] * 9, "bool")
    case.output(case.op("Less", minus, x), values, "bool")
    case.output(case.op("Cast", minus, to="bool"), values, "bool")
    case.output(case.op("Cast", minus, to="int64"), values, "int64")
    case.output(case.op("Floor", case.op("Div", minus, case.const("float64", 7))), values)
    limited = case.op("Clip", minus, case.const("float64", 0), case.const("float64", 1))
    case.output(case.op("Floor", case.op("Sqrt", limited)), values)
    small = case.real("y", [-1, 0, 1] * 3, 4, -2)
    case.output(case.op("Round", small), values)
    case.output(case.op("ReduceMax", minus), [0], shape=[1])
    square = case.op("Reshape", minus, case.list(3, 3))
    case.output(case.op("MatMul", square, square), values, shape=[3, 3])
    cases = [case]

    case = Case("-0.0: an output that is the constant itself")
    case.output(case.const("float64", ["-0", 0, 3], [3], grid=-2), [0, 0, 3], grid=-2)
    case.input("x", "int8", [0])
    cases.append(case)
    return cases


FAMILIES = {"views": views, "negative_zero": negative_zero}
