"""Ensembles of decision trees, of the domain ai.onnx.ml.

Lowers TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor. All rows walk down all trees at once, one level
after another: comparisons are exact, and only the weights of the leaves are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.float_node import WIDE_BITS, Array, FloatNode, Operand, as_float
from verifier.exact.lowering.operators.recurrent import sigmoid
from verifier.exact.lowering.operators.selection import place_of_extreme
from verifier.exact.program.values import Value

# Maximum depth of a tree: each level takes 20 instructions over all rows and trees.
MAX_DEPTH = 256
LEAF = "LEAF"
# The comparisons of TreeEnsemble, by number.
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
# Comparisons that `walk` makes: x <= t or x < t, and whether the other branch is taken where that holds.
COMPARISONS = {
    "BRANCH_LEQ": (True, False),
    "BRANCH_LT": (False, False),
    "BRANCH_GTE": (False, True),
    "BRANCH_GT": (True, True),
}


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees by their index: what they compare, where they lead, and the weights of leaves.

    `modes`, `features`, `thresholds`, `yes` and `no` are [nodes]; a leaf leads to itself. `roots` are [trees], and
    `weights` [nodes, targets] in float64.
    """

    modes: Sequence[str]
    features: Array
    thresholds: Array
    yes: Array
    no: Array
    roots: Array
    weights: Array

    def depth(self, node: FloatNode) -> int:
        """Return the number of comparisons of the longest path. Errors: LoweringError above MAX_DEPTH."""
        places, levels = np.unique(self.roots), 0
        while any(self.modes[place] != LEAF for place in places):
            levels += 1
            if levels > MAX_DEPTH:
                raise node.fail(f"a tree is deeper than {MAX_DEPTH} levels: train it with a limited depth")
            places = np.unique(np.concatenate([self.yes[places], self.no[places]]))
        return levels


def lower_tree_ensemble(node: FloatNode) -> list[Operand]:
    """TreeEnsemble: the sum or average of the leaves' weights [rows, targets]."""
    scores = _scores(node, _from_leaf_lists(node), np.zeros(1))
    if node.attributes.get("post_transform", 0):
        raise node.fail("its post_transform is not supported: export it without one, and add the function after it")
    return [scores]


def lower_tree_ensemble_regressor(node: FloatNode) -> list[Operand]:
    """TreeEnsembleRegressor: the sum or average of the leaves' weights, plus base values [rows, targets]."""
    targets = int(node.attributes.get("n_targets", 1))
    forest = _from_nodes(node, "target", targets)
    scores = _scores(node, forest, _numbers(node, "base_values") if _given(node, "base_values") else np.zeros(1))
    if bytes(node.attributes.get("post_transform", b"NONE")) != b"NONE":
        raise node.fail("its post_transform is not supported: export it without one, and add the function after it")
    return [scores]


def lower_tree_ensemble_classifier(node: FloatNode) -> list[Operand]:
    """TreeEnsembleClassifier: the label [rows] of the class with the largest score, and all scores [rows, classes]."""
    builder = node.builder
    labels = node.attributes.get("classlabels_int64s")
    if not labels:
        raise node.fail("its labels are strings: use integers as labels")
    classes = np.asarray(node.attributes["class_ids"])
    if len(labels) == 2 and len(np.unique(classes)) < 2:
        raise node.fail("it has weights of one of its two classes alone: use a TreeEnsembleRegressor and a Sigmoid")
    forest = _from_nodes(node, "class", len(labels))
    scores = _scores(node, forest, _numbers(node, "base_values") if _given(node, "base_values") else np.zeros(1))
    largest = place_of_extreme(builder, scores, 1, largest=True, last=False)
    names = builder.constant(np.array(labels, np.float64))
    label = builder.cast(builder.reshape(builder.lookup(names, largest), (scores.shape[0],)), "int64")
    transform = bytes(node.attributes.get("post_transform", b"NONE")).decode()
    if transform == "LOGISTIC":
        scores = sigmoid(builder, scores)
    elif transform != "NONE":
        raise node.fail(f"its post_transform {transform} is not supported: use NONE and add the function after it")
    return [label, scores]


def _scores(node: FloatNode, forest: Forest, base: Array) -> Value:
    """Emit the sum or average over trees of the weights of the leaves that rows reach [rows, targets], plus `base`."""
    builder, trees = node.builder, len(forest.roots)
    how = node.attributes.get("aggregate_function", b"SUM" if node.proto.op_type != "TreeEnsemble" else 1)
    name = ("AVERAGE", "SUM", "MIN", "MAX")[how] if isinstance(how, int) else bytes(how).decode()
    if name not in ("AVERAGE", "SUM"):
        raise node.fail(f"its aggregate_function {name} is not supported: use SUM or AVERAGE")
    weights = forest.weights / (trees if name == "AVERAGE" else 1)
    leaves = walk(node, forest)
    table = builder.table(weights, grid_for(float(np.abs(weights).max(initial=0)), WIDE_BITS))
    reached = builder.op("Gather", table, builder.cast(leaves, "int32"), axis=0)
    total = builder.op("ReduceSum", reached, builder.constant(np.array([1], np.int64)), keepdims=0)
    if not base.any():
        return total
    return builder.op("Add", total, builder.constant(builder.quantised(base.reshape(1, -1), total.grid)))


