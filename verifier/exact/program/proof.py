"""Program: what an exact ONNX file means, and the proof that it is exact.

`load_program` parses the bytes, checks the structure, and infers for every tensor, node by node, its dtype, static
shape, grid and interval. The rule of each instruction refuses whatever could round, overflow, or differ between
machines. The proof runs nothing, and no byte of the file reaches onnxruntime: the engine emits its own graph from the
Program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import NotExactError
from verifier.exact.program.depthwise import DepthwiseConvolution, find_depthwise
from verifier.exact.program.instructions import REGISTRY, InstructionSite, ProofBudget
from verifier.exact.program.memory import memory_bytes
from verifier.exact.program.parse import Attribute, DeclaredTensor, ParsedGraph, ParsedNode, parse
from verifier.exact.program.values import BOOL, FLOAT, INTEGER_RANGES, Value, grid_of

# Number of elements of constants that the proof may copy or add up for each element that the file holds, and the number
# that it may in any case. Together they keep its time and memory in proportion to the file.
WORK_PER_CONSTANT = 8
MIN_WORK = 2**22
# Maximum number of multiply-accumulates of one run. A task's manifest declares them, and operators are paid by them.
MAX_MACS = 2**53


@dataclass(frozen=True)
class Tensor:
    """An input or output of a program. A float64 output has the values q * 2**grid; integers and bools have grid 0."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    grid: int


@dataclass(frozen=True)
class Instruction:
    """One node with the names of its operands and results. `node` is what error messages call it."""

    node: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Program:
    """A proven exact program: its instructions in node order, and the proven value of every tensor.

    macs: the multiply-accumulates of one run: one for each multiplication of a MatMul, one for each element that
    another instruction writes, and one for each element that a reduction reads. peak_bits: the smallest b with
    |q| <= 2**b for everything that any node computes, partial sums included; node peak_node is the widest.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instructions: tuple[Instruction, ...]
    values: Mapping[str, Value]
    macs: int
    peak_bits: int
    peak_node: str

    def interval(self, name: str) -> tuple[int, int]:
        """The proven bounds of a tensor's q."""
        value = self.values[name]
        return value.lo, value.hi

    @cached_property
    def instruction_counts(self) -> dict[str, int]:
        """How often each operator is used, by name."""
        return dict(sorted(Counter(instruction.op for instruction in self.instructions).items()))

    @cached_property
    def live_instructions(self) -> tuple[Instruction, ...]:
        """The instructions that have to run: those with a result that is not a constant."""
        return tuple(
            item for item in self.instructions if any(self.values[name].constant is None for name in item.outputs)
        )

    @cached_property
    def only_readers(self) -> dict[str, Instruction]:
        """Map each tensor that is read exactly once, and is not an output, to the live instruction that reads it."""
        readers: dict[str, list[Instruction]] = {}
        for instruction in self.live_instructions:
            for name in instruction.inputs:
                readers.setdefault(name, []).append(instruction)
        outputs = {item.name for item in self.outputs}
        return {name: found[0] for name, found in readers.items() if len(found) == 1 and name not in outputs}

    @cached_property
    def depthwise(self) -> dict[str, DepthwiseConvolution]:
        """The depthwise convolutions that the instructions spell out, by the name of their result."""
        return find_depthwise(self)

    @cached_property
    def last_use(self) -> dict[str, int]:
        """For each tensor that is read, the position of its last reader among the live instructions."""
        last: dict[str, int] = {}
        for position, instruction in enumerate(self.live_instructions):
            for name in instruction.inputs:
                last[name] = position
        return last

    @cached_property
    def memory_bytes(self) -> int:
        """The bytes of one run: see `memory`."""
        return memory_bytes(self)


def load_program(data: bytes) -> Program:
    """Parse and prove an ONNX file.

    Errors: NotExactError names the node, or the part of the file, and the reason. ExactError when this machine, for
    lack of memory, cannot tell.
    """
    return prove(parse(data))


def prove(graph: ParsedGraph) -> Program:
    """Prove a parsed graph. Errors: NotExactError names the node and the reason."""
    proof = _Proof(graph)
    for node in graph.nodes:
        proof.infer(node)
    for name in graph.outputs:
        proof.check_output(name)
    for stated in graph.stated:
        proof.check_stated(stated)
    return Program(
        inputs=tuple(Tensor(item.name, item.dtype, item.shape, 0) for item in graph.inputs),
        outputs=tuple(_tensor(proof.values[name]) for name in graph.outputs),
        instructions=tuple(Instruction(n.name, n.op, n.inputs, n.outputs, n.attributes) for n in graph.nodes),
        values=proof.values,
        macs=proof.macs,
        peak_bits=max(proof.peak - 1, 0).bit_length(),
        peak_node=proof.peak_node,
    )


