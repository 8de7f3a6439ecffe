"""Random exact programs. A few numbers decide each node, so that Hypothesis can shrink a program."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st

from verifier.exact import NotExactError
from verifier.exact.lowering.builder import Builder
from verifier.exact.program.parse import PROTO_OF
from verifier.exact.program.values import BOOL, DTYPES, FLOAT, INTEGER_RANGES, MAX_STEPS, WIDE_INTEGERS, Value

SHAPES: tuple[tuple[int, ...], ...] = (
    (),
    (1,),
    (3,),
    (2, 3),
    (3, 1),
    (2, 1, 3),
    (3, 3),
    (1, 2, 1, 3),
    (17,),
    (2, 5, 3),
)


class GrowingProgram:
    """A program under construction. `grow` adds what a number decides, or nothing where that would not be exact."""

    def __init__(self, seed: int) -> None:
        choose = random.Random(seed)
        self.builder = Builder()
        self.pool = [
            self.builder.input(f"x{number}", choose.choice(tuple(INTEGER_RANGES)), choose.choice(SHAPES))
            for number in range(4)
        ]
        self.pool += [self._usable(value, choose) for value in list(self.pool)]

    def grow(self, kind: str, number: int) -> None:
        """Add a node of a kind, with the nodes around it that its operator needs."""
        choose = random.Random(number)
        for _ in range(8):  # other operands may fit where these do not
            try:
                made = KINDS[kind](self, choose)
            except NotExactError:
                continue
            self.pool += [value for value in made if value.constant is None]
            return

    def model(self) -> onnx.ModelProto:
        """Return the program, with everything that it computes as an output."""
        made = [value for value in self.pool if not value.name.startswith("x")]
        return self.builder.model({f"y{number}": value for number, value in enumerate(made)})

    # Operands

    def pick(self, choose: random.Random, *dtypes: str) -> Value:
        """Choose a tensor with one of these dtypes. Errors: NotExactError where there is none."""
        fitting = [value for value in self.pool if value.dtype in dtypes]
        if not fitting:
            raise NotExactError("the pool", f"it has no {dtypes}")
        # Recent tensors are chosen more often, so that programs become deep.
        return fitting[-1 - min(int(choose.expovariate(0.3)), len(fitting) - 1)]

    def number(self, choose: random.Random) -> Value:
        return self.pick(choose, FLOAT)

    def partner(self, choose: random.Random, value: Value) -> Value:
        """Choose an operand of the same dtype: another tensor, or a constant."""
        if choose.random() < 0.6:
            return self.pick(choose, value.dtype)
        return self.constant(choose, value.dtype, choose.choice(((), (1,), (3,), value.shape)), value.grid)

    def constant(self, choose: random.Random, dtype: str, shape: tuple[int, ...], grid: int = 0) -> Value:
        bits = choose.choice((1, 3, 8, 16, 30, 52))
        low, high = INTEGER_RANGES.get(dtype, (-MAX_STEPS, MAX_STEPS))
        count = int(np.prod(shape, dtype=int))
        values = [max(low, min(high, choose.choice((-1, 1)) * choose.getrandbits(bits))) for _ in range(count)]
        if dtype == FLOAT:
            return self.builder.constant(
                np.ldexp(np.array(values, np.float64).reshape(shape), choose.choice((0, -3, grid)))
            )
        return self.builder.constant(np.array(values, dtype).reshape(shape))

    def narrowed(self, choose: random.Random, value: Value, bits: int) -> Value:
        """Clip, round or shift a tensor into `bits` bits."""
        if value.magnitude <= 2**bits:
            return value
        if choose.random() < 0.5 or value.grid + value.magnitude.bit_length() - bits > 300:
            return self.builder.clipped(value, -(2**bits), 2**bits - choose.randint(0, 1))
        grid = value.grid + value.magnitude.bit_length() - bits
        if choose.random() < 0.5:
            return self.builder.rounded(value, grid)
        return self.builder.scale(self.builder.op("Floor", self.builder.scale(value, -grid)), grid)

    def _usable(self, value: Value, choose: random.Random) -> Value:
        """Cast an input to float64, clipped where it could exceed 53 bits."""
        if value.dtype == "int64":
            limit = 2 ** choose.choice((10, 31, 52, 53))
            value = self.builder.op(
                "Clip", value, self.builder.constant(np.int64(-limit)), self.builder.constant(np.int64(limit))
            )
        return self.builder.scale(self.builder.cast(value, FLOAT), choose.choice((0, 0, -4, -20, 3)))


Make = Callable[[GrowingProgram, random.Random], list[Value]]


def _sum(g: GrowingProgram, choose: random.Random) -> list[Value]:
    a = g.pick(choose, FLOAT, *WIDE_INTEGERS)
    b = g.partner(choose, a)
    if a.dtype == FLOAT and choose.random() < 0.7:
        grid = min(a.grid, b.grid)
        a, b = (g.narrowed(choose, v, max(1, 52 - (v.grid - grid))) for v in (a, b))
    elif a.dtype != FLOAT:
        limit = g.builder.constant(np.array(2 ** choose.choice((8, 30)), a.dtype))
        a, b = g.builder.op("Min", a, limit), g.builder.op("Min", b, limit)
        a, b = (g.builder.op("Max", v, g.builder.op("Neg", limit)) for v in (a, b))
    return [g.builder.op(choose.choice(("Add", "Sub")), a, b)]


def _mul(g: GrowingProgram, choose: random.Random) -> list[Value]:
    a = g.number(choose)
    b = g.partner(choose, a)
    bits = choose.randint(2, 51)
    return [g.builder.op("Mul", g.narrowed(choose, a, bits), g.narrowed(choose, b, 53 - bits))]


def _single(g: GrowingProgram, choose: random.Random) -> list[Value]:
    return [g.builder.op(choose.choice(("Neg", "Round", "Floor")), g.number(choose))]


def _scaled(g: GrowingProgram, choose: random.Random) -> list[Value]:
    value = g.builder.scale(g.number(choose), choose.choice((-30, -9, -2, -1, 1, 7)))
    return [value, g.builder.op(choose.choice(("Round", "Floor")), value)]


def _extreme(g: GrowingProgram, choose: random.Random) -> list[Value]:
    a = g.pick(choose, FLOAT, *WIDE_INTEGERS)
    operands = [a, *(g.partner(choose, a) for _ in range(choose.randint(1, 2)))]
    return [g.builder.op(choose.choice(("Max", "Min")), *operands)]


def _clip(g: GrowingProgram, choose: random.Random) -> list[Value]:
    value = g.number(choose)
    bits = choose.choice((0, 1, 7, 15, 29))
    return [g.builder.clipped(value, -(2**bits), 2**bits - 1), g.narrowed(choose, value, choose.choice((8, 24, 40)))]


def _div(g: GrowingProgram, choose: random.Random) -> list[Value]:
    a, b = g.number(choose), g.number(choose)
    divisor = g.builder.op("Max", b, g.builder.constant(np.float64(2.0**b.grid * choose.choice((1, 2, 3)))))
    grid = min(a.grid, divisor.grid)
    a = g.narrowed(choose, a, max(1, 53 - (a.grid - grid)))
    return [g.builder.quotient(a, divisor)]


def _sqrt(g: GrowingProgram, choose: random.Random) -> list[Value]:
    whole = g.builder.op("Floor", g.number(choose))
    limit = g.builder.constant(np.float64(2**52 - 1))
    return [
        g.builder.op(
            "Floor", g.builder.op("Sqrt", g.builder.op("Clip", whole, g.builder.constant(np.float64(0)), limit))
        )
    ]


def _matmul(g: GrowingProgram, choose: random.Random) -> list[Value]:
    a = g.number(choose)
    if not a.shape:
        raise NotExactError("MatMul", "a scalar")
    depth = a.shape[-1]
    if choose.random() < 0.5:
        b = g.builder.op("Transpose", a) if len(a.shape) == 2 else a
    else:
        b = g.constant(choose, FLOAT, choose.choice(((depth,), (depth, 2), (2, depth, 3))))
    bits = choose.randint(2, 48)
    a = g.narrowed(choose, a, bits)
    return [g.builder.op("MatMul", a, g.narrowed(choose, b, 53 - bits - depth.bit_length()))]


def _reduce(g: GrowingProgram, choose: random.Random) -> list[Value]:
    value = g.pick(choose, FLOAT, *WIDE_INTEGERS)
    axes = sorted(choose.sample(range(len(value.shape)), choose.randint(0, len(value.shape))))
    op = choose.choice(("ReduceSum", "ReduceMax", "ReduceMin"))
    if op == "ReduceSum" and value.dtype == FLOAT:
        value = g.narrowed(choose, value, 53 - value.size.bit_length())
    lists = [g.builder.constant(np.array(axes, np.int64))] if axes else []
    return [g.builder.op(op, value, *lists, keepdims=choose.randint(0, 1))]


def _lookup(g: GrowingProgram, choose: random.Random) -> list[Value]:
    data = g.pick(choose, *DTYPES)
    if not data.shape:
        raise NotExactError("Gather", "a scalar")
    axis = choose.randrange(len(data.shape))
    kind = choose.choice(WIDE_INTEGERS)
    index = g.builder.cast(g.builder.op("Floor", g.number(choose)), "int64")
    low, high = (g.builder.constant(np.int64(limit)) for limit in (0, data.shape[axis] - 1))
    index = g.builder.cast(g.builder.op("Clip", index, low, high), kind)
    if choose.random() < 0.5:
        return [g.builder.op("Gather", data, index, axis=axis)]
    return [g.builder.op("GatherElements", data, index, axis=axis)]


def _where(g: GrowingProgram, choose: random.Random) -> list[Value]:
    condition, a = g.pick(choose, BOOL), g.pick(choose, FLOAT, *WIDE_INTEGERS)
    return [g.builder.op("Where", condition, a, g.partner(choose, a))]


def _compare(g: GrowingProgram, choose: random.Random) -> list[Value]:
    a = g.pick(choose, FLOAT, *WIDE_INTEGERS)
    op = choose.choice(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"))
    return [g.builder.op(op, a, g.partner(choose, a))]


def _logic(g: GrowingProgram, choose: random.Random) -> list[Value]:
    a, b = g.pick(choose, BOOL), g.pick(choose, BOOL)
    return [g.builder.op("Not", a), g.builder.op(choose.choice(("And", "Or")), a, b)]


def _cast(g: GrowingProgram, choose: random.Random) -> list[Value]:
    value, dtype = g.pick(choose, *DTYPES), choose.choice(DTYPES)
    if value.dtype == FLOAT and dtype in INTEGER_RANGES:
        value = g.builder.op("Floor", value)
        low, high = (float(limit) for limit in INTEGER_RANGES["int32" if dtype == "int64" else dtype])
        value = g.builder.op("Clip", value, g.builder.constant(np.float64(low)), g.builder.constant(np.float64(high)))
    return [g.builder.op("Cast", value, to=PROTO_OF[dtype])]


def _move(g: GrowingProgram, choose: random.Random) -> list[Value]:
    value = g.pick(choose, *DTYPES)
    rank = len(value.shape)
    axis = choose.randrange(rank) if rank else 0

    def numbers(*items: int) -> Value:
        return g.builder.constant(np.array(items, np.int64))

    op = choose.choice(("Identity", "Reshape", "Transpose", "Split", "Expand", "Squeeze", "Unsqueeze"))
    if op == "Reshape":
        return [g.builder.op(op, value, numbers(*choose.choice(((-1,), (1, -1), value.shape[::-1]))))]
    if op == "Transpose":
        return [g.builder.op(op, value, perm=choose.sample(range(rank), rank)) if rank else g.builder.op(op, value)]
    if op == "Split":
        first = choose.randint(1, max(1, value.shape[axis] - 1)) if rank else 1
        return g.builder.ops(op, (value, numbers(first, value.shape[axis] - first if rank else 0)), 2, axis=axis)
    if op == "Expand":
        return [g.builder.op(op, value, numbers(*choose.choice(((2, *value.shape), (1,), (3,), (2, 1)))))]
    if op == "Squeeze":
        ones = [i for i, dim in enumerate(value.shape) if dim == 1]
        return [g.builder.op(op, value, *([numbers(choose.choice(ones))] if ones and choose.random() < 0.5 else []))]
    if op == "Unsqueeze":
        return [g.builder.op(op, value, numbers(choose.randint(-rank - 1, rank)))]
    return [g.builder.op(op, value)]


def _slice(g: GrowingProgram, choose: random.Random) -> list[Value]:
    value = g.pick(choose, *DTYPES)
    axis = choose.randrange(len(value.shape)) if value.shape else 0
    bounds = (-(2**63), -4, -2, -1, 0, 1, 2, 5, 2**63 - 1)
    step = choose.choice((-(2**63), -2, -1, 1, 2, 2**63 - 1))
    lists = ([choose.choice(bounds)], [choose.choice(bounds)], [axis], [step])
    return [g.builder.op("Slice", value, *(g.builder.constant(np.array(item, np.int64)) for item in lists))]


def _concat(g: GrowingProgram, choose: random.Random) -> list[Value]:
    value = g.pick(choose, *DTYPES)
    if not value.shape:
        raise NotExactError("Concat", "a scalar")
    other = g.constant(choose, value.dtype, value.shape, value.grid) if value.dtype != BOOL else value
    return [g.builder.op("Concat", value, other, value, axis=choose.randrange(len(value.shape)))]


KINDS: dict[str, Make] = {
    "sum": _sum,
    "mul": _mul,
    "single": _single,
    "scaled": _scaled,
    "extreme": _extreme,
    "clip": _clip,
    "div": _div,
    "sqrt": _sqrt,
    "matmul": _matmul,
    "reduce": _reduce,
    "lookup": _lookup,
    "where": _where,
    "compare": _compare,
    "logic": _logic,
    "cast": _cast,
    "move": _move,
    "slice": _slice,
    "concat": _concat,
}


Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 2**32)), min_size=8, max_size=24)


def random_program(seed: int, steps: list[Step]) -> onnx.ModelProto:
    """Build the program that these numbers describe."""
    program = GrowingProgram(seed)
    for kind, number in steps:
        program.grow(kind, number)
    return program.model()


def feeds_of(model: onnx.ModelProto, seed: int) -> list[dict[str, Any]]:
    """Make six feeds: all smallest, all largest, both in turn, random extremes twice, and random numbers."""
    generator = np.random.default_rng(seed)
    feeds: list[dict[str, Any]] = [{} for _ in range(6)]
    for info in model.graph.input:
        tensor = info.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        limits = np.iinfo(dtype)
        extremes = np.array([limits.min, limits.max, limits.min + 1, limits.max - 1, 0, 1, max(limits.min, -1)], dtype)
        count = int(np.prod(shape, dtype=int))
        for feed, values in zip(
            feeds,
            (
                np.full(count, limits.min, dtype),
                np.full(count, limits.max, dtype),
                np.resize(extremes[:2], count),
                generator.choice(extremes, count),
                generator.choice(extremes, count),
                generator.integers(limits.min, limits.max, count, dtype, endpoint=True),
            ),
            strict=True,
        ):
            feed[info.name] = values.reshape(shape)
    return feeds
