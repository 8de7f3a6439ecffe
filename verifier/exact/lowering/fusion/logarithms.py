"""Logarithms of exponentials' sums and of softmaxes: apart, the one would overflow and the other would vanish."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from verifier.exact.lowering.fusion.view import View


def find(view: View) -> Iterator[onnx.NodeProto]:
    """Each logarithm of either, as the one node that makes what it made."""
    for node in view.nodes:
        if node.op_type != "Log":
            continue
        inner = view.maker(node.input[0], "Softmax", "ReduceSum")
        if inner is None:
            continue
        if inner.op_type == "Softmax":
            yield _unit("LogSoftmax", [inner.input[0]], node, inner)
        elif (powers := view.maker(inner.input[0], "Exp")) is not None:
            yield _unit("ReduceLogSumExp", [powers.input[0], *inner.input[1:]], node, inner)


def _unit(operator: str, operands: list[str], node: onnx.NodeProto, inner: onnx.NodeProto) -> onnx.NodeProto:
    """In the place of `node`, over the axes of `inner`."""
    unit = onnx.helper.make_node(operator, operands, list(node.output), name=node.name)
    unit.attribute.extend(inner.attribute)
    return unit
