"""Trees of elementwise nodes that are a function of one tensor: activations, whatever nodes an exporter made of them.

The function of a tree is evaluated in float64 at the points of a table. Therefore GELU by erf or by tanh, SiLU,
softplus or a single exponential need no pattern each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.lowering.fusion.graph_index import GraphIndex, attribute

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


# Operators that need a table. A tree without any of these is lowered node by node, because that is more precise.
TABULATED: dict[str, Callable[[onnx.NodeProto, Points], Points]] = {
    "Asinh": lambda _, x: np.arcsinh(x),
    "Atan": lambda _, x: np.arctan(x),
    "Cos": lambda _, x: np.cos(x),
    "Cosh": lambda _, x: np.cosh(x),
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
    "Sinh": lambda _, x: np.sinh(x),
    "Softplus": lambda _, x: np.logaddexp(0, x),
    "Softsign": lambda _, x: x / (1 + np.abs(x)),
    "Tanh": lambda _, x: np.tanh(x),
}
# Other operators that may be part of a tree.
ARITHMETIC: dict[str, Callable[..., Points]] = {
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
class FunctionTree:
    """A tree: the tensor `root` of which it is a function, its output, the name of its last node, and the function."""

    root: str
    output: str
    name: str
    function: Function


# Maximum power that is lowered as a product of copies of its base: more products cost more than a table.
MAX_POWER = 8
# The root of a constant, which can be part of a tree with any root.
ANY_ROOT = ""


@dataclass(frozen=True)
class _PartialTree:
    root: str
    function: Function
    tabulated: bool


def find_function_trees(nodes: list[onnx.NodeProto], graph: GraphIndex) -> Iterator[FunctionTree]:
    """Yield the largest trees whose inner tensors are neither read by other nodes nor outputs of the graph."""
    trees: dict[str, _PartialTree] = {}
    for node in nodes:
        tree = _tree(node, trees, graph)
        if tree is not None:
            trees[node.output[0]] = tree
    inside = {name for node in nodes if node.output[0] in trees for name in node.input if _continues(name, node, trees)}
    for node in nodes:
        output = node.output[0]
        tree = trees.get(output)
        if tree is not None and tree.tabulated and (output not in inside or _read_outside(output, trees, graph)):
            yield FunctionTree(tree.root, output, node.name, tree.function)


def _continues(name: str, node: onnx.NodeProto, trees: dict[str, _PartialTree]) -> bool:
    """Return whether an operand's tree continues in the tree of the node that reads it."""
    return name in trees and trees[name].root == trees[node.output[0]].root


def _read_outside(name: str, trees: dict[str, _PartialTree], graph: GraphIndex) -> bool:
    return name in graph.outputs or any(
        reader.output[0] not in trees or not _continues(name, reader, trees) for reader in graph.readers(name)
    )


def _tree(node: onnx.NodeProto, trees: dict[str, _PartialTree], graph: GraphIndex) -> _PartialTree | None:
    if node.op_type not in TABULATED and node.op_type not in ARITHMETIC:
        return None
    if node.op_type == "Log" and not (node.input[0] in trees and trees[node.input[0]].tabulated):
        return None  # the lowering of Log needs no calibrated range, and is finer than a table over one
    scalars = [graph.scalar(name) for name in node.input]
    if any(scalar is None and graph.is_constant(name) for name, scalar in zip(node.input, scalars, strict=True)):
        return None
    # Continue the operands' trees; where these have different roots, start from the operands themselves.
    for known in (trees, {}):
        operands = [
            _PartialTree(ANY_ROOT, _constant_function(scalar), False)
            if scalar is not None
            else known.get(name, _PartialTree(name, _identity, False))
            for name, scalar in zip(node.input, scalars, strict=True)
        ]
        roots = {operand.root for operand in operands} - {ANY_ROOT}
        if len(roots) == 1:
            tabulated = (
                node.op_type in TABULATED
                or any(operand.tabulated for operand in operands)
                or (node.op_type == "Pow" and not is_power(scalars[1]))
            )
            return _PartialTree(roots.pop(), _composed(node, [operand.function for operand in operands]), tabulated)
    return None


def is_power(exponent: float | None) -> bool:
    """Return whether a power is a product of copies of its base or of its base's root, or 1 divided by one."""
    return exponent is not None and 0 < abs(exponent) <= MAX_POWER and exponent * 2 % 1 == 0


def _identity(x: Points) -> Points:
    return x


def _constant_function(number: float) -> Function:
    return lambda x: np.full_like(x, number)


def _composed(node: onnx.NodeProto, functions: list[Function]) -> Function:
    unary: Any = TABULATED.get(node.op_type)
    if unary is not None:
        return lambda x: unary(node, functions[0](x))
    arithmetic = ARITHMETIC[node.op_type]
    return lambda x: arithmetic(*(function(x) for function in functions))
