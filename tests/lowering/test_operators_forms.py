"""Operators in the forms of older and newer opsets, and those made of other operators, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.lowering.compare import FloatGraph, both, node

X = {"x": (3, 6)}
XY = {"x": (3, 6), "y": (3, 6)}
FOURS = {"x": (2, 3, 4, 5), "y": (2, 3, 4, 5)}
IMAGE = {"x": (1, 4, 4, 6)}


def graph(
    *nodes: onnx.NodeProto, inputs: dict[str, tuple[int, ...]] = X, scale: float = 2.0, **more: Any
) -> FloatGraph:
    opset = more.pop("opset", 18)
    return FloatGraph(nodes, inputs, {name: np.asarray(item) for name, item in more.items()}, scale, opset)


def f32(*numbers: float) -> np.ndarray[Any, Any]:
    return np.array(numbers, np.float32)


def i64(*numbers: int) -> np.ndarray[Any, Any]:
    return np.array(numbers, np.int64)


def of_integers(*nodes: onnx.NodeProto, inputs: dict[str, tuple[int, ...]] = XY, **constants: Any) -> FloatGraph:
    """Return a graph that truncates x and y to integers i and j, and casts the result r of `nodes` to floats."""
    casts = [node("Cast", [name], [new], to=TensorProto.INT64) for name, new in zip(inputs, "ij", strict=False)]
    return graph(
        *casts, *nodes, node("Cast", ["r"], ["out"], to=TensorProto.FLOAT), inputs=inputs, scale=9, **constants
    )


EXACT = {
    "floor": graph(node("Floor", ["x"], ["out"])),
    "ceiling": graph(node("Ceil", ["x"], ["out"])),
    "round": graph(node("Round", ["x"], ["out"]), scale=20.0),
    "sign": graph(node("Sign", ["x"], ["out"])),
    "absolute value": graph(node("Abs", ["x"], ["out"])),
    "cast to integers": of_integers(node("Identity", ["i"], ["r"]), inputs=X),
    "integers: sum and product": of_integers(node("Add", ["i", "j"], ["s"]), node("Mul", ["s", "i"], ["r"])),
    "integers: division": of_integers(node("Max", ["j", "one"], ["d"]), node("Div", ["i", "d"], ["r"]), one=i64(1)),
    "integers: division by a constant": of_integers(node("Div", ["i", "n"], ["r"]), inputs=X, n=i64(-3)),
    "integers: remainder": of_integers(node("Mod", ["i", "n"], ["r"]), inputs=X, n=i64(5)),
    "integers: selection": of_integers(node("Less", ["i", "j"], ["c"]), node("Where", ["c", "i", "j"], ["r"])),
    "integers: sum over an axis": of_integers(node("ReduceSum", ["i", "d"], ["r"]), inputs=X, d=i64(1)),
    "integers: cumulative sum": of_integers(node("CumSum", ["i", "d"], ["r"]), inputs=X, d=np.int64(1)),
    "integers: one-hot": of_integers(node("OneHot", ["i", "n", "v"], ["r"]), inputs=X, n=i64(20), v=i64(0, 3)),
    "sum of several operands": graph(node("Sum", ["x", "y", "c"], ["out"]), inputs=XY, c=f32(0.5)),
    "integers: maximum": of_integers(node("Max", ["i", "j"], ["m"]), node("Div", ["m", "n"], ["r"]), n=i64(2)),
    "maximum of several operands": graph(node("Max", ["c", "x", "y"], ["out"]), inputs=XY, c=f32(0.5)),
    "clip by attributes": graph(node("Clip", ["x"], ["out"], min=-1.0, max=0.5), opset=10),
    "clip above": graph(node("Clip", ["x", "", "h"], ["out"]), h=np.float32(0.5)),
    "clip by computed limits": graph(
        node("ReduceMin", ["y"], ["low"], keepdims=0),
        node("Abs", ["low"], ["high"]),
        node("Clip", ["x", "low", "high"], ["out"]),
        inputs=XY,
    ),
    "clip below a computed limit": graph(
        node("ReduceMin", ["y"], ["high"], keepdims=0),
        node("Clip", ["x", "low", "high"], ["out"]),
        inputs=XY,
        low=np.float32(-0.5),
    ),
    "clip above a computed limit of one element": graph(
        node("ReduceMax", ["y"], ["low"], keepdims=0),
        node("Reshape", ["low", "one"], ["l"]),
        node("Clip", ["x", "l", "high"], ["out"]),
        inputs=XY,
        one=i64(1),
        high=np.float32(np.inf),
    ),
    "integers: clip by computed limits": of_integers(
        node("ReduceMin", ["j"], ["l"], keepdims=0),
        node("Clip", ["i", "l", "h"], ["r"]),
        h=np.int64(3),
    ),
    "exclusive or": graph(
        node("Less", ["x", "z"], ["a"]),
        node("Less", ["y", "z"], ["b"]),
        node("Xor", ["a", "b"], ["c"]),
        node("Where", ["c", "x", "y"], ["out"]),
        inputs=XY,
        z=f32(0),
    ),
    "sum of absolute values": graph(node("ReduceL1", ["x", "d"], ["out"]), d=i64(1)),
    "sum of squares": graph(node("ReduceSumSquare", ["x", "d"], ["out"]), d=i64(0), scale=0.1),
    "sum, axes as an attribute": graph(node("ReduceSum", ["x"], ["out"], axes=[-1], keepdims=0), opset=12),
    "maximum, axes as an attribute": graph(node("ReduceMax", ["x"], ["out"], axes=[0]), opset=13),
    "minimum, axes as an operand": graph(node("ReduceMin", ["x", "d"], ["out"], keepdims=0), d=i64(0)),
    "sum over no axes": graph(node("ReduceSum", ["x"], ["out"], noop_with_empty_axes=1)),
    "squeeze by an attribute": graph(node("Squeeze", ["x"], ["out"], axes=[0]), inputs={"x": (1, 3, 1)}, opset=11),
    "unsqueeze by an attribute": graph(node("Unsqueeze", ["x"], ["out"], axes=[1]), opset=11),
    "slice by attributes": graph(node("Slice", ["x"], ["out"], starts=[1, 0], ends=[3, -2]), opset=9),
    "slice backwards": graph(
        node("Slice", ["x", "a", "b", "d", "s"], ["out"]), a=i64(-1), b=i64(-(2**63)), d=i64(1), s=i64(-2)
    ),
    "slice without axes": graph(node("Slice", ["x", "a", "b"], ["out"]), a=i64(1, 2), b=i64(3, 2**31)),
    "split by an attribute": graph(
        node("Split", ["x"], ["a", "b"], axis=1, split=[2, 4]), node("Concat", ["b", "a"], ["out"], axis=1), opset=11
    ),
    "split in unequal parts": graph(
        node("Split", ["x"], ["a", "b", "c", "d"], axis=1, num_outputs=4),
        node("Concat", ["d", "c", "b", "a"], ["out"], axis=1),
        inputs={"x": (2, 7)},
    ),
    "tile": graph(node("Tile", ["x", "n"], ["out"]), n=i64(2, 3)),
    "upper triangle": graph(node("Trilu", ["x", "k"], ["out"], upper=1), k=np.int64(1)),
    "lower triangle": graph(node("Trilu", ["x"], ["out"], upper=0), inputs={"x": (2, 4, 4)}),
    "triangle of a mask": graph(
        node("Less", ["x", "z"], ["c"]),
        node("Trilu", ["c"], ["t"]),
        node("Cast", ["t"], ["out"], to=TensorProto.FLOAT),
        z=f32(0),
    ),
    "cumulative sum": graph(node("CumSum", ["x", "d"], ["out"]), d=np.int64(0)),
    "cumulative sum, from the end, exclusive": graph(
        node("CumSum", ["x", "d"], ["out"], exclusive=1, reverse=1), inputs={"x": (2, 5, 3)}, d=np.int64(1)
    ),
    "gather elements": graph(
        node("GatherElements", ["x", "n"], ["out"], axis=1), n=np.array([[0, -1], [2, 2], [1, 5]])
    ),
    "gather of computed integers": of_integers(
        node("Clip", ["i", "zero", "two"], ["at"]),
        node("GatherElements", ["j", "at"], ["r"]),
        zero=np.int64(0),
        two=np.int64(2),
    ),
    "gather of computed integers from the end": of_integers(
        node("Clip", ["i", "low", "zero"], ["at"]),
        node("GatherElements", ["j", "at"], ["r"], axis=1),
        low=np.int64(-6),
        zero=np.int64(0),
    ),
    "scatter rows": graph(node("ScatterND", ["x", "n", "y"], ["out"]), inputs={"x": (3, 6), "y": (1, 6)}, n=[[2]]),
    "scatter elements": graph(
        node("ScatterElements", ["x", "n", "y"], ["out"], axis=1),
        inputs={"x": (3, 6), "y": (3, 1)},
        n=np.array([[0], [-1], [3]]),
    ),
    "depth to space": graph(node("DepthToSpace", ["x"], ["out"], blocksize=2), inputs=IMAGE),
    "depth to space, by column": graph(node("DepthToSpace", ["x"], ["out"], blocksize=2, mode="CRD"), inputs=IMAGE),
    "space to depth": graph(node("SpaceToDepth", ["x"], ["out"], blocksize=2), inputs=IMAGE),
    "eye": graph(node("EyeLike", ["x"], ["e"], k=1), node("Add", ["x", "e"], ["out"])),
    "number of elements": graph(
        node("Size", ["x"], ["n"]), node("CastLike", ["n", "x"], ["f"]), node("Add", ["x", "f"], ["out"]), opset=19
    ),
    "shape, gathered, ranged": graph(
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["n"]),
        node("Range", ["zero", "n", "one"], ["r"]),
        node("CastLike", ["r", "x"], ["f"]),
        node("Add", ["x", "f"], ["out"]),
        zero=np.int64(0),
        one=np.int64(1),
    ),
    "constant of shape": graph(
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["c"], value=onnx.numpy_helper.from_array(f32(2))),
        node("Sub", ["x", "c"], ["out"]),
    ),
    "dropout": graph(node("Dropout", ["x", "r"], ["out", "mask"]), r=np.float32(0.5)),
    "thresholded relu": graph(node("ThresholdedRelu", ["x"], ["out"], alpha=0.7)),
}


@pytest.mark.parametrize("item", EXACT.values(), ids=EXACT.keys())
def test_lower__form_without_rounding__equals_the_float_result(item: FloatGraph) -> None:
    for seed in (1, 2):
        exact, floats = both(item, seed)
        assert np.abs(floats).max() > 0
        np.testing.assert_array_equal(exact, floats)


def apart(op: str, *nodes: onnx.NodeProto, **more: Any) -> FloatGraph:
    """Return a graph with a divisor d = y + sign(y), which is at least 1 away from zero."""
    return graph(node("Sign", ["y"], ["s"]), node("Add", ["y", "s"], ["d"]), *nodes, inputs=XY, **more)


def positive(*nodes: onnx.NodeProto, **more: Any) -> FloatGraph:
    """Return a graph with a positive tensor p = |x| + 1/2."""
    return graph(node("Abs", ["x"], ["size"]), node("Add", ["size", "half"], ["p"]), *nodes, half=f32(0.5), **more)


def power(exponent: float) -> FloatGraph:
    return positive(node("Pow", ["p", "e"], ["out"]), e=np.float32(exponent))


def masked_by(low: float) -> FloatGraph:
    """Return a softmax with a mask of `low` that is added to its operand."""
    return graph(
        node("Less", ["x", "z"], ["hidden"]),
        node("Cast", ["hidden"], ["h"], to=TensorProto.FLOAT),
        node("Mul", ["h", "low"], ["mask"]),
        node("Add", ["x", "mask"], ["seen"]),
        node("Softmax", ["seen"], ["out"]),
        z=f32(0),
        low=f32(low),
    )


def unary(op: str, scale: float = 2.0, opset: int = 18, **attributes: Any) -> FloatGraph:
    return graph(node(op, ["x"], ["out"], **attributes), scale=scale, opset=opset)


ROUNDED = {  # (graph, maximum error as a share of the largest result)
    "quotient of either sign": (apart("Div", node("Div", ["x", "d"], ["out"])), 1e-6),
    "reciprocal of either sign": (apart("Reciprocal", node("Reciprocal", ["d"], ["out"])), 1e-6),
    "constant by a computed number": (apart("Div", node("Div", ["c", "d"], ["out"]), c=f32(-3)), 1e-6),
    "decomposed softsign": (
        graph(
            node("Abs", ["x"], ["a"]), node("Add", ["a", "one"], ["d"]), node("Div", ["x", "d"], ["out"]), one=f32(1)
        ),
        1e-6,
    ),
    "float remainder": (graph(node("Abs", ["x"], ["p"]), node("Mod", ["p", "n"], ["out"], fmod=1), n=f32(0.75)), 1e-6),
    "power 3": (power(3), 1e-5),
    "power 4": (power(4), 1e-4),
    "power 0.5": (power(0.5), 1e-6),
    "power -0.5": (power(-0.5), 1e-6),
    "power -1": (power(-1), 1e-6),
    "power -2": (power(-2), 1e-5),
    "power 1.5": (power(1.5), 1e-5),
    "power 0.3": (power(0.3), 1e-4),
    "powers that differ": (positive(node("Pow", ["p", "e"], ["out"]), e=f32(0, 0.5, 1, -2, 3, 3.5)), 1e-4),
    "power 10 of a wide range": (graph(node("Pow", ["x", "e"], ["out"]), e=f32(10)), 1e-3),
    "power of two": (graph(node("Pow", ["b", "x"], ["out"]), b=f32(2)), 1e-4),
    "mean of several operands": (graph(node("Mean", ["x", "y", "x"], ["out"]), inputs=XY), 1e-6),
    "root of a sum of squares": (graph(node("ReduceL2", ["x", "d"], ["out"]), d=i64(1)), 1e-6),
    "root of a sum of squares, older": (graph(node("ReduceL2", ["x"], ["out"], axes=[1]), opset=13), 1e-6),
    "mean over several axes": (
        graph(node("ReduceMean", ["x"], ["out"], axes=[0, -1], keepdims=0), inputs={"x": (2, 3, 4)}, opset=13),
        1e-5,
    ),
    "leaky relu": (unary("LeakyRelu", alpha=0.1), 1e-6),
    "leaky relu, slope per channel": (
        graph(node("PRelu", ["x", "a"], ["out"]), a=np.linspace(-1, 1, 6, dtype=np.float32)),
        1e-6,
    ),
    "leaky relu, computed slope": (graph(node("PRelu", ["x", "y"], ["out"]), inputs=XY), 1e-6),
    "hard sigmoid": (unary("HardSigmoid", alpha=0.3, beta=0.4), 1e-6),
    "hard swish": (unary("HardSwish", scale=4.0), 1e-6),
    "elu": (unary("Elu", alpha=0.5), 1e-4),
    "selu": (unary("Selu"), 1e-4),
    "celu": (unary("Celu", alpha=2.0), 1e-4),
    "softplus": (unary("Softplus"), 1e-4),
    "softsign": (unary("Softsign"), 1e-4),
    "mish": (unary("Mish"), 1e-4),
    "swish": (unary("Swish", opset=24, alpha=1.5), 1e-4),
    "gelu by tanh": (unary("Gelu", opset=20, approximate="tanh"), 1e-4),
    "sum over a shared label": (
        graph(node("Einsum", ["x", "y"], ["out"], equation="bhqd,bhkd->bhqk"), inputs=FOURS),
        1e-5,
    ),
    "sum over two shared labels": (
        graph(node("Einsum", ["x", "y"], ["out"], equation="a b c d, a e c d -> e a b"), inputs=FOURS),
        1e-5,
    ),
    "sum over labels shared with a weight": (
        graph(
            node("Einsum", ["x", "w"], ["out"], equation="bd,dhe->bhe"),
            w=np.cos(np.arange(72, dtype=np.float32)).reshape(6, 3, 4),
        ),
        1e-4,
    ),
    "outer product": (graph(node("Einsum", ["x", "y"], ["out"], equation="ab,cd->cbad"), inputs=XY), 1e-6),
    "mask of minus infinity": (
        graph(
            node("Less", ["x", "z"], ["hidden"]),
            node("Where", ["hidden", "low", "x"], ["seen"]),
            node("Softmax", ["seen"], ["out"]),
            z=f32(0),
            low=f32(-np.inf),
        ),
        5e-4,
    ),
    "added mask of the lowest float16": (masked_by(-65504), 5e-4),
    "added mask of -1e9": (masked_by(-1e9), 5e-4),
}


@pytest.mark.parametrize(("item", "bound"), ROUNDED.values(), ids=ROUNDED.keys())
def test_lower__form_with_rounding__is_within_its_bound(item: FloatGraph, bound: float) -> None:
    for seed in (1, 2):
        exact, floats = both(item, seed)
        assert np.abs(exact - floats).max() <= bound * np.abs(floats).max()
