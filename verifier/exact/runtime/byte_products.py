"""Matrix products of 16-bit integers from products of 8-bit ones, for processors that have dot products of bytes.

With x = x1 * 256 + x0 and w = w1 * 256 + w0, all four digits within -128..127,

    x·w  =  x1·w1 * 2**16  +  (x0·w1 + x1·w0) * 2**8  +  x0·w0,

and each of the three terms is one MatMulInteger, the middle one over [x0 x1] and [w1; w0]. A processor with dot
products of bytes computes these faster than one product in float64, and the weights take two bytes each instead of
eight. MatMulInteger needs an unsigned left operand: it gets x + 128 and the zero point 128.

Without such an instruction onnxruntime adds pairs of byte products in 16 bits, which saturates. Before a program is
loaded, `exact_here` therefore computes a product of the largest bytes in each of its shapes, and checks the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from verifier.exact.runtime.session import PROVIDER, ort, session_options
from verifier.exact.runtime.writer import GraphWriter

Integers = NDArray[Any]
Shape = tuple[int, int, int]  # rows, depth, columns

# The base of the digits, each of which is one signed byte, and what is added to a digit to make it unsigned.
BASE = 256
OFFSET = 128
# The smallest and the largest integer of two digits: -128 * 256 - 128 and 127 * 256 + 127.
MIN_TWO_DIGITS, MAX_TWO_DIGITS = -128 * 257, 127 * 257
# Fewest multiplications of a product that is computed in bytes: below, splitting and joining cost more than they save.
MIN_MULTIPLICATIONS = 2**18
# Largest depth of a product for which its middle term fits 32 bits: 2 * depth products of at most 255 * 128 are added.
MAX_DEPTH = 2**15 - 1


def digits_of(lo: int, hi: int) -> int | None:
    """Count the digits that every integer from lo to hi fits: 1, 2, or None when two are not enough."""
    if lo >= -OFFSET and hi < OFFSET:
        return 1
    return 2 if lo >= MIN_TWO_DIGITS and hi <= MAX_TWO_DIGITS else None


@dataclass(frozen=True)
class ByteTerm:
    """One product of bytes: some digits of the operand, side by side, times the matching digits of the weight.

    The term counts BASE**order. `first` to `last` (exclusive) are the rows of digits in the weight's stack. No element
    of the term's result is larger than `bound` in magnitude.
    """

    order: int
    digits: tuple[int, ...]
    first: int
    last: int
    bound: int


@dataclass(frozen=True)
class ByteWeight:
    """A weight [depth, columns] as digits, and the terms of a product with it, most significant first.

    `stack` [digits * depth, columns] holds the weight's digits, most significant first.
    """

    stack: NDArray[np.int8]
    depth: int
    terms: tuple[ByteTerm, ...]

    @property
    def bound(self) -> int:
        """A bound on the magnitude of every partial sum of the terms, each times BASE**order."""
        return sum(term.bound * BASE**term.order for term in self.terms)

    def shapes(self, rows: int) -> list[Shape]:
        """The shapes of the terms' products with an operand of `rows` rows."""
        return [(rows, self.depth * len(term.digits), self.stack.shape[1]) for term in self.terms]

    def rows(self, term: ByteTerm) -> NDArray[np.int8]:
        """The part of the stack that a term multiplies by."""
        return self.stack[term.first * self.depth : term.last * self.depth]


def byte_weight(q: Integers, digits: int) -> ByteWeight | None:
    """Split a weight q [depth, columns] into digits, for products with an operand of `digits` digits.

    Returns None when the weight needs more than two digits, or is deeper than MAX_DEPTH.
    """
    own = digits_of(int(q.min()), int(q.max()))
    depth = q.shape[0]
    if own is None or depth > MAX_DEPTH:
        return None
    low = ((q.astype(np.int32) + OFFSET) % BASE - OFFSET).astype(np.int8)
    parts = [low]
    if own == 2:
        parts.insert(0, ((q.astype(np.int32) - low) // BASE).astype(np.int8))
    # For each of the weight's digits, least significant first: the largest result that a column can give.
    bounds = [int(np.abs(part.astype(np.int64)).sum(axis=0).max()) * OFFSET for part in parts[::-1]]
    terms = []
    for order in reversed(range(digits + own - 1)):
        pairs = [(mine, order - mine) for mine in range(digits) if 0 <= order - mine < own]
        rows = [own - 1 - theirs for _, theirs in pairs]
        bound = sum(bounds[theirs] for _, theirs in pairs)
        terms.append(ByteTerm(order, tuple(mine for mine, _ in pairs), rows[0], rows[-1] + 1, bound))
    return ByteWeight(np.concatenate(parts), depth, tuple(terms))


@cache
def exact_here(shape: Shape, threads: int) -> bool:
    """Test whether this machine's MatMulInteger is right in that shape for the largest bytes of either sign."""
    rows, depth, columns = shape
    x = np.tile(np.array([[255], [0]], np.uint8), (rows // 2 + 1, depth))[:rows]
    weight = np.tile(np.array([127, -128], np.int8), (depth, columns // 2 + 1))[:, :columns]
    found = _session(shape, threads).run(None, {"x": x, "weight": weight})[0]
    expected = depth * np.multiply.outer(x[:, 0].astype(np.int32) - OFFSET, weight[0].astype(np.int32))
    return bool((found == expected).all())


def _session(shape: Shape, threads: int) -> Any:
    """A session that computes y = MatMulInteger(x, weight) in that shape."""
    rows, depth, columns = shape
    writer = GraphWriter()
    writer.input("x", TensorProto.UINT8, (rows, depth))
    writer.input("weight", TensorProto.INT8, (depth, columns))
    product = writer.node("MatMulInteger", ["x", "weight", writer.scalar(OFFSET, np.uint8)])
    writer.output("y", product, TensorProto.INT32, (rows, columns))
    return ort.InferenceSession(writer.model().SerializeToString(), session_options(threads), providers=[PROVIDER])
