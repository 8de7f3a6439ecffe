"""Normalisations whose weight or bias is computed, written out as a normalisation, a product and a sum.

The lowerings of normalisations take constant weights and biases. A submission that holds those of the whole model makes
them inputs: they become operands of Mul and Add nodes, which are calibrated and lowered like any others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

NORMALISATIONS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")


def split_computed_affine(graph: onnx.GraphProto) -> None:
    """Rewrite the graph in place; the shapes of its tensors must be inferred, and its inputs must not be weights.

    A normalisation whose weight has an unknown shape stays as it is, and its lowering reports the weight.
    """
    computed = _computed(graph)
    if not any(_affine(node, computed) for node in graph.node):
        return
    infos = {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        weight = infos.get(node.input[1]) if _affine(node, computed) else None
        if weight is None:
            nodes.append(node)
        else:
            nodes.extend(_split(graph, node, weight, infos.get(node.output[0])))
    del graph.node[:]
    graph.node.extend(nodes)


def _computed(graph: onnx.GraphProto) -> set[str]:
    """The tensors that depend on an input of the graph."""
    found = {info.name for info in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # in topological order, as ONNX requires
        if not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def _affine(node: onnx.NodeProto, computed: set[str]) -> bool:
    return node.op_type in NORMALISATIONS and not computed.isdisjoint(node.input[1:3])


def _split(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.ValueInfoProto, result: onnx.ValueInfoProto | None
) -> Iterator[onnx.NodeProto]:
    """Yield the normalisation with a weight of ones, the product with the weight, and the sum with the bias."""
    output = node.output[0]
    bias = node.input[2] if len(node.input) > 2 else ""
    unit, scaled = f"{output}/unit", f"{output}/scaled" if bias else output
    shape = [dim.dim_value for dim in weight.type.tensor_type.shape.dim]
    ones = numpy_helper.from_array(np.ones(shape, np.float32), f"{output}/ones")
    graph.initializer.append(ones)
    norm = onnx.NodeProto()
    norm.CopyFrom(node)
    del norm.input[1:]
    norm.input.append(ones.name)
    norm.output[0] = unit
    yield norm
    yield helper.make_node("Mul", [unit, node.input[1]], [scaled], name=scaled)
    if bias:
        yield helper.make_node("Add", [scaled, bias], [output], name=f"{output}/shifted")
    for name in {unit, scaled} - {output}:
        if result is not None:
            graph.value_info.add(name=name, type=result.type)
