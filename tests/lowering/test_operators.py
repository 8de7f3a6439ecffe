"""Each supported float operator against onnxruntime's float32, with a bound on the error."""

from __future__ import annotations

import re
import sys

import numpy as np
import onnx
import pytest

from tests.lowering.compare import FloatGraph, both, node
from verifier.exact.lowering.operators import LOWERINGS

RNG = np.random.default_rng(0)
W = RNG.normal(0, 0.3, (6, 5)).astype(np.float32)
ROW = RNG.normal(0, 1, 6).astype(np.float32)
X = {"x": (3, 6)}
XY = {"x": (3, 6), "y": (3, 6)}


def ints(*values: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.int64)


def f32(*values: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, np.float32)


def unary(op: str, scale: float = 2.0, opset: int = 18, **attributes: object) -> FloatGraph:
    return FloatGraph([node(op, ["x"], ["out"], **attributes)], X, scale=scale, opset=opset)


def binary(op: str) -> FloatGraph:
    return FloatGraph([node(op, ["x", "y"], ["out"])], XY)


def with_constant(op: str, constant: np.ndarray, first: bool = False) -> FloatGraph:  # type: ignore[type-arg]
    return FloatGraph([node(op, ["c", "x"] if first else ["x", "c"], ["out"])], X, {"c": constant})


EXACT = {  # graphs whose results need no rounding in float32, so that they are equal
    "add": binary("Add"),
    "subtract": binary("Sub"),
    "negate": unary("Neg"),
    "absolute value": unary("Abs"),
    "equal to infinity": FloatGraph(
        [node("Equal", ["x", "z"], ["c"]), node("Where", ["c", "y", "x"], ["out"])], XY, {"z": np.float32(np.inf)}
    ),
    "maximum": binary("Max"),
    "minimum": binary("Min"),
    "relu": unary("Relu"),
    "clip": FloatGraph([node("Clip", ["x", "l", "h"], ["out"])], X, {"l": np.float32(-1), "h": np.float32(2)}),
    "clip from below": FloatGraph([node("Clip", ["x", "l"], ["out"])], X, {"l": np.float32(0.5)}),
    "identity": unary("Identity"),
    "transpose": unary("Transpose", perm=[1, 0]),
    "flatten": FloatGraph([node("Flatten", ["x"], ["out"], axis=1)], {"x": (2, 3, 4)}),
    "reshape": FloatGraph([node("Reshape", ["x", "s"], ["out"])], X, {"s": ints(2, -1)}),
    "reshape keeping a dimension": FloatGraph([node("Reshape", ["x", "s"], ["out"])], X, {"s": ints(0, 2, 3)}),
    "slice": FloatGraph([node("Slice", ["x", "a", "b", "d"], ["out"])], X, {"a": ints(1), "b": ints(5), "d": ints(1)}),
    "concatenate": FloatGraph([node("Concat", ["x", "y"], ["out"], axis=1)], XY),
    "expand": FloatGraph([node("Expand", ["x", "s"], ["out"])], {"x": (3, 1)}, {"s": ints(2, 3, 4)}),
    "squeeze": FloatGraph([node("Squeeze", ["x", "d"], ["out"])], {"x": (3, 1, 2)}, {"d": ints(1)}),
    "squeeze all": FloatGraph([node("Squeeze", ["x"], ["out"])], {"x": (1, 3, 1)}),
    "unsqueeze": FloatGraph([node("Unsqueeze", ["x", "d"], ["out"])], X, {"d": ints(0, -1)}),
    "gather rows": FloatGraph([node("Gather", ["x", "i"], ["out"], axis=1)], X, {"i": ints(0, -1, 2)}),
    "gather points": FloatGraph([node("GatherND", ["x", "i"], ["out"])], X, {"i": np.array([[0, 1], [-1, -1]])}),
    "sum": FloatGraph([node("ReduceSum", ["x", "d"], ["out"], keepdims=0)], X, {"d": ints(1)}),
    "maximum over an axis": FloatGraph([node("ReduceMax", ["x", "d"], ["out"])], X, {"d": ints(-1)}),
    "minimum over all axes": FloatGraph([node("ReduceMin", ["x"], ["out"])], X),
    "square": FloatGraph([node("Pow", ["x", "p"], ["out"])], X, {"p": np.float32(2)}, scale=0.5),
    "product": FloatGraph([node("Mul", ["x", "y"], ["out"])], XY, scale=0.5),
    "selection by a comparison": FloatGraph(
        [node("Greater", ["x", "y"], ["c"]), node("Where", ["c", "x", "y"], ["out"])], XY
    ),
    "selection by logic": FloatGraph(
        [
            node("LessOrEqual", ["x", "y"], ["a"]),
            node("Less", ["x", "z"], ["b"]),
            node("Or", ["a", "b"], ["o"]),
            node("Not", ["o"], ["n"]),
            node("Where", ["n", "x", "z"], ["out"]),
        ],
        XY,
        {"z": f32(0.5)},
    ),
}

