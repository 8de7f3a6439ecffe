"""Softmaxes and logarithms of exponentials' sums, as exporters decompose them.

In pieces the exponentials would need the range of their sum, and what vanishes beside it would have no logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import helper

from verifier.exact.lowering.fusion.view import View, attribute, commuted


def find(view: View) -> Iterator[onnx.NodeProto]:
    """All that are in pieces, each as the one node that makes what its last piece made.

    Made of a quotient, it has the attribute `axes` in place of `axis`: over these it sums, whatever the opset.
    """
    for node in view.nodes:
        unit = None
        if node.op_type in ("Div", "Mul"):
            unit = _quotient("Softmax", node, node, view)
        elif node.op_type == "Log":
            unit = _logarithm(node, view)
        if unit is not None:
            yield unit


def _logarithm(node: onnx.NodeProto, view: View) -> onnx.NodeProto | None:
    """Of a softmax, whole or in pieces, or of a sum of exponentials."""
    inner = view.maker(node.input[0], "Softmax", "Div", "Mul", "ReduceSum")
    if inner is None:
        return None
    if inner.op_type == "Softmax":
        return _unit("LogSoftmax", [inner.input[0]], inner.attribute, node)
    if inner.op_type != "ReduceSum":
        return _quotient("LogSoftmax", inner, node, view)
    exp = view.maker(inner.input[0], "Exp")
    if exp is None:
        return None
    return _unit("ReduceLogSumExp", [exp.input[0], *inner.input[1:]], inner.attribute, node)


def _quotient(operator: str, quotient: onnx.NodeProto, last: onnx.NodeProto, view: View) -> onnx.NodeProto | None:
    """Of exp(x) / sum of exp(x), or times the reciprocal of the sum."""
    candidates = [(quotient.input[0], quotient.input[1])]
    if quotient.op_type == "Mul":
        inverses = [(powers, view.maker(name, "Reciprocal")) for powers, name in commuted(quotient)]
        candidates = [(powers, inverse.input[0]) for powers, inverse in inverses if inverse is not None]
    for powers, summed in candidates:
        exp, total = view.maker(powers, "Exp"), view.maker(summed, "ReduceSum")
        if exp is None or total is None or total.input[0] != powers or not attribute(total, "keepdims", 1):
            continue
        axes = _axes(total, view)
        if axes:
            return _unit(operator, [exp.input[0]], [helper.make_attribute("axes", axes)], last)
    return None


def _axes(total: onnx.NodeProto, view: View) -> list[int]:
    """The axes of a sum as far as the file tells them, else none."""
    given = attribute(total, "axes") if len(total.input) < 2 else view.array(total.input[1])
    return [] if given is None else [int(axis) for axis in np.reshape(np.asarray(given), -1)]


def _unit(
    operator: str, operands: list[str], attributes: Iterable[onnx.AttributeProto], last: onnx.NodeProto
) -> onnx.NodeProto:
    """A node in the place of `last`."""
    unit = helper.make_node(operator, operands, list(last.output), name=last.name)
    unit.attribute.extend(attributes)
    return unit
