"""Patterns that exporters decompose are fused and lowered as one node."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.lowering.compare import FloatGraph, both, node
from verifier.exact.lowering.fusion import fuse

X = {"x": (3, 6)}
AXIS = np.array([-1], np.int64)
ROOT_TWO, HALF_ROOT = np.float32(2**0.5), np.float32(0.5**0.5)


def mean(source: str, result: str, opset: int) -> onnx.NodeProto:
    """Return the mean over the last axis as opsets up to 17 and from 18 on write it."""
    if opset < 18:
        return node("ReduceMean", [source], [result], axes=[-1], keepdims=1)
    return node("ReduceMean", [source, "axis"], [result], keepdims=1)


def layer_norm(square: str, divide: str, opset: int = 18) -> FloatGraph:
    """Return a decomposed LayerNormalization; `square` and `divide` tell how it squares and divides."""
    squared = {
        "Pow": node("Pow", ["centred", "two"], ["square"]),
        "Mul": node("Mul", ["centred", "centred"], ["square"]),
    }[square]
    divided = {
        "Div": [node("Div", ["centred", "root"], ["normal"])],
        "Reciprocal": [node("Reciprocal", ["root"], ["inverse"]), node("Mul", ["inverse", "centred"], ["normal"])],
        "one over": [node("Div", ["one", "root"], ["inverse"]), node("Mul", ["centred", "inverse"], ["normal"])],
    }[divide]
    nodes = [
        mean("x", "mean", opset),
        node("Sub", ["x", "mean"], ["centred"]),
        squared,
        mean("square", "variance", opset),
        node("Add", ["variance", "epsilon"], ["total"]),
        node("Sqrt", ["total"], ["root"]),
        *divided,
        node("Mul", ["normal", "weight"], ["scaled"]),
        node("Add", ["scaled", "bias"], ["out"]),
    ]
    constants = {
        "axis": AXIS,
        "two": np.float32(2),
        "one": np.float32(1),
        "epsilon": np.float32(1e-5),
        "weight": np.linspace(0.5, 2, 6, dtype=np.float32),
        "bias": np.linspace(-1, 1, 6, dtype=np.float32),
    }
    return FloatGraph(nodes, X, constants, opset=opset)


def rms_norm() -> FloatGraph:
    """Return a decomposed RMSNormalization as exported from Llama models."""
    nodes = [
        node("Pow", ["x", "two"], ["square"]),
        mean("square", "variance", 18),
        node("Add", ["variance", "epsilon"], ["total"]),
        node("Sqrt", ["total"], ["root"]),
        node("Reciprocal", ["root"], ["inverse"]),
        node("Mul", ["x", "inverse"], ["normal"]),
        node("Mul", ["weight", "normal"], ["out"]),
    ]
    constants = {"axis": AXIS, "two": np.float32(2), "epsilon": np.float32(1e-5), "weight": np.float32([2] * 6)}
    return FloatGraph(nodes, X, constants)


def gelu(halved: str, inner: str) -> FloatGraph:
    """Return a decomposed GELU; `halved` tells which product has the factor 1/2, `inner` how erf's argument is made."""
    nodes = [
        node("Div", ["x", "root"], ["scaled"]) if inner == "Div" else node("Mul", ["half_root", "x"], ["scaled"]),
        node("Erf", ["scaled"], ["erf"]),
        node("Add", ["erf", "one"], ["total"]),
        *{
            "last": [node("Mul", ["x", "total"], ["product"]), node("Mul", ["product", "half"], ["out"])],
            "first": [node("Mul", ["x", "half"], ["part"]), node("Mul", ["part", "total"], ["out"])],
            "inside": [node("Mul", ["half", "total"], ["part"]), node("Mul", ["x", "part"], ["out"])],
        }[halved],
    ]
    scalars = {"root": ROOT_TWO, "half_root": HALF_ROOT, "one": np.float32(1), "half": np.float32(0.5)}
    return FloatGraph(nodes, X, scalars)


NORMS = {
    "pow, div": layer_norm("Pow", "Div"),
    "mul, reciprocal": layer_norm("Mul", "Reciprocal"),
    "pow, one over": layer_norm("Pow", "one over"),
    "axes as an attribute": layer_norm("Pow", "Div", opset=17),
    "rms": rms_norm(),
}
GELUS = {
    f"{halved}, {inner}": gelu(halved, inner) for halved in ("last", "first", "inside") for inner in ("Div", "Mul")
}


@pytest.mark.parametrize(("name", "graph"), NORMS.items(), ids=NORMS.keys())
def test_fuse__decomposed_norm__is_one_node_and_as_precise(name: str, graph: FloatGraph) -> None:
    expected = "RMSNormalization" if name == "rms" else "LayerNormalization"
    assert [item.op_type for item in fuse(graph.model()).nodes] == [expected]
    exact, floats = both(graph)
    assert np.abs(floats).max() > 1
    assert np.abs(exact - floats).max() <= 5e-6