def walk(node: FloatNode, forest: Forest) -> Value:
    """Emit the indices of the leaves that rows reach [rows, trees], as integer floats."""
    builder, x = node.builder, as_float(node.builder, node.value(0))
    rows, trees = x.shape[0], len(forest.roots)
    thresholds, swapped = _steps(node, forest, x)
    yes, no = np.where(swapped, forest.no, forest.yes), np.where(swapped, forest.yes, forest.no)
    children = builder.constant(np.stack([no, yes], axis=1).reshape(-1).astype(np.float64))
    features = builder.constant(forest.features.astype(np.float64))
    limits = builder.constant(np.ldexp(thresholds, x.grid))
    place = builder.constant(np.broadcast_to(forest.roots.astype(np.float64), (rows, trees)))
    for _ in range(forest.depth(node)):
        feature = builder.cast(builder.lookup(features, place), "int64")
        seen = builder.op("GatherElements", x, feature, axis=1)
        holds = builder.op("LessOrEqual", seen, builder.lookup(limits, place))
        place = builder.lookup(children, builder.op("Add", builder.scale(place, 1), as_float(builder, holds)))
    return place


def _steps(node: FloatNode, forest: Forest, x: Value) -> tuple[Array, Array]:
    """Return the largest step of x's grid for which each comparison holds, and where the branches are swapped.

    A threshold beyond the interval of x becomes its end, or one step below it.
    """
    scaled = np.ldexp(forest.thresholds.astype(np.float64), -x.grid)
    inclusive, swapped = np.ones(len(scaled), np.bool_), np.zeros(len(scaled), np.bool_)
    for place, mode in enumerate(forest.modes):
        if mode == LEAF:
            continue
        if mode not in COMPARISONS:
            raise node.fail(f"its comparison {mode} is not supported: use {', '.join(COMPARISONS)}")
        inclusive[place], swapped[place] = COMPARISONS[mode]
    steps = np.where(inclusive, np.floor(scaled), np.ceil(scaled) - 1)
    return np.clip(steps, x.lo - 1, x.hi), swapped


def _from_nodes(node: FloatNode, kind: str, targets: int) -> Forest:
    """Read the trees of a classifier or regressor, whose nodes are named by tree and number."""
    attributes = node.attributes
    # They only matter for speed, and for NaN, which no exact tensor holds.
    for name in ("nodes_hitrates", "nodes_hitrates_as_tensor", "nodes_missing_value_tracks_true"):
        attributes.get(name)
    trees = list(attributes["nodes_treeids"])
    places = {pair: place for place, pair in enumerate(zip(trees, attributes["nodes_nodeids"], strict=True))}
    modes = [bytes(mode).decode() for mode in attributes["nodes_modes"]]
    own = np.arange(len(modes))
    yes, no = (
        np.array(
            [
                place if mode == LEAF else places[tree, child]
                for place, mode, tree, child in zip(own, modes, trees, attributes[name], strict=True)
            ]
        )
        for name in ("nodes_truenodeids", "nodes_falsenodeids")
    )
    weights = np.zeros((len(modes), targets))
    keys = zip(attributes[f"{kind}_treeids"], attributes[f"{kind}_nodeids"], attributes[f"{kind}_ids"], strict=True)
    for (tree, number, target), weight in zip(keys, _numbers(node, f"{kind}_weights"), strict=True):
        weights[places[tree, number], target] += weight
    features = np.where([mode == LEAF for mode in modes], 0, np.asarray(attributes["nodes_featureids"]))
    # The first node of a tree in the lists is its root.
    roots = np.array([trees.index(tree) for tree in dict.fromkeys(trees)])
    return Forest(modes, features, _numbers(node, "nodes_values"), yes, no, roots, weights)


def _from_leaf_lists(node: FloatNode) -> Forest:
    """Read the trees of a TreeEnsemble, whose leaves are in lists of their own."""
    attributes = node.attributes
    for name in ("nodes_hitrates", "nodes_missing_value_tracks_true", "membership_values"):
        attributes.get(name)
    features = np.asarray(attributes["nodes_featureids"])
    inner, leaves = len(features), len(attributes["leaf_targetids"])
    own = np.arange(inner, inner + leaves)
    yes, no = (
        np.concatenate(
            [
                np.asarray(attributes[f"nodes_{branch}nodeids"])
                + inner * np.asarray(attributes[f"nodes_{branch}leafs"]),
                own,
            ]
        )
        for branch in ("true", "false")
    )
    weights = np.zeros((inner + leaves, int(attributes.get("n_targets", 1))))
    weights[own, np.asarray(attributes["leaf_targetids"])] = _array(attributes["leaf_weights"])
    modes = [MODES[number] for number in _array(attributes["nodes_modes"])] + [LEAF] * leaves
    splits = np.concatenate([_single(node, _array(attributes["nodes_splits"])), np.zeros(leaves)])
    features = np.concatenate([features, np.zeros(leaves, np.int64)])
    return Forest(modes, features, splits, yes, no, np.asarray(attributes["tree_roots"]), weights)


def _given(node: FloatNode, name: str) -> bool:
    return name in node.attributes or f"{name}_as_tensor" in node.attributes


def _numbers(node: FloatNode, name: str) -> Array:
    """Return a list of numbers that is an attribute or a tensor."""
    if name in node.attributes:
        return np.asarray(node.attributes[name], np.float64)
    return _single(node, _array(node.attributes[f"{name}_as_tensor"]))


def _single(node: FloatNode, numbers: Array) -> Array:
    """Return numbers in float64. Errors: LoweringError for double precision."""
    if numbers.dtype == np.float64:
        raise node.fail("its numbers are in double precision, which its inputs are not: export it in single precision")
    return numbers.astype(np.float64)


def _array(tensor: onnx.TensorProto) -> Array:
    return np.asarray(numpy_helper.to_array(tensor))