class _Proof:
    """The state of a proof while it goes through the nodes in order."""

    def __init__(self, graph: ParsedGraph) -> None:
        self.values: dict[str, Value] = {item.name: _input(item) for item in graph.inputs}
        for name, array in graph.constants.items():
            self.values[name] = _constant(name, array)
        self.macs = 0
        self.peak = 0
        self.peak_node = ""
        self._readers = Counter(name for node in graph.nodes for name in node.inputs)
        self._readers.update(graph.outputs)
        work = MIN_WORK + WORK_PER_CONSTANT * sum(array.size for array in graph.constants.values())
        self._budget = ProofBudget(work)
        self._unrounded: dict[str, str] = {}  # result of a Div or Sqrt -> its node

    def infer(self, node: ParsedNode) -> None:
        """Infer the results of one node from those of the nodes before it."""
        rule = REGISTRY.get(node.op)
        if rule is None:
            raise NotExactError(node.name, f"{node.op} is not on the list of exact operators")
        arguments = tuple(self._argument(node, name) for name in node.inputs)
        site = InstructionSite(node.name, node.op, arguments, node.outputs, node.attributes, budget=self._budget)
        results = rule.infer(site)
        unknown = set(node.attributes) - site.used
        if unknown:
            raise NotExactError(node.name, f"unknown attributes {sorted(unknown)}")
        if len(results) != len(node.outputs):
            raise NotExactError(node.name, f"it has {len(node.outputs)} outputs, {len(results)} are expected")
        for result in results:
            self._add(node, result)
            site.macs += 0 if node.op == "MatMul" or result.constant is not None else result.size
        self.macs += site.macs
        if self.macs > MAX_MACS:
            raise NotExactError(node.name, "the program needs more than 2**53 multiply-accumulates")
        if site.peak > self.peak:
            self.peak, self.peak_node = site.peak, node.name

    def _argument(self, node: ParsedNode, name: str) -> Value | None:
        """The value of an input of a node; None when it is left out."""
        if name == "":
            return None
        value = self.values.get(name)
        if value is None:
            raise NotExactError(node.name, f"its input {name!r} is not computed by an earlier node")
        if value.unrounded and node.op != "Floor":
            raise NotExactError(node.name, f"it reads an unrounded quotient or root ({self._unrounded[name]})")
        return value

    def _add(self, node: ParsedNode, result: Value) -> None:
        """Add a result of a node to the proven values."""
        if result.name in self.values:
            raise NotExactError(node.name, f"its output {result.name!r} has a name that is taken")
        self.values[result.name] = result
        if result.unrounded:
            self._unrounded[result.name] = node.name
            if self._readers[result.name] != 1:
                raise NotExactError(node.name, "its result is off the grid and must be read exactly once, by a Floor")

    def check_output(self, name: str) -> None:
        """Check that an output of the graph is proven, on a grid and not empty."""
        if name not in self.values:
            raise NotExactError(f"output {name!r}", "no node computes it")
        if self.values[name].unrounded:
            raise NotExactError(f"output {name!r}", "it is an unrounded quotient or root")
        if self.values[name].size == 0:
            raise NotExactError(f"output {name!r}", "it is empty")

    def check_stated(self, stated: DeclaredTensor) -> None:
        """Check that a type stated in the file is the one that was inferred."""
        proven = self.values.get(stated.name)
        if proven is not None and (proven.dtype, proven.shape) != (stated.dtype, stated.shape):
            raise NotExactError(
                f"the type of {stated.name!r}",
                f"the file says {stated.dtype}{list(stated.shape)}, it is {proven.dtype}{list(proven.shape)}",
            )


def _input(item: DeclaredTensor) -> Value:
    """The value of an input, which can be anything that its dtype holds."""
    lo, hi = INTEGER_RANGES[item.dtype]
    return Value(item.name, item.dtype, item.shape, 0, lo, hi)


def _constant(name: str, array: NDArray[Any]) -> Value:
    """The value of an initialiser: float64 on its coarsest grid, bools as 0 and 1, integers as they are stored."""
    dtype, grid = str(array.dtype.name), 0
    if dtype == FLOAT:
        try:
            array, grid = grid_of(array.astype(np.float64))
        except ValueError as error:
            raise NotExactError(f"initialiser {name!r}", str(error)) from error
    elif dtype == BOOL:
        array = array.astype(np.int8)
    lo, hi = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return Value(name, dtype, array.shape, grid, lo, hi, constant=array)


def _tensor(value: Value) -> Tensor:
    return Tensor(value.name, value.dtype, value.shape, value.grid)
