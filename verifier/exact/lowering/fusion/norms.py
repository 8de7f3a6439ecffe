"""(x - mean(x)) / sqrt(mean((x - mean(x))²) + ε) is LayerNorm, and without the means RMSNorm, before any weight."""

from __future__ import annotations

import onnx
from onnx import helper

from verifier.exact.lowering.fusion.patterns import Patterns


def norm(node: onnx.NodeProto, patterns: Patterns) -> onnx.NodeProto | None:
    """A LayerNormalization or RMSNormalization node, without a weight, for the last division of the decomposition."""
    for numerator, root in _fractions(node, patterns):
        inside = patterns.maker(root, "Sqrt")
        total = None if inside is None else patterns.maker(inside.input[0], "Add")
        if total is None:
            continue
        for variance, epsilon in (total.input, total.input[::-1]):
            offset = patterns.scalar(epsilon)
            axis = _mean_square_axis(variance, numerator, patterns)
            if offset is None or axis is None:
                continue
            centred = _uncentred(numerator, axis, patterns)
            return helper.make_node(
                "RMSNormalization" if centred is None else "LayerNormalization",
                [centred or numerator],
                list(node.output),
                name=node.name,
                axis=axis,
                epsilon=offset,
            )
    return None


def _fractions(node: onnx.NodeProto, patterns: Patterns) -> list[tuple[str, str]]:
    """(a, b) for each way to read a node as a / b."""
    if node.op_type == "Div":
        return [(node.input[0], node.input[1])]
    if node.op_type != "Mul":
        return []
    found = []
    for a, inverse in (node.input, node.input[::-1]):
        reciprocal = patterns.maker(inverse, "Reciprocal")
        quotient = patterns.maker(inverse, "Div")
        if reciprocal is not None:
            found.append((a, reciprocal.input[0]))
        elif quotient is not None and patterns.scalar(quotient.input[0]) == 1.0:
            found.append((a, quotient.input[1]))
    return found


def _mean_square_axis(name: str, of: str, patterns: Patterns) -> int | None:
    """The axis when the tensor is the mean along it of the squares of tensor `of`."""
    mean = patterns.maker(name, "ReduceMean")
    square = None if mean is None else patterns.maker(mean.input[0], "Pow", "Mul")
    if mean is None or square is None:
        return None
    is_square = (
        list(square.input) == [of, of]
        if square.op_type == "Mul"
        else square.input[0] == of and patterns.scalar(square.input[1]) == 2.0
    )
    return patterns.axis(mean) if is_square else None


def _uncentred(name: str, axis: int, patterns: Patterns) -> str | None:
    """x when the tensor is x minus its mean along the axis."""
    difference = patterns.maker(name, "Sub")
    mean = None if difference is None else patterns.maker(difference.input[1], "ReduceMean")
    if difference is None or mean is None or mean.input[0] != difference.input[0] or patterns.axis(mean) != axis:
        return None
    return str(difference.input[0])
