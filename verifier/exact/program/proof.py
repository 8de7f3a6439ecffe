"""Program: what an exact ONNX file means, and the proof that it is exact.

`load_program` parses the bytes, checks the structure, and infers for every tensor, node by node, its dtype, static
shape, grid and interval. Every rule of an instruction refuses what could round, overflow, or differ between machines.
Nothing is run, and nothing of the file reaches onnxruntime: the engine emits its own graph from the Program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verifier.exact.errors import NotExactError
from verifier.exact.program.instructions import REGISTRY, Budget, Site
from verifier.exact.program.parse import Attribute, Declared, Graph, Node, parse
from verifier.exact.program.values import BOOL, FLOAT, INTEGER_RANGES, Value, grid_of

# The proof may copy and add up this many times the constants of the file, and so much in any case.
WORK_PER_CONSTANT = 8
LEAST_WORK = 2**22
# One run's multiply-accumulates; a task's manifest declares them and operators are paid by them.
MAX_MACS = 2**53


@dataclass(frozen=True)
class Tensor:
    """An input or output as others see it. A float64 output is q * 2**grid; integers and bools have grid 0."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    grid: int


@dataclass(frozen=True)
class Instruction:
    """One node with its operands by name; `node` is what messages call it."""

    node: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Program:
    """A proven exact program: instructions in node order, and what is known of every tensor.

    macs: multiply-accumulates of one run: one for each product, and one for each element another instruction reads or
    writes. peak_bits: the least b so that |q| <= 2**b for all that any node computes, partial sums included; the widest
    is at node peak_node.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instructions: tuple[Instruction, ...]
    values: Mapping[str, Value]
    macs: int
    peak_bits: int
    peak_node: str

    def interval(self, name: str) -> tuple[int, int]:
        """Proven bounds of a tensor's q."""
        value = self.values[name]
        return value.lo, value.hi

    @cached_property
    def instruction_counts(self) -> dict[str, int]:
        """How often each operator is used."""
        return dict(sorted(Counter(instruction.op for instruction in self.instructions).items()))

    @cached_property
    def live_instructions(self) -> tuple[Instruction, ...]:
        """The instructions whose results are not known beforehand: what has to run."""
        return tuple(
            item for item in self.instructions if any(self.values[name].constant is None for name in item.outputs)
        )

    @cached_property
    def last_use(self) -> dict[str, int]:
        """For each tensor the position, among the live instructions, of the last one that reads it."""
        last: dict[str, int] = {}
        for position, instruction in enumerate(self.live_instructions):
            for name in instruction.inputs:
                last[name] = position
        return last

    @cached_property
    def memory_bytes(self) -> int:
        """Bytes a run needs, 8 for each element: constants that are read, and the most that is alive at once."""
        kept = {tensor.name for tensor in (*self.inputs, *self.outputs)}  # the caller holds these
        used = {name for instruction in self.live_instructions for name in instruction.inputs if name}
        constants = sum(8 * self.values[name].size for name in used if self.values[name].constant is not None)
        alive = sum(8 * self.values[tensor.name].size for tensor in self.inputs)
        peak = alive
        for position, instruction in enumerate(self.live_instructions):
            alive += sum(8 * self.values[name].size for name in instruction.outputs)
            peak = max(peak, alive)
            for name in {*instruction.inputs, *instruction.outputs} - kept:
                if name and self.values[name].constant is None and self.last_use.get(name, position) == position:
                    alive -= 8 * self.values[name].size
        return constants + peak


def load_program(data: bytes) -> Program:
    """Parse and prove an ONNX file. Errors: NotExactError naming the node and the reason."""
    return prove(parse(data))


