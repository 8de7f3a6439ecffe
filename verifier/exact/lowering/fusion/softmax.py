"""Softmax, LogSoftmax and ReduceLogSumExp that an exporter decomposed.

Lowered in parts, the exponentials would share a grid with their sum, which can be far larger, and those that vanish on
it would have no logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import helper

from verifier.exact.lowering.fusion.graph_index import GraphIndex, attribute, both_orders


def find_softmaxes(graph: GraphIndex) -> Iterator[onnx.NodeProto]:
    """Yield each decomposed softmax or logarithm as one node with the output of its last part.

    One that is made of a quotient has the attribute `axes` in place of `axis`: the axes of its sum, in every opset.
    """
    for node in graph.nodes:
        fused = None
        if node.op_type in ("Div", "Mul"):
            fused = _of_quotient("Softmax", node, node, graph)
        elif node.op_type == "Log":
            fused = _of_logarithm(node, graph)
        if fused is not None:
            yield fused


def _of_logarithm(node: onnx.NodeProto, graph: GraphIndex) -> onnx.NodeProto | None:
    """Match the logarithm of a softmax, whole or decomposed, or of a sum of exponentials."""
    inner = graph.producer(node.input[0], "Softmax", "Div", "Mul", "ReduceSum")
    if inner is None:
        return None
    if inner.op_type == "Softmax":
        return _replacement("LogSoftmax", [inner.input[0]], inner.attribute, node)
    if inner.op_type != "ReduceSum":
        return _of_quotient("LogSoftmax", inner, node, graph)
    exp = graph.producer(inner.input[0], "Exp")
    if exp is None:
        return None
    return _replacement("ReduceLogSumExp", [exp.input[0], *inner.input[1:]], inner.attribute, node)


def _of_quotient(
    operator: str, quotient: onnx.NodeProto, last: onnx.NodeProto, graph: GraphIndex
) -> onnx.NodeProto | None:
    """Match exp(x) divided by the sum of exp(x), or multiplied with the reciprocal of that sum."""
    candidates = [(quotient.input[0], quotient.input[1])]
    if quotient.op_type == "Mul":
        inverses = [(powers, graph.producer(name, "Reciprocal")) for powers, name in both_orders(quotient)]
        candidates = [(powers, inverse.input[0]) for powers, inverse in inverses if inverse is not None]
    for powers, summed in candidates:
        exp, total = graph.producer(powers, "Exp"), graph.producer(summed, "ReduceSum")
        if exp is None or total is None or total.input[0] != powers or not attribute(total, "keepdims", 1):
            continue
        axes = _axes(total, graph)
        if axes:
            return _replacement(operator, [exp.input[0]], [helper.make_attribute("axes", axes)], last)
    return None


def _axes(total: onnx.NodeProto, graph: GraphIndex) -> list[int]:
    """Return the axes of a sum, an empty list where they are not constant or not given."""
    given = attribute(total, "axes") if len(total.input) < 2 else graph.array(total.input[1])
    return [] if given is None else [int(axis) for axis in np.reshape(np.asarray(given), -1)]


def _replacement(
    operator: str, operands: list[str], attributes: Iterable[onnx.AttributeProto], last: onnx.NodeProto
) -> onnx.NodeProto:
    """Return a node that produces the output of `last`."""
    node = helper.make_node(operator, operands, list(last.output), name=last.name)
    node.attribute.extend(attributes)
    return node
