"""Depthwise convolutions in float32 equal the programs' matrix products, and are used only where they are exact."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.exact.graphs import stock_run
from tests.exact.test_engine import PEAK
from verifier.exact import Engine, InputSpec, Program, load_program, lower, reference
from verifier.exact.program import depthwise
from verifier.exact.program.depthwise import WindowGeometry
from verifier.exact.program.memory import MAX_CELLS, MAX_OPERAND
from verifier.exact.runtime import convolution_kernels
from verifier.exact.runtime.convolution_digits import (
    MAX_FLOAT32_SUM,
    operand_bounds,
    plan_digits,
    split_digits,
)
from verifier.exact.runtime.convolution_kernels import UNBLOCKED, ConvolutionShape, block_here
from verifier.exact.runtime.emission import emit, never, no_block

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Layer:
    """One float convolution with random filters, and how its input is quantised."""

    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...] = ()
    filters: int = 0  # as many as channels
    bias: bool = True
    dtype: str = "int16"

    def lowered(self) -> bytes:
        """The exact file. Inputs reach ±8 on a grid that uses all bits of their dtype."""
        rng = np.random.default_rng(7)
        channels = self.shape[1]
        count = self.filters or channels
        weight = rng.normal(size=(count, 1, *self.kernel)).astype(np.float32)
        constants = {"w": weight, **({"b": rng.normal(size=count).astype(np.float32)} if self.bias else {})}
        node = helper.make_node("Conv", ["x", *constants], ["y"], group=channels, **dict(self.attributes))
        graph = helper.make_graph(
            [node],
            "layer",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, self.shape)],
            [helper.make_empty_tensor_value_info("y")],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        model = onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        )
        samples = [{"x": np.clip(rng.normal(size=self.shape) * 3, -8, 8).astype(np.float32)}]
        grid = 3 - np.iinfo(self.dtype).bits + 1
        return bytes(lower(model, samples, {"x": InputSpec(self.dtype, grid=grid)}).SerializeToString())

    def program(self) -> Program:
        """The exact file, proven."""
        return load_program(self.lowered())


SMALL = Layer((1, 8, 9, 11), (3, 3), (("pads", [1, 1, 1, 1]),))
LAYERS = {
    "3x3": SMALL,
    "3x3 of two images": replace(SMALL, shape=(2, 16, 8, 8)),
    "3x3 without padding or bias": replace(SMALL, attributes=(), bias=False),
    "3x3 with stride 2": Layer((1, 24, 14, 14), (3, 3), (("pads", [1, 1, 1, 1]), ("strides", [2, 2]))),
    "3x3 with uneven padding": Layer((1, 8, 8, 8), (3, 3), (("pads", [0, 0, 1, 1]), ("strides", [2, 2]))),
    "3x3 dilated": Layer((1, 4, 12, 12), (3, 3), (("pads", [2, 2, 2, 2]), ("dilations", [2, 2]))),
    "channels in no multiple of 4": replace(SMALL, shape=(2, 7, 6, 6)),
    "channels that do not fill a block": replace(SMALL, shape=(1, 20, 6, 6)),
    "two filters of a channel": replace(SMALL, filters=16),
    "5x5": Layer((1, 16, 10, 10), (5, 5), (("pads", [2, 2, 2, 2]),)),
    "7x7": Layer((1, 16, 9, 9), (7, 7), (("pads", [3, 3, 3, 3]),)),
    "1x7 beside 7x1": Layer((1, 8, 9, 9), (1, 7), (("pads", [0, 3, 0, 3]),)),
    "causal over one axis": Layer((1, 16, 30), (4,), (("pads", [3, 0]),)),
    "over one axis with stride": Layer((2, 12, 21), (3,), (("pads", [1, 1]), ("strides", [2]))),
    "3x3 of wide numbers": replace(SMALL, dtype="int32"),
    "7x7 of wide numbers": Layer((1, 8, 9, 9), (7, 7), (("pads", [3, 3, 3, 3]),), dtype="int32"),
    "3x3 of bytes": replace(SMALL, dtype="int8"),
    "one place": Layer((1, 4, 1, 1), (3, 3), (("pads", [1, 1, 1, 1]),)),
}


def feeds_of(program: Program) -> list[dict[str, Array]]:
    """Random inputs, the limits of the dtype, and inputs that follow the signs of each filter at its position."""
    (item,) = program.inputs
    limits = np.iinfo(item.dtype)
    rng = np.random.default_rng(3)
    signs = rng.choice([limits.min, limits.max], item.shape)
    arrays = [
        rng.integers(limits.min, limits.max + 1, item.shape),
        np.full(item.shape, limits.min),
        np.full(item.shape, limits.max),
        signs,
        rng.choice([limits.min, limits.min + 1, -129, -128, -1, 0, 1, 127, 128, limits.max], item.shape),
    ]
    (convolution,) = program.depthwise.values()
    filters = program.values[convolution.weight].constant
    assert filters is not None
    index = convolution.windows.index()
    window = index[len(index) // 2]
    aligned = np.zeros((*item.shape[:2], math.prod(item.shape[2:]) + 1), np.int64)
    aligned[:, :, window] = np.where(filters[:, :, 0] < 0, limits.min, limits.max)
    arrays.append(aligned[:, :, :-1].reshape(item.shape))
    return [{"x": array.astype(item.dtype)} for array in arrays]


def emitted(program: Program, find_block: Callable[[ConvolutionShape], int | None]) -> Counter[str]:
    return Counter(node.op_type for node in emit(program, never, find_block)[0].graph.node)


@pytest.mark.parametrize("name", LAYERS)
def test_convolution__on_every_path__is_what_the_reference_says(name: str) -> None:
    """Blocks, ONNX's Conv, the matrix product, and the file itself on stock onnxruntime."""
    file = LAYERS[name].lowered()
    program = load_program(file)
    assert emitted(program, lambda shape: UNBLOCKED)["MatMul"] == 0
    engines = [
        Engine(program),
        Engine(program, threads=2),
        Engine(program, find_block=lambda shape: UNBLOCKED),
        Engine(program, find_block=no_block),
    ]
    for feeds in feeds_of(program):
        expected = reference.run(program, feeds)["y"]
        for engine in engines:
            np.testing.assert_array_equal(engine.run(feeds)["y"], expected)
        (stock,) = stock_run(file, feeds)
        np.testing.assert_array_equal(np.ldexp(stock, -program.outputs[0].grid), expected)