ROUNDED = {  # (graph, maximum error)
    "add a constant": (with_constant("Add", ROW), 1e-6),
    "subtract from a constant": (with_constant("Sub", ROW, first=True), 1e-6),
    "add a constant that repeats": (with_constant("Add", np.tile(ROW, (3, 1))), 1e-6),
    "times a constant": (with_constant("Mul", ROW), 1e-5),
    "divided by a constant": (with_constant("Div", f32(3.0)), 1e-5),
    "quotient": (
        FloatGraph([node("Clip", ["y", "l"], ["d"]), node("Div", ["x", "d"], ["out"])], XY, {"l": np.float32(0.1)}),
        2e-4,
    ),
    "mean over a mask, clamped": (
        FloatGraph(
            [
                node("Greater", ["y", "z"], ["seen"]),
                node("Cast", ["seen"], ["mask"], to=1),
                node("Mul", ["x", "mask"], ["kept"]),
                node("ReduceSum", ["kept", "d"], ["sum"]),
                node("ReduceSum", ["mask", "d"], ["number"]),
                node("Clip", ["number", "l"], ["count"]),
                node("Div", ["sum", "count"], ["out"]),
            ],
            XY,
            {"z": f32(-3), "d": ints(1), "l": np.float32(1e-9)},
        ),
        1e-5,
    ),
    "cube": (FloatGraph([node("Pow", ["x", "p"], ["out"])], X, {"p": np.float32(3)}, scale=0.5), 5e-3),
    "mean": (FloatGraph([node("ReduceMean", ["x", "d"], ["out"])], X, {"d": ints(1)}), 1e-5),
    "product with a weight": (FloatGraph([node("MatMul", ["x", "w"], ["out"])], X, {"w": W}), 5e-4),
    "product of two": (FloatGraph([node("MatMul", ["x", "y"], ["out"])], {"x": (2, 3, 6), "y": (2, 6, 3)}), 1e-4),
    "gemm": (
        FloatGraph(
            [node("Gemm", ["x", "w", "b"], ["out"], transB=1, alpha=0.5, beta=2.0)],
            X,
            {"w": np.ascontiguousarray(W.T), "b": f32(1, -2, 3, 0.1, 7)},
        ),
        5e-4,
    ),
    "gemm of two": (FloatGraph([node("Gemm", ["x", "y", "b"], ["out"], transB=1)], XY, {"b": f32(1, 2, 3)}), 1e-4),
    "gemm with a computed bias": (
        FloatGraph([node("Gemm", ["x", "y", "z"], ["out"], transA=1)], {"x": (6, 3), "y": (6, 2), "z": (3, 2)}),
        1e-4,
    ),
    "softmax": (unary("Softmax", axis=-1), 3e-4),
    "erf": (unary("Erf"), 2e-4),
    "tanh": (unary("Tanh"), 2e-4),
    "sigmoid": (unary("Sigmoid"), 1e-4),
    "gelu": (unary("Gelu", opset=20), 5e-4),
    "layer norm": (
        FloatGraph(
            [node("LayerNormalization", ["x", "g", "b"], ["out"], epsilon=1e-5)], X, {"g": np.abs(ROW), "b": ROW}
        ),
        5e-6,
    ),
    "layer norm without a bias": (
        FloatGraph([node("LayerNormalization", ["x", "g"], ["out"])], X, {"g": np.abs(ROW)}),
        5e-6,
    ),
}


@pytest.mark.parametrize("graph", EXACT.values(), ids=EXACT.keys())
def test_lower__operator_without_rounding__equals_the_float_result(graph: FloatGraph) -> None:
    exact, floats = both(graph)
    np.testing.assert_array_equal(exact, floats)


@pytest.mark.parametrize(("graph", "bound"), ROUNDED.values(), ids=ROUNDED.keys())
def test_lower__operator_with_rounding__is_within_its_bound(graph: FloatGraph, bound: float) -> None:
    for seed in (1, 2):
        exact, floats = both(graph, seed)
        assert np.abs(floats).max() > 0.1
        assert np.abs(exact - floats).max() <= bound


@pytest.mark.parametrize("count", [2, 3])
def test_lower__split__returns_every_part(count: int) -> None:
    names = [f"part{number}" for number in range(count)]
    nodes = [node("Split", ["x", "n"], names, axis=1), node("Concat", names[::-1], ["out"], axis=1)]
    lengths = ints(*[6 // count] * count)
    exact, floats = both(FloatGraph(nodes, X, {"n": lengths}))
    np.testing.assert_array_equal(exact, floats)


def test_lower__constant_of_equal_rows__is_stored_as_one_row() -> None:
    program = with_constant("Add", np.tile(ROW, (3, 1))).lowered()
    constants = [value.shape for value in program.values.values() if value.constant is not None]
    assert (1, 6) in constants
    assert (3, 6) not in constants


def rows_of_different_size(last: onnx.NodeProto) -> FloatGraph:
    """Return a graph that scales each row of x by the cube of its y: some rows are a thousand times larger."""
    nodes = [node("Pow", ["y", "three"], ["factor"]), node("Mul", ["x", "factor"], ["rows"]), last]
    constants = {"three": np.float32(3), "w": W, "g": np.abs(ROW)}
    used = {name: array for name, array in constants.items() if any(name in item.input for item in nodes)}
    return FloatGraph(nodes, {"x": (40, 6), "y": (40, 1)}, used)


@pytest.mark.parametrize(
    "last",
    [node("MatMul", ["rows", "w"], ["out"]), node("LayerNormalization", ["rows", "g"], ["out"])],
    ids=["product with a weight", "layer norm"],
)
def test_lower__small_rows_beside_large_ones__are_as_precise(last: onnx.NodeProto) -> None:
    graph = rows_of_different_size(last)
    assert graph.lowered().instruction_counts["ReduceMin"] > 0  # rows are scaled by their peak
    exact, floats = both(graph)
    # The factors of even smaller rows are rounded by the cube's own grid.
    measured = np.abs(np.ldexp(graph.integers(1)["y"].ravel(), -10)) > 0.4
    peaks = np.abs(floats).max(axis=1)[measured]
    error = np.abs(exact - floats).max(axis=1)[measured] / peaks
    assert measured.sum() > 30
    assert error.max() <= 5e-4


def test_lowerings__every_operator__is_listed_by_the_module_that_lowers_it() -> None:
    for operator, lowering in LOWERINGS.items():
        description = sys.modules[lowering.__module__].__doc__ or ""
        assert operator in re.findall(r"\w+", description), operator
