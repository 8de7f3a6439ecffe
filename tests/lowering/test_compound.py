"""Operators that are written out as others, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.lowering.compare import GRID, FloatGraph, both, node, three_ways
from tests.lowering.test_operators_forms import graph, i64, of_integers
from verifier.exact import LoweringError
from verifier.exact.lowering import InputSpec, lower

ROWS = {"x": (3, 4, 5)}
IMAGE = {"x": (2, 6, 3, 4)}

CASES = {
    "product over all axes": graph(node("ReduceProd", ["x"], ["out"]), inputs={"x": (2, 7)}, scale=1.0),
    "product over the last axis": graph(node("ReduceProd", ["x", "d"], ["out"], keepdims=0), inputs=ROWS, d=i64(-1)),
    "product over outer axes": graph(node("ReduceProd", ["x", "d"], ["out"]), inputs=ROWS, scale=1.0, d=i64(0, 2)),
    "product of an older opset": graph(node("ReduceProd", ["x"], ["out"], axes=[1]), inputs=ROWS, opset=11),
    "product over no axes": graph(node("ReduceProd", ["x"], ["out"], noop_with_empty_axes=1), inputs=ROWS),
    "Euclidean norm": graph(node("LpNormalization", ["x"], ["out"], axis=1), inputs=ROWS),
    "sum of magnitudes as a norm": graph(node("LpNormalization", ["x"], ["out"], p=1), inputs=ROWS),
    "norm of opset 22": graph(node("LpNormalization", ["x"], ["out"]), inputs=ROWS, opset=22),
    "neighbouring channels": graph(node("LRN", ["x"], ["out"], size=3, alpha=0.1, beta=0.75), inputs=IMAGE),
    "as many channels as there are": graph(node("LRN", ["x"], ["out"], size=11, alpha=0.5, bias=2.0), inputs=IMAGE),
    "soft threshold": graph(node("Shrink", ["x"], ["out"], lambd=1.5, bias=1.5)),
    "hard threshold": graph(node("Shrink", ["x"], ["out"], lambd=1.5), opset=9),
}


@pytest.mark.parametrize("name", CASES)
def test_lower__compound_operator__result_is_near_that_of_floats(name: str) -> None:
    exact, floats = both(CASES[name])
    np.testing.assert_allclose(exact, floats, rtol=2e-4, atol=2e-4)


def test_lower__product_of_integers__is_exact() -> None:
    exact, floats = both(
        of_integers(
            node("Clip", ["i", "low", "high"], ["c"]),
            node("ReduceProd", ["c", "d"], ["r"]),
            inputs={"x": (3, 5)},
            d=i64(1),
            low=np.int64(-9),
            high=np.int64(9),
        )
    )
    np.testing.assert_array_equal(exact, floats)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [2.0, 6.0, 3.0, -1.5]),
        ({"exclusive": 1}, [1.0, 2.0, 6.0, 3.0]),
        ({"reverse": 1}, [-1.5, -0.75, -0.25, -0.5]),
        ({"exclusive": 1, "reverse": 1}, [-0.75, -0.25, -0.5, 1.0]),
    ],
)
def test_lower__cumulative_product__each_form_is_that_of_its_definition(
    more: dict[str, int], expected: list[float]
) -> None:
    wanted = FloatGraph(
        [node("CumProd", ["x", "d"], ["out"], **more)], {"x": (1, 4)}, {"d": np.int64(1)}, scale=2.0, opset=26
    )
    file = lower(wanted.model(), [{"x": np.array([[3, 3, 3, 3]], np.float32)}], {"x": InputSpec("int16", GRID)})
    found = three_ways(file.SerializeToString(), {"x": (np.array([[2, 3, 0.5, -0.5]]) * 2**-GRID).astype(np.int16)})
    np.testing.assert_allclose(found, [expected], atol=1e-6)


def test_lower__integers_of_unlike_widths__are_joined() -> None:
    joined = of_integers(
        node("Add", ["i", "i"], ["s"]),
        node("Cast", ["i"], ["narrow"], to=TensorProto.INT32),
        node("Cast", ["narrow"], ["wide"], to=TensorProto.INT64),
        node("Concat", ["s", "wide"], ["r"], axis=0),
        inputs={"x": (3, 6)},
    )
    exact, floats = both(joined)
    np.testing.assert_array_equal(exact, floats)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            graph(node("ReduceProd", ["x"], ["out"]), inputs={"x": (3, 100)}),
            "ReduceProd node 'ReduceProd_out': it multiplies 300 numbers, more than 256: reduce fewer, or sum "
            "logarithms",
        ),
        (
            graph(
                node("Cast", ["x"], ["d"], to=TensorProto.INT64),
                node("ReduceProd", ["c", "d"], ["out"]),
                inputs={"x": (1,)},
                c=np.ones((2, 3), np.float32),
            ),
            "ReduceProd node 'ReduceProd_out': its axes must be constant, but they are computed: export them as an "
            "initializer",
        ),
    ],
)
def test_lower__form_that_cannot_be_written_out__says_what_to_change(refused: FloatGraph, reason: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == f"cannot lower {reason}"
