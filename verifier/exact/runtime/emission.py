"""The engine's own graph: a program's meaning is integers, so it may be written in whatever form runs fastest.

A float64 tensor is emitted as numbers that stand for value * 2**-shift. Scaling by a power of two then costs nothing:
it changes the shift that the engine keeps in mind. Rounding is an addition and a subtraction of 1.5 * 2**(52 + k),
which leaves a multiple of 2**k, ties to even, for every |x| <= 2**(51 + k): the check lets nothing larger be rounded.
Scales of a product's columns go into its weight when the program is loaded; or the product is computed in bytes, where
that is exact on this machine, see `byte_products`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.program import Instruction, Program
from verifier.exact.program.parse import PROTO_OF
from verifier.exact.program.values import BOOL, FLOAT, Value
from verifier.exact.runtime.byte_emission import ByteProducts, BytesExact, Operand
from verifier.exact.runtime.byte_products import Shape
from verifier.exact.runtime.writer import Writer

# Grids reach 2**±400; with shifts up to this nothing emitted leaves float64's exponents.
MAX_SHIFT = 200
# Operands and results have one shift.
ALIGNED = frozenset(
    ("Add", "Sub", "Max", "Min", "Clip", "Where", "Concat", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
)
COMPARISONS = frozenset(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"))
# The first operand's shift is the result's.
MOVING = frozenset(
    (
        "Neg",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "Identity",
        "Reshape",
        "Transpose",
        "Slice",
        "Split",
        "Expand",
        "Squeeze",
        "Unsqueeze",
        "Gather",
        "GatherElements",
    )
)


@dataclass(frozen=True)
class Emitted:
    """A tensor of the emitted graph: its name there, and value = number * 2**shift."""

    name: str
    shift: int


class Emitter:
    """Writes one graph, instruction by instruction."""

    def __init__(self, program: Program, bytes_exact: BytesExact) -> None:
        self.writer = Writer()
        self._bytes = ByteProducts(self.writer, bytes_exact)
        self._program = program
        self._values = program.values
        self._emitted: dict[str, Emitted] = {}
        self._known: dict[tuple[str, int], str] = {}  # tensors at other shifts than they were made at
        self._only_reader = _only_readers(program)
        self._waiting: dict[str, Instruction] = {}  # products whose reader scales their columns

    def model(self) -> onnx.ModelProto:
        """The whole graph: inputs in0, in1, …, outputs out0, out1, … at their real size."""
        for number, item in enumerate(self._program.inputs):
            self._emitted[item.name] = Emitted(f"in{number}", 0)
            self.writer.input(f"in{number}", PROTO_OF[item.dtype], item.shape)
        for instruction in self._program.live_instructions:
            self._instruction(instruction)
        for number, item in enumerate(self._program.outputs):
            self.writer.output(f"out{number}", self._at(item.name, 0), PROTO_OF[item.dtype], item.shape)
        return self.writer.model()

    # Operands

    def _constant(self, name: str) -> bool:
        return self._values[name].constant is not None

    def _shift(self, name: str) -> int:
        """The shift at which a computed tensor was made; constants take any, for 0."""
        return 0 if self._constant(name) else self._emitted[name].shift

    def _at(self, name: str, shift: int) -> str:
        """The tensor at that shift."""
        if name == "":
            return ""
        value = self._values[name]
        if value.dtype != FLOAT:
            shift = 0
        key = (name, shift)
        if key not in self._known:
            if value.constant is not None:
                self._known[key] = self.writer.constant(materialise(value, shift))
            elif self._emitted[name].shift == shift:
                self._known[key] = self._emitted[name].name
            else:
                factor = self.writer.number(2.0 ** (self._emitted[name].shift - shift))
                self._known[key] = self.writer.node("Mul", [self._emitted[name].name, factor])
        return self._known[key]

    # Instructions

    def _instruction(self, instruction: Instruction) -> None:
        value = self._values[instruction.outputs[0]]
        handler = SPECIAL.get(instruction.op) if value.dtype == FLOAT or instruction.op == "Cast" else None
        result = handler(self, instruction) if handler is not None else None
        if result is not None:
            self._emitted[instruction.outputs[0]] = result
            return
        operands = list(instruction.inputs)
        shift = 0
        if instruction.op in ALIGNED:
            computed = [
                name for name in operands if name and not self._constant(name) and self._values[name].dtype == FLOAT
            ]
            # What is largest stays as it is.
            shift = self._shift(max(computed, key=lambda name: self._values[name].size)) if computed else 0
        elif instruction.op in MOVING and self._values[operands[0]].dtype == FLOAT:
            shift = self._shift(operands[0])
        names = [self._at(name, shift) for name in operands]
        if instruction.op in ("Max", "Min", "Clip") and value.dtype == "int64":
            first = self._by_comparison(instruction.op, names)
        else:
            first = self.writer.node(instruction.op, names, len(instruction.outputs), instruction.attributes)
        if instruction.op in COMPARISONS or value.dtype != FLOAT:
            shift = 0
        for index, name in enumerate(instruction.outputs):
            self._emitted[name] = Emitted(first[:-1] + str(index), shift)

    def _by_comparison(self, op: str, operands: list[str]) -> str:
        """Max, Min or Clip of int64 by Less or Greater and Where.

        onnxruntime 1.24.4 on AVX2 takes the wrong one of two int64 whose upper halves are alike; its comparisons are
        right.
        """
        steps = {"Max": ["Less"] * len(operands), "Min": ["Greater"] * len(operands), "Clip": ["", "Less", "Greater"]}[
            op
        ]
        current = operands[0]
        for other, comparison in zip(operands[1:], steps[1:], strict=True):
            current = self.writer.node("Where", [self.writer.node(comparison, [current, other]), other, current])
        return self.writer.node("Identity", [current])

    def _mul(self, instruction: Instruction) -> Emitted | None:
        """A power of two only moves the shift."""
        out = self._values[instruction.outputs[0]]
        for name, other in (instruction.inputs, instruction.inputs[::-1]):
            if name in self._waiting:
                return self._scaled_matmul(name, other)
            value = self._values[name]
            if (
                value.constant is not None
                and value.size == 1
                and value.lo == 1
                and not self._constant(other)
                and self._values[other].shape == out.shape
            ):
                moved = self._emitted[other].shift + value.grid
                if abs(moved) <= MAX_SHIFT:
                    return Emitted(self._emitted[other].name, moved)
        return self._product(instruction)

    def _matmul(self, instruction: Instruction) -> Emitted | None:
        """A product whose only reader multiplies its columns by constants is left to that reader."""
        (output,) = instruction.outputs
        reader = self._only_reader.get(output)
        _, weight = instruction.inputs
        if reader is not None and reader.op == "Mul" and self._constant(weight):
            (scale,) = (
                (name for name in reader.inputs if name != output) if reader.inputs[0] != reader.inputs[1] else ("",)
            )
            columns = self._values[output].shape[-1]
            if scale and self._constant(scale) and columns > 1 and self._values[scale].shape == (columns,):
                self._waiting[output] = instruction
                return Emitted("", 0)
        return self._in_bytes(*instruction.inputs) or self._product(instruction)

    def _in_bytes(self, x: str, weight: str, scale: str = "") -> Emitted | None:
        """A product by an integer weight in bytes, its columns scaled or not; None where that is not worthwhile."""
        left, right = self._values[x], self._values[weight]
        if self._constant(x) or not self._constant(weight) or abs(left.grid + right.grid) > MAX_SHIFT:
            return None
        emitted = self._emitted[x]
        operand = Operand(left, emitted.name, left.grid - emitted.shift)
        scales = materialise(self._values[scale]) if scale else np.ones(right.shape[-1:])
        name = self._bytes.product(operand, right, scales, self._values[scale].magnitude if scale else 1)
        return None if name is None else Emitted(name, left.grid + right.grid)

    def _scaled_matmul(self, product: str, scale: str) -> Emitted:
        """A product with its columns' scales inside the weight: what bounds the scaled product bounds its sums too."""
        x, weight = self._waiting.pop(product).inputs
        result = self._in_bytes(x, weight, scale)
        if result is not None:
            return result
        columns = materialise(self._values[weight]) * materialise(self._values[scale])
        shift = self._shift(x)
        return Emitted(self.writer.node("MatMul", [self._at(x, shift), self.writer.constant(columns)]), shift)

    def _product(self, instruction: Instruction) -> Emitted:
        """Shifts add."""
        shifts = [self._shift(name) for name in instruction.inputs]
        if abs(sum(shifts)) > MAX_SHIFT:
            shifts = [0, 0]
        names = [self._at(name, shift) for name, shift in zip(instruction.inputs, shifts, strict=True)]
        return Emitted(self.writer.node(instruction.op, names), sum(shifts))

    def _round(self, instruction: Instruction) -> Emitted | None:
        (name,) = instruction.inputs
        value = self._values[name]
        if self._constant(name) or value.grid >= 0:
            return None
        shift = self._emitted[name].shift
        magic = self.writer.number(math.ldexp(1.5, 52 - shift))
        raised = self.writer.node("Add", [self._emitted[name].name, magic])
        return Emitted(self.writer.node("Sub", [raised, magic]), shift)

    def _whole(self, instruction: Instruction) -> Emitted:
        """At real size: what floors, takes roots or leaves float64."""
        names = [self._at(name, 0) for name in instruction.inputs]
        return Emitted(self.writer.node(instruction.op, names, attributes=instruction.attributes), 0)

    def _div(self, instruction: Instruction) -> Emitted:
        """A quotient is the same at any common shift: the smaller operand takes the larger's."""
        a, b = instruction.inputs
        larger = a if self._values[a].size >= self._values[b].size and not self._constant(a) else b
        shift = self._shift(larger)
        return Emitted(self.writer.node("Div", [self._at(a, shift), self._at(b, shift)]), 0)


