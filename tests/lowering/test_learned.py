"""Operators of classical machine learning, against onnxruntime, on trees that scikit-learn trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from tests.lowering.compare import GRID, Array, FloatGraph, both, node, real, three_ways
from verifier.exact import LoweringError
from verifier.exact.lowering import InputSpec, lower

DOMAIN = "ai.onnx.ml"
ROWS, FEATURES = 40, 6


def learned(op: str, *inputs: str, outputs: tuple[str, ...] = ("out",), **attributes: Any) -> onnx.NodeProto:
    return node(op, inputs, outputs, domain=DOMAIN, **attributes)


def of_rows(*nodes: onnx.NodeProto, **constants: Array) -> FloatGraph:
    return FloatGraph(nodes, {"x": (ROWS, FEATURES)}, constants)


def tree_lists(trees: list[Any], kind: str, mode: str = "BRANCH_LEQ") -> dict[str, Any]:
    """The attributes that hold scikit-learn's trees; a comparison other than <= has its branches swapped."""
    lists: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {"treeids": [], "nodeids": [], "ids": [], "weights": []}
    for number, estimator in enumerate(trees):
        tree = estimator.tree_
        for place in range(tree.node_count):
            leaf = tree.children_left[place] == -1
            branches = [0, 0] if leaf else [int(tree.children_left[place]), int(tree.children_right[place])]
            if mode in ("BRANCH_GT", "BRANCH_GTE"):
                branches.reverse()
            row = (number, place, max(int(tree.feature[place]), 0), float(tree.threshold[place]))
            for name, item in zip(lists, (*row, "LEAF" if leaf else mode, *branches), strict=True):
                lists[name].append(item)
            if leaf:
                for target, weight in enumerate(tree.value[place].reshape(-1)):
                    for name, item in zip(leaves, (number, place, target, float(weight)), strict=True):
                        leaves[name].append(item)
    return {f"nodes_{name}": items for name, items in lists.items()} | {
        f"{kind}_{name}": items for name, items in leaves.items()
    }


@pytest.fixture(scope="module")
def regressor() -> list[Any]:
    x, y = make_regression(200, FEATURES, random_state=1)
    return list(RandomForestRegressor(5, max_depth=5, random_state=1).fit(x, y / 100).estimators_)


@pytest.fixture(scope="module")
def classifier() -> list[Any]:
    x, y = make_classification(200, FEATURES, n_informative=4, n_classes=3, random_state=1)
    return list(RandomForestClassifier(5, max_depth=5, random_state=1).fit(x, y).estimators_)


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
def test_lower__regression_trees__every_row_reaches_the_same_leaves(
    regressor: list[Any], mode: str, aggregate: str
) -> None:
    trees = tree_lists(regressor, "target", mode)
    trees |= {"n_targets": 1, "aggregate_function": aggregate, "base_values": [0.5]}
    graph = of_rows(learned("TreeEnsembleRegressor", "x", **trees))
    exact, floats = both(graph)
    np.testing.assert_allclose(exact, floats, atol=1e-5)


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"])
def test_lower__features_that_equal_thresholds__take_the_branch_of_the_comparison(mode: str) -> None:
    """Each threshold lies on the inputs' grid, one step off it by a little, or beyond all inputs."""
    thresholds = [0.0, 0.25, 0.25 + 2.0**-20, 0.25 - 2.0**-20, 1e6, -1e6]
    count = len(thresholds)
    graph = FloatGraph(
        [
            learned(
                "TreeEnsembleRegressor",
                "x",
                n_targets=count,
                nodes_treeids=[tree for tree in range(count) for _ in range(3)],
                nodes_nodeids=[0, 1, 2] * count,
                nodes_featureids=[0] * 3 * count,
                nodes_values=[item for threshold in thresholds for item in (threshold, 0.0, 0.0)],
                nodes_modes=[mode, "LEAF", "LEAF"] * count,
                nodes_truenodeids=[1, 0, 0] * count,
                nodes_falsenodeids=[2, 0, 0] * count,
                target_treeids=[tree for tree in range(count) for _ in range(2)],
                target_nodeids=[1, 2] * count,
                target_ids=[tree for tree in range(count) for _ in range(2)],
                target_weights=[1.0, -1.0] * count,
            )
        ],
        {"x": (6, 1)},
    )
    feeds = {"x": np.array([[-1], [0], [1], [255], [256], [257]], np.int16)}
    exact = lower(graph.model(), [real(graph.integers(1))], {"x": InputSpec("int16", GRID)})
    (floats,) = ort.InferenceSession(graph.model().SerializeToString()).run(None, real(feeds))
    np.testing.assert_array_equal(three_ways(exact.SerializeToString(), feeds), floats)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
