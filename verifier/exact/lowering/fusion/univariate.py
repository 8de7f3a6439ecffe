"""Trees of elementwise nodes that are a function of one tensor: activations, however an exporter wrote them.

GELU by erf or by tanh, SiLU, softplus, a lone exponential: each is evaluated in float64 on the points of a table, so no
pattern of any one of them is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.lowering.fusion.view import View, attribute

Points = NDArray[np.float64]
Function = Callable[[Points], Points]

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _tanh_gelu(x: Points) -> Points:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _gelu(node: onnx.NodeProto, x: Points) -> Points:
    if attribute(node, "approximate", b"none") in (b"tanh", "tanh"):
        return _tanh_gelu(x)
    return np.asarray(0.5 * x * _erfc(-x / math.sqrt(2)))


def _number(node: onnx.NodeProto, name: str, default: float) -> float:
    return float(attribute(node, name, default))  # type: ignore[arg-type]


def _elu(x: Points, alpha: float) -> Points:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _sigmoid(x: Points) -> Points:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


# What needs a table: a tree with none of these is exact arithmetic and is lowered node by node.
CURVED: dict[str, Callable[[onnx.NodeProto, Points], Points]] = {
    "Cos": lambda _, x: np.cos(x),
    "Elu": lambda node, x: _elu(x, _number(node, "alpha", 1.0)),
    "Erf": lambda _, x: _erf(x),
    "Exp": lambda _, x: np.exp(x),
    "FastGelu": lambda _, x: _tanh_gelu(x),
    "Gelu": _gelu,
    "Log": lambda _, x: np.log(np.maximum(x, np.finfo(np.float32).tiny)),
    "Mish": lambda _, x: x * np.tanh(np.logaddexp(0, x)),
    "QuickGelu": lambda node, x: x * _sigmoid(_number(node, "alpha", 1.702) * x),
    "Selu": lambda node, x: (
        _number(node, "gamma", 1.0507009873554805) * _elu(x, _number(node, "alpha", 1.6732632423543772))
    ),
    "Sigmoid": lambda _, x: _sigmoid(x),
    "Sin": lambda _, x: np.sin(x),
    "Softplus": lambda _, x: np.logaddexp(0, x),
    "Softsign": lambda _, x: x / (1 + np.abs(x)),
    "Tanh": lambda _, x: np.tanh(x),
}
PLAIN: dict[str, Callable[..., Points]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Neg": np.negative,
    "Abs": np.abs,
    "Max": np.maximum,
    "Min": np.minimum,
    "Relu": lambda x: np.maximum(x, 0),
    "Reciprocal": lambda x: 1 / x,
    "Sqrt": np.sqrt,
}


@dataclass(frozen=True)
class Unit:
    """A tree: the tensor it is a function of, the tensor it makes, and the function."""

    root: str
    output: str
    name: str
    function: Function


# Powers of a base are products of at most that many copies of it; others are tabulated.
MOST_POWER = 8
ANY = ""  # the root of a constant


@dataclass(frozen=True)
class _Tree:
    root: str
    function: Function
    curved: bool


def find(nodes: list[onnx.NodeProto], view: View) -> Iterator[Unit]:
    """The largest trees, of which nothing but the result is read elsewhere or is wanted as an output."""
    trees: dict[str, _Tree] = {}
    for node in nodes:
        tree = _tree(node, trees, view)
        if tree is not None:
            trees[node.output[0]] = tree
    inside = {name for node in nodes if node.output[0] in trees for name in node.input if _continues(name, node, trees)}
    for node in nodes:
        output = node.output[0]
        if output in trees and trees[output].curved and (output not in inside or _read_outside(output, trees, view)):
            yield Unit(trees[output].root, output, node.name, trees[output].function)


def _continues(name: str, node: onnx.NodeProto, trees: dict[str, _Tree]) -> bool:
    """Whether an operand's tree goes on through the node that reads it."""
    return name in trees and trees[name].root == trees[node.output[0]].root


def _read_outside(name: str, trees: dict[str, _Tree], view: View) -> bool:
    return name in view.outputs or any(
        reader.output[0] not in trees or not _continues(name, reader, trees) for reader in view.readers(name)
    )


def _tree(node: onnx.NodeProto, trees: dict[str, _Tree], view: View) -> _Tree | None:
    if node.op_type not in CURVED and node.op_type not in PLAIN:
        return None
    if node.op_type == "Log" and not (node.input[0] in trees and trees[node.input[0]].curved):
        return None  # a logarithm of what is exact needs no range and is finer than a table over one
    scalars = [view.scalar(name) for name in node.input]
    if any(scalar is None and view.is_constant(name) for name, scalar in zip(node.input, scalars, strict=True)):
        return None
    # First through the operands' trees; where these have different roots, from the operands themselves.
    for known in (trees, {}):
        operands = [
            _Tree(ANY, _constantly(scalar), False)
            if scalar is not None
            else known.get(name, _Tree(name, _identity, False))
            for name, scalar in zip(node.input, scalars, strict=True)
        ]
        roots = {operand.root for operand in operands} - {ANY}
        if len(roots) == 1:
            curved = (
                node.op_type in CURVED
                or any(operand.curved for operand in operands)
                or (node.op_type == "Pow" and not is_power(scalars[1]))
            )
            return _Tree(roots.pop(), _composed(node, [operand.function for operand in operands]), curved)
    return None


def is_power(exponent: float | None) -> bool:
    """Whether a product of copies of a base or of its root, or one divided by that, is this power."""
    return exponent is not None and 0 < abs(exponent) <= MOST_POWER and exponent * 2 % 1 == 0


def _identity(x: Points) -> Points:
    return x


def _constantly(number: float) -> Function:
    return lambda x: np.full_like(x, number)


def _composed(node: onnx.NodeProto, functions: list[Function]) -> Function:
    curved: Any = CURVED.get(node.op_type)
    if curved is not None:
        return lambda x: curved(node, functions[0](x))
    plain = PLAIN[node.op_type]
    return lambda x: plain(*(function(x) for function in functions))
