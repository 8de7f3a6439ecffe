"""Find the depthwise convolutions that a program spells out as matrix products of gathered windows.

A depthwise convolution has one filter per channel. In a program it is a chain of instructions: Reshape and Transpose
bring the channels to the last axis, Concat appends a row of zeros for the padding, Gather collects the windows, MatMul
multiplies them by the filters, and the rest brings the channels back:

    x [batch, channels, *space]
      -> Reshape, Transpose (0, 2, 1)        [batch, places, channels]
      -> Concat with zeros, Gather           [batch, positions * cells, channels]
      -> Reshape, Transpose (0, 3, 1, 2, 4)  [batch, channels, positions, cells, 1]
      -> Reshape, MatMul                     [batch, channels, positions, filters of a channel]
      -> Transpose (0, 2, 1, 3), Reshape     [batch, positions, filters]
      -> Mul by scales, Add of a bias        [batch, positions, filters]
      -> Transpose (0, 2, 1), Reshape        [batch, filters, *space]

The gathered windows hold each element as often as the filter has cells. An engine that knows the chain as a convolution
computes it without them. `find_depthwise` compares the indices of the Gather with those of a convolution, so it never
takes another arrangement for one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.values import FLOAT

if TYPE_CHECKING:
    from verifier.exact.program.proof import Instruction, Program

# Views after which an operand of the chain is read with its channels last, or brought back.
ROWS_PERM = (0, 2, 1)
WINDOWS_PERM = (0, 3, 1, 2, 4)
RESULT_PERM = (0, 2, 1, 3)
# The number of spatial axes that are recognised. Convolutions over more stay matrix products.
SPATIAL_RANKS = (2, 1)
# Maximum number of cells of a filter. The search tries every way to write it as rows times columns.
MAX_CELLS = 1024
# Maximum number of indices that the search looks at in a program, some 5 s of work: a hostile program can have many
# chains that share one list of indices. Chains beyond it stay matrix products. A large network needs a tenth of it.
MAX_COMPARED = 2**27


@dataclass(frozen=True)
class WindowGeometry:
    """Where the windows of a convolution over one or two axes lie; a single axis is a second one beside a size of 1.

    All pairs are (vertical, horizontal): the sizes of operand, result and kernel, and the strides, dilations, and
    numbers of padded cells before and after each axis.
    """

    size: tuple[int, int]
    result: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    def index(self) -> NDArray[np.int64]:
        """The flat index that each cell of each window reads [positions, cells]; one past the last for padding."""
        height, width = self.size
        y, x = (
            np.arange(self.result[axis])[:, None] * self.strides[axis]
            + np.arange(self.kernel[axis]) * self.dilations[axis]
            - self.before[axis]
            for axis in (0, 1)
        )
        inside = ((y >= 0) & (y < height))[:, None, :, None] & ((x >= 0) & (x < width))[None, :, None, :]
        flat = np.where(inside, y[:, None, :, None] * width + x[None, :, None, :], height * width)
        return flat.reshape(math.prod(self.result), math.prod(self.kernel))


@dataclass(frozen=True)
class DepthwiseConvolution:
    """One chain of a program: names of its tensors, and where its windows lie.

    operand [batch, channels, *space], weight [channels, cells, filters of a channel], scales [filters], bias [filters]
    or "" without one. `result` [batch, filters, *space] is what the chain computes, and `absorbed` are the results of
    its other instructions.
    """

    operand: str
    weight: str
    scales: str
    bias: str
    result: str
    absorbed: frozenset[str]
    windows: WindowGeometry


def find_depthwise(program: Program) -> dict[str, DepthwiseConvolution]:
    """Find every depthwise convolution of a program; the key is the name of its result."""
    producers = {name: item for item in program.live_instructions for name in item.outputs}
    found = {}
    budget = _Budget(MAX_COMPARED)
    for instruction in program.live_instructions:
        if instruction.op == "MatMul":
            for rank in SPATIAL_RANKS:
                convolution = _Chain(program, producers, rank, budget).match(instruction)
                if convolution is not None:
                    found[convolution.result] = convolution
                    break
    return found


class _Mismatch(Exception):
    """The instructions are not the chain of a depthwise convolution."""


@dataclass
class _Budget:
    """The number of indices that the search may still look at."""

    left: int

    def spend(self, count: int) -> None:
        """Take a number of indices from the budget. Errors: _Mismatch when it is used up."""
        self.left -= count
        if self.left < 0:
            raise _Mismatch


class _Chain:
    """Follows the chain of a convolution over `rank` spatial axes from its MatMul in both directions.

    `_absorbed` collects the tensors between its ends.
    """

    def __init__(self, program: Program, producers: dict[str, Instruction], rank: int, budget: _Budget) -> None:
        self._rank = rank
        self._budget = budget
        self._values = program.values
        self._readers = program.only_readers
        self._producers = producers
        self._absorbed: set[str] = set()

    def match(self, product: Instruction) -> DepthwiseConvolution | None:
        """Return the convolution around a MatMul; None where it is none."""
        try:
            return self._match(product)
        except _Mismatch:
            return None

    def _match(self, product: Instruction) -> DepthwiseConvolution:
        windows, weight = product.inputs
        filters = self._values[weight]
        self._require(filters.constant is not None and len(filters.shape) == 3)
        channels, cells, multiplier = filters.shape
        self._require(cells <= MAX_CELLS)
        shape = self._shape(windows)
        self._require(len(shape) == 4 and shape[1:] == (channels, shape[2], cells))
        batch, positions = shape[0], shape[2]
        operand, index = self._operand(windows, (batch, positions, cells, channels))
        scales, bias, result = self._tail(product.outputs[0], (batch, positions, channels, multiplier))
        sizes = _pair(self._shape(operand)[2:]), _pair(self._shape(result)[2:])
        geometry = _geometry(index.reshape(positions, cells), *sizes, self._budget)
        return DepthwiseConvolution(operand, weight, scales, bias, result, frozenset(self._absorbed), geometry)

    def _operand(self, name: str, shape: tuple[int, int, int, int]) -> tuple[str, NDArray[Any]]:
        """Go back from the gathered windows to the operand; returns its name and the indices of the Gather."""
        batch, positions, cells, channels = shape
        moved = self._producer(self._before_reshapes(name), "Transpose", WINDOWS_PERM)
        name = moved.inputs[0]
        self._require(self._shape(name) == (batch, positions, cells, channels, 1))
        name = self._before_reshapes(name)
        index: NDArray[Any] = np.arange(positions * cells)
        gather = self._producers.get(name)
        if gather is not None and gather.op == "Gather":
            self._absorb(name)
            source, indices = gather.inputs
            known = self._values[indices].constant
            self._require(known is not None and known.ndim == 1 and gather.attributes.get("axis") == 1)
            assert known is not None
            self._budget.spend(known.size)
            index, name = np.where(known < 0, known + self._shape(source)[1], known), source
        self._require(self._shape(name)[2:] == (channels,) and index.size == positions * cells)
        padded = self._producers.get(name)
        if padded is not None and padded.op == "Concat" and len(padded.inputs) == 2:
            self._absorb(name)
            name, zeros = padded.inputs
            value = self._values[zeros]
            self._require(padded.attributes.get("axis") == 1 and value.lo == value.hi == 0)
            self._require(value.shape == (batch, 1, channels))
            if value.constant is None:
                self._absorb(zeros)
        rows = self._producer(name, "Transpose", ROWS_PERM)
        name = rows.inputs[0]
        if self._rank > 1:
            flat = self._producers.get(name)
            self._require(flat is not None and flat.op == "Reshape")
            assert flat is not None
            self._absorb(name)
            name = flat.inputs[0]
        self._require(self._values[name].dtype == FLOAT and self._values[name].constant is None)
        self._require(len(self._shape(name)) == 2 + self._rank and self._shape(name)[:2] == (batch, channels))
        return name, index

    def _tail(self, name: str, shape: tuple[int, int, int, int]) -> tuple[str, str, str]:
        """Go on from the product to the result; returns the names of the scales, the bias and the result."""
        batch, positions, channels, multiplier = shape
        filters = channels * multiplier
        name = self._next(name, "Transpose", RESULT_PERM).outputs[0]
        name = self._after_reshapes(name)
        self._require(self._shape(name) == (batch, positions, filters))
        scaled = self._next(name, "Mul")
        scales = self._other(scaled, name, filters)
        name, bias = scaled.outputs[0], ""
        reader = self._readers.get(name)
        if reader is not None and reader.op == "Add":
            self._absorb(name)
            bias, name = self._other(reader, name, filters), reader.outputs[0]
        moved = self._next(name, "Transpose", ROWS_PERM).outputs[0]
        result = self._next(moved, "Reshape").outputs[0] if self._rank > 1 else moved
        self._require(len(self._shape(result)) == 2 + self._rank and self._shape(result)[:2] == (batch, filters))
        return scales, bias, result

    # Steps

    def _require(self, condition: bool) -> None:
        if not condition:
            raise _Mismatch

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._values[name].shape

    def _absorb(self, name: str) -> None:
        """Take a tensor into the chain, which nothing outside of it may read."""
        self._require(name in self._readers)
        self._absorbed.add(name)

    def _producer(self, name: str, op: str, perm: tuple[int, ...]) -> Instruction:
        """The instruction of the chain that computes a tensor."""
        instruction = self._producers.get(name)
        self._require(instruction is not None and instruction.op == op and instruction.attributes.get("perm") == perm)
        assert instruction is not None
        self._absorb(name)
        return instruction

    def _next(self, name: str, op: str, perm: tuple[int, ...] | None = None) -> Instruction:
        """The instruction of the chain that reads a tensor."""
        self._absorb(name)
        instruction = self._readers[name]
        self._require(instruction.op == op and (perm is None or instruction.attributes.get("perm") == perm))
        return instruction

    def _before_reshapes(self, name: str) -> str:
        for instruction in self._reshapes(name):
            self._absorb(name)
            name = instruction.inputs[0]
        return name

    def _reshapes(self, name: str) -> Iterator[Instruction]:
        """The Reshapes that lead to a tensor, last first."""
        instruction = self._producers.get(name)
        while instruction is not None and instruction.op == "Reshape":
            yield instruction
            instruction = self._producers.get(instruction.inputs[0])

    def _after_reshapes(self, name: str) -> str:
        while name in self._readers and self._readers[name].op == "Reshape":
            self._absorb(name)
            name = self._readers[name].outputs[0]
        return name

    def _other(self, instruction: Instruction, name: str, filters: int) -> str:
        """The constant operand [filters] of an instruction that also reads the chain."""
        others = [item for item in instruction.inputs if item != name]
        self._require(len(others) == 1 and self._values[others[0]].constant is not None)
        self._require(self._shape(others[0]) == (filters,))
        return others[0]


def _pair(space: tuple[int, ...]) -> tuple[int, int]:
    """Spatial sizes as (vertical, horizontal)."""
    return (space[0], space[1]) if len(space) == 2 else (1, space[0])


def _geometry(index: NDArray[Any], size: tuple[int, int], result: tuple[int, int], budget: _Budget) -> WindowGeometry:
    """Find the convolution over an operand and a result of those sizes whose windows read `index`.

    Errors: _Mismatch when there is none, or the budget is used up.
    """
    positions, cells = index.shape
    if positions == math.prod(result):
        for rows in range(1, cells + 1):
            if cells % rows == 0:
                budget.spend(index.size)
                geometry = _with_kernel(index, (size, result, (rows, cells // rows)))
                if geometry is not None and np.array_equal(geometry.index(), index):
                    return geometry
    raise _Mismatch


def _with_kernel(index: NDArray[Any], sizes: tuple[tuple[int, int], ...]) -> WindowGeometry | None:
    """The geometry that a few cells suggest; `sizes` are those of operand, result and kernel."""
    size, result, kernel = sizes
    spread = index.reshape(*result, *kernel)
    inside = spread < math.prod(size)
    places = (
        np.where(inside, spread // size[1], -1).max(axis=(1, 3)),
        np.where(inside, spread % size[1], -1).max(axis=(0, 2)),
    )
    axes = [_axis(place, dim) for place, dim in zip(places, size, strict=True)]
    if axes[0] is None or axes[1] is None:
        return None
    pairs = list(zip(axes[0], axes[1], strict=True))
    return WindowGeometry(size, result, kernel, *pairs)


def _axis(place: NDArray[Any], dim: int) -> tuple[int, int, int, int] | None:
    """Stride, dilation and padding before and after one axis, from where each window [windows, cells] reads on it.

    -1 stands for a cell on the padding. None where the cells suggest no convolution.
    """
    windows, cells = place.shape
    inside = place >= 0
    if not inside.any():
        return None
    strides = np.diff(place, axis=0)[inside[1:] & inside[:-1]]
    dilations = np.diff(place, axis=1)[inside[:, 1:] & inside[:, :-1]]
    stride = int(strides[0]) if strides.size else 1
    dilation = int(dilations[0]) if dilations.size else 1
    window, cell = (int(found[0]) for found in np.nonzero(inside))
    before = window * stride + cell * dilation - int(place[window, cell])
    extent = (cells - 1) * dilation + 1
    after = max((windows - 1) * stride + extent - dim - before, 0)
    if min(stride, dilation) < 1 or before < 0 or (dim + before + after - extent) // stride + 1 != windows:
        return None
    return stride, dilation, before, after
