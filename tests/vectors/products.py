"""Vectors of matmul, reduce_sum, reduce_max, reduce_min: sums that fill 53 bits, in every layout of operands."""

from __future__ import annotations

from itertools import product

from tests.vectors.case import RANGES, Case

TOP = 2**53


def number(position: int) -> int:
    """An integer of 20 bits without a visible pattern."""
    return (position * 2654435761 % 2**20) - 2**19


def matmul() -> list[Case]:
    """Products of matrices, vectors and batches."""
    cases = []
    depth = 128
    case = Case("MatMul: 128 products of 15 and 31 bits, to ±2**53 and one below")
    low, high = RANGES["int32"]
    rows = [[low] * depth, [high] * depth, [low, high] * (depth // 2), [low] * (depth - 1) + [low + 1]]
    weights = [
        [-(2**15)] * depth,
        [2**15 - 1] * depth,
        [2**15 - 1, -(2**15)] * (depth // 2),
        [-(2**15)] * (depth - 1) + [-1],
    ]
    a = case.op("Cast", case.input("a", "int32", [q for row in rows for q in row], [4, depth]), to="float64")
    stored = case.const("int16", [q for row in weights for q in row], [4, depth])
    b = case.op("Transpose", case.op("Cast", stored, to="float64"), perm=[1, 0])
    results = [sum(x * y for x, y in zip(row, weight, strict=True)) for row in rows for weight in weights]
    assert TOP in results
    case.output(case.op("MatMul", a, b), results, shape=[4, 4])
    cases.append(case)

    case = Case("MatMul: an odd total below 2**53 whose partial sums cancel")
    row = [2**26, 2**26, -(2**26), -(2**26), 1, 2**26 - 1, -(2**26) + 1]
    column = [2**24, -(2**24), 2**24, -(2**24), 1, 2**24, 2**24]
    x = case.op("MatMul", case.real("a", row, 26, -3, [1, 7]), case.real("b", column, 24, -4, [7, 1]))
    case.output(x, [sum(p * q for p, q in zip(row, column, strict=True))], grid=-7, shape=[1, 1])
    cases.append(case)

    for left, right in (
        ([5], [5]),
        ([5], [5, 3]),
        ([3, 5], [5]),
        ([2, 3, 5], [5]),
        ([5], [2, 5, 3]),
        ([2, 1, 3, 5], [4, 5, 2]),
    ):
        case = Case(f"MatMul: {left} by {right}")
        size = {tuple(s): 1 for s in (left, right)}
        for shape in size:
            for dim in shape:
                size[shape] *= dim
        p = [number(n) for n in range(size[tuple(left)])]
        q = [number(n + 1000) for n in range(size[tuple(right)])]
        result, shape = _multiply(p, left, q, right)
        x = case.op("MatMul", case.real("a", p, 20, -5, left), case.real("b", q, 20, 0, right))
        case.output(x, result, grid=-5, shape=shape)
        cases.append(case)
    return cases


def _multiply(p: list[int], left: list[int], q: list[int], right: list[int]) -> tuple[list[int], list[int]]:
    """Multiply two row-major lists by ONNX's rules, element by element."""
    a = [1, *left] if len(left) == 1 else left
    b = [*right, 1] if len(right) == 1 else right
    batch = max(a[:-2], b[:-2], key=len)
    for shape in (a[:-2], b[:-2]):
        for offset, dim in enumerate(reversed(shape), 1):
            batch = [max(d, dim) if len(batch) - i == offset else d for i, d in enumerate(batch)]

    def at(values: list[int], shape: list[int], index: tuple[int, ...], row: int, column: int) -> int:
        place = 0
        for dim, i in zip(shape[:-2], index[len(index) - len(shape) + 2 :], strict=True):
            place = place * dim + (i if dim > 1 else 0)
        return values[(place * shape[-2] + row) * shape[-1] + column]

    result = [
        sum(at(p, a, index, i, k) * at(q, b, index, k, j) for k in range(a[-1]))
        for index in product(*map(range, batch))
        for i in range(a[-2])
        for j in range(b[-1])
    ]
    return result, [*batch, *([a[-2]] if len(left) > 1 else []), *([b[-1]] if len(right) > 1 else [])]


def reduce() -> list[Case]:
    """ReduceSum, ReduceMax, ReduceMin."""
    case = Case("ReduceSum: 32 numbers of 48 bits, to ±2**53")
    rows = [[2**48] * 32, [-(2**48)] * 32, [2**48, -(2**48)] * 16, [2**48 - 1] * 31 + [0], [1] + [-(2**48)] * 31]
    x = case.real("x", [q for row in rows for q in row], 48, -6, [5, 32])
    case.output(case.op("ReduceSum", x, case.list(-1), keepdims=0), [sum(row) for row in rows], grid=-6)
    cases = [case]

    shape = [2, 3, 4]
    values = [number(n) * 2**20 + n for n in range(24)]
    at = {(i, j, k): values[(i * 3 + j) * 4 + k] for i in range(2) for j in range(3) for k in range(4)}
    for op, pick in (("ReduceSum", sum), ("ReduceMax", max), ("ReduceMin", min)):
        case = Case(f"{op}: one axis, two axes, all axes; kept and dropped")
        x = case.real("x", values, 41, -9, shape)
        case.output(
            case.op(op, x, case.list(1), keepdims=1),
            [pick([at[i, j, k] for j in range(3)]) for i in range(2) for k in range(4)],
            grid=-9,
            shape=[2, 1, 4],
        )
        case.output(
            case.op(op, x, case.list(0, -1), keepdims=0),
            [pick([at[i, j, k] for i in range(2) for k in range(4)]) for j in range(3)],
            grid=-9,
        )
        case.output(case.op(op, x), [pick(values)], grid=-9, shape=[1, 1, 1])
        case.output(case.op(op, x, keepdims=0), [pick(values)], grid=-9, shape=[])
        cases.append(case)
        for dtype in ("int32", "int64"):
            low, high = RANGES[dtype]
            ends = [low, high, low + 1, high - 1, 0, -1, 1, low]
            case = Case(f"{op}: {dtype} at the ends of what is exact")
            x = case.input("x", dtype, ends, [4, 2])
            if op == "ReduceSum":  # onnxruntime adds int64 in float64
                low, high = max(low, -TOP) // 2, min(high, TOP) // 2
                ends = [max(low, min(high, q)) for q in ends]
                x = case.op("Clip", x, case.const(dtype, low), case.const(dtype, high))
            elif dtype == "int64":  # some onnxruntime versions order int64 beyond 32 bits wrongly
                low, high = -(2**31), 2**31 - 1
                ends = [max(low, min(high, q)) for q in ends]
                x = case.op("Clip", x, case.const(dtype, low), case.const(dtype, high))
            case.output(
                case.op(op, x, case.list(1), keepdims=0),
                [pick(ends[i : i + 2]) for i in range(0, 8, 2)],
                dtype,
                shape=[4],
            )
            cases.append(case)
    return cases


FAMILIES = {"matmul": matmul, "reduce": reduce}
