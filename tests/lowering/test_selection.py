"""Operators that find, resize, scatter and drop elements, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.lowering.compare import FloatGraph, both, node
from tests.lowering.test_operators_forms import f32, graph, i64
from verifier.exact import LoweringError

ROWS = {"x": (3, 4, 5)}
IMAGE = {"x": (2, 3, 5, 4)}
TWO = {"x": (4, 3), "y": (3, 3)}


def as_float(*nodes: onnx.NodeProto, **more: Any) -> FloatGraph:
    """A graph whose result r of integers is cast to floats."""
    return graph(*nodes, node("Cast", ["r"], ["out"], to=TensorProto.FLOAT), inputs=ROWS, **more)


EXACT = {
    "first maximum": as_float(node("ArgMax", ["x"], ["r"], axis=1)),
    "first minimum, last axis": as_float(node("ArgMin", ["x"], ["r"], axis=-1, keepdims=0)),
    "last of equal maxima": as_float(
        node("Floor", ["x"], ["f"]), node("ArgMax", ["f"], ["r"], axis=2, select_last_index=1)
    ),
    "hardmax": graph(node("Hardmax", ["x"], ["out"], axis=1), inputs=ROWS),
    "hardmax over several axes": graph(node("Hardmax", ["x"], ["out"], axis=1), inputs=ROWS, opset=11),
    "largest values": graph(node("TopK", ["x", "k"], ["out", "i"]), inputs=ROWS, k=i64(3)),
    "indices of smallest values": as_float(node("TopK", ["x", "k"], ["v", "r"], axis=0, largest=0), k=i64(2)),
    "elements by a constant condition": graph(
        node("Compress", ["x", "c"], ["out"], axis=1), inputs=ROWS, c=np.array([True, False, True, True])
    ),
    "elements of the flattened operand": graph(
        node("Compress", ["x", "c"], ["out"]), inputs=ROWS, c=np.array([False, True, True])
    ),
    "reversed sequences": graph(
        node("ReverseSequence", ["x", "n"], ["out"], batch_axis=1, time_axis=0), inputs=ROWS, n=i64(1, 2, 3, 3)
    ),
    "resized to nearest": graph(
        node("Resize", ["x", "", "s"], ["out"], mode="nearest"), inputs=IMAGE, s=f32(1, 1, 2, 1.5)
    ),
    "upsampled to nearest": graph(node("Upsample", ["x", "s"], ["out"]), inputs=IMAGE, s=f32(1, 1, 2, 3), opset=9),
    "scattered sums with repeated places": graph(
        node("ScatterElements", ["x", "n", "y"], ["out"], axis=0, reduction="add"),
        inputs=TWO,
        n=np.array([[0, 1, -1], [0, 1, 2], [0, 3, 2]]),
    ),
    "scattered maxima": graph(
        node("ScatterND", ["x", "n", "y"], ["out"], reduction="max"), inputs=TWO, n=np.array([[0], [2], [0]])
    ),
    "scattered minima": graph(
        node("ScatterND", ["x", "n", "y"], ["out"], reduction="min"), inputs=TWO, n=np.array([[0], [2], [0]])
    ),
}

NEAR = {
    "resized linearly": graph(
        node("Resize", ["x", "", "", "s"], ["out"], mode="linear"), inputs=IMAGE, s=i64(2, 3, 7, 9)
    ),
    "resized linearly with corners aligned": graph(
        node(
            "Resize",
            ["x", "", "", "s"],
            ["out"],
            mode="linear",
            coordinate_transformation_mode="align_corners",
            axes=[2],
        ),
        inputs=IMAGE,
        s=i64(8),
    ),
    "resized by cubic weights": graph(
        node("Resize", ["x", "", "s"], ["out"], mode="cubic"), inputs=IMAGE, s=f32(1, 1, 2, 0.5)
    ),
    "scattered products": graph(
        node("ScatterND", ["x", "n", "y"], ["out"], reduction="mul"), inputs=TWO, n=np.array([[0], [2], [0]])
    ),
    "hyperbolic functions": graph(node("Sinh", ["x"], ["s"]), node("Asinh", ["s"], ["out"]), scale=1.0),
    "angles of tangents": graph(node("Atan", ["x"], ["out"])),
    "logarithms of sums": graph(
        node("Abs", ["x"], ["a"]), node("ReduceLogSum", ["a", "n"], ["out"], keepdims=0), inputs=ROWS, n=i64(1)
    ),
    "cropped and padded around the centre": graph(
        node("CenterCropPad", ["x", "n"], ["out"]), inputs=ROWS, n=i64(5, 2, 5)
    ),
    "masks in a look-up table": graph(
        node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        node("Clip", ["i", "low", "high"], ["c"]),
        node("Gather", ["t", "c"], ["g"]),
        node("Max", ["g", "m"], ["out"]),
        low=np.int64(0),
        high=np.int64(2),
        t=np.array([0.125, -np.inf, 1.0625], np.float32),
        m=np.float32(-3),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_lower__operator_that_moves_elements__result_is_that_of_floats(name: str) -> None:
    exact, floats = both(EXACT[name])
    np.testing.assert_array_equal(exact, floats)


@pytest.mark.parametrize("name", NEAR)
def test_lower__operator_that_weighs_elements__result_is_near_that_of_floats(name: str) -> None:
    exact, floats = both(NEAR[name])
    np.testing.assert_allclose(exact, floats, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (
            graph(node("TopK", ["x", "k"], ["out", "i"]), inputs={"x": (200,)}, k=i64(129)),
            "cannot lower TopK node 'TopK_out': its k is 129: use a k of at most 128",
        ),
        (
            graph(
                node("Resize", ["x", "", "s"], ["out"], mode="linear", coordinate_transformation_mode="align_corners"),
                inputs=IMAGE,
                s=f32(1, 1, 0.5, 1),
            ),
            "cannot lower Resize node 'Resize_out': its axis 2 of 5 elements is not whole at the scale 0.5, for which "
            "ONNX and onnxruntime align corners differently: give sizes instead of scales",
        ),
        (
            graph(
                node("Resize", ["x", "", "", "s"], ["out"], axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
                inputs=IMAGE,
                s=i64(7, 9),
            ),
            "cannot lower Resize node 'Resize_out': its sizes that keep the aspect ratio are rounded: give the sizes "
            "themselves",
        ),
    ],
)
def test_lower__form_that_is_not_supported__says_what_to_change(refused: FloatGraph, message: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == message