def prove(graph: Graph) -> Program:
    """Infer every tensor of a parsed graph. Errors: NotExactError."""
    values: dict[str, Value] = {item.name: _input(item) for item in graph.inputs}
    for name, array in graph.constants.items():
        values[name] = _constant(name, array)
    consumers = Counter(name for node in graph.nodes for name in node.inputs)
    consumers.update(graph.outputs)

    budget = Budget(LEAST_WORK + WORK_PER_CONSTANT * sum(array.size for array in graph.constants.values()))
    instructions: list[Instruction] = []
    quotients: dict[str, str] = {}  # off the grid -> node that made it
    macs = 0
    peak, peak_node = 0, ""
    for node in graph.nodes:
        site = _infer(node, values, quotients, consumers, budget)
        macs += site.macs
        if macs > MAX_MACS:
            raise NotExactError(node.name, "the program needs more than 2**53 multiply-accumulates")
        if site.peak > peak:
            peak, peak_node = site.peak, node.name
        instructions.append(Instruction(node.name, node.op, node.inputs, node.outputs, node.attributes))
    for name in graph.outputs:
        if name not in values:
            raise NotExactError(f"output {name!r}", "no node makes it")
        if values[name].quotient is not None:
            raise NotExactError(f"output {name!r}", "it is an unrounded quotient or root")
        if values[name].size == 0:
            raise NotExactError(f"output {name!r}", "it is empty")
    for stated in graph.stated:
        proven = values.get(stated.name)
        if proven is not None and (proven.dtype, proven.shape) != (stated.dtype, stated.shape):
            raise NotExactError(
                f"the type of {stated.name!r}",
                f"the file says {stated.dtype}{list(stated.shape)}, it is {proven.dtype}{list(proven.shape)}",
            )
    return Program(
        inputs=tuple(Tensor(item.name, item.dtype, item.shape, 0) for item in graph.inputs),
        outputs=tuple(_tensor(values[name]) for name in graph.outputs),
        instructions=tuple(instructions),
        values=values,
        macs=macs,
        peak_bits=max(peak - 1, 0).bit_length(),
        peak_node=peak_node,
    )


def _infer(
    node: Node, values: dict[str, Value], quotients: dict[str, str], consumers: Counter[str], budget: Budget
) -> Site:
    operator = REGISTRY.get(node.op)
    if operator is None:
        raise NotExactError(node.name, f"{node.op} is not on the list of exact operators")
    arguments: list[Value | None] = []
    for name in node.inputs:
        if name == "":
            arguments.append(None)
        elif name not in values:
            raise NotExactError(node.name, f"its input {name!r} is not made by an earlier node")
        else:
            arguments.append(values[name])
    for argument in arguments:
        if argument is not None and argument.quotient is not None:
            if node.op != "Floor":
                raise NotExactError(node.name, f"it reads an unrounded quotient or root ({quotients[argument.name]})")
            if consumers[argument.name] != 1:
                raise NotExactError(node.name, "the quotient it floors has another reader")
    site = Site(node.name, node.op, tuple(arguments), node.outputs, node.attributes, budget=budget)
    results = operator.infer(site)
    unknown = set(node.attributes) - site.used
    if unknown:
        raise NotExactError(node.name, f"unknown attributes {sorted(unknown)}")
    if len(results) != len(node.outputs):
        raise NotExactError(node.name, f"it has {len(node.outputs)} outputs, {len(results)} are expected")
    for result in results:
        if result.name in values:
            raise NotExactError(node.name, f"its output {result.name!r} has a name that is taken")
        values[result.name] = result
        if result.quotient is not None:
            quotients[result.name] = node.name
            if consumers[result.name] != 1:
                raise NotExactError(node.name, "its result is off the grid and needs exactly one reader, a Floor")
        site.macs += 0 if node.op == "MatMul" or result.constant is not None else result.size
    return site


def _input(item: Declared) -> Value:
    lo, hi = INTEGER_RANGES[item.dtype]
    return Value(item.name, item.dtype, item.shape, 0, lo, hi)


def _constant(name: str, array: np.ndarray) -> Value:  # type: ignore[type-arg]
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
