"""State the memory of one run of a program on the engine, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from verifier.exact.program.depthwise import DepthwiseConvolution
from verifier.exact.program.values import FLOAT, Value

if TYPE_CHECKING:
    from verifier.exact.program.proof import Instruction, Program

# Operators whose result onnxruntime keeps in the buffer of their operand.
SHARING = frozenset(("Identity", "Reshape", "Squeeze", "Unsqueeze"))
# Limits within which a depthwise convolution always fits the digits of float32: magnitudes of operand and filters, and
# cells of a filter. Others count as the matrix products that they may stay.
MAX_OPERAND, MAX_FILTER, MAX_CELLS = 2**34, 2**15, 128
# Largest magnitude of an operand that is split in float32 itself.
MAX_FLOAT32 = 2**24
# Bytes that the engine holds while it computes a depthwise convolution, measured on onnxruntime 1.32: for each element
# of a result whose operand fits float32, and for each of operand and result otherwise. The digits of the operand take
# the place of the operand, which is not needed any more.
NARROW_RESULT_BYTES = 32
WIDE_OPERAND_BYTES, WIDE_RESULT_BYTES = 32, 16


@dataclass(frozen=True)
class _Step:
    """What the engine computes at once: the names of operands and results, and the bytes that it holds beside them.

    `shared` tells whether the result has the buffer of the first operand.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    working: int
    shared: bool = False


def memory_bytes(program: Program) -> int:
    """The bytes of one run: the constants that are read, and the most that is alive at once.

    Each element takes the bytes of its dtype. Outputs of other dtypes than float64 and int64 are converted to int64,
    which takes memory beside the most that was alive, because onnxruntime keeps what it has freed. Beside this, the
    session takes some 16 MiB, and onnxruntime's allocator grows in regions of doubled sizes, so that tensors of many
    different sizes can take up to as much again.

    Depthwise convolutions count as the engine computes them where float32 is exact. On a machine where it is not, they
    need the memory of their gathered windows.
    """
    values = program.values
    steps = list(_steps(program))
    read = {name for step in steps for name in step.inputs if name}
    constants = sum(_bytes(values[name]) for name in read if values[name].constant is not None)
    owners = _owners(steps)
    freed = _freed(program, steps, owners)
    alive = sum(_bytes(values[tensor.name]) for tensor in program.inputs)
    peak = alive
    for position, step in enumerate(steps):
        alive += sum(_bytes(values[name]) for name in step.outputs if owners[name] == name)
        peak = max(peak, alive + step.working)
        alive -= sum(_bytes(values[name]) for name in freed.get(position, ()))
    converted = sum(8 * values[item.name].size for item in program.outputs if item.dtype not in (FLOAT, "int64"))
    return constants + peak + converted


def _owners(steps: Sequence[_Step]) -> dict[str, str]:
    """For each tensor that is computed, the tensor whose buffer it has, which is often itself."""
    owners: dict[str, str] = {}
    for step in steps:
        for name in step.outputs:
            owners[name] = owners.get(step.inputs[0], name) if step.shared else name
    return owners


def _freed(program: Program, steps: Sequence[_Step], owners: Mapping[str, str]) -> dict[int, list[str]]:
    """For positions of steps, the tensors whose buffers no later step reads. The caller keeps inputs and outputs."""
    readers = {name: position for position, step in enumerate(steps) for name in step.inputs}
    kept = {item.name for item in program.outputs}
    last: dict[str, int] = {}
    for position, step in enumerate(steps):
        for name in step.outputs:
            end = len(steps) if name in kept else readers.get(name, position)
            last[owners[name]] = max(last.get(owners[name], 0), end)
    freed: dict[int, list[str]] = {}
    for name, position in last.items():
        freed.setdefault(position, []).append(name)
    return freed


def _steps(program: Program) -> Iterator[_Step]:
    """The live instructions in order, in which each depthwise convolution is one step."""
    found = {name: item for name, item in program.depthwise.items() if _fits_float32(program, item)}
    absorbed = {name for item in found.values() for name in item.absorbed}
    for instruction in program.live_instructions:
        output = instruction.outputs[0]
        if output in found:
            item = found[output]
            inputs = (item.operand, item.weight, item.scales, item.bias)
            yield _Step(inputs, (output,), _convolution_bytes(program, item))
        elif output not in absorbed:
            working = _working_bytes(program, instruction)
            yield _Step(instruction.inputs, instruction.outputs, working, instruction.op in SHARING)


def _fits_float32(program: Program, item: DepthwiseConvolution) -> bool:
    operand, weight = program.values[item.operand], program.values[item.weight]
    return operand.magnitude <= MAX_OPERAND and weight.magnitude <= MAX_FILTER and weight.shape[1] <= MAX_CELLS


def _convolution_bytes(program: Program, item: DepthwiseConvolution) -> int:
    operand, result = program.values[item.operand], program.values[item.result]
    if operand.magnitude <= MAX_FLOAT32:
        return NARROW_RESULT_BYTES * result.size - _bytes(operand)
    return WIDE_OPERAND_BYTES * operand.size + WIDE_RESULT_BYTES * result.size - _bytes(operand)


def _working_bytes(program: Program, instruction: Instruction) -> int:
    """The bytes that an instruction holds while it runs, beside its operands and results.

    onnxruntime's Where holds a copy of either choice. The engine emits Max, Min and Clip of int64 as one Where after
    another, of which all but the last have a result of their own.
    """
    result = program.values[instruction.outputs[0]]
    if instruction.op == "Where":
        return 2 * _bytes(result)
    if instruction.op in ("Max", "Min", "Clip") and result.dtype == "int64" and len(instruction.inputs) > 1:
        return (3 if len(instruction.inputs) > 2 else 2) * _bytes(result)
    return 0


def _bytes(value: Value) -> int:
    return np.dtype(value.dtype).itemsize * value.size
