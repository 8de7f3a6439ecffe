"""Rewrites of the float graph before it is lowered: what is best lowered as one unit becomes one node.

Normalisations that an exporter decomposed become LayerNormalization or RMSNormalization, exponentials over their sum
Softmax, logarithms of either LogSoftmax or ReduceLogSumExp; a BatchNormalization becomes part of the product before it;
a tree of elementwise nodes that is a function of one tensor becomes one Univariate node, whose function is tabulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.lowering.fusion import batch_norm, norms, softmaxes, univariate
from verifier.exact.lowering.fusion.view import View

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Fused:
    """The nodes to lower, in order, the constants that came new, and each Univariate node's function by its output."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: dict[str, NDArray[np.float32]]
    functions: dict[str, Function]


def fuse(model: onnx.ModelProto) -> Fused:
    """Find the units of a float graph. The model is not changed."""
    view = View(model)
    replaced = {unit.output[0]: unit for unit in (*norms.find(view), *softmaxes.find(view))}
    constants: dict[str, NDArray[np.float32]] = {}
    for folded in batch_norm.find(view):
        constants |= folded.constants
        replaced[folded.node.output[0]] = folded.node
    nodes = _with(replaced, view.nodes, view.outputs)
    units = list(univariate.find(nodes, view))
    curves = {unit.output: helper.make_node("Univariate", [unit.root], [unit.output], name=unit.name) for unit in units}
    functions = {unit.output: unit.function for unit in units}
    return Fused(tuple(_with(curves, nodes, view.outputs)), constants, functions)


def _with(replaced: dict[str, onnx.NodeProto], nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes, some replaced by others that make the same tensor, and without those that are needed no more."""
    return _reachable([replaced.get(node.output[0], node) for node in nodes], outputs)


def _reachable(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
