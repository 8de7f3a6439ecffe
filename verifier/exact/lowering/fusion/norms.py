"""LayerNorm and RMSNorm as exporters decompose them: x / sqrt(mean(x²) + ε), centred before or not, scaled after."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from verifier.exact.lowering.fusion.view import View, attribute, commuted


def find(view: View) -> Iterator[onnx.NodeProto]:
    """All normalisations over the last axis, each as the one node that makes what its last node made."""
    for node in view.nodes:
        parts = _normalised(node, view)
        if parts is None:
            continue
        x, epsilon = parts
        source = _centred(x, view)
        output, weight = _scaled(node.output[0], view, "Mul")
        bias = None
        if source is not None:
            output, bias = _scaled(output, view, "Add")
        operator = "RMSNormalization" if source is None else "LayerNormalization"
        operands = [source or x, weight or "", bias or ""]
        while operands[-1] == "":
            operands.pop()
        yield helper.make_node(operator, operands, [output], name=node.name, epsilon=epsilon, axis=-1)


def _normalised(node: onnx.NodeProto, view: View) -> tuple[str, float] | None:
    """(x, ε) of x / sqrt(mean(x²) + ε)."""
    if node.op_type == "Div":
        root = view.maker(node.input[1], "Sqrt")
        candidates = [(node.input[0], root.input[0] if root is not None else None)]
    elif node.op_type == "Mul":
        candidates = [(x, _rsqrt(other, view)) for x, other in commuted(node)]
    else:
        return None
    for x, radicand in candidates:
        epsilon = None if radicand is None else _mean_square(x, radicand, view)
        if epsilon is not None:
            return x, epsilon
    return None


def _rsqrt(name: str, view: View) -> str | None:
    """y of 1 / sqrt(y)."""
    node = view.maker(name, "Reciprocal", "Div", "Pow", "Sqrt")
    if node is None:
        return None
    if node.op_type == "Pow":
        return node.input[0] if view.scalar(node.input[1]) == -0.5 else None
    inner = {"Reciprocal": "Sqrt", "Div": "Sqrt", "Sqrt": "Reciprocal"}[node.op_type]
    if node.op_type == "Div" and view.scalar(node.input[0]) != 1.0:
        return None
    below = view.maker(node.input[-1], inner)
    return None if below is None else below.input[0]


def _mean_square(x: str, name: str, view: View) -> float | None:
    """ε of mean(x²) + ε over the last axis."""
    total = view.maker(name, "Add")
    if total is None:
        return None
    for mean_name, epsilon_name in commuted(total):
        epsilon, mean = view.scalar(epsilon_name), view.maker(mean_name, "ReduceMean")
        if epsilon is None or mean is None or not _over_last_axis(mean, view):
            continue
        square = view.maker(mean.input[0], "Pow", "Mul")
        if square is None or square.input[0] != x:
            continue
        if square.input[1] == x if square.op_type == "Mul" else view.scalar(square.input[1]) == 2.0:
            return epsilon
    return None


def _over_last_axis(reduce: onnx.NodeProto, view: View) -> bool:
    if attribute(reduce, "keepdims", 1) != 1:
        return False
    axes = attribute(reduce, "axes")
    if axes is None and len(reduce.input) > 1:
        found = view.array(reduce.input[1])
        axes = None if found is None else found.reshape(-1).tolist()
    if not isinstance(axes, list) or len(axes) != 1:
        return False
    rank = view.rank(reduce.input[0])
    return axes[0] == -1 or (rank is not None and axes[0] == rank - 1)


def _centred(name: str, view: View) -> str | None:
    """z of z - mean(z) over the last axis."""
    difference = view.maker(name, "Sub")
    if difference is None:
        return None
    mean = view.maker(difference.input[1], "ReduceMean")
    if mean is None or mean.input[0] != difference.input[0] or not _over_last_axis(mean, view):
        return None
    return str(difference.input[0])


def _scaled(name: str, view: View, operator: str) -> tuple[str, str | None]:
    """The tensor after a following Mul or Add by a constant vector, and that constant's name."""
    reader = view.only_reader(name)
    if reader is None or reader.op_type != operator:
        return name, None
    for value, constant in commuted(reader):
        array = view.array(constant)
        if (
            value == name
            and array is not None
            and array.size == np.prod(array.shape[-1:], dtype=int)
            and array.size > 1
        ):
            return reader.output[0], constant
    return name, None