@pytest.mark.parametrize("name", ["3x3", "5x5", "7x7", "3x3 of wide numbers"])
def test_convolution__in_float32__reads_no_gathered_windows(name: str) -> None:
    found = emitted(LAYERS[name].program(), lambda shape: UNBLOCKED)
    assert found["Conv"] >= 3
    assert not {"Gather", "Transpose", "MatMul"} & set(found)


def test_convolution__of_three_axes__stays_a_matrix_product() -> None:
    program = Layer((1, 4, 4, 5, 3), (3, 3, 3), (("pads", [1] * 6),)).program()
    assert program.depthwise == {}
    assert emitted(program, lambda shape: UNBLOCKED)["MatMul"] == 1


def test_convolution__where_float32_is_not_exact__stays_a_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that rounds to bfloat16, and one without a kernel."""
    right = convolution_kernels._computed
    for computed in (lambda *call: _in_bfloat16(right(*call)), lambda *call: None):
        block_here.cache_clear()
        convolution_kernels._native_block.cache_clear()
        monkeypatch.setattr(convolution_kernels, "_computed", computed)
        program = SMALL.program()
        (convolution,) = program.depthwise.values()
        assert block_here(ConvolutionShape(8, convolution.windows), 1) is None
        assert emitted(program, lambda shape: block_here(shape, 1))["MatMul"] == 1
    block_here.cache_clear()
    convolution_kernels._native_block.cache_clear()


def _in_bfloat16(found: Array | None) -> Array | None:
    if found is None:
        return None
    bits = np.ascontiguousarray(found).view(np.uint32) & np.uint32(0xFFFF0000)
    return np.asarray(bits.view(np.float32))


def changed(file: bytes, change: Callable[[onnx.ModelProto], None]) -> Program:
    model = onnx.load_from_string(file)
    change(model)
    return load_program(model.SerializeToString())


def _swap_two_cells(model: onnx.ModelProto) -> None:
    """Let two cells of one window read each other's places."""
    (gather,) = (node for node in model.graph.node if node.op_type == "Gather")
    (index,) = (item for item in model.graph.initializer if item.name == gather.input[1])
    array = numpy_helper.to_array(index).copy()
    array[[30, 31]] = array[[31, 30]]
    index.CopyFrom(numpy_helper.from_array(array, index.name))


def _return_the_product(model: onnx.ModelProto) -> None:
    """Make the product an output too."""
    (product,) = (node for node in model.graph.node if node.op_type == "MatMul")
    model.graph.output.append(helper.make_empty_tensor_value_info(product.output[0]))


@pytest.mark.parametrize("change", [_swap_two_cells, _return_the_product])
def test_convolution__that_a_program_only_resembles__stays_a_matrix_product(
    change: Callable[[onnx.ModelProto], None],
) -> None:
    file = SMALL.lowered()
    assert len(load_program(file).depthwise) == 1
    program = changed(file, change)
    assert program.depthwise == {}
    feeds = {"x": np.random.default_rng(1).integers(-(2**15), 2**15, SMALL.shape).astype(np.int16)}
    expected = reference.run(program, feeds)
    for name, q in Engine(program).run(feeds).items():
        np.testing.assert_array_equal(q, expected[name])


