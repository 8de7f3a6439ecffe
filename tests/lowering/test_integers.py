"""Operators on integers: their results are those of onnxruntime to the last integer, or they are refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.lowering.compare import FloatGraph, both, node
from tests.lowering.test_operators_forms import f32, graph, i64, of_integers
from verifier.exact import LoweringError

X = {"x": (3, 6)}
MATRIX = np.arange(-7, 5).reshape(6, 2)
LIMITS = {"low": np.int64(-30), "high": np.int64(30)}
NONZERO = [node("Sign", ["j"], ["s"]), node("Add", ["s", "j"], ["t"]), node("Where", ["c", "one", "t"], ["d"])]
DIVISOR = [node("Equal", ["j", "zero"], ["c"]), *NONZERO]
DIVISOR_CONSTANTS = {"zero": i64(0), "one": i64(1)}

CASES = {
    "mean, truncated towards 0": of_integers(node("ReduceMean", ["i", "d"], ["r"]), inputs=X, d=i64(1)),
    "sum of squares": of_integers(node("ReduceSumSquare", ["i", "d"], ["r"]), inputs=X, d=i64(1)),
    "product by a constant matrix": of_integers(node("MatMul", ["i", "m"], ["r"]), inputs=X, m=MATRIX),
    "product by a constant, divided": of_integers(
        node("MatMul", ["i", "m"], ["p"]), node("Div", ["p", "n"], ["r"]), inputs=X, m=MATRIX, n=i64(4)
    ),
    "product of two matrices": of_integers(node("Transpose", ["j"], ["t"]), node("MatMul", ["i", "t"], ["r"])),
    "sum of products": of_integers(node("Einsum", ["i", "m"], ["r"], equation="ij,jk->ki"), inputs=X, m=MATRIX),
    "cube": of_integers(
        node("Clip", ["i", "low", "high"], ["c"]), node("Pow", ["c", "n"], ["r"]), inputs=X, n=i64(3), **LIMITS
    ),
    "powers that differ": of_integers(
        node("Clip", ["i", "low", "high"], ["c"]),
        node("Pow", ["c", "n"], ["r"]),
        inputs=X,
        n=i64(0, 1, 2, 3, 4, 5),
        **LIMITS,
    ),
    "remainder by a negative number": of_integers(node("Mod", ["i", "n"], ["r"]), inputs=X, n=i64(-5)),
    "remainder by computed numbers": of_integers(*DIVISOR, node("Mod", ["i", "d"], ["r"]), **DIVISOR_CONSTANTS),
    "remainder with the dividend's sign": of_integers(
        *DIVISOR, node("Mod", ["i", "d"], ["r"], fmod=1), **DIVISOR_CONSTANTS
    ),
    "cast to bytes without a sign": of_integers(
        node("Mul", ["i", "n"], ["m"]),
        node("Cast", ["m"], ["b"], to=TensorProto.UINT8),
        node("Cast", ["b"], ["r"], to=TensorProto.INT64),
        inputs=X,
        n=i64(100),
    ),
    "cast to bytes with a sign": of_integers(
        node("Mul", ["i", "n"], ["m"]),
        node("Cast", ["m"], ["b"], to=TensorProto.INT8),
        node("Cast", ["b"], ["r"], to=TensorProto.INT64),
        inputs=X,
        n=i64(100),
    ),
    "cast of clipped floats to bytes": graph(
        node("Mul", ["x", "n"], ["m"]),
        node("Clip", ["m", "low", "high"], ["c"]),
        node("Cast", ["c"], ["b"], to=TensorProto.UINT8),
        node("Cast", ["b"], ["out"], to=TensorProto.FLOAT),
        n=f32(50),
        low=np.float32(0),
        high=np.float32(255),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_lower__operator_on_integers__equals_the_float_model(name: str) -> None:
    for seed in (1, 2):
        exact, floats = both(CASES[name], seed)
        np.testing.assert_array_equal(exact, floats)


def test_lower__remainder_of_floats_of_either_sign__is_that_of_floats() -> None:
    exact, floats = both(graph(node("Mod", ["x", "n"], ["out"], fmod=1), n=f32(0.75)))
    np.testing.assert_array_equal(exact, floats)


def test_lower__cast_of_floats_that_bytes_hold__is_truncated() -> None:
    # Inputs reach from -32 to 32.
    casts = [node("Cast", ["x"], ["b"], to=TensorProto.INT8), node("Cast", ["b"], ["out"], to=TensorProto.FLOAT)]
    exact, floats = both(graph(*casts))
    np.testing.assert_array_equal(exact, floats)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            of_integers(node("ReduceL2", ["i"], ["r"]), inputs=X),
            "ReduceL2 node 'ReduceL2_r': its result is a root that is rounded to integers: cast its operand to floats "
            "before it",
        ),
        (
            of_integers(node("ReduceLogSumExp", ["i"], ["r"]), inputs=X),
            "ReduceLogSumExp node 'ReduceLogSumExp_r': its result is a logarithm that is rounded to integers: cast its "
            "operand to floats before it",
        ),
        (
            of_integers(node("Pow", ["i", "n"], ["r"]), inputs=X, n=i64(2, 1, 2, 1, 2, -1)),
            "Pow node 'Pow_r': it raises integers to the power -1: cast its operand to floats before it",
        ),
        (
            graph(
                node("Mul", ["x", "n"], ["m"]),
                node("Cast", ["m"], ["b"], to=TensorProto.INT8),
                node("Cast", ["b"], ["out"], to=TensorProto.FLOAT),
                n=f32(100),
            ),
            "Cast node 'Cast_b': its operand can exceed int8, where its result is undefined: clip the operand to "
            "-128..127",
        ),
    ],
)
def test_lower__result_that_integers_do_not_define__is_refused(refused: FloatGraph, reason: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == f"cannot lower {reason}"
