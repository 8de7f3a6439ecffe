"""Attention of onnxruntime's own domain, as its optimiser writes it, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.lowering.compare import FloatGraph, both, node
from tests.lowering.test_operators_forms import graph
from verifier.exact import LoweringError

RNG = np.random.default_rng(3)
WEIGHT = (RNG.normal(size=(8, 24)) / 3).astype(np.float32)
BIAS = RNG.normal(size=24).astype(np.float32)
MASK = [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]
# Padding at the start: a causal mask leaves the first queries nothing but padded keys.
LEFT_PADDED = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], np.int32)
# onnxruntime keeps the keys whose number is above 0.
COUNTS = np.array([[1, 1, 2, 1, 0], [3, 1, 0, -1, 1]], np.int32)
X = {"x": (2, 5, 8)}


def attention(*inputs: str, op: str = "Attention", outputs: tuple[str, ...] = ("out",), **more: Any) -> onnx.NodeProto:
    return node(op, inputs, outputs, domain="com.microsoft", num_heads=2, **more)


def packed(*inputs: str, constants: dict[str, Any] | None = None, **attributes: Any) -> FloatGraph:
    return graph(attention("x", "w", *inputs, **attributes), inputs=X, scale=1.0, w=WEIGHT, b=BIAS, **(constants or {}))


def separate(*inputs: str, constants: dict[str, Any] | None = None, **attributes: Any) -> FloatGraph:
    nodes = [node("Neg", ["x"], ["k"]), node("Mul", ["x", "half"], ["v"])]
    return graph(
        *nodes,
        attention("x", "k", "v", *inputs, op="MultiHeadAttention", **attributes),
        inputs=X,
        scale=1.0,
        half=np.float32(0.5),
        b=BIAS,
        **(constants or {}),
    )


CASES = {
    "packed": packed("b"),
    "packed, masked": packed("b", "m", constants={"m": np.array(MASK, np.int32)}),
    "packed, causal, with a scale": packed("b", unidirectional=1, scale=0.25),
    "packed, causal, padded at the start": packed("b", "m", constants={"m": LEFT_PADDED}, unidirectional=1),
    "packed, causal, padded by the lowest float": packed(
        "b", "m", constants={"m": LEFT_PADDED}, unidirectional=1, mask_filter_value=float(np.finfo(np.float32).min)
    ),
    "packed, causal, padded by a small number": packed(
        "b", "m", constants={"m": LEFT_PADDED}, unidirectional=1, mask_filter_value=-5.0
    ),
    "packed, masked by counts": packed("b", "m", constants={"m": COUNTS}),
    "separate": separate(),
    "separate, causal, padded at the start": separate("", "m", constants={"m": LEFT_PADDED}, unidirectional=1),
    "separate, causal, with a small filter": separate(unidirectional=1, mask_filter_value=-5.0),
    "separate, masked by counts": separate("", "m", constants={"m": COUNTS}),
    "separate, with a bias and a mask": separate("b", "m", constants={"m": np.array(MASK, np.int32)}),
    "separate, with a bias of the scores": separate(
        "", "", "s", constants={"s": RNG.normal(size=(1, 2, 5, 5)).astype(np.float32)}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_lower__fused_attention__result_is_near_that_of_floats(name: str) -> None:
    exact, floats = both(CASES[name])
    np.testing.assert_allclose(exact, floats, atol=4e-3)


@pytest.mark.parametrize("causal", [0, 1])
def test_lower__mask_as_graph_input__is_that_of_floats(causal: int) -> None:
    masked = graph(
        node("Greater", ["x", "zero"], ["g"]),
        node("Cast", ["g"], ["m"], to=TensorProto.INT32),
        attention("e", "w", "b", "m", unidirectional=causal),
        inputs={"x": (2, 5)},
        zero=np.float32(-1),
        e=RNG.normal(size=(2, 5, 8)).astype(np.float32),
        w=WEIGHT,
        b=BIAS,
    )
    exact, floats = both(masked)
    np.testing.assert_allclose(exact, floats, atol=4e-3)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            packed("b", "m", constants={"m": np.array([4, 3], np.int32)}),
            "Attention node 'Attention_out': its mask must be known to have two axes, [batch, keys]",
        ),
        (
            packed("b", "", "p", constants={"p": np.zeros((2, 2, 2, 3, 4), np.float32)}),
            "Attention node 'Attention_out': it uses past, which is not supported",
        ),
        (
            separate(outputs=("out", "present_key", "present_value")),
            "MultiHeadAttention node 'MultiHeadAttention_out': its outputs beyond the first are not supported",
        ),
    ],
)
def test_lower__form_of_fused_attention__that_is_not_supported__says_why(refused: FloatGraph, reason: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    fix = "lower the model as it was before onnxruntime optimised it"
    assert str(caught.value) == f"cannot lower {reason}: {fix}"


def test_lower__causal_mask_beside_a_low_filter__says_what_to_set() -> None:
    refused = packed("b", "m", constants={"m": LEFT_PADDED}, unidirectional=1, mask_filter_value=-1e9)
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower Attention node 'Attention_out': mask_filter_value -1e+09 beside a causal mask is not supported: "
        "set it to -10000, or lower the model as it was before onnxruntime optimised it"
    )


def test_lower__infinite_filter__says_what_to_set() -> None:
    refused = packed("b", "m", constants={"m": np.array(MASK, np.int32)}, mask_filter_value=-np.inf)
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower Attention node 'Attention_out': mask_filter_value -inf makes rows NaN that are masked "
        "throughout: set it to -10000, or lower the model as it was before onnxruntime optimised it"
    )


@pytest.mark.parametrize("low", [-1e4, -3e4, -65504.0, -1e6, -1e9])
def test_lower__low_bias_of_the_scores_beside_a_causal_mask__is_that_of_floats_or_refused(low: float) -> None:
    """The first queries see nothing but keys that the bias masks, as with padding at the start."""
    bias = np.where(LEFT_PADDED[0] > 0, 0, low).astype(np.float32) + np.zeros((1, 2, 5, 1), np.float32)
    biased = packed("b", "", "", "s", constants={"s": bias}, unidirectional=1)
    try:
        exact, floats = both(biased)
    except LoweringError as error:
        message = str(error)
        assert "is masked throughout in calibration, by numbers of unlike size" in message
        assert low < -3e4
        return
    np.testing.assert_allclose(exact, floats, atol=4e-3)
