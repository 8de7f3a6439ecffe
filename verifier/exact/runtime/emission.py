"""Write the engine's own graph for a proven program.

A program's meaning is integers, so the engine may compute it in any form that is exact, and uses the fastest:

- A float64 tensor is emitted as numbers x that stand for value = x * 2**shift. To multiply it by a power of two costs
  nothing: the emitter remembers another shift.
- Round adds and subtracts 1.5 * 2**(52 + k), which leaves a multiple of 2**k, ties to even, for every
  |x| <= 2**(51 + k). The proof refuses a Round of larger numbers.
- The scales of a product's columns are multiplied into its weight when the program is loaded: see `column_scales`.
- A product of integers of one or two bytes is computed in bytes where that is exact on this machine: see
  `byte_products` and `byte_emission`.
- A depthwise convolution, which a program spells out as a product of gathered windows, is computed as convolutions in
  float32 where those are exact on this machine: see `convolution_digits` and `convolution_kernels`.
- Every other instruction is emitted as the ONNX operator of its name.
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
from verifier.exact.runtime.byte_emission import ByteOperand, ByteProductEmitter, BytesExact
from verifier.exact.runtime.byte_products import Shape
from verifier.exact.runtime.column_scales import ScaledProduct, scaled_products
from verifier.exact.runtime.convolution_emission import (
    BlockFinder,
    ConvolutionEmitter,
    PlannedConvolution,
    plan_convolution,
)
from verifier.exact.runtime.convolution_kernels import ConvolutionShape
from verifier.exact.runtime.writer import GraphWriter

# Largest |shift| of an emitted tensor. Values are at most 2**453 and multiples of 2**-400 (53 bits on grids up to
# 2**±400), so that numbers with this shift stay far inside float64's exponents: from 2**-1022 to 2**1023.
MAX_SHIFT = 200
# Operators whose operands must have one shift, which is the result's too unless that is a bool.
ALIGNED = frozenset(
    ("Add", "Sub", "Max", "Min", "Clip", "Where", "Concat", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
)
# Operators whose result has the shift of the first operand; the other operands are indices, axes and shapes.
SHIFT_OF_FIRST = frozenset(
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
class EmittedTensor:
    """A tensor of the emitted graph by its name there: value = number * 2**shift."""

    name: str
    shift: int


class Emitter:
    """Writes one graph, instruction by instruction."""

    def __init__(self, program: Program, bytes_exact: BytesExact, find_block: BlockFinder) -> None:
        self.writer = GraphWriter()
        self._bytes = ByteProductEmitter(self.writer, bytes_exact)
        self._convolutions = ConvolutionEmitter(self.writer)
        self._program = program
        self._values = program.values
        self._scaled = scaled_products(program)
        self._planned: dict[str, PlannedConvolution] = {}
        for name, item in program.depthwise.items():
            planned = plan_convolution(program, item, find_block)
            if planned is not None:
                self._planned[name] = planned
        self._absorbed = {item.product for item in self._scaled.values()}
        self._absorbed.update(*(planned.item.absorbed for planned in self._planned.values()))
        self._emitted: dict[str, EmittedTensor] = {}
        self._at_shift: dict[tuple[str, int], str] = {}  # (tensor, shift) -> name in the graph
        # Operators with a form of the engine's own. Each returns None where it emits the operator itself instead.
        self._own_forms: dict[str, Callable[[Instruction], EmittedTensor | None]] = {
            "Mul": self._mul,
            "MatMul": self._matmul,
            "Round": self._round,
            "Floor": self._unshifted,
            "Sqrt": self._unshifted,
            "Cast": self._unshifted,
            "Identity": self._identity,
            "Div": self._div,
        }

    def model(self) -> onnx.ModelProto:
        """Write the whole graph, with inputs in0, in1, … and outputs out0, out1, … at shift 0."""
        for number, item in enumerate(self._program.inputs):
            self._emitted[item.name] = EmittedTensor(f"in{number}", 0)
            self.writer.input(f"in{number}", PROTO_OF[item.dtype], item.shape)
        for instruction in self._program.live_instructions:
            self._instruction(instruction)
        for number, item in enumerate(self._program.outputs):
            self.writer.output(f"out{number}", self._operand(item.name, 0), PROTO_OF[item.dtype], item.shape)
        return self.writer.model()

    # Operands

    def _constant(self, name: str) -> bool:
        return self._values[name].constant is not None

    def _shift(self, name: str) -> int:
        """The shift at which a computed tensor was emitted; 0 for a constant, which can be written at any shift."""
        return 0 if self._constant(name) else self._emitted[name].shift

    def _operand(self, name: str, shift: int) -> str:
        """The name in the graph of a tensor at that shift; tensors of integers and bools are always at shift 0."""
        if name == "":
            return ""
        value = self._values[name]
        if value.dtype != FLOAT:
            shift = 0
        key = (name, shift)
        if key not in self._at_shift:
            if value.constant is not None:
                self._at_shift[key] = self.writer.constant(materialise(value, shift))
            elif self._emitted[name].shift == shift:
                self._at_shift[key] = self._emitted[name].name
            else:
                factor = self.writer.scalar(2.0 ** (self._emitted[name].shift - shift))
                self._at_shift[key] = self.writer.node("Mul", [self._emitted[name].name, factor])
        return self._at_shift[key]

    # Instructions

    def _instruction(self, instruction: Instruction) -> None:
        output = instruction.outputs[0]
        if output in self._absorbed:
            return  # a part of what a later instruction emits: a scaled product or a depthwise convolution
        if output in self._planned:
            self._emitted[output] = self._convolution(self._planned[output])
            return
        if output in self._scaled:
            self._emitted[output] = self._scaled_product(self._scaled[output])
            return
        if self._values[output].dtype == FLOAT or instruction.op == "Cast":
            form = self._own_forms.get(instruction.op)
            result = None if form is None else form(instruction)
            if result is not None:
                self._emitted[output] = result
                return
        self._same_operator(instruction)

    def _same_operator(self, instruction: Instruction) -> None:
        """Emit the instruction as the ONNX operator of its name."""
        shift = self._common_shift(instruction)
        operands = [self._operand(name, shift) for name in instruction.inputs]
        dtype = self._values[instruction.outputs[0]].dtype
        if instruction.op in ("Max", "Min", "Clip") and dtype == "int64":
            names = [self._by_comparison(instruction.op, operands)]
        else:
            names = self.writer.node_with_outputs(
                instruction.op, operands, len(instruction.outputs), instruction.attributes
            )
        for output, name in zip(instruction.outputs, names, strict=True):
            self._emitted[output] = EmittedTensor(name, shift if dtype == FLOAT else 0)

    def _common_shift(self, instruction: Instruction) -> int:
        """The shift at which an operator's float64 operands are read."""
        if instruction.op in SHIFT_OF_FIRST and self._values[instruction.inputs[0]].dtype == FLOAT:
            return self._shift(instruction.inputs[0])
        if instruction.op not in ALIGNED:
            return 0
        computed = [
            name
            for name in instruction.inputs
            if name and not self._constant(name) and self._values[name].dtype == FLOAT
        ]
        # The largest operand keeps its shift; smaller ones cost less to multiply.
        return self._shift(max(computed, key=lambda name: self._values[name].size)) if computed else 0

    def _by_comparison(self, op: str, operands: list[str]) -> str:
        """Emit Max, Min or Clip of int64 as Less or Greater and Where; returns the result's name.

        onnxruntime 1.24.4 on AVX2 takes the wrong one of two int64 whose upper halves are equal; its comparisons are
        right.
        """
        current, *others = operands
        comparisons = {"Max": ["Less"] * len(others), "Min": ["Greater"] * len(others), "Clip": ["Less", "Greater"]}
        for other, comparison in zip(others, comparisons[op], strict=True):
            current = self.writer.node("Where", [self.writer.node(comparison, [current, other]), other, current])
        return current

    def _mul(self, instruction: Instruction) -> EmittedTensor:
        """Emit Mul; multiplying by a power of two changes the shift alone."""
        shape = self._values[instruction.outputs[0]].shape
        for name, other in (instruction.inputs, instruction.inputs[::-1]):
            factor = self._values[name]
            power_of_two = factor.constant is not None and factor.size == 1 and factor.lo == 1
            if power_of_two and not self._constant(other) and self._values[other].shape == shape:
                shift = self._emitted[other].shift + factor.grid
                if abs(shift) <= MAX_SHIFT:
                    return EmittedTensor(self._emitted[other].name, shift)
        return self._product(instruction)

    def _matmul(self, instruction: Instruction) -> EmittedTensor:
        """Emit MatMul, in bytes where that is exact and faster."""
        x, weight = instruction.inputs
        return self._in_bytes(x, weight) or self._product(instruction)

    def _scaled_product(self, item: ScaledProduct) -> EmittedTensor:
        """Emit a MatMul and the Mul that scales its columns as one product with a scaled weight."""
        result = self._in_bytes(item.operand, item.weight, item.scales)
        if result is not None:
            return result
        weight = materialise(self._values[item.weight]) * materialise(self._values[item.scales])
        shift = self._shift(item.operand)
        operands = [self._operand(item.operand, shift), self.writer.constant(weight)]
        return EmittedTensor(self.writer.node("MatMul", operands), shift)

    def _in_bytes(self, x: str, weight: str, scales: str = "") -> EmittedTensor | None:
        """Emit a product by a constant weight in bytes, its columns scaled where `scales` is named.

        Returns None, and emits nothing, where the operands do not fit bytes, or bytes are not exact or not faster.
        """
        left, right = self._values[x], self._values[weight]
        if self._constant(x) or not self._constant(weight) or abs(left.grid + right.grid) > MAX_SHIFT:
            return None
        emitted = self._emitted[x]
        operand = ByteOperand(left, emitted.name, left.grid - emitted.shift)
        factors = materialise(self._values[scales]) if scales else np.ones(right.shape[-1:])
        name = self._bytes.product(operand, right, factors, self._values[scales].magnitude if scales else 1)
        return None if name is None else EmittedTensor(name, left.grid + right.grid)

    def _convolution(self, planned: PlannedConvolution) -> EmittedTensor:
        """Emit a depthwise convolution in float32, the scales that it leaves out, and the bias that is added to it."""
        item = planned.item
        operand = self._values[item.operand]
        shift, exponents = 0, (operand.grid - self._emitted[item.operand].shift, planned.grid)
        if not planned.fits(*exponents):
            shift, exponents = planned.grid, (0, 0)
        name = self._operand(item.operand, operand.grid - exponents[0])
        result = self._convolutions.convolution(planned, operand, name, exponents)

        def of_channels(constant: str, shift: int) -> str:
            values = materialise(self._values[constant], shift)
            return self.writer.constant(values.reshape(-1, *([1] * (len(operand.shape) - 2))))

        if not planned.plan.scaled:
            result = self.writer.node("Mul", [result, of_channels(item.scales, 0)])
        if item.bias:
            result = self.writer.node("Add", [result, of_channels(item.bias, shift)])
        return EmittedTensor(result, shift)

    def _product(self, instruction: Instruction) -> EmittedTensor:
        """Emit Mul or MatMul itself: the shifts of the operands add up."""
        shifts = [self._shift(name) for name in instruction.inputs]
        if abs(sum(shifts)) > MAX_SHIFT:
            shifts = [0, 0]
        names = [self._operand(name, shift) for name, shift in zip(instruction.inputs, shifts, strict=True)]
        return EmittedTensor(self.writer.node(instruction.op, names), sum(shifts))

    def _round(self, instruction: Instruction) -> EmittedTensor | None:
        """Emit Round as an addition and a subtraction of 1.5 * 2**52 at the operand's shift."""
        (name,) = instruction.inputs
        if self._constant(name) or self._values[name].grid >= 0:
            return None
        emitted = self._emitted[name]
        magic = self.writer.scalar(math.ldexp(1.5, 52 - emitted.shift))
        raised = self.writer.node("Add", [emitted.name, magic])
        return EmittedTensor(self.writer.node("Sub", [raised, magic]), emitted.shift)

    def _unshifted(self, instruction: Instruction) -> EmittedTensor:
        """Emit an operator that needs the values themselves (shift 0): Floor, Sqrt, and Cast from or to float64."""
        names = [self._operand(name, 0) for name in instruction.inputs]
        result = self.writer.node(instruction.op, names, instruction.attributes)
        if instruction.op == "Cast" and self._values[instruction.inputs[0]].dtype not in (FLOAT, BOOL):
            self._convolutions.integers[result] = names[0]
        return EmittedTensor(result, 0)

    def _identity(self, instruction: Instruction) -> EmittedTensor | None:
        """Emit nothing for Identity: its result is the operand."""
        (name,) = instruction.inputs
        return None if self._constant(name) else self._emitted[name]

    def _div(self, instruction: Instruction) -> EmittedTensor:
        """Emit Div. A quotient is the same at any common shift: the larger operand keeps its own."""
        a, b = instruction.inputs
        larger = a if self._values[a].size >= self._values[b].size and not self._constant(a) else b
        shift = self._shift(larger)
        return EmittedTensor(self.writer.node("Div", [self._operand(a, shift), self._operand(b, shift)]), 0)


def never(shape: Shape) -> bool:
    """Answer that bytes are not exact in any shape, so that every product is computed in float64."""
    return False


def no_block(shape: ConvolutionShape) -> None:
    """Answer that float32 convolutions are not exact in any shape, so that all stay products of gathered windows."""


def emit(
    program: Program, bytes_exact: BytesExact = never, find_block: BlockFinder = no_block
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """Write the engine's graph for a program.

    `bytes_exact` says in which shapes products of bytes are right on this machine, `find_block` in which shapes
    float32 convolutions are, and how. Returns the model, and its large constants by the name of the input that each has
    to be fed to.
    """
    emitter = Emitter(program, bytes_exact, find_block)
    return emitter.model(), emitter.writer.constants


def materialise(value: Value, shift: int = 0) -> NDArray[Any]:
    """Write out a constant for onnxruntime: float64 numbers value * 2**-shift, or the integers of its dtype."""
    assert value.constant is not None
    # astype(order="C") and not ascontiguousarray, which would give a scalar one dimension.
    if value.dtype == FLOAT:
        real = value.constant.astype(np.float64, order="C")
        return np.asarray(np.ldexp(real, value.grid - shift))
    return value.constant.astype(np.bool_ if value.dtype == BOOL else value.dtype, order="C")
