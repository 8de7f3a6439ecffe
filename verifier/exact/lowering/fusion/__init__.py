"""Rewrites of the float graph before it is lowered: what is best lowered as one unit becomes one node.

Normalisations that an exporter decomposed become LayerNormalization or RMSNormalization; a tree of elementwise nodes
that is a function of one tensor becomes one Univariate node, whose function is tabulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.lowering.fusion import norms, univariate
from verifier.exact.lowering.fusion.view import View

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Fused:
    """The nodes to lower, in order, and the function of each Univariate node by the name of its output."""

    nodes: tuple[onnx.NodeProto, ...]
    functions: dict[str, Function]


def fuse(model: onnx.ModelProto) -> Fused:
    """Find the units of a float graph. The model is not changed."""
    view = View(model)
    nodes = list(view.nodes)
    for match in norms.find(view):
        nodes = [match.node if node.output[0] == match.node.output[0] else node for node in nodes]
    nodes = _reachable(nodes, view.outputs)
    functions: dict[str, Function] = {}
    for unit in univariate.find(nodes, view):
        functions[unit.output] = unit.function
        replacement = helper.make_node("Univariate", [unit.root], [unit.output], name=unit.name)
        nodes = [replacement if node.output[0] == unit.output else node for node in nodes]
    return Fused(tuple(_reachable(nodes, view.outputs)), functions)


def _reachable(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
