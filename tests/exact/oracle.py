"""Evaluate an ONNX graph of the exact operators in rational numbers: slow, and with no limit on any size.

The oracle reads the file itself and shares nothing with the package, so that it stays right where the proof, the
reference interpreter and the engine are all wrong together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Rational = np.ndarray[Any, Any]  # of Python integers and fractions
_each = np.frompyfunc
_exact = _each(lambda x: Fraction(x) if isinstance(x, float) else int(x), 1, 1)


class Root:
    """A square root before its Floor."""

    def __init__(self, square: Any) -> None:
        self.square = square


def evaluate(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> dict[str, Rational]:
    """Compute every tensor of a graph, by name."""
    tensors = {name: rational(array) for name, array in feeds.items()}
    for initializer in model.graph.initializer:
        tensors[initializer.name] = rational(numpy_helper.to_array(initializer))
    for node in model.graph.node:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        arguments = [tensors[name] if name else None for name in node.input]
        results = _node(node.op_type, arguments, attributes, len(node.output))
        for name, result in zip(node.output, results, strict=True):
            tensors[name] = _array(result)
    return tensors


def rational(array: Any) -> Rational:
    """Convert an array to exact rational numbers."""
    return _array(_exact(np.asarray(array).astype(object)))


def same(array: np.ndarray[Any, Any], truth: Rational) -> bool:
    """Whether the numbers that a runtime returned are exactly these rational numbers."""
    return array.shape == truth.shape and bool(np.all(rational(array) == truth))


def _array(value: Any) -> Rational:
    if isinstance(value, np.ndarray):
        return value
    result = np.empty((), object)
    result[()] = value
    return result


def _floor(x: Any) -> int:
    if isinstance(x, Root):
        return math.isqrt(math.floor(x.square))
    return math.floor(x)


_COMPARISONS = {
    "Equal": lambda a, b: int(a == b),
    "Less": lambda a, b: int(a < b),
    "Greater": lambda a, b: int(a > b),
    "LessOrEqual": lambda a, b: int(a <= b),
    "GreaterOrEqual": lambda a, b: int(a >= b),
    "And": lambda a, b: int(bool(a) and bool(b)),
    "Or": lambda a, b: int(bool(a) or bool(b)),
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: Fraction(a) / Fraction(b),
}
_SINGLE = {
    "Neg": lambda a: -a,
    "Not": lambda a: int(not a),
    "Round": round,  # of a Fraction: ties to even
    "Floor": _floor,
    "Sqrt": Root,
}


def _node(op: str, x: list[Any], attributes: dict[str, Any], outputs: int) -> list[Any]:
    if op in _COMPARISONS:
        return [_each(_COMPARISONS[op], 2, 1)(x[0], x[1])]
    if op in _SINGLE:
        return [_each(_SINGLE[op], 1, 1)(x[0])]
    if op in ("Max", "Min"):
        pick = _each(max if op == "Max" else min, 2, 1)
        result = x[0]
        for other in x[1:]:
            result = pick(result, other)
        return [result]
    if op == "Clip":
        return [_each(lambda v, lo, hi: min(max(v, lo), hi), 3, 1)(*x)]
    if op == "Where":
        return [_each(lambda c, a, b: a if c else b, 3, 1)(*x)]
    if op == "Cast":
        return [_each(lambda v: int(v != 0), 1, 1)(x[0]) if attributes["to"] == onnx.TensorProto.BOOL else x[0]]
    if op == "MatMul":
        return [np.matmul(x[0], x[1])]
    if op.startswith("Reduce"):
        axes = tuple(int(a) for a in x[1]) if len(x) > 1 else tuple(range(x[0].ndim))
        ufunc = {"ReduceSum": np.add, "ReduceMax": np.maximum, "ReduceMin": np.minimum}[op]
        return [ufunc.reduce(x[0], axis=axes, keepdims=bool(attributes.get("keepdims", 1)))]
    return _view(op, x, attributes, outputs)


def _view(op: str, x: list[Any], attributes: dict[str, Any], outputs: int) -> list[Any]:
    data, axis = x[0], attributes.get("axis", 0)
    lists = [None if item is None or op == "Concat" else [int(v) for v in item.ravel()] for item in x[1:]]
    if op == "Identity":
        return [data]
    if op == "Gather":
        return [np.take(data, x[1].astype(np.int64), axis=axis)]
    if op == "GatherElements":
        result = np.empty(x[1].shape, object)
        for index in np.ndindex(*x[1].shape):
            source = list(index)
            source[axis] = int(x[1][index])
            result[index] = data[tuple(source)]
        return [result]
    if op == "Reshape":
        return [data.reshape([data.shape[i] if dim == 0 else dim for i, dim in enumerate(lists[0])])]
    if op == "Transpose":
        return [data.transpose(attributes.get("perm"))]
    if op == "Slice":
        return [_slice(data, lists)]
    if op == "Split":
        lengths = lists[0] if lists else [data.shape[axis] // outputs] * outputs
        return list(np.split(data, np.cumsum(lengths)[:-1], axis=axis))
    if op == "Concat":
        return [np.concatenate(x, axis=axis)]
    if op == "Expand":
        return [np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(lists[0])))]
    if op == "Squeeze":
        return [np.squeeze(data, axis=tuple(lists[0]) if lists else None)]
    if op == "Unsqueeze":
        return [np.expand_dims(data, tuple(lists[0]))]
    raise NotImplementedError(op)


def _slice(data: Any, lists: list[Any]) -> Any:
    """Slice as the ONNX standard says: negative bounds count from the end, then all are clamped to the axis."""
    starts, ends = lists[0], lists[1]
    axes = lists[2] if len(lists) > 2 and lists[2] is not None else range(len(starts))
    steps = lists[3] if len(lists) > 3 and lists[3] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dim = data.shape[axis]
        start, end = (bound + dim if bound < 0 else bound for bound in (start, end))
        if step > 0:
            start, end = max(0, min(start, dim)), max(0, min(end, dim))
        else:
            start, end = max(0, min(start, dim - 1)), max(-1, min(end, dim - 1))
        data = np.take(data, list(range(start, end, step)), axis=axis)
    return data