SPECIAL: dict[str, Callable[[Emitter, Instruction], Emitted | None]] = {
    "Mul": Emitter._mul,
    "MatMul": Emitter._matmul,
    "Round": Emitter._round,
    "Floor": Emitter._whole,
    "Sqrt": Emitter._whole,
    "Cast": Emitter._whole,
    "Div": Emitter._div,
}


def _only_readers(program: Program) -> dict[str, Instruction]:
    """For each tensor that exactly one instruction reads, and no output is, that instruction."""
    readers: dict[str, list[Instruction]] = {}
    for instruction in program.live_instructions:
        for name in instruction.inputs:
            readers.setdefault(name, []).append(instruction)
    outputs = {item.name for item in program.outputs}
    return {name: found[0] for name, found in readers.items() if len(found) == 1 and name not in outputs}


def never(shape: Shape) -> bool:
    """For a processor without dot products of bytes, and for who wants every product in float64."""
    return False


def emit(program: Program, bytes_exact: BytesExact = never) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """The engine's own graph and its large constants, which are inputs of it."""
    emitter = Emitter(program, bytes_exact)
    return emitter.model(), emitter.writer.constants


def materialise(value: Value, shift: int = 0) -> NDArray[Any]:
    """A constant as onnxruntime wants it: float64 at value * 2**-shift, or its integer dtype."""
    assert value.constant is not None
    # order="C", not ascontiguousarray: that would make a vector of a scalar.
    if value.dtype == FLOAT:
        real = value.constant.astype(np.float64, order="C")
        return np.asarray(np.ldexp(real, value.grid - shift))
    return value.constant.astype(np.bool_ if value.dtype == BOOL else value.dtype, order="C")