def test_find_depthwise__more_indices_than_are_compared__stay_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    positions, cells = 9 * 11, 9
    for looks, expected in ((2, 0), (3, 1)):  # it reads the indices, and compares them with kernels of 1x9 and 3x3
        monkeypatch.setattr(depthwise, "MAX_COMPARED", looks * positions * cells)
        assert len(SMALL.program().depthwise) == expected


def test_geometry__index__is_that_of_a_convolution() -> None:
    geometry = WindowGeometry((4, 5), (2, 3), (3, 2), (2, 2), (1, 3), (1, 0), (1, 2))
    expected = []
    for top in range(-1, 3, 2):
        for left in range(0, 6, 2):
            cells = [(top + row, left + 3 * column) for row in range(3) for column in range(2)]
            expected.append([5 * y + x if 0 <= y < 4 and 0 <= x < 5 else 20 for y, x in cells])
    assert geometry.index().tolist() == expected


@pytest.mark.parametrize("bits", [1, 2, 7, 12])
def test_split_digits__any_integer__is_their_sum_and_lower_digits_are_small(bits: int) -> None:
    q = np.array([0, 1, -1, 63, 64, -64, -65, 2**15 - 1, -(2**15), 2**21, -(2**40) - 1])
    digits = split_digits(q, bits, 3)
    assert (sum(digit << bits * order for order, digit in enumerate(digits)) == q).all()
    assert all(np.abs(digit).max() <= 2 ** (bits - 1) for digit in digits[:-1])


@pytest.mark.parametrize("magnitude", [127, 2**15, 2**22, 2**27, 2**29])
@pytest.mark.parametrize("cells", [4, 9, 25, 49])
def test_plan__filters_of_16_bits__keeps_every_order_within_float32(magnitude: int, cells: int) -> None:
    q = np.random.default_rng(cells).integers(-(2**13), 2**15, (6, cells)) * np.array([0, 1, 1, 1, 1, 4])[:, None] // 4
    scales = np.array([16, 17, 31, 24, 1, 0])
    plan = plan_digits(q, scales, magnitude, (1000, 1000))
    assert plan is not None
    rebuilt = sum(weight << plan.weight_bits * place for place, weight in enumerate(plan.weights))
    assert (rebuilt << plan.units[:, None] == (q * scales[:, None] if plan.scaled else q)).all()
    bounds = operand_bounds(magnitude, plan.operand_bits, plan.operand_digits)
    for exponent, pairs in plan.orders.items():
        assert {plan.operand_bits * mine + plan.weight_bits * theirs for mine, theirs in pairs} == {exponent}
        total = sum(bounds[mine] * np.abs(plan.weights[theirs]).sum(axis=1) for mine, theirs in pairs)
        assert total.max() <= MAX_FLOAT32_SUM
    assert sum(map(len, plan.orders.values())) == plan.operand_digits * len(plan.weights)


def test_plan__operand_beyond_what_digits_hold__is_none() -> None:
    assert plan_digits(np.full((1, 9), 2**15 - 1), np.array([1]), 2**52, (9, 9)) is None


@pytest.mark.parametrize("cells", [1, 9, 49, MAX_CELLS])
def test_plan__within_the_limits_of_the_stated_memory__always_exists(cells: int) -> None:
    """The widest filters and operands of which the proof bounds the product by 2**53."""
    for filters in (np.full((2, cells), 2**15 - 1), np.tile(np.array([[2**15 - 1], [2**15 - 129]]), (1, cells))):
        magnitude = min(MAX_OPERAND, 2**53 // (cells * 2**15))
        assert plan_digits(filters, np.array([1, 1]), magnitude, (9, 9)) is not None


@pytest.mark.parametrize(
    "layer",
    [
        Layer((1, 64, 128, 128), (3, 3), (("pads", [1, 1, 1, 1]),)),
        Layer((1, 32, 128, 128), (7, 7), (("pads", [3, 3, 3, 3]),), dtype="int32"),
        Layer((1, 64, 160, 160), (3, 3), (("pads", [1, 1, 1, 1]), ("strides", [2, 2])), dtype="int32"),
    ],
    ids=["3x3", "7x7 of wide numbers", "3x3 with stride 2 of wide numbers"],
)
def test_memory__of_a_large_convolution__is_what_is_stated(layer: Layer, tmp_path: Path) -> None:
    """Within a fifth, beside 16 MiB for the session itself.

    The process has an empty environment: variables of a test run move the heap, and whether a freed buffer of 8 MiB is
    used again depends on that.
    """
    path = tmp_path / "layer.onnx"
    path.write_bytes(layer.lowered())
    child = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, timeout=600, check=True, env={}
    )
    used, stated = map(int, child.stdout.split())
    assert 0.8 * stated <= used <= 1.2 * stated + 2**24
    assert stated < 8 * math.prod(layer.shape) * math.prod(layer.kernel)
