"""Write depthwise convolutions into the engine's graph: split the operand, convolve the digits, add the results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from verifier.exact.program import Program
from verifier.exact.program.depthwise import DepthwiseConvolution
from verifier.exact.program.values import Value
from verifier.exact.runtime.convolution_digits import MAX_FLOAT32_SUM, DigitPlan, plan_digits
from verifier.exact.runtime.convolution_kernels import ConvolutionNodes, ConvolutionShape
from verifier.exact.runtime.writer import GraphWriter

# Finds the block of channels with which a float32 convolution in a shape is exact on this machine.
BlockFinder = Callable[[ConvolutionShape], int | None]
# Limits on the exponents of the float32 numbers of a convolution, inside float32's own from -126 to 127.
MIN_EXPONENT, MAX_EXPONENT = -120, 120
# Bits of what float32 and float64 hold exactly.
FLOAT32_BITS, FLOAT64_BITS = 24, 53
TO_FLOAT32 = {"to": TensorProto.FLOAT}


@dataclass(frozen=True)
class PlannedConvolution:
    """A convolution of a program, its digits, and its shape in float32.

    `block` is the number of channels that lie side by side: see `convolution_kernels`. `grid` is that of the result of
    `result_shape` without the bias, and without the scales where the plan's filters do not include them.
    """

    item: DepthwiseConvolution
    plan: DigitPlan
    shape: ConvolutionShape
    block: int
    grid: int
    result_shape: tuple[int, ...]

    def fits(self, operand_exponent: int, result_exponent: int) -> bool:
        """Whether all numbers are within float32's exponents.

        A step of the operand is the number 2**operand_exponent, and one of the product 2**result_exponent.
        """
        plan = self.plan
        unit = int(plan.units.max())
        first = result_exponent - operand_exponent
        lows = (operand_exponent, result_exponent, first)
        highs = (
            operand_exponent + FLOAT64_BITS,
            result_exponent + FLOAT32_BITS + unit + max(plan.orders),
            first + FLOAT32_BITS + unit + plan.weight_bits * (len(plan.weights) - 1),
        )
        return min(lows) >= MIN_EXPONENT and max(highs) <= MAX_EXPONENT


def plan_convolution(
    program: Program, item: DepthwiseConvolution, find_block: BlockFinder
) -> PlannedConvolution | None:
    """Plan a convolution in float32; None where its numbers are too wide, or float32 is not exact on this machine."""
    values = program.values
    operand, weight, scales = (values[name] for name in (item.operand, item.weight, item.scales))
    assert weight.constant is not None
    assert scales.constant is not None
    if operand.magnitude == 0 or weight.magnitude == 0 or scales.magnitude == 0:
        return None
    filters = weight.constant.astype(np.int64).transpose(0, 2, 1).reshape(-1, weight.shape[1])
    sizes = operand.size, values[item.result].size
    plan = plan_digits(filters, scales.constant.astype(np.int64), operand.magnitude, sizes)
    if plan is None:
        return None
    shape = ConvolutionShape(len(filters), item.windows)
    block = find_block(shape)
    grid = operand.grid + weight.grid + (scales.grid if plan.scaled else 0)
    if block is None:
        return None
    return PlannedConvolution(item, plan, shape, block, grid, values[item.result].shape)


class ConvolutionEmitter:
    """Writes planned convolutions into a graph.

    `integers` maps float64 tensors that were cast from integers to those, which take fewer bytes to read.
    """

    def __init__(self, writer: GraphWriter) -> None:
        self.integers: dict[str, str] = {}
        self._writer = writer

    def convolution(self, planned: PlannedConvolution, operand: Value, name: str, exponents: tuple[int, int]) -> str:
        """Write a convolution; returns the name of the result [batch, filters, *space] of float64.

        It has no bias, and no scales where the filters of the plan do not include them. `name` is the operand's. A step
        of the operand is the number 2**exponents[0] in the graph, and one of the result 2**exponents[1].
        """
        node, plan = self._writer.node, planned.plan
        nodes = ConvolutionNodes(self._writer, planned.shape, planned.block)
        split = self._split(plan, operand, name, exponents[0])
        digits = [nodes.operand(self._in_two_axes(planned, operand, digit)) for digit in split]
        weights = [
            nodes.weight(np.ldexp(part, plan.units[:, None] + (plan.weight_bits * place + exponents[1] - exponents[0])))
            for place, part in enumerate(plan.weights)
        ]
        total = ""
        for pairs in plan.orders.values():
            accumulated = ""
            for mine, theirs in pairs:
                accumulated = nodes.convolution(digits[mine], weights[theirs], accumulated)
            number = node("Cast", [nodes.result(accumulated)], {"to": TensorProto.DOUBLE})
            total = node("Add", [total, number]) if total else number
        return total if len(operand.shape) == 4 else self._reshape(total, planned.result_shape)

    def _split(self, plan: DigitPlan, operand: Value, name: str, exponent: int) -> list[str]:
        """The digits of an operand as float32 numbers, each times its power of the base, least significant first.

        The highest digit is the number rounded to the unit of that digit, the next one is what this leaves, rounded to
        the next unit, and so on. What is left is split in float32 as soon as that holds it.
        """
        node, bound = self._writer.node, operand.magnitude
        number, narrow = name, False
        digits = []
        for place in reversed(range(plan.operand_digits)):
            unit = plan.operand_bits * place
            if not narrow and bound <= min(MAX_FLOAT32_SUM, 2 ** (FLOAT32_BITS - 2 + unit)):
                number, narrow = node("Cast", [self.integers.get(number, number)], TO_FLOAT32), True
            if place == 0:
                digits.append(number if narrow else node("Cast", [number], TO_FLOAT32))
                break
            mantissa, dtype = (FLOAT32_BITS, np.float32) if narrow else (FLOAT64_BITS, np.float64)
            magic = self._writer.scalar(math.ldexp(1.5, mantissa - 1 + exponent + unit), dtype)
            high = node("Sub", [node("Add", [number, magic]), magic])
            number, bound = node("Sub", [number, high]), 1 << unit >> 1
            digits.append(high if narrow else node("Cast", [high], TO_FLOAT32))
        return digits[::-1]

    def _in_two_axes(self, planned: PlannedConvolution, operand: Value, name: str) -> str:
        """A digit [batch, filters, height, width]: each channel as often as it has filters."""
        channels, filters = operand.shape[1], planned.shape.channels
        if len(operand.shape) == 3:
            name = self._reshape(name, (operand.shape[0], channels, *planned.shape.windows.size))
        if filters > channels:
            repeated = np.repeat(np.arange(channels), filters // channels)
            name = self._writer.node("Gather", [name, self._writer.shared_constant(repeated)], {"axis": 1})
        return name

    def _reshape(self, name: str, shape: tuple[int, ...]) -> str:
        return self._writer.node("Reshape", [name, self._writer.shared_constant(np.array(shape, np.int64))])
