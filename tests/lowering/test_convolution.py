"""Convolutions, poolings, batch normalisations and padding against onnxruntime's float32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.lowering.compare import Array, FloatGraph, both, node
from verifier.exact import LoweringError
from verifier.exact.lowering.fusion import fuse

RNG = np.random.default_rng(0)
IMAGE = {"x": (2, 4, 7, 6)}
LINE = {"x": (2, 4, 11)}


def drawn(*shape: int, scale: float = 0.3) -> Array:
    return RNG.normal(0, scale, shape).astype(np.float32)


def conv(*kernel: int, groups: int = 1, outputs: int = 6, bias: bool = True, **attributes: object) -> FloatGraph:
    constants = {"w": drawn(outputs, 4 // groups, *kernel), "b": drawn(outputs, scale=2.0)}
    names = ["x", "w", "b"] if bias else ["x", "w"]
    inputs = IMAGE if len(kernel) == 2 else LINE
    return FloatGraph([node("Conv", names, ["out"], group=groups, **attributes)], inputs, constants)


def pool(op: str, *kernel: int, opset: int = 18, **attributes: object) -> FloatGraph:
    inputs = IMAGE if len(kernel) == 2 else LINE
    return FloatGraph([node(op, ["x"], ["out"], kernel_shape=kernel, **attributes)], inputs, opset=opset)


def statistics(channels: int) -> dict[str, Array]:
    """Return the parameters of a batch normalisation; its channels differ in scale by a factor of a hundred."""
    return {
        "g": np.geomspace(0.1, 10, channels).astype(np.float32),
        "o": drawn(channels, scale=1.0),
        "m": drawn(channels, scale=1.0),
        "v": np.linspace(0.5, 2, channels).astype(np.float32),
    }


def normalised(*nodes: onnx.NodeProto, inputs: dict[str, tuple[int, ...]], channels: int, **more: Array) -> FloatGraph:
    norm = node("BatchNormalization", ["y" if nodes else "x", "g", "o", "m", "v"], ["out"], epsilon=1e-3)
    return FloatGraph([*nodes, norm], inputs, {**statistics(channels), **more})


CONVOLUTIONS = {
    "of an image": conv(3, 3),
    "of a line": conv(3),
    "of single points": conv(1, 1),
    "without a bias": conv(3, 3, bias=False),
    "in groups": conv(3, 3, groups=2),
    "depthwise": conv(3, 3, groups=4, outputs=4),
    "depthwise, twice as many": conv(3, groups=4, outputs=8),
    "in strides": conv(3, 2, strides=[2, 3]),
    "padded": conv(3, 3, pads=[1, 0, 2, 1]),
    "dilated": conv(2, 3, dilations=[3, 2], pads=[1, 2, 1, 2]),
    "padded to the same size, more above": conv(2, 4, auto_pad="SAME_LOWER"),
    "padded to the same size, more below": conv(2, 4, auto_pad="SAME_UPPER", strides=[2, 1]),
    "unpadded": conv(2, 2, auto_pad="VALID"),
}
MAX_POOLS = {
    "of an image": pool("MaxPool", 2, 2, strides=[2, 2]),
    "of a line": pool("MaxPool", 3),
    "padded": pool("MaxPool", 3, 3, pads=[1, 1, 1, 1], strides=[2, 2]),
    "dilated": pool("MaxPool", 2, 2, dilations=[2, 3]),
    "with ceil_mode": pool("MaxPool", 3, 2, strides=[3, 4], ceil_mode=1),
    "global": FloatGraph([node("GlobalMaxPool", ["x"], ["out"])], IMAGE),
}
AVERAGE_POOLS = {
    "of an image": pool("AveragePool", 2, 2, strides=[2, 2]),
    "of a line": pool("AveragePool", 3),
    "padded, without padding in the count": pool("AveragePool", 3, 3, pads=[1, 1, 1, 1]),
    "padded, with padding in the count": pool("AveragePool", 3, 3, pads=[1, 1, 1, 1], count_include_pad=1),
    "with ceil_mode": pool("AveragePool", 3, 2, strides=[3, 4], ceil_mode=1),
    "with ceil_mode, padded": pool("AveragePool", 3, 3, strides=[3, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1),
    "dilated": pool("AveragePool", 2, 2, opset=19, dilations=[2, 3]),
    "global": FloatGraph([node("GlobalAveragePool", ["x"], ["out"])], IMAGE),
    "global, as ReduceMean": FloatGraph([node("ReduceMean", ["x", "d"], ["out"])], IMAGE, {"d": np.array([2, 3])}),
}
PADS = np.array([0, 0, 1, 2, 0, 1, 0, 3])
PADDED = {
    "with zeros": FloatGraph([node("Pad", ["x", "p"], ["out"])], IMAGE, {"p": PADS}),
    "with a number": FloatGraph([node("Pad", ["x", "p", "c"], ["out"])], IMAGE, {"p": PADS, "c": np.float32(-1.5)}),
    "on some axes": FloatGraph(
        [node("Pad", ["x", "p", "", "a"], ["out"])], IMAGE, {"p": np.array([1, 0, 2, 3]), "a": np.array([-1, 1])}
    ),
    "by negative lengths": FloatGraph([node("Pad", ["x", "p"], ["out"])], LINE, {"p": np.array([0, 0, -2, 0, 1, -3])}),
    "with a reflection": FloatGraph([node("Pad", ["x", "p"], ["out"], mode="reflect")], IMAGE, {"p": PADS}),
    "with the edge": FloatGraph([node("Pad", ["x", "p"], ["out"], mode="edge")], IMAGE, {"p": PADS}),
}
FOLDED = {
    "conv": normalised(
        node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), inputs=IMAGE, channels=6, w=drawn(6, 4, 3, 3)
    ),
    "conv with a bias": normalised(
        node("Conv", ["x", "w", "b"], ["y"], group=2), inputs=LINE, channels=6, w=drawn(6, 2, 3), b=drawn(6)
    ),
    "matmul": normalised(node("MatMul", ["x", "w"], ["y"]), inputs={"x": (3, 5)}, channels=6, w=drawn(5, 6)),
    "gemm": normalised(
        node("Gemm", ["x", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0),
        inputs={"x": (3, 5)},
        channels=6,
        w=drawn(6, 5),
        b=drawn(6),
    ),
}
NOT_FOLDED = {
    "of an input": normalised(inputs=IMAGE, channels=4),
    "of a product whose columns are not its channels": normalised(
        node("MatMul", ["x", "w"], ["y"]), inputs={"x": (2, 3, 5)}, channels=3, w=drawn(5, 3)
    ),
}


@pytest.mark.parametrize("graph", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_lower__convolution__is_within_its_bound(graph: FloatGraph) -> None:
    exact, floats = both(graph)
    assert np.abs(floats).max() > 1
    assert np.abs(exact - floats).max() <= 5e-4


@pytest.mark.parametrize("graph", MAX_POOLS.values(), ids=MAX_POOLS.keys())
def test_lower__max_pool__equals_the_float_result(graph: FloatGraph) -> None:
    exact, floats = both(graph)
    np.testing.assert_array_equal(exact, floats)


@pytest.mark.parametrize("graph", AVERAGE_POOLS.values(), ids=AVERAGE_POOLS.keys())
def test_lower__average_pool__is_within_its_bound(graph: FloatGraph) -> None:
    exact, floats = both(graph)
    assert np.abs(floats).max() > 0.1
    assert np.abs(exact - floats).max() <= 3e-6


@pytest.mark.parametrize("graph", PADDED.values(), ids=PADDED.keys())
def test_lower__pad__equals_the_float_result(graph: FloatGraph) -> None:
    exact, floats = both(graph)
    np.testing.assert_array_equal(exact, floats)


@pytest.mark.parametrize("graph", FOLDED.values(), ids=FOLDED.keys())
def test_lower__batch_norm_after_a_constant_weight__is_folded_into_it(graph: FloatGraph) -> None:
    assert [item.op_type for item in fuse(graph.model()).nodes] in (["Conv"], ["Gemm"])
    exact, floats = both(graph)
    assert np.abs(floats).max() > 2
    assert np.abs(exact - floats).max() <= 2e-3


@pytest.mark.parametrize("graph", NOT_FOLDED.values(), ids=NOT_FOLDED.keys())
def test_lower__batch_norm_after_anything_else__is_a_factor_and_an_offset(graph: FloatGraph) -> None:
    assert fuse(graph.model()).nodes[-1].op_type == "BatchNormalization"
    exact, floats = both(graph)
    assert np.abs(floats).max() > 2
    assert np.abs(exact - floats).max() <= 2e-3


def test_lower__batch_norm_of_a_product_with_two_readers__is_not_folded() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["y"]),
        node("BatchNormalization", ["y", "g", "o", "m", "v"], ["z"]),
        node("Add", ["y", "z"], ["out"]),
    ]
    graph = FloatGraph(nodes, LINE, {**statistics(6), "w": drawn(6, 4, 3)})
    assert [item.op_type for item in fuse(graph.model()).nodes] == ["Conv", "BatchNormalization", "Add"]
    exact, floats = both(graph)
    assert np.abs(exact - floats).max() <= 2e-3


FINE = node("Mul", ["x", "c"], ["y"])  # has more bits than an operand of a product may have
WIDE = {
    "conv": FloatGraph(
        [FINE, node("Conv", ["y", "w", "b"], ["out"])],
        LINE,
        {"c": np.float32(0.7), "w": drawn(6, 4, 3), "b": drawn(6, scale=2000.0)},
    ),
    "gemm": FloatGraph(
        [FINE, node("Gemm", ["y", "w", "b"], ["out"])],
        {"x": (3, 5)},
        {"c": np.float32(0.7), "w": drawn(5, 6), "b": drawn(6, scale=2000.0)},
    ),
}


@pytest.mark.parametrize("graph", WIDE.values(), ids=WIDE.keys())
def test_lower__large_bias__narrows_the_product(graph: FloatGraph) -> None:
    exact, floats = both(graph)
    assert np.abs(floats).max() > 1000
    assert np.abs(exact - floats).max() <= 5e-4


def test_lower__clip_limit_beyond_the_proven_interval__is_dropped() -> None:
    nodes = [node("Conv", ["x", "w"], ["y"]), node("Clip", ["y", "low", "high"], ["out"])]
    limits = {"low": np.float32(-6e6), "high": np.float32(6e6)}
    exact, floats = both(FloatGraph(nodes, LINE, {"w": drawn(6, 4, 3), **limits}, 1e-2))
    assert np.abs(floats).max() > 1e-2
    assert np.abs(exact - floats).max() <= 1e-6


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            FloatGraph([node("Conv", ["x", "w"], ["out"])], {"x": (1, 2, 5), "w": (3, 2, 3)}),
            "Conv node 'Conv_out': its weight must be constant, but it is computed: export the model with fixed "
            "shapes, or simplify it so that the value becomes a constant",
        ),
        (
            FloatGraph(
                [node("BatchNormalization", ["x", "g", "o", "m", "v"], ["out", "p", "q"], training_mode=1)],
                IMAGE,
                statistics(4),
            ),
            "BatchNormalization node 'BatchNormalization_out': it normalises by the batch's own statistics: "
            "export the model in evaluation mode",
        ),
    ],
)
def test_lower__unsupported_convolution__is_refused_by_name(refused: FloatGraph, reason: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == f"cannot lower {reason}"
