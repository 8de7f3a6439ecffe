"""The engine's own graph: a program's meaning is integers, so it may be written in whatever form runs fastest.

A float64 tensor is emitted as numbers that stand for value * 2**-shift. Scaling by a power of two then costs nothing:
it changes the shift that the engine keeps in mind. Rounding is an addition and a subtraction of 1.5 * 2**(52 + k),
which leaves a multiple of 2**k, ties to even, for every |x| <= 2**(51 + k): the check lets nothing larger be rounded.
Scales of a product's columns go into its weight when the program is loaded; or the product is computed in bytes, where
that is exact on this machine, see `byte_products`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from verifier.exact.byte_products import (
    BASE,
    OFFSET,
    WORTHWHILE,
    ByteWeight,
    Shape,
    Term,
    byte_weight,
    digits_of,
)
from verifier.exact.parse import IR_VERSIONS, OPSET, PROTO_OF, Attribute
from verifier.exact.program import Instruction, Program
from verifier.exact.values import BOOL, FLOAT, Value

# Up to here a constant is written into the graph: kernels want their shapes, axes and limits there. Larger ones become
# inputs, which the session reads where they lie.
SMALL_BYTES = 1024
# Grids reach 2**±400; with shifts up to this nothing emitted leaves float64's exponents.
MAX_SHIFT = 200
# Up to here what is split into bytes leaves float32's exponents neither.
MOST_SINGLE_SHIFT = 60
# So many numbers of a result stay in a processor's cache while its terms are joined.
MOST_RESULTS = 2**20
# Whether a product of bytes in that shape is right on this machine.
BytesExact = Callable[[Shape], bool]
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
    """Writes one graph. `constants` holds the large ones by the name of the input that they are fed to."""

    def __init__(self, program: Program, bytes_exact: BytesExact) -> None:
        self.constants: dict[str, NDArray[Any]] = {}
        self._program = program
        self._bytes_exact = bytes_exact
        self._values = program.values
        self._nodes: list[onnx.NodeProto] = []
        self._small: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._emitted: dict[str, Emitted] = {}
        self._known: dict[tuple[str, int], str] = {}  # tensors at other shifts than they were made at
        self._repeated: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._beside: dict[str, str] = {}  # both bytes of a tensor side by side
        self._split: dict[tuple[str, int], list[str]] = {}  # tensors in bytes
        self._only_reader = _only_readers(program)
        self._waiting: dict[str, Instruction] = {}  # products whose reader scales their columns

    def model(self) -> onnx.ModelProto:
        """The whole graph: inputs in0, in1, …, outputs out0, out1, … at their real size."""
        for number, item in enumerate(self._program.inputs):
            self._emitted[item.name] = Emitted(f"in{number}", 0)
            self._inputs.append(helper.make_tensor_value_info(f"in{number}", PROTO_OF[item.dtype], item.shape))
        for instruction in self._program.live_instructions:
            self._instruction(instruction)
        outputs = []
        for number, item in enumerate(self._program.outputs):
            self._nodes.append(helper.make_node("Identity", [self._at(item.name, 0)], [f"out{number}"]))
            outputs.append(helper.make_tensor_value_info(f"out{number}", PROTO_OF[item.dtype], item.shape))
        graph = helper.make_graph(self._nodes, "touchstone", self._inputs, outputs, initializer=self._small)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSIONS[0])

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
                self._known[key] = self._add_constant(materialise(value, shift))
            elif self._emitted[name].shift == shift:
                self._known[key] = self._emitted[name].name
            else:
                factor = self._scalar(2.0 ** (self._emitted[name].shift - shift))
                self._known[key] = self._node("Mul", [self._emitted[name].name, factor])
        return self._known[key]

    def _add_constant(self, array: NDArray[Any]) -> str:
        name = f"c{len(self.constants) + len(self._small)}"
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.nbytes > SMALL_BYTES:
            self.constants[name] = array
            self._inputs.append(helper.make_tensor_value_info(name, dtype, array.shape))
        else:
            self._small.append(helper.make_tensor(name, dtype, array.shape, array.tobytes(), raw=True))
        return name

    def _scalar(self, number: float) -> str:
        return self._known_constant(np.array(number, np.float64))

    def _known_constant(self, array: NDArray[Any]) -> str:
        """A small constant, once however often it is asked for."""
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._repeated:
            self._repeated[key] = self._add_constant(array)
        return self._repeated[key]

    def _node(
        self, op: str, operands: list[str], outputs: int = 1, attributes: Mapping[str, Attribute] | None = None
    ) -> str:
        """Add a node; the name of its first output, the others end in 1, 2, …"""
        names = [f"v{len(self._nodes)}_{index}" for index in range(outputs)]
        extra: dict[str, Any] = dict(attributes or {})
        self._nodes.append(helper.make_node(op, operands, names, **extra))
        return names[0]

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
            first = self._node(instruction.op, names, len(instruction.outputs), instruction.attributes)
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
            current = self._node("Where", [self._node(comparison, [current, other]), other, current])
        return self._node("Identity", [current])

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
        """A product of integers of one or two bytes, its columns scaled or not; None where that is not worthwhile."""
        left, right = self._values[x], self._values[weight]
        if self._constant(x) or right.constant is None or len(right.shape) != 2 or len(left.shape) < 2:
            return None
        rows, digits = left.size // left.shape[-1], digits_of(left.lo, left.hi)
        if digits is None or rows * right.size < WORTHWHILE or abs(self._shift(x) - left.grid) > MOST_SINGLE_SHIFT:
            return None
        if abs(left.grid + right.grid) > MAX_SHIFT:
            return None
        scales = materialise(self._values[scale]) if scale else np.ones(right.shape[1])
        steps = self._values[scale].magnitude if scale else 1
        width = max(MOST_RESULTS // rows, 1)
        blocks: list[tuple[ByteWeight, NDArray[Any]]] = []
        for start in range(0, right.shape[1], width):
            split = byte_weight(right.constant[:, start : start + width], digits)
            if split is None or split.bound * steps >= 2**53:
                return None
            if not all(self._bytes_exact(shape) for shape in split.shapes(rows)):
                return None
            blocks.append((split, scales[start : start + width]))
        names = [self._block(x, digits, *block) for block in blocks]
        last = {"axis": len(left.shape) - 1}
        return Emitted(
            names[0] if len(names) == 1 else self._node("Concat", names, attributes=last), left.grid + right.grid
        )

    def _block(self, x: str, digits: int, split: ByteWeight, scales: NDArray[Any]) -> str:
        """Some columns of a product."""
        parts = []
        for term in split.terms:
            operand = self._operand(x, digits, term)
            names = [operand, self._add_constant(split.rows(term)), self._known_constant(np.array(OFFSET, np.uint8))]
            parts.append((self._node("MatMulInteger", names), term.order, term.bound))
        return self._joined(parts, scales)

    def _operand(self, x: str, digits: int, term: Term) -> str:
        """The digits of x that a term multiplies, side by side."""
        names = [self._bytes(x, digits)[digit] for digit in term.digits]
        if len(names) == 1:
            return names[0]
        if x not in self._beside:
            axis = len(self._values[x].shape) - 1
            self._beside[x] = self._node("Concat", names, attributes={"axis": axis})
        return self._beside[x]

    def _bytes(self, name: str, digits: int) -> list[str]:
        """A tensor's digits, each plus OFFSET in a byte, least significant first. float32 holds all that occurs."""
        key = (name, digits)
        if key not in self._split:
            emitted, single = self._emitted[name], {"to": TensorProto.FLOAT}
            number = self._node("Cast", [emitted.name], attributes=single)
            steps = np.array(2.0 ** (emitted.shift - self._values[name].grid), np.float32)
            if steps != 1:
                number = self._node("Mul", [number, self._known_constant(steps)])
            offset = np.array(OFFSET * (BASE + 1 if digits == 2 else 1), np.float32)
            number = self._node("Add", [number, self._known_constant(offset)])
            byte = {"to": TensorProto.UINT8}
            if digits == 2:
                shifted = self._node("Mul", [number, self._known_constant(np.array(1 / BASE, np.float32))])
                high = self._node("Cast", [shifted], attributes=byte)
                whole = self._node("Cast", [high], attributes=single)
                whole = self._node("Mul", [whole, self._known_constant(np.array(BASE, np.float32))])
                low = self._node("Cast", [self._node("Sub", [number, whole])], attributes=byte)
                self._split[key] = [low, high]
            else:
                self._split[key] = [self._node("Cast", [number], attributes=byte)]
        return self._split[key]

    def _joined(self, parts: list[tuple[str, int, int]], scales: NDArray[Any]) -> str:
        """The sum of integers that count BASE**order each, times the scales; in 32 bits as long as they hold it."""
        while len(parts) > 1:
            (high, order, most), (low, least, rest) = parts[-2:]
            bound = most * BASE ** (order - least) + rest
            if bound >= 2**31:
                break
            factor = self._known_constant(np.array(BASE ** (order - least), np.int32))
            parts[-2:] = [(self._node("Add", [self._node("Mul", [high, factor]), low]), least, bound)]
        total = ""
        for name, order, _ in parts:
            number = self._node("Cast", [name], attributes={"to": TensorProto.DOUBLE})
            factors = scales * float(BASE**order)
            if (factors != 1).any():
                number = self._node("Mul", [number, self._known_constant(factors)])
            total = self._node("Add", [total, number]) if total else number
        return total

    def _scaled_matmul(self, product: str, scale: str) -> Emitted:
        """A product with its columns' scales inside the weight: what bounds the scaled product bounds its sums too."""
        x, weight = self._waiting.pop(product).inputs
        result = self._in_bytes(x, weight, scale)
        if result is not None:
            return result
        columns = materialise(self._values[weight]) * materialise(self._values[scale])
        shift = self._shift(x)
        return Emitted(self._node("MatMul", [self._at(x, shift), self._add_constant(columns)]), shift)

    def _product(self, instruction: Instruction) -> Emitted:
        """Shifts add."""
        shifts = [self._shift(name) for name in instruction.inputs]
        if abs(sum(shifts)) > MAX_SHIFT:
            shifts = [0, 0]
        names = [self._at(name, shift) for name, shift in zip(instruction.inputs, shifts, strict=True)]
        return Emitted(self._node(instruction.op, names), sum(shifts))

    def _round(self, instruction: Instruction) -> Emitted | None:
        (name,) = instruction.inputs
        value = self._values[name]
        if self._constant(name) or value.grid >= 0:
            return None
        shift = self._emitted[name].shift
        magic = self._scalar(math.ldexp(1.5, 52 - shift))
        raised = self._node("Add", [self._emitted[name].name, magic])
        return Emitted(self._node("Sub", [raised, magic]), shift)

    def _whole(self, instruction: Instruction) -> Emitted:
        """At real size: what floors, takes roots or leaves float64."""
        names = [self._at(name, 0) for name in instruction.inputs]
        return Emitted(self._node(instruction.op, names, attributes=instruction.attributes), 0)

    def _div(self, instruction: Instruction) -> Emitted:
        """A quotient is the same at any common shift: the smaller operand takes the larger's."""
        a, b = instruction.inputs
        larger = a if self._values[a].size >= self._values[b].size and not self._constant(a) else b
        shift = self._shift(larger)
        return Emitted(self._node("Div", [self._at(a, shift), self._at(b, shift)]), 0)


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
    return emitter.model(), emitter.constants


def materialise(value: Value, shift: int = 0) -> NDArray[Any]:
    """A constant as onnxruntime wants it: float64 at value * 2**-shift, or its integer dtype."""
    assert value.constant is not None
    # order="C", not ascontiguousarray: that would make a vector of a scalar.
    if value.dtype == FLOAT:
        real = value.constant.astype(np.float64, order="C")
        return np.asarray(np.ldexp(real, value.grid - shift))
    return value.constant.astype(np.bool_ if value.dtype == BOOL else value.dtype, order="C")
