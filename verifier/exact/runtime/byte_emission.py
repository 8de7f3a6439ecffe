"""Products in bytes, written into the engine's graph: operands split, terms multiplied, results joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from verifier.exact.program.values import Value
from verifier.exact.runtime.byte_products import (
    BASE,
    OFFSET,
    WORTHWHILE,
    ByteWeight,
    Shape,
    Term,
    byte_weight,
    digits_of,
)
from verifier.exact.runtime.writer import Writer

# Whether a product of bytes in that shape is right on this machine.
BytesExact = Callable[[Shape], bool]
# Up to here what is split into bytes leaves float32's exponents neither.
MOST_SHIFT = 60
# So many numbers of a result stay in a processor's cache while its terms are joined.
MOST_RESULTS = 2**20


@dataclass(frozen=True)
class Operand:
    """The left operand of a product: what the check says of it, and its numbers q * 2**shift in the graph."""

    value: Value
    name: str
    shift: int

    @property
    def rows(self) -> int:
        """How many there are, over all axes but the last."""
        return self.value.size // self.value.shape[-1]


class ByteProducts:
    """Writes products with constant weights."""

    def __init__(self, writer: Writer, exact: BytesExact) -> None:
        self._writer = writer
        self._exact = exact
        self._split: dict[tuple[str, int], list[str]] = {}  # operands in bytes
        self._beside: dict[str, str] = {}  # both bytes of an operand side by side

    def product(self, x: Operand, weight: Value, scales: NDArray[Any], steps: int) -> str | None:
        """x's integers times the weight's [depth, columns] times the scales [columns], at most `steps` of their grid.

        Returns the result's name, float64; None where bytes do not hold the operands or would not be faster.
        """
        digits = digits_of(x.value.lo, x.value.hi)
        if digits is None or weight.constant is None or len(weight.shape) != 2 or len(x.value.shape) < 2:
            return None
        if x.rows * weight.size < WORTHWHILE or abs(x.shift) > MOST_SHIFT:
            return None
        width = max(MOST_RESULTS // x.rows, 1)
        blocks: list[tuple[ByteWeight, NDArray[Any]]] = []
        for start in range(0, weight.shape[1], width):
            split = byte_weight(weight.constant[:, start : start + width], digits)
            if split is None or split.bound * steps >= 2**53 or not all(map(self._exact, split.shapes(x.rows))):
                return None
            blocks.append((split, scales[start : start + width]))
        names = [self._block(x, digits, split, own) for split, own in blocks]
        return self._side_by_side(x, names)

    def _block(self, x: Operand, digits: int, split: ByteWeight, scales: NDArray[Any]) -> str:
        """Some columns of a product."""
        parts = []
        for term in split.terms:
            weight = self._writer.constant(split.rows(term))
            names = [self._digits(x, digits, term), weight, self._writer.number(OFFSET, np.uint8)]
            parts.append((self._writer.node("MatMulInteger", names), term.order, term.bound))
        return self._joined(parts, scales)

    def _digits(self, x: Operand, digits: int, term: Term) -> str:
        """The digits of x that a term multiplies, side by side."""
        names = [self._bytes(x, digits)[digit] for digit in term.digits]
        if len(names) == 1:
            return names[0]
        if x.value.name not in self._beside:
            self._beside[x.value.name] = self._side_by_side(x, names)
        return self._beside[x.value.name]

    def _side_by_side(self, x: Operand, names: list[str]) -> str:
        if len(names) == 1:
            return names[0]
        return self._writer.node("Concat", names, attributes={"axis": len(x.value.shape) - 1})

    def _bytes(self, x: Operand, digits: int) -> list[str]:
        """A tensor's digits, each plus OFFSET in a byte, least significant first. float32 holds all that occurs."""
        key = (x.value.name, digits)
        if key not in self._split:
            node, number_of = self._writer.node, self._writer.number
            single, byte = {"to": TensorProto.FLOAT}, {"to": TensorProto.UINT8}
            number = node("Cast", [x.name], attributes=single)
            if x.shift != 0:
                number = node("Mul", [number, number_of(2.0**-x.shift, np.float32)])
            offset = OFFSET * (BASE + 1) if digits == 2 else OFFSET
            number = node("Add", [number, number_of(offset, np.float32)])
            if digits == 2:
                high = node("Cast", [node("Mul", [number, number_of(1 / BASE, np.float32)])], attributes=byte)
                whole = node("Mul", [node("Cast", [high], attributes=single), number_of(BASE, np.float32)])
                self._split[key] = [node("Cast", [node("Sub", [number, whole])], attributes=byte), high]
            else:
                self._split[key] = [node("Cast", [number], attributes=byte)]
        return self._split[key]

    def _joined(self, parts: list[tuple[str, int, int]], scales: NDArray[Any]) -> str:
        """The sum of integers that count BASE**order each, times the scales; in 32 bits as long as they hold it."""
        node = self._writer.node
        while len(parts) > 1:
            (high, order, most), (low, least, rest) = parts[-2:]
            bound = most * BASE ** (order - least) + rest
            if bound >= 2**31:
                break
            raised = node("Mul", [high, self._writer.number(BASE ** (order - least), np.int32)])
            parts[-2:] = [(node("Add", [raised, low]), least, bound)]
        total = ""
        for name, order, _ in parts:
            number = node("Cast", [name], attributes={"to": TensorProto.DOUBLE})
            factors = scales * float(BASE**order)
            if (factors != 1).any():
                number = node("Mul", [number, self._writer.repeated(factors)])
            total = node("Add", [total, number]) if total else number
        return total
