"""State the memory of one run of a program on the engine, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from verifier.exact.program.depthwise import DepthwiseConvolution
from verifier.exact.program.values import Value

if TYPE_CHECKING:
    from verifier.exact.program.proof import Instruction, Program

# Bytes of one element, whatever its dtype: a run keeps most tensors in float64 or int64.
ELEMENT_BYTES = 8
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
    """What the engine computes at once: the names of operands and results, and the bytes that it holds beside them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    working: int


def memory_bytes(program: Program) -> int:
    """The bytes of one run, 8 for each element: the constants that are read, and the most that is alive at once.

    Depthwise convolutions count as the engine computes them where float32 is exact. On a machine where it is not, they
    need the memory of their gathered windows.
    """
    values = program.values
    steps = list(_steps(program))
    last = {name: position for position, step in enumerate(steps) for name in step.inputs}
    kept = {tensor.name for tensor in (*program.inputs, *program.outputs)}  # the caller holds these
    constants = sum(_bytes(values[name]) for name in last if name and values[name].constant is not None)
    alive = sum(_bytes(values[tensor.name]) for tensor in program.inputs)
    peak = alive
    for position, step in enumerate(steps):
        alive += sum(_bytes(values[name]) for name in step.outputs)
        peak = max(peak, alive + step.working)
        for name in {*step.inputs, *step.outputs} - kept:
            if name and values[name].constant is None and last.get(name, position) == position:
                alive -= _bytes(values[name])
    return constants + peak


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
            yield _Step(instruction.inputs, instruction.outputs, _working_bytes(program, instruction))


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
    return ELEMENT_BYTES * value.size
