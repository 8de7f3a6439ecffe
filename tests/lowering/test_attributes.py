"""Attributes that the lowering does not read: a node whose result they change is refused, and any other is lowered."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.cases.floats import FLOAT, assert_right, float_model, lowered
from verifier.exact import LoweringError
from verifier.exact.lowering.attributes import Attributes, check_unread

UNSUPPORTED = "which the lowering does not support: leave the attribute out, or express the node by other operators"
IMAGE = {"x": np.random.default_rng(1).normal(size=(1, 4, 4, 4)).astype(np.float32)}


def image_model(*nodes: onnx.NodeProto, opset: int = 18, **constants: object) -> onnx.ModelProto:
    """A model of nodes from an image `x` to `y`."""
    arrays = {name: np.asarray(array) for name, array in constants.items()}
    return float_model(nodes, {"x": (FLOAT, (1, 4, 4, 4))}, arrays, opset=opset)


def test_lower__attribute_that_changes_the_result_and_is_not_read__is_refused_with_its_value() -> None:
    half = TensorProto.FLOAT16  # the type of the statistics
    model = image_model(
        helper.make_node("LayerNormalization", ["x", "w"], ["y"], name="norm", stash_type=half),
        w=np.ones(4, np.float32),
    )
    with pytest.raises(LoweringError) as caught:
        lowered(model, IMAGE)
    assert str(caught.value) == (
        f"cannot lower LayerNormalization node 'norm': its attribute 'stash_type' has the value 10, {UNSUPPORTED}"
    )


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("BatchNormalization", ["x", *"wbmv"], ["y"], momentum=0.5),
        helper.make_node("Concat", ["x", "empty"], ["y"], axis=1),
        helper.make_node("Dropout", ["x", "ratio", "off"], ["y"], seed=7),
        helper.make_node("Dropout", ["x", "nothing", "on"], ["y"], seed=7),
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], storage_order=1),
        helper.make_node("ReduceSum", ["x", "axes"], ["y"], noop_with_empty_axes=1),
    ],
    ids=lambda node: node.op_type,
)
def test_lower__attribute_that_cannot_change_the_result__is_lowered(node: onnx.NodeProto) -> None:
    model = image_model(
        node,
        **{name: np.full(4, number, np.float32) for name, number in zip("wbmv", (2, 1, 0.5, 3), strict=True)},
        empty=np.zeros((1, 0, 4, 4), np.float32),
        ratio=np.float32(0.5),
        off=np.bool_(False),
        nothing=np.float32(0),
        on=np.bool_(True),
        axes=np.array([1]),
    )
    assert_right(model, IMAGE, IMAGE, tolerance=0.01)


@pytest.mark.parametrize(
    "before",
    [helper.make_node("Relu", ["x"], ["c"]), helper.make_node("Conv", ["x", "k"], ["c"])],
    ids=["alone", "after a product"],
)
def test_lower__batch_normalization_with_parameters_per_element__is_refused(before: onnx.NodeProto) -> None:
    parameters = {name: np.full((4, 4, 4), number, np.float32) for name, number in zip("wbmv", range(4), strict=True)}
    norm = helper.make_node("BatchNormalization", ["c", *"wbmv"], ["y"], name="norm", spatial=0)
    model = image_model(before, norm, opset=8, **parameters, k=np.ones((4, 4, 1, 1), np.float32))
    with pytest.raises(LoweringError) as caught:
        lowered(model, IMAGE)
    assert str(caught.value) == (
        "cannot lower BatchNormalization node 'norm': it has parameters per element, not per channel (spatial=0): "
        "write it as Mul and Add"
    )


def test_lower__fused_activation_with_a_slope_of_zero__is_refused() -> None:
    attributes = {"activation": "LeakyRelu", "activation_alpha": 0.0}
    fused = helper.make_node("FusedGemm", ["x", "k"], ["y"], name="fused", domain="com.microsoft", **attributes)
    model = float_model([fused], {"x": (FLOAT, (3, 4))}, {"k": np.eye(4, dtype=np.float32)})
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(LoweringError, match=r"^cannot lower FusedGemm node 'fused': "):
        lowered(model, {"x": -np.ones((3, 4), np.float32)})


@pytest.mark.parametrize("operator", ["RandomNormal", "RandomUniform"])
def test_lower__random_numbers_without_operands__are_refused(operator: str) -> None:
    model = image_model(
        helper.make_node(operator, [], ["r"], name="noise", shape=[1, 4, 4, 4]),
        helper.make_node("Add", ["x", "r"], ["y"]),
    )
    with pytest.raises(LoweringError) as caught:
        lowered(model, IMAGE)
    assert str(caught.value) == (
        f"cannot lower {operator} node 'noise': its result is random: export the model in evaluation mode, or make the "
        "random numbers an input"
    )


def test_lower__dropout_of_a_constant_in_training_mode__is_refused() -> None:
    model = image_model(
        helper.make_node("Dropout", ["c", "", "on"], ["d"], name="drop"),
        helper.make_node("Add", ["x", "d"], ["y"]),
        c=np.ones((1, 4, 4, 4), np.float32),
        on=np.bool_(True),
    )
    with pytest.raises(LoweringError) as caught:
        lowered(model, IMAGE)
    assert str(caught.value) == (
        "cannot lower Dropout node 'drop': it is in training mode, where its result is random: export the model in "
        "evaluation mode"
    )


def test_check_unread__read_default_and_other_values__refuses_only_others() -> None:
    node = helper.make_node("LayerNormalization", ["x", "w"], ["y"], name="n", axis=1, stash_type=1)
    attributes = Attributes(node)
    assert attributes["axis"] == 1
    assert attributes.get("epsilon", 1e-5) == 1e-5
    assert attributes.unread == {"stash_type": 1}
    check_unread(node, attributes.unread, 18)
    with pytest.raises(LoweringError) as caught:
        check_unread(node, {"stash_type": 10}, 18)
    assert str(caught.value) == (
        f"cannot lower LayerNormalization node 'n': its attribute 'stash_type' has the value 10, {UNSUPPORTED}"
    )
