"""LayerNormalization and RMSNormalization that an exporter decomposed.

The pattern is x / sqrt(mean(x²) + ε) over the last axis. It is a LayerNormalization where x is centred. A factor and,
for a LayerNormalization, an offset that follow it become the weight and the bias.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from verifier.exact.lowering.fusion.graph_index import GraphIndex, attribute, both_orders


def find_norms(graph: GraphIndex) -> Iterator[onnx.NodeProto]:
    """Yield each decomposed normalisation over the last axis as one node with the output of its last part."""
    for node in graph.nodes:
        parts = _normalised(node, graph)
        if parts is None:
            continue
        x, epsilon = parts
        source = _centred(x, graph)
        output, weight = _scaled(node.output[0], graph, "Mul")
        bias = None
        if source is not None:
            output, bias = _scaled(output, graph, "Add")
        operator = "RMSNormalization" if source is None else "LayerNormalization"
        operands = [source or x, weight or "", bias or ""]
        while operands[-1] == "":
            operands.pop()
        yield helper.make_node(operator, operands, [output], name=node.name, epsilon=epsilon, axis=-1)


def _normalised(node: onnx.NodeProto, graph: GraphIndex) -> tuple[str, float] | None:
    """Match x / sqrt(mean(x²) + ε); return (x, ε)."""
    if node.op_type == "Div":
        root = graph.producer(node.input[1], "Sqrt")
        candidates = [(node.input[0], root.input[0] if root is not None else None)]
    elif node.op_type == "Mul":
        candidates = [(x, _rsqrt(other, graph)) for x, other in both_orders(node)]
    else:
        return None
    for x, radicand in candidates:
        epsilon = None if radicand is None else _mean_square(x, radicand, graph)
        if epsilon is not None:
            return x, epsilon
    return None


def _rsqrt(name: str, graph: GraphIndex) -> str | None:
    """Match 1 / sqrt(y), however it is written; return y."""
    node = graph.producer(name, "Reciprocal", "Div", "Pow", "Sqrt")
    if node is None:
        return None
    if node.op_type == "Pow":
        return node.input[0] if graph.scalar(node.input[1]) == -0.5 else None
    inner = {"Reciprocal": "Sqrt", "Div": "Sqrt", "Sqrt": "Reciprocal"}[node.op_type]
    if node.op_type == "Div" and graph.scalar(node.input[0]) != 1.0:
        return None
    below = graph.producer(node.input[-1], inner)
    return None if below is None else below.input[0]


def _mean_square(x: str, name: str, graph: GraphIndex) -> float | None:
    """Match mean(x²) + ε over the last axis; return ε."""
    total = graph.producer(name, "Add")
    if total is None:
        return None
    for mean_name, epsilon_name in both_orders(total):
        epsilon, mean = graph.scalar(epsilon_name), graph.producer(mean_name, "ReduceMean")
        if epsilon is None or mean is None or not _over_last_axis(mean, graph):
            continue
        square = graph.producer(mean.input[0], "Pow", "Mul")
        if square is None or square.input[0] != x:
            continue
        if square.input[1] == x if square.op_type == "Mul" else graph.scalar(square.input[1]) == 2.0:
            return epsilon
    return None


def _over_last_axis(reduce: onnx.NodeProto, graph: GraphIndex) -> bool:
    if attribute(reduce, "keepdims", 1) != 1:
        return False
    axes = attribute(reduce, "axes")
    if axes is None and len(reduce.input) > 1:
        found = graph.array(reduce.input[1])
        axes = None if found is None else found.reshape(-1).tolist()
    if not isinstance(axes, list) or len(axes) != 1:
        return False
    rank = graph.rank(reduce.input[0])
    return axes[0] == -1 or (rank is not None and axes[0] == rank - 1)


def _centred(name: str, graph: GraphIndex) -> str | None:
    """Match z - mean(z) over the last axis; return z."""
    difference = graph.producer(name, "Sub")
    if difference is None:
        return None
    mean = graph.producer(difference.input[1], "ReduceMean")
    if mean is None or mean.input[0] != difference.input[0] or not _over_last_axis(mean, graph):
        return None
    return str(difference.input[0])


def _scaled(name: str, graph: GraphIndex, operator: str) -> tuple[str, str | None]:
    """Return the output of a following Mul or Add with a constant vector and that constant, else `name` and None."""
    reader = graph.only_reader(name)
    if reader is None or reader.op_type != operator:
        return name, None
    for value, constant in both_orders(reader):
        array = graph.array(constant)
        if (
            value == name
            and array is not None
            and array.size == np.prod(array.shape[-1:], dtype=int)
            and array.size > 1
        ):
            return reader.output[0], constant
    return name, None
