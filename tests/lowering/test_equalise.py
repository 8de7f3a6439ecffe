"""Equalisation scales channels by powers of two: float results do not change, exact results become more precise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.lowering.compare import Array, FloatGraph, both, node, real
from verifier.exact.lowering.canonicalise import canonicalise
from verifier.exact.lowering.equalise import equalise

DEPTH = 16


def drawn(seed: int, *shape: int) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(0.0, 1.0, shape), np.float32)


CHANNEL_SCALES = np.float32(2.0 ** np.linspace(-6, 6, DEPTH))
WEIGHT = drawn(1, DEPTH, 8)
INPUTS = {"x": (12, DEPTH)}

NORM_AND_TWO_PRODUCTS = FloatGraph(
    [
        node("LayerNormalization", ["x", "g", "b"], ["n"]),
        node("MatMul", ["n", "w"], ["p"]),
        node("MatMul", ["n", "v"], ["q"]),
        node("Add", ["p", "q"], ["out"]),
    ],
    INPUTS,
    {
        "g": CHANNEL_SCALES,
        "b": drawn(2, DEPTH),
        "w": WEIGHT / CHANNEL_SCALES[:, None],
        "v": drawn(3, DEPTH, 8) / CHANNEL_SCALES[:, None],
    },
)
GATED_UNIT = FloatGraph(
    [
        node("MatMul", ["x", "up"], ["u"]),
        node("Sigmoid", ["x"], ["s"]),
        node("Mul", ["s", "u"], ["m"]),
        node("MatMul", ["m", "w"], ["out"]),
    ],
    INPUTS,
    {"up": drawn(4, DEPTH, DEPTH) * CHANNEL_SCALES, "w": WEIGHT / CHANNEL_SCALES[:, None]},
)
SCALED_AND_SHIFTED = FloatGraph(
    [
        node("Mul", ["g", "x"], ["m"]),
        node("Add", ["m", "b"], ["a"]),
        node("MatMul", ["a", "w"], ["out"]),
    ],
    INPUTS,
    {"g": CHANNEL_SCALES, "b": drawn(5, DEPTH), "w": WEIGHT / CHANNEL_SCALES[:, None]},
)
READ_BY_ANOTHER = FloatGraph(
    [
        node("Mul", ["x", "g"], ["m"]),
        node("MatMul", ["m", "w"], ["p"]),
        node("ReduceMax", ["m"], ["r"], keepdims=1),
        node("Add", ["p", "r"], ["out"]),
    ],
    INPUTS,
    {"g": CHANNEL_SCALES, "w": WEIGHT},
)
SHARED_WEIGHT = FloatGraph(
    [
        node("Mul", ["x", "g"], ["m"]),
        node("MatMul", ["m", "w"], ["p"]),
        node("MatMul", ["x", "w"], ["q"]),
        node("Add", ["p", "q"], ["out"]),
    ],
    INPUTS,
    {"g": CHANNEL_SCALES, "w": WEIGHT},
)


def weights(model: onnx.ModelProto) -> dict[str, bytes]:
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}


def equalised(graph: FloatGraph) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the canonical model before and after equalisation."""
    before, after = canonicalise(graph.model()), canonicalise(graph.model())
    equalise(after, [real(graph.integers(100))])
    return before, after


@pytest.mark.parametrize(
    "graph", [NORM_AND_TWO_PRODUCTS, GATED_UNIT, SCALED_AND_SHIFTED], ids=["norm", "gate", "scale"]
)
def test_equalise__outlier_channels__are_scaled_without_changing_float_results(graph: FloatGraph) -> None:
    before, after = equalised(graph)
    assert weights(before) != weights(after)
    feeds = real(graph.integers(1))
    (old,), (new,) = (ReferenceEvaluator(item).run(None, feeds) for item in (before, after))
    np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    "graph", [NORM_AND_TWO_PRODUCTS, GATED_UNIT, SCALED_AND_SHIFTED], ids=["norm", "gate", "scale"]
)
def test_lower__outlier_channels__are_as_precise_as_others(graph: FloatGraph) -> None:
    exact, floats = both(graph)
    assert np.abs(exact - floats).max() <= 3e-4 * np.abs(floats).max()


@pytest.mark.parametrize("graph", [READ_BY_ANOTHER, SHARED_WEIGHT], ids=["operand", "weight"])
def test_equalise__tensor_with_another_reader__is_unchanged(graph: FloatGraph) -> None:
    before, after = equalised(graph)
    assert weights(before) == weights(after)
