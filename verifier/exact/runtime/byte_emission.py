"""Write products of bytes into the engine's graph: split the operands, multiply the terms, join the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from verifier.exact.program.values import MAX_STEPS, Value
from verifier.exact.runtime.byte_products import (
    BASE,
    MIN_MULTIPLICATIONS,
    OFFSET,
    ByteTerm,
    ByteWeight,
    Shape,
    byte_weight,
    digits_of,
)
from verifier.exact.runtime.writer import GraphWriter

# Tells whether a product of bytes in a shape is right on this machine.
BytesExact = Callable[[Shape], bool]
# Largest |shift| of an operand that is split into bytes. Its numbers, 16 bits times 2**shift, pass through float32,
# whose exponents reach from 2**-126 to 2**127.
MAX_SPLIT_SHIFT = 60
# Maximum number of elements of a result that is computed at once: its terms stay in a processor's cache while they are
# joined. A wider result is computed in blocks of columns.
MAX_BLOCK_ELEMENTS = 2**20


@dataclass(frozen=True)
class ByteOperand:
    """The left operand [..., rows, depth] of a product: its proven value, and the tensor q * 2**shift in the graph."""

    value: Value
    name: str
    shift: int

    @property
    def rows(self) -> int:
        """Number of rows, over all axes but the last."""
        return self.value.size // self.value.shape[-1]


@dataclass(frozen=True)
class _TermSum:
    """An int32 tensor in units of BASE**order, and a bound on its magnitude."""

    name: str
    order: int
    bound: int


class ByteProductEmitter:
    """Writes products with constant weights into a graph, in bytes."""

    def __init__(self, writer: GraphWriter, exact: BytesExact) -> None:
        self._writer = writer
        self._exact = exact
        self._digits: dict[tuple[str, int], list[str]] = {}  # (operand, number of digits) -> its digits
        self._pairs: dict[str, str] = {}  # operand -> both its digits side by side

    def product(self, x: ByteOperand, weight: Value, scales: NDArray[Any], magnitude: int) -> str | None:
        """Write the product of x's integers q and the weight's [depth, columns], times the scales [columns].

        `magnitude` bounds the scales in steps of their grid. Returns the name of the result, float64. Returns None, and
        writes nothing, where the operands do not fit bytes, or bytes are not exact or not faster.
        """
        digits = digits_of(x.value.lo, x.value.hi)
        if digits is None or weight.constant is None or len(weight.shape) != 2 or len(x.value.shape) < 2:
            return None
        if x.rows * weight.size < MIN_MULTIPLICATIONS or abs(x.shift) > MAX_SPLIT_SHIFT:
            return None
        width = max(MAX_BLOCK_ELEMENTS // x.rows, 1)
        blocks: list[tuple[ByteWeight, NDArray[Any]]] = []
        for start in range(0, weight.shape[1], width):
            split = byte_weight(weight.constant[:, start : start + width], digits)
            if split is None or split.bound * magnitude >= MAX_STEPS or not all(map(self._exact, split.shapes(x.rows))):
                return None
            blocks.append((split, scales[start : start + width]))
        names = [self._block(x, digits, split, own) for split, own in blocks]
        return self._side_by_side(x, names)

    def _block(self, x: ByteOperand, digits: int, split: ByteWeight, scales: NDArray[Any]) -> str:
        """Write some columns of a product; returns their name."""
        parts = []
        for term in split.terms:
            weight = self._writer.constant(split.rows(term))
            operands = [self._operand(x, digits, term), weight, self._writer.scalar(OFFSET, np.uint8)]
            parts.append(_TermSum(self._writer.node("MatMulInteger", operands), term.order, term.bound))
        return self._joined(parts, scales)

    def _operand(self, x: ByteOperand, digits: int, term: ByteTerm) -> str:
        """The digits of x that a term multiplies, side by side."""
        names = [self._split(x, digits)[digit] for digit in term.digits]
        if len(names) == 1:
            return names[0]
        if x.value.name not in self._pairs:
            self._pairs[x.value.name] = self._side_by_side(x, names)
        return self._pairs[x.value.name]

    def _side_by_side(self, x: ByteOperand, names: list[str]) -> str:
        """Concatenate along the last axis of x."""
        if len(names) == 1:
            return names[0]
        return self._writer.node("Concat", names, {"axis": len(x.value.shape) - 1})

    def _split(self, x: ByteOperand, digits: int) -> list[str]:
        """The digits of x, each plus OFFSET as uint8, least significant first.

        With q + OFFSET * (BASE + 1), which is not negative, the high digit is the whole part of its quotient by BASE
        and the low digit the rest. Every intermediate number has at most 24 bits, so that float32 holds it exactly.
        """
        key = (x.value.name, digits)
        if key not in self._digits:
            node, scalar = self._writer.node, self._writer.scalar
            to_float32, to_uint8 = {"to": TensorProto.FLOAT}, {"to": TensorProto.UINT8}
            number = node("Cast", [x.name], to_float32)
            if x.shift != 0:
                number = node("Mul", [number, scalar(2.0**-x.shift, np.float32)])
            offset = OFFSET * (BASE + 1) if digits == 2 else OFFSET
            number = node("Add", [number, scalar(offset, np.float32)])
            if digits == 2:
                high = node("Cast", [node("Mul", [number, scalar(1 / BASE, np.float32)])], to_uint8)
                whole = node("Mul", [node("Cast", [high], to_float32), scalar(BASE, np.float32)])
                self._digits[key] = [node("Cast", [node("Sub", [number, whole])], to_uint8), high]
            else:
                self._digits[key] = [node("Cast", [number], to_uint8)]
        return self._digits[key]

    def _joined(self, parts: list[_TermSum], scales: NDArray[Any]) -> str:
        """Add up parts, each times BASE**order, and scale the sum's columns; returns a float64 tensor.

        The parts are ordered from the most significant. They are joined from the least significant one in int32 as
        long as the sum fits it, and the rest in float64.
        """
        node = self._writer.node
        while len(parts) > 1:
            high, low = parts[-2:]
            weight = BASE ** (high.order - low.order)
            bound = high.bound * weight + low.bound
            if bound >= 2**31:
                break
            raised = node("Mul", [high.name, self._writer.scalar(weight, np.int32)])
            parts[-2:] = [_TermSum(node("Add", [raised, low.name]), low.order, bound)]
        total = ""
        for part in parts:
            number = node("Cast", [part.name], {"to": TensorProto.DOUBLE})
            factors = scales * float(BASE**part.order)
            if (factors != 1).any():
                number = node("Mul", [number, self._writer.shared_constant(factors)])
            total = node("Add", [total, number]) if total else number
        return total
