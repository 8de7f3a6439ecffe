"""Draw the operands of an instruction and the nodes around it, for small exact programs; see `variants`.

Operands are inputs, stored constants, views of constants, and tensors that are computed from inputs. The nodes around
an instruction are those for which the engine has forms of its own (products by constants, scales of columns, powers of
two, Round) and what stands between these.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np

from verifier.exact import NotExactError
from verifier.exact.lowering.builder import Builder
from verifier.exact.program.parse import PROTO_OF
from verifier.exact.program.values import BOOL, FLOAT, INTEGER_RANGES, WIDE_INTEGERS, Value

Shape = tuple[int, ...]
# The grids of a program's float64 tensors: mostly whole numbers, and grids at which the engine's shifts and the proof's
# grids reach their limits.
GRIDS = (0, 0, 0, 0, -5, 6, 190, -190, 380, -380)


class Draft:
    """One program under construction, whose choices a random generator makes."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.builder = Builder()
        self.grid = choose.choice(GRIDS)
        self.inputs: list[Value] = []

    # Shapes and constants

    def shape(self, minimum: int = 0) -> Shape:
        """Draw a shape with at least `minimum` dimensions."""
        return tuple(self.choose.choice((1, 2, 2, 3, 4)) for _ in range(self.choose.randint(minimum, 4)))

    def partner_shape(self, shape: Shape) -> Shape:
        """Draw a shape that broadcasts with another one."""
        kept = shape[self.choose.randint(0, len(shape)) :] if self.choose.random() < 0.4 else shape
        dims = tuple(1 if self.choose.random() < 0.2 else dim for dim in kept)
        longer = len(dims) < 4 and self.choose.random() < 0.1
        return (2, *dims) if longer else dims

    def array(self, dtype: str, shape: Shape, bits: int | None = None) -> np.ndarray[Any, Any]:
        """Draw integers of up to that many bits, in a dtype; float64 in steps near the program's grid."""
        bits = self.choose.choice((1, 3, 7, 8, 13, 15, 16, 20)) if bits is None else bits
        low, high = INTEGER_RANGES.get(dtype, (-(2**bits), 2**bits))
        low, high = (0, 1) if dtype == BOOL else (max(low, -(2**bits)), min(high, 2**bits))
        q = np.array([self.choose.randint(low, high) for _ in range(math.prod(shape))]).reshape(shape)
        if dtype == FLOAT:
            return np.ldexp(q.astype(np.float64), self.grid + self.choose.choice((0, 0, 0, -2, 3)))
        return q.astype(dtype)

    def constant(self, dtype: str, shape: Shape, bits: int | None = None) -> Value:
        """Add a constant, stored as it is or in another shape, order, dtype or place."""
        stored, b = self.array(dtype, shape, bits), self.builder
        form = self.choose.choice(("stored", "stored", "transposed", "reshaped", "sliced", "cast"))
        if form == "transposed":
            return b.op("Transpose", b.constant(stored.T))
        if form == "reshaped":
            return b.op("Reshape", b.constant(stored.reshape(-1)), self.list(*shape))
        if form == "sliced" and shape:
            wider = np.concatenate([stored, stored], axis=0)
            return b.op("Slice", b.constant(wider), self.list(-shape[0]), self.list(2**63 - 1))
        if form == "cast" and dtype == FLOAT:
            small = self.array("int16", shape, bits)
            return b.scale(b.cast(b.constant(small), FLOAT), self.grid)
        return b.constant(stored)

    def list(self, *items: int) -> Value:
        """Add a constant int64 list."""
        return self.builder.constant(np.array(items, np.int64))

    # Operands

    def operand(self, dtype: str, shape: Shape, *, computed: bool = False) -> Value:
        """Make an operand: a constant (unless `computed`), an input, or a tensor that is computed from an input."""
        same = [value for value in self.inputs if (value.dtype, value.shape) == (dtype, shape)]
        if same and self.choose.random() < 0.2:
            return self.choose.choice(same)
        if not computed and self.choose.random() < 0.3:
            return self.constant(dtype, shape)
        if dtype == FLOAT:
            value = self.builder.cast(self.integers(shape), FLOAT)
            value = self.builder.scale(value, self.grid)
            return self.neighbour(value) if self.choose.random() < 0.5 else value
        if dtype == BOOL:
            return self._bool(shape)
        if dtype in WIDE_INTEGERS and self.choose.random() < 0.6:
            return self.builder.cast(self.integers(shape), dtype)
        return self.input(dtype, shape)

    def integers(self, shape: Shape) -> Value:
        """Make a tensor of integers of at most 32 bits: an input, or one clipped to fewer bits."""
        dtype = self.choose.choice(("int8", "uint8", "int16", "int32", "int64"))
        value = self.input(dtype, shape)
        if dtype == "int64" or (dtype == "int32" and self.choose.random() < 0.7):
            limit = 2 ** self.choose.choice((3, 7, 15, 20))
            limits = [self.builder.constant(np.array(item, dtype)) for item in (-limit, limit - 1)]
            return self.builder.op("Clip", value, *limits)
        return value

    def input(self, dtype: str, shape: Shape) -> Value:
        value = self.builder.input(f"x{len(self.inputs)}", dtype, shape)
        self.inputs.append(value)
        return value

    def index(self, shape: Shape, size: int) -> Value:
        """Make indices below `size`."""
        dtype = self.choose.choice(WIDE_INTEGERS)
        if self.choose.random() < 0.4:
            drawn = [self.choose.randrange(size) for _ in range(math.prod(shape))]
            return self.builder.constant(np.array(drawn, dtype).reshape(shape))
        limits = [self.builder.constant(np.array(item, dtype)) for item in (0, size - 1)]
        return self.builder.op("Clip", self.input(dtype, shape), *limits)

    def axis(self, rank: int) -> int:
        """Draw an axis, counted from the front or from the end."""
        return self.choose.randrange(-rank, rank) if rank else 0

    def given(self, **attributes: Any) -> dict[str, Any]:
        """Leave out some of the attributes, which must be given with their default values."""
        return {name: value for name, value in attributes.items() if self.choose.random() < 0.5}

    def _bool(self, shape: Shape) -> Value:
        value = self.integers(shape)
        if value.dtype in WIDE_INTEGERS and self.choose.random() < 0.5:
            return self.builder.op("Greater", value, self.builder.constant(np.array(0, value.dtype)))
        return self.builder.op("Cast", value, to=PROTO_OF[BOOL])

    # The nodes around an instruction

    def neighbour(self, value: Value) -> Value:
        """Apply one more operation to a float64 tensor, of which the shape stays the same; nothing if not proven."""
        try:
            return self.choose.choice(NEIGHBOURS)(self, value)
        except NotExactError:
            return value

    def follow(self, value: Value) -> list[Value]:
        """Read a result in one or two further nodes; returns what is worth an output."""
        if value.dtype in ("int8", "uint8", "int16", BOOL):
            return [self.builder.op("Cast", value, to=PROTO_OF["int32"])]
        if value.dtype in WIDE_INTEGERS:
            return [self.builder.op("Max", value, self.constant(value.dtype, ()))]
        first = self.neighbour(value)
        return [first, self.neighbour(value)] if self.choose.random() < 0.3 else [self.neighbour(first)]


