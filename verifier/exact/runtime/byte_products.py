"""Products in bytes: a matrix product of 16-bit integers from products of 8-bit ones, where the processor has those.

With x = x1 * 256 + x0 and w = w1 * 256 + w0, all four within -128..127,

    x·w  =  x1·w1 * 2**16  +  (x0·w1 + x1·w0) * 2**8  +  x0·w0,

and each of the three terms is one MatMulInteger, the middle one over [x0 x1] and [w1; w0]. A processor with dot
products of bytes computes the four faster than one product in float64, and the weights take two bytes each instead of
eight. MatMulInteger wants the left operand unsigned: it is fed x + 128 and told so.

Without such an instruction onnxruntime adds pairs of byte products in 16 bits, which saturate. So whether this
machine's answers are right is asked before a program is loaded, for each of its shapes, with the largest operands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from verifier.exact.runtime.session import PROVIDER, ort, session_options
from verifier.exact.runtime.writer import Writer

Integers = NDArray[Any]
Shape = tuple[int, int, int]  # rows, depth, columns

BASE = 256
OFFSET = 128
# What two digits hold, and what one does.
LOWEST, HIGHEST = -128 * 257, 127 * 257
# With fewer multiplications than this, splitting and joining cost more than they save.
WORTHWHILE = 2**18
# So long a row of the middle term cannot overflow 32 bits.
MOST_DEPTH = 2**15 - 1


def digits_of(lo: int, hi: int) -> int | None:
    """How many digits integers from lo to hi take: 1, 2, or None when more."""
    if lo >= -OFFSET and hi < OFFSET:
        return 1
    return 2 if lo >= LOWEST and hi <= HIGHEST else None


@dataclass(frozen=True)
class Term:
    """A product of bytes and its place: the operand's digits side by side, and those rows of the weight's stack."""

    order: int  # it counts BASE**order
    digits: tuple[int, ...]
    first: int  # digit rows of the stack, from … to
    last: int
    bound: int  # no result is larger in magnitude


@dataclass(frozen=True)
class ByteWeight:
    """A weight [depth, columns] as the digits of its numbers, and what a product with it consists of."""

    stack: NDArray[np.int8]  # [digits * depth, columns], most significant digit first
    depth: int
    terms: tuple[Term, ...]  # most significant first

    @property
    def bound(self) -> int:
        """No sum of terms, each at its place, is larger in magnitude."""
        return sum(term.bound * BASE**term.order for term in self.terms)

    def shapes(self, rows: int) -> list[Shape]:
        """The shapes of the terms' products with an operand of so many rows."""
        return [(rows, self.depth * len(term.digits), self.stack.shape[1]) for term in self.terms]

    def rows(self, term: Term) -> NDArray[np.int8]:
        """The part of the stack that a term multiplies with."""
        return self.stack[term.first * self.depth : term.last * self.depth]


def byte_weight(q: Integers, digits: int) -> ByteWeight | None:
    """A weight of integers within one or two digits, for an operand of `digits` digits; None when it has more."""
    own = digits_of(int(q.min()), int(q.max()))
    depth = q.shape[0]
    if own is None or depth > MOST_DEPTH:
        return None
    low = ((q.astype(np.int32) + OFFSET) % BASE - OFFSET).astype(np.int8)
    parts = [low]
    if own == 2:
        parts.insert(0, ((q.astype(np.int32) - low) // BASE).astype(np.int8))
    sums = [int(np.abs(part.astype(np.int64)).sum(axis=0).max()) * OFFSET for part in parts[::-1]]
    terms = []
    for order in reversed(range(digits + own - 1)):
        pairs = [(mine, order - mine) for mine in range(digits) if 0 <= order - mine < own]
        rows = [own - 1 - theirs for _, theirs in pairs]
        terms.append(
            Term(
                order, tuple(mine for mine, _ in pairs), rows[0], rows[-1] + 1, sum(sums[theirs] for _, theirs in pairs)
            )
        )
    return ByteWeight(np.concatenate(parts), depth, tuple(terms))


@cache
def exact_here(shape: Shape, threads: int) -> bool:
    """Whether this machine's MatMulInteger is right in that shape for the largest bytes, whatever their signs."""
    rows, depth, columns = shape
    x = np.tile(np.array([[255], [0]], np.uint8), (rows // 2 + 1, depth))[:rows]
    weight = np.tile(np.array([127, -128], np.int8), (depth, columns // 2 + 1))[:, :columns]
    found = _session(shape, threads).run(None, {"x": x, "weight": weight})[0]
    expected = depth * np.multiply.outer(x[:, 0].astype(np.int32) - OFFSET, weight[0].astype(np.int32))
    return bool((found == expected).all())


def _session(shape: Shape, threads: int) -> Any:
    rows, depth, columns = shape
    writer = Writer()
    writer.input("x", TensorProto.UINT8, (rows, depth))
    writer.input("weight", TensorProto.INT8, (depth, columns))
    product = writer.node("MatMulInteger", ["x", "weight", writer.number(OFFSET, np.uint8)])
    writer.output("y", product, TensorProto.INT32, (rows, columns))
    return ort.InferenceSession(writer.model().SerializeToString(), session_options(threads), providers=[PROVIDER])