def test_lower__classification_trees__scores_and_labels_are_those_of_floats(
    classifier: list[Any], transform: str
) -> None:
    trees = tree_lists(classifier, "class")
    labels = [7, -2, 40]
    kind = "TreeEnsembleClassifier"
    made = learned(kind, "x", outputs=("y", "out"), classlabels_int64s=labels, post_transform=transform, **trees)
    exact, floats = both(of_rows(made))
    np.testing.assert_allclose(exact, floats, atol=1e-5)
    named = learned(kind, "x", outputs=("y", "s"), classlabels_int64s=labels, post_transform=transform, **trees)
    exact, floats = both(of_rows(named, node("Cast", ["y"], ["out"], to=TensorProto.FLOAT)))
    np.testing.assert_array_equal(exact, floats)
    assert len(np.unique(exact)) == 3


def test_lower__tree_with_lists_of_leaves__is_that_of_floats() -> None:
    def tensor(array: Any, dtype: Any) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.array(array, dtype))

    ensemble = learned(
        "TreeEnsemble",
        "x",
        n_targets=2,
        tree_roots=[0],
        nodes_modes=tensor([0, 1, 3], np.uint8),
        nodes_featureids=[0, 1, 2],
        nodes_splits=tensor([0.5, -0.25, 1.0], np.float32),
        nodes_truenodeids=[1, 0, 1],
        nodes_trueleafs=[0, 1, 1],
        nodes_falsenodeids=[2, 2, 3],
        nodes_falseleafs=[0, 1, 1],
        leaf_targetids=[0, 1, 0, 1],
        leaf_weights=tensor([5.25, 12.125, -12.25, 7.25], np.float32),
    )
    graph = of_rows(ensemble)
    model = graph.model()
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid(DOMAIN, 5))
    feeds = graph.integers(1)
    exact = lower(model, [real(graph.integers(2))], {"x": InputSpec("int16", GRID)})
    (floats,) = ort.InferenceSession(model.SerializeToString()).run(None, real(feeds))
    np.testing.assert_allclose(three_ways(exact.SerializeToString(), feeds), floats, atol=1e-5)


LINEAR = {
    "scaler": learned("Scaler", "x", offset=[0.1] * FEATURES, scale=[0.5, 1, 2, 3, 4, 5]),
    "scaler for all columns": learned("Scaler", "x", offset=[1.0], scale=[0.25]),
    "binarizer": learned("Binarizer", "x", threshold=0.5),
    "linear regressor": learned(
        "LinearRegressor", "x", coefficients=np.linspace(-1, 1, 12).tolist(), intercepts=[0.5, -3.0], targets=2
    ),
    "elements": learned("ArrayFeatureExtractor", "x", "places"),
}


@pytest.mark.parametrize("name", LINEAR)
def test_lower__linear_operator__is_that_of_floats(name: str) -> None:
    exact, floats = both(of_rows(LINEAR[name], places=np.array([4, 0], np.int64)))
    np.testing.assert_allclose(exact, floats, atol=3e-4)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"post_transform": "SOFTMAX"},
            "its post_transform SOFTMAX is not supported: use NONE and add the function after it",
        ),
        ({"classlabels_int64s": [], "classlabels_strings": ["a", "b", "c"]}, "its labels are strings: use integers"),
    ],
)
def test_lower__classifier_that_is_not_supported__says_what_to_change(
    classifier: list[Any], more: dict[str, Any], reason: str
) -> None:
    trees = tree_lists(classifier, "class") | {"classlabels_int64s": [0, 1, 2]} | more
    trees = {name: item for name, item in trees.items() if item != []}
    with pytest.raises(LoweringError) as caught:
        of_rows(learned("TreeEnsembleClassifier", "x", outputs=("y", "out"), **trees)).lowered()
    named = "cannot lower TreeEnsembleClassifier node 'TreeEnsembleClassifier_y': "
    assert str(caught.value).startswith(named + reason)