def _scaled(v: Draft, value: Value) -> Value:
    factor = np.full(v.choose.choice(((), (), (1,))), 2.0 ** v.choose.choice((-9, -3, -1, 2, 7, -30, 40)))
    operands = [value, v.builder.constant(factor)]
    return v.builder.op("Mul", *(operands if v.choose.random() < 0.7 or not value.shape else operands[::-1]))


def times_constant(v: Draft, value: Value) -> Value:
    """A product with a constant: one factor for each column, for each element, for each row, or for all."""
    columns = value.shape[-1:] if value.shape[-1:] > (1,) else (v.choose.choice((1, 2, 3)),)
    rows = (*value.shape[:-1], 1) if value.shape else ()
    shape = v.choose.choice((columns, columns, value.shape, rows, ()))
    grid, v.grid = v.grid, 0
    factor = v.constant(FLOAT, shape, v.choose.choice((2, 5)))
    v.grid = grid
    operands = [value, factor] if v.choose.random() < 0.7 else [factor, value]
    return v.builder.op("Mul", *operands)


def _product(v: Draft, value: Value) -> Value:
    """A product by a constant matrix, or by several, mostly followed by factors of its columns or of its rows."""
    if not value.shape:
        raise NotExactError("MatMul", "a scalar")
    depth = value.shape[-1]
    value = v.builder.clipped(value, -(2 ** v.choose.choice((7, 14))), 2 ** v.choose.choice((7, 14)) - 1)
    grid, v.grid = v.grid, v.choose.choice((0, 0, -4))
    batch = value.shape[:-2] if v.choose.random() < 0.2 else ()
    product = v.builder.op("MatMul", value, v.constant(FLOAT, (*batch, depth, depth), v.choose.choice((3, 7, 14))))
    v.grid = grid
    return times_constant(v, product) if v.choose.random() < 0.8 else product


def _biased(v: Draft, value: Value) -> Value:
    shape = v.choose.choice((value.shape[-1:], value.shape, ()))
    bias = np.ldexp(v.array("int32", shape, 7).astype(np.float64), value.grid)
    return v.builder.op(v.choose.choice(("Add", "Sub")), value, v.builder.constant(bias))


def _rounded(v: Draft, value: Value) -> Value:
    return v.builder.rounded(value, value.grid + v.choose.choice((1, 4)))


def _floored(v: Draft, value: Value) -> Value:
    grid = value.grid + v.choose.choice((1, 4))
    return v.builder.scale(v.builder.op("Floor", v.builder.scale(value, -grid)), grid)


def clipped(v: Draft, value: Value) -> Value:
    bits = v.choose.choice((0, 6, 7, 15))
    return v.builder.clipped(value, -(2**bits), 2**bits - 1)


def _doubled(v: Draft, value: Value) -> Value:
    return v.builder.op(v.choose.choice(("Add", "Max")), value, value)


def _quotient(v: Draft, value: Value) -> Value:
    return v.builder.quotient(value, v.builder.constant(np.ldexp(v.choose.choice((1.0, 3.0)), value.grid)))


NEIGHBOURS = (
    _scaled, _scaled, times_constant, _product, _product, _biased, _rounded, _floored, clipped, _doubled, _quotient,
)  # fmt: skip
