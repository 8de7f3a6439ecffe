"""Float32 depthwise convolutions of onnxruntime, and the test that one is exact on this machine.

onnxruntime's fastest kernels take the channels in blocks, a layout that depends on the processor. Its optimiser
introduces them, and the engine, which runs without the optimiser, writes the same nodes itself: ReorderInput, Conv and
ReorderOutput of the domain com.microsoft.nchwc. Where there are none, it writes the Conv of ONNX.

A sum of products that float32 holds exactly is the same in every order, with and without fused multiply-adds. It is not
if a kernel transforms its operands (Winograd, Fourier) or rounds them (bfloat16, TensorFloat-32). Before a program is
loaded, `block_here` therefore computes a convolution of large integers in each of its shapes, and checks the result.
"""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from verifier.exact.program.depthwise import WindowGeometry
from verifier.exact.program.parse import Attribute
from verifier.exact.runtime.convolution_digits import MAX_FLOAT32_SUM
from verifier.exact.runtime.session import PROVIDER, ort, session_options
from verifier.exact.runtime.writer import GraphWriter

# The domain of the operators on blocks of channels, and the processors for which onnxruntime has their kernels.
BLOCKS = "com.microsoft.nchwc"
BLOCK_MACHINES = ("x86_64", "AMD64")
# ReorderInput takes channels in multiples of this.
CHANNEL_MULTIPLE = 4
# The block of an operand whose channels are not reordered.
UNBLOCKED = 1


@dataclass(frozen=True)
class ConvolutionShape:
    """The shape of a float32 depthwise convolution with one filter per channel."""

    channels: int
    windows: WindowGeometry

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The attributes of a Conv over two axes, but for its group."""
        windows = self.windows
        return {
            "kernel_shape": windows.kernel,
            "strides": windows.strides,
            "dilations": windows.dilations,
            "pads": (*windows.before, *windows.after),
        }


@dataclass(frozen=True)
class ConvolutionNodes:
    """Writes the nodes of convolutions in one shape; `block` channels lie side by side, UNBLOCKED for ONNX's Conv."""

    writer: GraphWriter
    shape: ConvolutionShape
    block: int

    def operand(self, name: str) -> str:
        """Bring an operand [batch, channels, height, width] of float32 into blocks."""
        return name if self.block == UNBLOCKED else self.writer.node("ReorderInput", [name], domain=BLOCKS)

    def weight(self, filters: NDArray[np.float32]) -> str:
        """Add filters [channels, cells] as a constant."""
        kernel = self.shape.windows.kernel
        count = self._padded
        padded = np.zeros((count, *kernel), np.float32)
        padded[: len(filters)] = filters.reshape(-1, *kernel)
        blocks = padded.reshape(count // self.block, self.block, *kernel).transpose(0, 2, 3, 1)
        return self.writer.constant(np.ascontiguousarray(blocks).reshape(count, 1, *kernel))

    def convolution(self, operand: str, weight: str, earlier: str = "") -> str:
        """Convolve an operand in blocks, and add the result to an earlier one where it is named."""
        attributes = {**self.shape.attributes, "group": self._padded}
        if self.block == UNBLOCKED:
            found = self.writer.node("Conv", [operand, weight], attributes)
            return self.writer.node("Add", [earlier, found]) if earlier else found
        operands = [operand, weight, *(["", earlier] if earlier else [])]
        return self.writer.node("Conv", operands, attributes, domain=BLOCKS)

    def result(self, name: str) -> str:
        """Bring a result out of blocks: [batch, channels, height, width]."""
        if self.block == UNBLOCKED:
            return name
        return self.writer.node("ReorderOutput", [name], {"channels": self.shape.channels}, domain=BLOCKS)

    @property
    def _padded(self) -> int:
        """The number of channels in whole blocks."""
        return -(-self.shape.channels // self.block) * self.block


@cache
def block_here(shape: ConvolutionShape, threads: int) -> int | None:
    """Find the fastest float32 convolution in that shape that is exact on this machine.

    Returns the number of channels in its blocks, UNBLOCKED for ONNX's Conv, and None where neither is exact.
    """
    blocks = [UNBLOCKED]
    if shape.channels % CHANNEL_MULTIPLE == 0:
        blocks = [*_native_block(), *blocks]
    return next((block for block in blocks if _exact(shape, block, threads)), None)


@cache
def _native_block() -> tuple[int, ...]:
    """The number of channels of a block on this processor; empty where onnxruntime has no kernels for blocks."""
    if platform.machine() not in BLOCK_MACHINES:
        return ()
    writer = GraphWriter()
    writer.input("x", TensorProto.FLOAT, (1, CHANNEL_MULTIPLE, 1, 1))
    writer.output("y", writer.node("ReorderInput", ["x"], domain=BLOCKS), TensorProto.FLOAT, None)
    found = _computed(writer, {"x": np.ones((1, CHANNEL_MULTIPLE, 1, 1), np.float32)}, 1)
    return () if found is None else (found.shape[1],)


def _exact(shape: ConvolutionShape, block: int, threads: int) -> bool:
    """Test a convolution, added to itself, of random numbers and of the largest of either sign."""
    cells = math.prod(shape.windows.kernel)
    rng = np.random.default_rng(0)
    reach = math.isqrt(MAX_FLOAT32_SUM // (2 * cells))
    x = _drawn(rng, reach, (1, shape.channels, *shape.windows.size))
    filters = _drawn(rng, reach, (shape.channels, cells))
    filters[0], x[0, 0] = reach, reach
    writer = GraphWriter()
    nodes = ConvolutionNodes(writer, shape, block)
    writer.input("x", TensorProto.FLOAT, x.shape)
    operand, weight = nodes.operand("x"), nodes.weight(filters.astype(np.float32))
    twice = nodes.convolution(operand, weight, nodes.convolution(operand, weight))
    writer.output("y", nodes.result(twice), TensorProto.FLOAT, (1, shape.channels, *shape.windows.result))
    found = _computed(writer, {"x": x.astype(np.float32)}, threads)
    return found is not None and np.array_equal(found, 2 * _expected(x, filters, shape))


def _drawn(rng: np.random.Generator, reach: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Random integers within ±reach, of which half are the limits."""
    return np.clip(rng.integers(-2 * reach, 2 * reach + 1, shape), -reach, reach)


def _expected(x: NDArray[np.int64], filters: NDArray[np.int64], shape: ConvolutionShape) -> NDArray[np.int64]:
    """The convolution of x [1, channels, height, width] in integers."""
    index = shape.windows.index()
    padded = np.pad(x.reshape(shape.channels, -1), ((0, 0), (0, 1)))
    total = np.zeros((shape.channels, len(index)), np.int64)
    for cell in range(index.shape[1]):
        total += padded[:, index[:, cell]] * filters[:, cell : cell + 1]
    return total.reshape(1, shape.channels, *shape.windows.result)


def _computed(writer: GraphWriter, feeds: dict[str, Any], threads: int) -> NDArray[Any] | None:
    """Run a graph with one output; None where onnxruntime has no kernel for it."""
    try:
        session = ort.InferenceSession(
            writer.model().SerializeToString(), session_options(threads), providers=[PROVIDER]
        )
        return np.asarray(session.run(None, feeds | writer.constants)[0])
    except Exception:  # onnxruntime raises exceptions of many types, which have no common base
        return None
