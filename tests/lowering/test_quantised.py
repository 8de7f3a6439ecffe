"""Quantised models, static and dynamic, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.lowering.compare import Array, FloatGraph, both, node
from tests.lowering.test_operators_forms import f32, graph
from verifier.exact import LoweringError

RNG = np.random.default_rng(5)
X = {"x": (3, 6)}
IMAGE = {"x": (1, 3, 6, 6)}


def integers(*shape: int, dtype: Any = np.int8) -> Array:
    limits = np.iinfo(dtype)
    return np.asarray(RNG.integers(limits.min, limits.max, shape).astype(dtype))


def there_and_back(
    scale: Any, point: Any, inputs: dict[str, tuple[int, ...]] = X, opset: int = 18, **attributes: Any
) -> FloatGraph:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        node("DequantizeLinear", ["q", "s", "z"], ["out"], **attributes),
    ]
    return graph(*nodes, inputs=inputs, opset=opset, s=np.asarray(scale, np.float32), z=point)


# Scales are powers of two where a quotient can lie half-way between two steps, because a reciprocal is rounded.
EXACT = {
    "bytes with a sign": there_and_back(0.25, np.int8(3)),
    "bytes that saturate": there_and_back(2.0**-6, np.uint8(128)),
    "two bytes": there_and_back(2.0**-9, np.int16(-5), opset=21),
    "for each channel": there_and_back([0.5, 0.25, 1.0], np.array([0, 100, 7], np.uint8), IMAGE, axis=1),
    "for each column": there_and_back(2.0 ** np.arange(-5, 1), np.zeros(6, np.int8), axis=-1),
    "without a zero point": graph(
        node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["out"]), s=np.float32(0.125)
    ),
}
# The share of the largest result by which one may differ: a step of 8 bits where a quotient is near to half-way.
STEP = 1.5 / 255
NEAR = {
    "convolution between quantised tensors": graph(
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "t"], ["k"], axis=0),
        node("Conv", ["d", "k"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "u", "y"], ["p"]),
        node("DequantizeLinear", ["p", "u", "y"], ["out"]),
        inputs=IMAGE,
        s=np.float32(0.06),
        z=np.uint8(130),
        w=integers(4, 3, 3, 3),
        t=f32(0.001, 0.002, 0.003, 0.004),
        u=np.float32(0.05),
        y=np.uint8(0),
    ),
    "dynamic product": graph(
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z", "p"], ["i"]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["s", "t"], ["st"]),
        node("Mul", ["f", "st"], ["out"]),
        w=integers(6, 5),
        p=np.int8(3),
        t=np.float32(0.01),
    ),
    "dynamic product with a zero point for each column": graph(
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z", "p"], ["i"]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "s"], ["out"]),
        w=integers(6, 5, dtype=np.uint8),
        p=integers(5, dtype=np.uint8),
    ),
    "product of quantised operands": graph(
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("QLinearMatMul", ["q", "s", "z", "w", "t", "p", "u", "y"], ["m"]),
        node("DequantizeLinear", ["m", "u", "y"], ["out"]),
        s=np.float32(0.06),
        z=np.uint8(130),
        w=integers(6, 5, dtype=np.uint8),
        t=np.float32(0.01),
        p=np.uint8(120),
        u=np.float32(0.1),
        y=np.uint8(128),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_lower__numbers_to_integers_and_back__equal_the_float_model(name: str) -> None:
    for seed in (1, 2):
        exact, floats = both(EXACT[name], seed)
        np.testing.assert_allclose(exact, floats, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NEAR)
def test_lower__quantised_product__is_within_a_step_of_the_float_model(name: str) -> None:
    for seed in (1, 2):
        exact, floats = both(NEAR[name], seed)
        assert np.abs(exact - floats).max() <= STEP * np.abs(floats).max()
        assert np.abs(exact - floats).mean() <= 0.1 * STEP * np.abs(floats).max()


def test_lower__weights_in_blocks__say_what_to_change() -> None:
    refused = graph(
        node("QuantizeLinear", ["x", "s"], ["q"], axis=1, block_size=3),
        node("DequantizeLinear", ["q", "s"], ["out"], axis=1, block_size=3),
        s=np.ones((3, 2), np.float32),
        opset=21,
    )
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower QuantizeLinear node 'QuantizeLinear_q': it has a scale for each block of elements: use one for "
        "each element of an axis"
    )


def test_lower__integers_of_a_computed_scale_as_output__say_what_to_change() -> None:
    refused = graph(node("DynamicQuantizeLinear", ["x"], ["out", "s", "z"]))
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower DynamicQuantizeLinear node 'DynamicQuantizeLinear_out': its integers are an output of the model, "
        "and by the rounding of its computed scale they can differ by one from those in floats: make the dequantised "
        "numbers the output"
    )


def test_lower__integers_of_a_product__are_those_of_onnxruntime() -> None:
    exact, floats = both(
        graph(
            node("Cast", ["x"], ["i"], to=TensorProto.INT32),
            node("Cast", ["i"], ["q"], to=TensorProto.INT8),
            node("MatMulInteger", ["q", "w"], ["r"]),
            node("Cast", ["r"], ["out"], to=TensorProto.FLOAT),
            w=integers(6, 5),
        )
    )
    np.testing.assert_array_equal(exact, floats)