@pytest.mark.parametrize("graph", GELUS.values(), ids=GELUS.keys())
def test_fuse__decomposed_gelu__is_one_node_and_as_precise(graph: FloatGraph) -> None:
    assert [item.op_type for item in fuse(graph.model()).nodes] == ["Univariate"]
    exact, floats = both(graph)
    assert np.abs(floats).max() > 1
    assert np.abs(exact - floats).max() <= 5e-4


def test_fuse__constants_as_nodes__are_recognised() -> None:
    graph = gelu("last", "Div")
    nodes = [
        onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(array), name))
        for name, array in graph.constants.items()
    ]
    rewritten = FloatGraph([*nodes, *graph.nodes], X)
    assert [item.op_type for item in fuse(rewritten.model()).nodes] == ["Univariate"]
    exact, floats = both(rewritten)
    assert np.abs(exact - floats).max() <= 5e-4


def silu() -> list[onnx.NodeProto]:
    return [node("Sigmoid", ["x"], ["gate"]), node("Mul", ["x", "gate"], ["out"])]


def tanh_gelu() -> list[onnx.NodeProto]:
    """Return the nodes of GELU by tanh, as in GPT-2."""
    return [
        node("Pow", ["x", "three"], ["cube"]),
        node("Mul", ["cube", "small"], ["curved"]),
        node("Add", ["x", "curved"], ["inner"]),
        node("Mul", ["inner", "slope"], ["scaled"]),
        node("Tanh", ["scaled"], ["tanh"]),
        node("Add", ["tanh", "one"], ["total"]),
        node("Mul", ["x", "half"], ["part"]),
        node("Mul", ["part", "total"], ["out"]),
    ]


SCALARS = {
    "one": np.float32(1),
    "half": np.float32(0.5),
    "three": np.float32(3),
    "small": np.float32(0.044715),
    "slope": np.float32((2 / np.pi) ** 0.5),
}
FUNCTIONS = {
    "silu": silu(),
    "gelu by tanh": tanh_gelu(),
    "softplus, doubled": [node("Softplus", ["x"], ["y"]), node("Add", ["y", "y"], ["out"])],
    "mish": [node("Softplus", ["x"], ["y"]), node("Tanh", ["y"], ["z"]), node("Mul", ["z", "x"], ["out"])],
    "logistic by exp": [
        node("Neg", ["x"], ["minus"]),
        node("Exp", ["minus"], ["e"]),
        node("Add", ["e", "one"], ["total"]),
        node("Div", ["one", "total"], ["out"]),
    ],
    "sine": [node("Sin", ["x"], ["out"])],
}


@pytest.mark.parametrize("nodes", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_fuse__function_of_one_tensor__is_one_node_and_as_precise(nodes: list[onnx.NodeProto]) -> None:
    graph = FloatGraph(nodes, X, SCALARS)
    assert [item.op_type for item in fuse(graph.model()).nodes] == ["Univariate"]
    exact, floats = both(graph)
    assert np.abs(exact - floats).max() <= 5e-4


def test_fuse__inner_tensor_with_another_reader__is_kept_and_continued() -> None:
    nodes = [
        node("Tanh", ["x"], ["curved"]),
        node("Exp", ["curved"], ["e"]),
        node("MatMul", ["curved", "w"], ["product"]),
        node("ReduceSum", ["e", "axis"], ["sum"], keepdims=1),
        node("Add", ["product", "sum"], ["out"]),
    ]
    constants = {"w": np.eye(6, dtype=np.float32), "axis": AXIS}
    graph = FloatGraph(nodes, X, constants)
    names = [item.op_type for item in fuse(graph.model()).nodes]
    assert sorted(names) == ["Add", "MatMul", "ReduceSum", "Univariate", "Univariate"]
    exact, floats = both(graph)
    assert np.abs(exact - floats).max() <= 2e-3


def test_fuse__function_of_a_folded_constant__is_a_constant() -> None:
    nodes = [
        node("Shape", ["x"], ["sizes"], start=1),
        node("Cast", ["sizes"], ["angle"], to=onnx.TensorProto.FLOAT),
        node("Cos", ["angle"], ["cosine"]),
        node("Add", ["x", "cosine"], ["out"]),
    ]
    exact, floats = both(FloatGraph(nodes, X))
    assert np.abs(exact - floats).max() <= 1e-6


def test_fuse__gate_over_a_wide_range__keeps_the_precision_of_its_factor() -> None:
    exact, floats = both(FloatGraph(silu(), X, scale=12.0))
    assert np.abs(floats).max() > 8
    assert np.abs(exact - floats).max() <= 5e-5
