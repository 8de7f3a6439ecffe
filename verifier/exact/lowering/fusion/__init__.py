"""Rewrites of the float graph before it is lowered: a pattern that is best lowered as one unit becomes one node.

- `norms`: a decomposed normalisation becomes LayerNormalization or RMSNormalization.
- `softmax`: exponentials over their sum become Softmax, and logarithms of either LogSoftmax or ReduceLogSumExp.
- `batch_norm`: a BatchNormalization is folded into the product before it.
- `univariate`: a tree of elementwise nodes that is a function of one tensor becomes one Univariate node, whose function
  the lowering tabulates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.lowering.fusion.batch_norm import find_folded_products
from verifier.exact.lowering.fusion.graph_index import GraphIndex
from verifier.exact.lowering.fusion.norms import find_norms
from verifier.exact.lowering.fusion.softmax import find_softmaxes
from verifier.exact.lowering.fusion.univariate import Function, find_function_trees

# The name of nodes that are a function of one tensor. It is not an ONNX operator: only the lowering knows such nodes.
UNIVARIATE = "Univariate"
# Attributes of replaced nodes that a pattern reads, or copies to the node that replaces them.
READ = {
    "BatchNormalization": frozenset({"epsilon", "spatial", "training_mode"}),
    "Constant": frozenset({"value"}),
    "Conv": frozenset({"auto_pad", "dilations", "group", "pads", "strides"}),
    "Elu": frozenset({"alpha"}),
    "Gelu": frozenset({"approximate"}),
    "Gemm": frozenset({"alpha", "beta", "transA", "transB"}),
    "QuickGelu": frozenset({"alpha"}),
    "ReduceMean": frozenset({"axes", "keepdims"}),
    "ReduceSum": frozenset({"axes", "keepdims"}),
    "Selu": frozenset({"alpha", "gamma"}),
    "Softmax": frozenset({"axis"}),
}


@dataclass(frozen=True)
class FusedGraph:
    """A rewritten graph: its nodes in order, the constants that were added, and each Univariate node's function.

    `functions` are keyed by the name of the node's output. `unread` are the nodes that became part of another one, each
    with those of its attributes that no pattern reads.
    """

    nodes: tuple[onnx.NodeProto, ...]
    constants: dict[str, NDArray[np.float32]]
    functions: dict[str, Function]
    unread: tuple[tuple[onnx.NodeProto, dict[str, Any]], ...]


def fuse(model: onnx.ModelProto) -> FusedGraph:
    """Rewrite a float graph. The model itself is not changed."""
    graph = GraphIndex(model)
    replaced = {node.output[0]: node for node in (*find_norms(graph), *find_softmaxes(graph))}
    constants: dict[str, NDArray[np.float32]] = {}
    for folded in find_folded_products(graph):
        constants |= folded.constants
        replaced[folded.node.output[0]] = folded.node
    nodes = _replace(replaced, graph.nodes, graph.outputs)
    trees = list(find_function_trees(nodes, graph))
    univariates = {
        tree.output: helper.make_node(UNIVARIATE, [tree.root], [tree.output], name=tree.name) for tree in trees
    }
    functions = {tree.output: tree.function for tree in trees}
    fused = _replace(univariates, nodes, graph.outputs)
    return FusedGraph(tuple(fused), constants, functions, tuple(_unread(graph, fused)))


def _unread(graph: GraphIndex, fused: list[onnx.NodeProto]) -> Iterator[tuple[onnx.NodeProto, dict[str, Any]]]:
    """Yield the nodes that are needed in the original graph and not kept, with the attributes that no pattern reads."""
    kept = {id(node) for node in fused}
    for node in _replace({}, graph.nodes, graph.outputs):
        if id(node) not in kept:
            values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            read = READ.get(node.op_type, frozenset())
            yield node, {name: value for name, value in values.items() if name not in read}


def _replace(
    replaced: dict[str, onnx.NodeProto], nodes: list[onnx.NodeProto], outputs: list[str]
) -> list[onnx.NodeProto]:
    """Replace nodes by others with the same first output, and remove the nodes that no output depends on any more."""
    needed, kept = set(outputs), []
    for node in reversed([replaced.get(node.output[0], node) for node in nodes]):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
