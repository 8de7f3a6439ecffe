"""Canonicalisation: functions are inlined, onnxruntime's fused operators split, half precision widened."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.lowering.compare import GRID, FloatGraph, both, node, real
from verifier.exact import Engine, LoweringError, load_program, reference
from verifier.exact.lowering import InputSpec, lower, lower_graph
from verifier.exact.lowering.float_model import inputs_of, load_float_model

X = {"x": (3, 6)}
XY = {"x": (3, 6), "y": (3, 6)}
RNG = np.random.default_rng(0)
ROW = RNG.normal(0, 1, 6).astype(np.float32)
GAIN = np.abs(ROW) + np.float32(0.1)
MICROSOFT = {"domain": "com.microsoft"}


def graph(*nodes: onnx.NodeProto, inputs: dict[str, tuple[int, ...]] = X, opset: int = 14, **more: Any) -> FloatGraph:
    return FloatGraph(nodes, inputs, {name: np.asarray(item) for name, item in more.items()}, opset=opset)


def skip(op: str, *operands: str, outputs: tuple[str, ...] = ("out",), **constants: Any) -> FloatGraph:
    fused = node(op, ["x", "y", *operands], outputs, epsilon=1e-5, **MICROSOFT)
    after = [node("Add", ["out0", "sum"], ["out"])] if "sum" in outputs else []
    return graph(fused, *after, inputs=XY, **constants)


FUSED = {
    "gelu": graph(node("Gelu", ["x"], ["out"], **MICROSOFT)),
    "biased gelu": graph(node("BiasGelu", ["x", "b"], ["out"], **MICROSOFT), b=ROW),
    "fast gelu": graph(node("FastGelu", ["x"], ["out"], **MICROSOFT)),
    "biased fast gelu": graph(node("FastGelu", ["x", "b"], ["out"], **MICROSOFT), b=ROW),
    "quick gelu": graph(node("QuickGelu", ["x"], ["out"], alpha=1.5, **MICROSOFT)),
    "skip and norm": skip("SkipLayerNormalization", "g", "b", g=GAIN, b=ROW),
    "skip and norm without beta": skip("SkipLayerNormalization", "g", g=GAIN),
    "skip, bias and norm": skip("SkipLayerNormalization", "g", "b", "c", g=GAIN, b=ROW, c=ROW[::-1].copy()),
    "skip and norm, sum read": skip("SkipLayerNormalization", "g", "b", outputs=("out0", "", "", "sum"), g=GAIN, b=ROW),
    "skip and simplified norm": skip("SkipSimplifiedLayerNormalization", "g", g=GAIN),
    "skip, bias and simplified norm": skip("SkipSimplifiedLayerNormalization", "g", "c", g=GAIN, c=ROW),
    "simplified norm": graph(node("SimplifiedLayerNormalization", ["x", "g"], ["out"], axis=-1), g=GAIN),
    "transposed product": graph(node("FusedMatMul", ["x", "y"], ["out"], transA=1, alpha=0.3, **MICROSOFT), inputs=XY),
    "transposed product with a weight": graph(
        node("FusedMatMul", ["x", "w"], ["out"], transB=1, alpha=-2.0, **MICROSOFT), w=np.outer(GAIN, ROW)
    ),
    "layer norm before opset 17": graph(node("LayerNormalization", ["x", "g", "b"], ["out"]), g=GAIN, b=ROW),
}


@pytest.mark.parametrize("item", FUSED.values(), ids=FUSED.keys())
def test_lower__fused_operator_of_onnxruntime__is_close_to_float32(item: FloatGraph) -> None:
    for seed in (1, 2):
        exact, floats = both(item, seed)
        assert np.abs(exact - floats).max() <= 1e-4 * np.abs(floats).max()


HEADS = dict.fromkeys(("x", "y", "z"), (1, 2, 4, 6))
DEFINED = {
    "attention": graph(node("Attention", ["x", "y", "z"], ["out"], is_causal=1), inputs=HEADS, opset=23),
    "attention with a mask": graph(
        node("Attention", ["x", "y", "z", "m"], ["out"]), inputs=HEADS, opset=23, m=np.tri(4, dtype=np.bool_)
    ),
    "rotary embedding": graph(
        node("RotaryEmbedding", ["x", "c", "s"], ["out"]),
        inputs={"x": (1, 2, 4, 6)},
        opset=23,
        c=np.cos(np.outer(np.arange(4), [1, 0.1, 0.01])).astype(np.float32)[None],
        s=np.sin(np.outer(np.arange(4), [1, 0.1, 0.01])).astype(np.float32)[None],
    ),
    "rms norm": graph(node("RMSNormalization", ["x", "g"], ["out"]), opset=23, g=GAIN),
    "norm over two axes": graph(
        node("LayerNormalization", ["x", "g", "b"], ["out"], axis=1),
        inputs={"x": (2, 3, 6)},
        opset=17,
        g=np.tile(GAIN, (3, 1)),
        b=np.tile(ROW, (3, 1)),
    ),
    "group norm": graph(
        node("GroupNormalization", ["x", "g", "b"], ["out"], num_groups=3),
        inputs={"x": (2, 6, 5)},
        opset=21,
        g=GAIN,
        b=ROW,
    ),
    "instance norm": graph(
        node("InstanceNormalization", ["x", "g", "b"], ["out"]), inputs={"x": (2, 6, 5, 2)}, g=GAIN, b=ROW
    ),
    "mean-variance norm, axes omitted": graph(
        node("MeanVarianceNormalization", ["x"], ["out"]), inputs={"x": (2, 6, 5, 3)}
    ),
    "celu, slope omitted": graph(node("Celu", ["x"], ["out"])),
    "swish, slope omitted": graph(node("Swish", ["x"], ["out"]), opset=24),
    "mean-variance norm": graph(
        node("MeanVarianceNormalization", ["x"], ["out"], axes=[0, 2]), inputs={"x": (2, 6, 5)}
    ),
}


@pytest.mark.parametrize("item", DEFINED.values(), ids=DEFINED.keys())
def test_lower__operator_defined_as_a_function__is_close_to_float32(item: FloatGraph) -> None:
    for seed in (1, 2):
        exact, floats = both(item, seed)
        assert np.abs(exact - floats).max() <= 5e-4 * np.abs(floats).max()


def with_functions(opset: int) -> onnx.ModelProto:
    """Return a model as onnxscript writes it, with a function that calls another function of the file."""
    bent = onnx.parser.parse_function(
        f'<domain: "example.lib", opset_import: ["": {opset}]> bent <slope: float = 0.5> (x) => (y) '
        "{ s = Constant <value_float: float = @slope> () t = Mul(x, s) y = Tanh(t) }"
    )
    twice = onnx.parser.parse_function(
        f'<domain: "example.lib", opset_import: ["": {opset}, "example.lib": 1]> twice (x) => (y) '
        "{ a = example.lib.bent (x) y = example.lib.bent <slope = 2.0> (a) }"
    )
    model = graph(node("twice", ["x"], ["out"], domain="example.lib"), opset=18)
    proto = helper.make_model(
        helper.make_graph(
            list(model.nodes),
            "float",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 6))],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, (3, 6))],
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("example.lib", 1)],
        functions=[bent, twice],
        ir_version=9,
    )
    onnx.checker.check_model(proto)
    return proto


def relative_error(model: onnx.ModelProto, floats: onnx.ModelProto, inputs: dict[str, tuple[int, ...]]) -> float:
    """Lower `model` and return its largest error as a share of the largest result of `floats`."""
    shapes = FloatGraph([], inputs)
    specs = {name: InputSpec("int16", GRID) for name in inputs}
    program = load_program(
        lower(model, [real(shapes.integers(seed)) for seed in range(100, 108)], specs).SerializeToString()
    )
    feeds = shapes.integers(1)
    found = Engine(program).run(feeds)["out"]
    np.testing.assert_array_equal(found, reference.run(program, feeds)["out"])
    (expected,) = ort.InferenceSession(floats.SerializeToString()).run(["out"], real(feeds))
    return float(
        np.abs(np.ldexp(found.astype(float), program.outputs[0].grid) - expected).max() / np.abs(expected).max()
    )


def test_lower__functions_of_the_file__are_inlined() -> None:
    assert relative_error(with_functions(18), with_functions(18), X) <= 1e-4


def test_lower__function_of_another_opset__is_refused_by_name() -> None:
    reason = "its function has another opset than the model: export both with the same opset"
    with pytest.raises(LoweringError, match=f"^cannot lower twice node 'twice_out': {reason}$"):
        lower(with_functions(17), [], {"x": InputSpec("int16", GRID)})


def test_lower__tensors_from_inlining__are_not_among_the_models_tensors() -> None:
    model = with_functions(18)
    feeds = [real(FloatGraph([], X).integers(seed)) for seed in range(100, 108)]
    assert set(lower_graph(model, feeds, {"x": InputSpec("int16", GRID)}).tensors) == {"x", "out"}


def two_layers(dtype: Any) -> onnx.ModelProto:
    """Return a perceptron whose weights, input and arithmetic have that dtype."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    rng = np.random.default_rng(3)
    weights = {
        "w": rng.normal(0, 0.3, (6, 400)),
        "b": rng.normal(0, 1, 400),
        "v": rng.normal(0, 0.05, (400, 5)),
        "low": np.array(-1.5),
    }
    nodes = [
        node("Cast", ["x"], ["narrow"], to=kind),
        node("MatMul", ["narrow", "w"], ["h"]),
        node("Add", ["h", "b"], ["i"]),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(0.5).astype(dtype))),
        node("Mul", ["i", "c"], ["j"]),
        node("Max", ["j", "low"], ["k"]),
        node("MatMul", ["k", "v"], ["l"]),
        node("Cast", ["l"], ["out"], to=TensorProto.FLOAT),
    ]
    made = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 6))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (3, 5))],
        [numpy_helper.from_array(array.astype(dtype), name) for name, array in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def widened(model: onnx.ModelProto, tmp_path: Any) -> onnx.ModelProto:
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return load_float_model(file)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_lower__weights_of_half_precision__are_lowered_in_single(dtype: Any, tmp_path: Any) -> None:
    model = two_layers(dtype)
    single = widened(model, tmp_path)
    assert {tensor.data_type for tensor in single.graph.initializer} == {TensorProto.FLOAT}
    assert relative_error(model, single, X) <= 3e-4
    # The weights are those of the file: weights drawn in single precision differ from them.
    assert relative_error(model, two_layers(np.float32), X) >= 3e-4


def test_load_float_model__input_of_half_precision__becomes_single(tmp_path: Any) -> None:
    model = two_layers(np.float16)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    (found,) = inputs_of(widened(model, tmp_path))
    assert found.real
    assert found.dtype == np.float32


def test_lower__feeds_of_half_precision__become_single() -> None:
    model = graph(node("Neg", ["x"], ["out"])).model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    model.graph.output[0].ClearField("type")
    feeds = [{"x": np.ones((3, 6), np.float16)}]
    lowered = lower_graph(model, feeds, {"x": InputSpec("int16", GRID)})
    assert lowered.ranges["x"].hi == 1.0


def test_lower__model_without_onnx_operators__is_refused() -> None:
    model = graph(node("Neg", ["x"], ["out"])).model()
    del model.opset_import[:]
    with pytest.raises(
        LoweringError,
        match=(
            "^cannot lower Neg node 'Neg_out': the model does not import ONNX's own operators: export it with an opset$"
        ),
    ):
        lower(model, [], {"x": InputSpec("int16", GRID)})


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("output", ["m", "d"])
def test_lower__statistics_of_layer_normalization__are_those_of_floats(output: str, axis: int, opset: int) -> None:
    constants = {"w": np.ones((5,) if axis == -1 else (4, 5), np.float32)}
    nodes = [
        node("LayerNormalization", ["x", "w"], ["y", "m", "d"], axis=axis),
        node("Identity", [output], ["out"]),
    ]
    exact, floats = both(FloatGraph(nodes, {"x": (3, 4, 5)}, constants, opset=opset))
    np.testing.assert_allclose(exact, floats, rtol=1e-3, atol=1e-3)


def test_lower__mask_of_dropout__is_true_everywhere() -> None:
    nodes = [
        node("Dropout", ["x"], ["y", "m"]),
        node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
        node("Add", ["y", "f"], ["out"]),
    ]
    exact, floats = both(FloatGraph(nodes, {"x": (3, 4)}))
    np.testing.assert_array_equal(exact, floats)
