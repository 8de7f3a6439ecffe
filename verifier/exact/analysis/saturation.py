"""Find the Clips by which lowering keeps tensors to their ranges, and count what they change in a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from verifier.exact.analysis.layer_map import Layer
from verifier.exact.program import Instruction, Program
from verifier.exact.program.values import FLOAT, Value
from verifier.exact.runtime.byte_products import MAX_TWO_DIGITS

Producers = Mapping[str, Instruction]


@dataclass
class Saturation:
    """How many elements of a tensor a Clip changed, because they passed the range to which lowering keeps the tensor.

    `tensor` is the nearest float tensor that the Clip's operand was computed from, or the operand where none is known,
    and `direct` tells whether the operand is that tensor itself, rounded.
    `lo` and `hi` are the Clip's limits in steps of its operand; a step is `unit` of the tensor that was to be rounded.
    `low` and `high` count the elements below and above, and `largest` is the largest magnitude of these, in steps.
    """

    node: str
    tensor: str
    direct: bool
    lo: int
    hi: int
    unit: float
    low: int = 0
    high: int = 0
    elements: int = 0
    largest: int = 0
    excess: float = 0.0

    @property
    def share(self) -> float:
        """The share of elements that were changed."""
        return (self.low + self.high) / max(self.elements, 1)

    @property
    def limit(self) -> float:
        """The largest magnitude within the limits."""
        return max(-self.lo, self.hi) * self.unit

    @property
    def reached(self) -> float:
        """The largest magnitude of the elements that were changed; 0 where none was."""
        return self.largest * self.unit

    def add(self, q: NDArray[Any]) -> None:
        """Take the operand of another run into account, in steps.

        `excess` becomes the largest distance of an element from the limit that it passes, as a share of the limit.
        """
        lo, hi = int(q.min()), int(q.max())
        self.elements += q.size
        if lo < self.lo:
            self.low += int((q < self.lo).sum())
            self.largest = max(self.largest, abs(lo))
        if hi > self.hi:
            self.high += int((q > self.hi).sum())
            self.largest = max(self.largest, abs(hi))
        self.excess = max(self.excess, max(self.lo - lo, hi - self.hi) / max(-self.lo, self.hi, 1))


def find_saturations(program: Program, layers: Mapping[str, Layer]) -> list[tuple[str, Saturation]]:
    """Return the Clips that keep a tensor to a range and that their operand can pass, each with the operand's name.

    These are the Clips of inputs, and those that have the limits of a tensor of some number of bits. A Clip of the
    float model, and one that keeps the index of a table within the table, is none of them.
    """
    producers = {name: item for item in program.live_instructions for name in item.outputs}
    origins, positions = _origins(program, layers), _interpolated_positions(program, producers)
    inputs = {item.name for item in program.inputs}
    named = inputs | {layer.exact for layer in layers.values()}
    found = []
    for item in program.live_instructions:
        values = [program.values[name] for name in item.inputs]
        if item.op != "Clip" or any(limit.constant is None or limit.grid < values[0].grid for limit in values[1:]):
            continue
        operand = values[0]
        lo, hi = (limit.aligned(operand.grid)[0] for limit in values[1:])
        source, factor = _unscaled(program, producers, operand.name)
        kept = source in inputs or (operand.dtype == FLOAT and _is_range(lo, hi) and item.outputs[0] not in positions)
        if kept and (operand.lo < lo or operand.hi > hi):
            unit = math.ldexp(factor, operand.grid)
            found.append((operand.name, Saturation(item.node, origins[operand.name], source in named, lo, hi, unit)))
    return found


def _is_range(lo: int, hi: int) -> bool:
    """Whether limits in steps are those of `Builder.fitted`: -n to n - 1 for a power of two, or for two digits."""
    bound, digits = hi + 1, MAX_TWO_DIGITS + 1
    known = bound & hi == 0 or bound == digits >> max(digits.bit_length() - bound.bit_length(), 0)
    return (lo, hi) == (-1, 1) or (bound > 1 and lo == -bound and known)


def _interpolated_positions(program: Program, producers: Producers) -> set[str]:
    """Return the tensors that are positions in interpolated tables: their whole part is subtracted from them."""
    found = set()
    for item in program.live_instructions:
        whole = producers.get(item.inputs[-1])
        if item.op == "Sub" and whole is not None and whole.op == "Floor" and whole.inputs[0] == item.inputs[0]:
            found.add(item.inputs[0])
    return found


def _unscaled(program: Program, producers: Producers, name: str) -> tuple[str, float]:
    """Return the tensor that was rounded to whole steps, and the power of two that undoes the scaling before that."""
    factor = 1.0
    while name in producers and producers[name].op in ("Cast", "Mul", "Round"):
        operands = [program.values[operand] for operand in producers[name].inputs]
        powers = [operand for operand in operands if _is_power_of_two(operand)]
        if producers[name].op == "Mul":
            if len(powers) != 1:
                break
            factor = math.ldexp(factor, -powers[0].grid)
            operands.remove(powers[0])
        name = operands[0].name
    return name, factor


def _is_power_of_two(value: Value) -> bool:
    return value.dtype == FLOAT and value.constant is not None and value.size == 1 and value.lo == 1


def _origins(program: Program, layers: Mapping[str, Layer]) -> dict[str, str]:
    """Map every exact tensor to the float tensor in its place, or that it was computed from; else to its own name."""
    origins = {item.name: item.name for item in program.inputs}
    origins |= {layer.exact: name for name, layer in reversed(list(layers.items()))}
    for item in program.live_instructions:
        origin = next((origins[name] for name in item.inputs if name in origins), None)
        if origin is not None:
            for name in item.outputs:
                origins.setdefault(name, origin)
    return {name: origins.get(name, name) for name in program.values}
