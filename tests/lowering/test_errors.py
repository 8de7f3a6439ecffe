"""A graph that cannot be lowered: the node, the reason and what to change."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.lowering.compare import GRID, FloatGraph, node, real
from verifier.exact import LoweringError
from verifier.exact.lowering import InputSpec, lower

X = {"x": (3, 6)}
XY = {"x": (3, 6), "y": (3, 6)}


def graph(*nodes: onnx.NodeProto, inputs: dict[str, tuple[int, ...]] = X, **constants: object) -> FloatGraph:
    return FloatGraph(nodes, inputs, {name: np.asarray(array) for name, array in constants.items()})


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            graph(node("CumSum", ["x", "d"], ["out"]), d=np.int64(1)),
            "CumSum node 'CumSum_out': CumSum has no lowering: express it by Abs, Add, And, ",
        ),
        (
            graph(node("Div", ["x", "y"], ["out"]), inputs=XY),
            "Div node 'Div_out': its divisor can be negative: divide by a norm, a sum of masks or of exponentials",
        ),
        (
            graph(node("Pow", ["x", "p"], ["out"]), p=np.float32(0.5)),
            "Pow node 'Pow_out': exponent 0.5: 1, 2 and 3 are lowered",
        ),
        (
            graph(node("Cast", ["x"], ["out"], to=TensorProto.INT64)),
            "Cast node 'Cast_out': it casts floats to integers: round them explicitly, with Floor or Round",
        ),
        (
            graph(node("LayerNormalization", ["x", "w"], ["out"], axis=0), w=np.ones((3, 6), np.float32)),
            "LayerNormalization node 'LayerNormalization_out': it normalises over more than the last axis: "
            "reshape before",
        ),
        (
            graph(
                node("LayerNormalization", ["x", "w"], ["y", "mean"]),
                node("Add", ["y", "mean"], ["out"]),
                w=np.ones(6, np.float32),
            ),
            "Add node 'Add_out': its operand 'mean' is a result that is not lowered",
        ),
        (
            graph(node("Gemm", ["x", "y"], ["out"], transB=1, alpha=0.5), inputs=XY),
            "Gemm node 'Gemm_out': it scales a product of computed tensors: write it as MatMul and Mul",
        ),
    ],
)
def test_lower__node_that_cannot_be_lowered__is_named_with_reason_and_remedy(refused: FloatGraph, reason: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value).startswith(f"cannot lower {reason}")


def test_lower__computed_shape__is_named() -> None:
    nodes = [
        node("ReduceMax", ["ids"], ["most"], keepdims=0),
        node("Unsqueeze", ["most", "axis"], ["length"]),
        node("Expand", ["x", "length"], ["out"]),
    ]
    infos = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, (2,)),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,)),
    ]
    constants = [onnx.numpy_helper.from_array(np.array([0], np.int64), "axis")]
    made = helper.make_graph(nodes, "float", infos, [onnx.ValueInfoProto(name="out")], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    feeds = [{"ids": np.array([2, 3]), "x": np.zeros(1, np.float32)}]
    with pytest.raises(
        LoweringError, match=r"^cannot lower Expand node 'Expand_out': its shape is computed: fix the sh"
    ):
        lower(model, feeds, {"ids": InputSpec("int32"), "x": InputSpec("int16", GRID)})


def test_lower__input_of_unknown_size__is_named() -> None:
    model = graph(node("Neg", ["x"], ["out"])).model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    feeds = [real({"x": np.zeros((3, 6), np.int16)})]
    with pytest.raises(LoweringError, match="input 'x': its shape is not static: export with fixed sizes"):
        lower(model, feeds, {"x": InputSpec("int16", GRID)})


def test_lower__float_input_without_a_grid__is_named() -> None:
    model = graph(node("Neg", ["x"], ["out"])).model()
    feeds = [real({"x": np.zeros((3, 6), np.int16)})]
    with pytest.raises(LoweringError, match="input 'x': say as which integer dtype and on which grid it arrives"):
        lower(model, feeds, {})
