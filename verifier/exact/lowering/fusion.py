"""Rewrites of the float graph before it is lowered: what is best lowered as one unit becomes one node."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper


def fuse(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model in which decomposed GELU (by erf) is one Gelu node."""
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    constants = {item.name: item for item in fused.graph.initializer}
    makers = {name: node for node in fused.graph.node for name in node.output}
    replaced: dict[str, onnx.NodeProto] = {}
    for node in fused.graph.node:
        source = _gelu_input(node, makers, constants)
        if source is not None:
            replaced[node.output[0]] = helper.make_node("Gelu", [source], list(node.output), name=node.name)
    nodes = [replaced.get(node.output[0], node) for node in fused.graph.node]
    del fused.graph.node[:]
    fused.graph.node.extend(_reachable(nodes, [output.name for output in fused.graph.output]))
    return fused


def _reachable(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _scalar(name: str, constants: dict[str, onnx.TensorProto]) -> float | None:
    if name not in constants or math.prod(constants[name].dims) != 1:
        return None
    return float(np.asarray(numpy_helper.to_array(constants[name])).reshape(()))


def _gelu_input(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]
) -> str | None:
    """x when the node is the last of x * 0.5 * (1 + erf(x / sqrt(2))), factors in any order."""
    if node.op_type != "Mul":
        return None
    factors, scale, erf = [node.input[0], node.input[1]], 1.0, None
    variables: list[str] = []
    while factors:
        name = factors.pop()
        value, maker = _scalar(name, constants), makers.get(name)
        if value is not None:
            scale *= value
        elif maker is not None and maker.op_type == "Mul" and _leads_to_erf(maker, makers, constants):
            factors.extend(maker.input)
        elif maker is not None and maker.op_type == "Add" and _erf_of(maker, makers, constants) is not None:
            erf = _erf_of(maker, makers, constants)
        else:
            variables.append(name)
    if erf is None or len(variables) != 1 or not math.isclose(scale, 0.5, rel_tol=1e-6):
        return None
    return variables[0] if erf == variables[0] else None


def _leads_to_erf(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]
) -> bool:
    """Whether a product holds 1 + erf(...), or a constant beside the variable."""
    return any(_scalar(name, constants) is not None for name in node.input) or any(
        name in makers and makers[name].op_type == "Add" and _erf_of(makers[name], makers, constants) is not None
        for name in node.input
    )


def _erf_of(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], constants: dict[str, onnx.TensorProto]
) -> str | None:
    """x of 1 + erf(x / sqrt(2))."""
    for one, other in ((0, 1), (1, 0)):
        erf = makers.get(node.input[other])
        if _scalar(node.input[one], constants) == 1.0 and erf is not None and erf.op_type == "Erf":
            inner = makers.get(erf.input[0])
            if inner is None or inner.op_type not in ("Div", "Mul"):
                return None
            factor = _scalar(inner.input[1], constants)
            wanted = math.sqrt(2) if inner.op_type == "Div" else math.sqrt(0.5)
            if factor is not None and math.isclose(factor, wanted, rel_tol=1e-5):
                return str(inner.input[0])
    return None
