"""Floor, Ceil, Round, Sign, Cast, CastLike: whole numbers."""

from __future__ import annotations

import numpy as np
import onnx

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.registry import Item, Node, as_float, lowers
from verifier.exact.program.values import BOOL, FLOAT, Value


@lowers("Floor", "Ceil", "Round")
def lower_round(node: Node) -> list[Item]:
    """Exact; Round takes ties to even numbers."""
    builder, op = node.builder, node.proto.op_type
    value = as_float(builder, node.value(0))
    if value.grid >= 0:
        return [value]
    if op == "Round":
        return [builder.rounded(value, 0)]
    return [builder.op("Floor", value) if op == "Floor" else _ceiling(builder, value)]


def _ceiling(builder: Builder, value: Value) -> Value:
    return builder.op("Neg", builder.op("Floor", builder.op("Neg", value)))


@lowers("Sign")
def lower_sign(node: Node) -> list[Item]:
    """1, 0 or -1."""
    builder = node.builder
    value, zero = as_float(builder, node.value(0)), builder.constant(np.float64(0))
    above, below = (builder.cast(builder.op(op, value, zero), FLOAT) for op in ("Greater", "Less"))
    return [node.restored(builder.op("Sub", above, below))]


@lowers("Cast")
def lower_cast(node: Node) -> list[Item]:
    """Between floats: nothing. To bool: a comparison. Of floats to integers: towards zero."""
    return [_cast(node, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"])))]


@lowers("CastLike")
def lower_cast_like(node: Node) -> list[Item]:
    """To what its second operand is."""
    return [_cast(node, np.dtype(node.item(1).dtype))]


def _cast(node: Node, target: np.dtype[np.generic]) -> Value:
    builder, value = node.builder, node.value(0)
    if target.kind in "fV":
        return as_float(builder, value)
    if target == np.bool_:
        return builder.cast(value, BOOL)
    if value.dtype == FLOAT and value.grid < 0:
        zero = builder.constant(np.float64(0))
        down = builder.op("Floor", builder.op("Max", value, zero))
        value = builder.op("Add", down, _ceiling(builder, builder.op("Min", value, zero)))
    return builder.cast(value, "int64")
