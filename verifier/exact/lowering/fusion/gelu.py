"""x * 0.5 * (1 + erf(x / sqrt(2))) is GELU."""

from __future__ import annotations

import math

import onnx
from onnx import helper

from verifier.exact.lowering.fusion.patterns import Patterns


def gelu(node: onnx.NodeProto, patterns: Patterns) -> onnx.NodeProto | None:
    """A Gelu node for the last product of the decomposition, its factors in any order."""
    if node.op_type != "Mul":
        return None
    factors, scale, argument = [*node.input], 1.0, None
    variables: list[str] = []
    while factors:
        name = factors.pop()
        value = patterns.scalar(name)
        product = patterns.maker(name, "Mul")
        erf = _erf_argument(name, patterns)
        if value is not None:
            scale *= value
        elif erf is not None:
            argument = erf
        elif product is not None and _is_factor(product, patterns):
            factors.extend(product.input)
        else:
            variables.append(name)
    if argument is None or variables != [argument] or not math.isclose(scale, 0.5, rel_tol=1e-5):
        return None
    return helper.make_node("Gelu", [argument], list(node.output), name=node.name)


def _is_factor(product: onnx.NodeProto, patterns: Patterns) -> bool:
    """Whether a product is a part of the formula: it has the constant or the error function in it."""
    return any(patterns.scalar(name) is not None or _erf_argument(name, patterns) for name in product.input)


def _erf_argument(name: str, patterns: Patterns) -> str | None:
    """x when the tensor is 1 + erf(x / sqrt(2))."""
    total = patterns.maker(name, "Add")
    if total is None:
        return None
    for one, other in (total.input, total.input[::-1]):
        erf = patterns.maker(other, "Erf")
        inner = None if erf is None else patterns.maker(erf.input[0], "Div", "Mul")
        if patterns.scalar(one) == 1.0 and inner is not None:
            if inner.op_type == "Div" and patterns.is_near(inner.input[1], math.sqrt(2)):
                return str(inner.input[0])
            for factor, x in (inner.input, inner.input[::-1]):
                if inner.op_type == "Mul" and patterns.is_near(factor, math.sqrt(0.5)):
                    return str(x)
    return None
