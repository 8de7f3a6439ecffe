"""Graphs that cannot be lowered: the error names the node, the reason and what to change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.lowering.compare import GRID, FloatGraph, node, real
from verifier.exact import LoweringError
from verifier.exact.lowering import InputSpec, lower
from verifier.exact.lowering.float_model import load_float_model
from verifier.exact.lowering.operators import LOWERINGS

X = {"x": (3, 6)}
XY = {"x": (3, 6), "y": (3, 6)}
SUPPORTED = ", ".join(sorted(set(LOWERINGS) - {"Univariate"}))


def graph(*nodes: onnx.NodeProto, inputs: dict[str, tuple[int, ...]] = X, **constants: object) -> FloatGraph:
    return FloatGraph(nodes, inputs, {name: np.asarray(array) for name, array in constants.items()})


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            graph(node("Asin", ["x"], ["out"])),
            f"Asin node 'Asin_out': this operator is not supported: express it by {SUPPORTED}",
        ),
        (
            graph(node("Clip", ["x", "low"], ["out"]), low=np.float32(np.nan)),
            "Clip node 'Clip_out': its limit is NaN, which makes every result NaN: give it a number or leave it out",
        ),
        (
            graph(node("NonZero", ["x"], ["out"])),
            "NonZero node 'NonZero_out': its result's shape or its control flow depends on computed data: export the "
            "model with fixed shapes and simplify it, so that the node becomes constant",
        ),
        (
            graph(
                node("Cast", ["x"], ["i"], to=TensorProto.INT32),
                node("Cast", ["i"], ["q"], to=TensorProto.UINT8),
                node("ConvInteger", ["q", "w"], ["out"]),
                inputs={"x": (1, 1, 4, 4)},
                w=np.ones((1, 1, 2, 2), np.uint8),
            ),
            "ConvInteger node 'ConvInteger_out': the model is quantised already: lower its float original, which "
            "lowering quantises itself",
        ),
        (
            graph(node("Pow", ["x", "y"], ["out"]), inputs=XY),
            "Pow node 'Pow_out': its exponent must be constant, but it is computed: export the model with fixed "
            "shapes, or simplify it so that the value becomes a constant",
        ),
        (
            graph(node("Pow", ["x", "p"], ["out"]), p=np.arange(6, dtype=np.float32) / 4),
            "Pow node 'Pow_out': its exponents include 0.25: use constant multiples of 1/2 from -8 to 8",
        ),
        (
            graph(node("Inverse", ["x"], ["out"], domain="com.microsoft"), inputs={"x": (3, 3)}),
            "Inverse node 'Inverse_out': this fused operator of onnxruntime is not supported: lower the model as it "
            "was before onnxruntime optimised it",
        ),
        (
            graph(node("Fancy", ["x"], ["out"], domain="example.org")),
            "Fancy node 'Fancy_out': its domain 'example.org' is unknown and it is not a function of the file: export "
            "the model with ONNX's own operators",
        ),
        (
            graph(
                node("Tile", ["c", "n"], ["y"]),
                node("ReduceSum", ["y"], ["s"]),
                node("Add", ["x", "s"], ["out"]),
                c=np.ones(2, np.float32),
                n=np.array([10**10]),
            ),
            "Tile node 'Tile_y': its result has shape [20000000000], more than 268435456 elements: use smaller sizes",
        ),
        (
            graph(node("Add", ["x", "c"], ["out"]), c=np.float32(np.nan)),
            "Add node 'Add_out': its exact form is not proven: it has NaN or infinite values: replace these by finite "
            "numbers",
        ),
        (
            graph(node("Expand", ["x", "s"], ["y"]), node("Add", ["y", "x"], ["out"]), s=np.array([10**8, 3, 6])),
            "Expand node 'Expand_y': its result has shape [100000000, 3, 6], more than 268435456 elements: use smaller "
            "sizes",
        ),
        (
            graph(
                node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2]),
                node("Identity", ["places"], ["out"]),
                inputs={"x": (1, 1, 4, 4)},
            ),
            "Identity node 'Identity_out': its operand 'places' is an output that is not lowered: change the model so "
            "that nothing reads it",
        ),
    ],
)
def test_lower__unsupported_node__is_named_with_reason_and_remedy(refused: FloatGraph, reason: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == f"cannot lower {reason}"


def test_load_float_model__missing_weights_file__is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    model = graph(node("Add", ["x", "c"], ["out"]), c=np.ones(6, np.float32)).model()
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(LoweringError, match=r"model.onnx: put the files of its external weights into its folder: "):
        load_float_model(file)


def test_load_float_model__file_of_another_format__is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\x08\x99" * 50)
    with pytest.raises(LoweringError, match=r"model.onnx: it is not an ONNX model: "):
        load_float_model(file)


def test_lower__model_that_onnxruntime_refuses__is_refused_with_its_message() -> None:
    with pytest.raises(
        LoweringError, match="^cannot lower Conv node 'Conv_out': onnxruntime cannot load it: .*: change "
    ):
        graph(node("Conv", ["x", "x"], ["out"])).lowered()


def test_lower__computed_shape__is_refused_by_name() -> None:
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
        LoweringError,
        match=(
            "^cannot lower Expand node 'Expand_out': its shape must be constant, but it is computed: export the model "
            "with fixed shapes, or simplify it so that the value becomes a constant$"
        ),
    ):
        lower(model, feeds, {"ids": InputSpec("int32"), "x": InputSpec("int16", GRID)})


def test_lower__input_of_unknown_size__is_refused_by_name() -> None:
    model = graph(node("Neg", ["x"], ["out"])).model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    feeds = [real({"x": np.zeros((3, 6), np.int16)})]
    with pytest.raises(
        LoweringError,
        match=(
            r"^cannot lower input 'x': its shape is not static at dimension 0 \(batch\): fix it with --batch N, or "
            "with --dim batch=N$"
        ),
    ):
        lower(model, feeds, {"x": InputSpec("int16", GRID)})


def test_lower__float_input_without_a_grid__is_refused_by_name() -> None:
    model = graph(node("Neg", ["x"], ["out"])).model()
    feeds = [real({"x": np.zeros((3, 6), np.int16)})]
    with pytest.raises(
        LoweringError,
        match="^cannot lower input 'x': its encoding is not declared: give its integer dtype and its grid$",
    ):
        lower(model, feeds, {})
