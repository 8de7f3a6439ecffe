"""Where, comparisons and logic: masks."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.registry import Item, Node, as_bool, as_float, lowers
from verifier.exact.program.values import BOOL


@lowers("And", "Or", "Not")
def lower_logic(node: Node) -> list[Item]:
    """On bools."""
    operands = [as_bool(node.builder, node.value(index)) for index in range(len(node.proto.input))]
    return [node.builder.op(node.proto.op_type, *operands)]


@lowers("Xor")
def lower_xor(node: Node) -> list[Item]:
    """One of the two and not both."""
    builder = node.builder
    a, b = (as_bool(builder, node.value(index)) for index in (0, 1))
    both = builder.op("And", a, b)
    return [builder.op("And", builder.op("Or", a, b), builder.op("Not", both))]


@lowers("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
def lower_compare(node: Node) -> list[Item]:
    """On float64: integers take part as floats. Nothing equals infinity, which exporters ask of a sum's largest."""
    items = [node.item(index) for index in (0, 1)]
    if node.proto.op_type == "Equal" and any(_infinite(item) for item in items):
        return [np.zeros(np.broadcast_shapes(*(item.shape for item in items)), np.bool_)]
    operands = [as_float(node.builder, node.value(index)) for index in (0, 1)]
    return [node.builder.op(node.proto.op_type, *operands)]


def _infinite(item: Item) -> bool:
    return isinstance(item, np.ndarray) and item.dtype.kind == "f" and bool(np.isposinf(item).all())


@lowers("Where")
def lower_where(node: Node) -> list[Item]:
    """The condition chooses; minus infinity in a branch is the mask constant."""
    builder = node.builder
    known = node.constant(0)
    if known is not None and (known.all() or not known.any()):
        chosen = node.item(1 if known.all() else 2)
        if np.broadcast_shapes(known.shape, node.item(1).shape, node.item(2).shape) == chosen.shape:
            return [chosen]
    condition = as_bool(builder, node.value(0))
    branches = [node.value(index) for index in (1, 2)]
    if all(branch.dtype == BOOL for branch in branches):
        chosen = builder.op("And", condition, branches[0])
        other = builder.op("And", builder.op("Not", condition), branches[1])
        return [builder.op("Or", chosen, other)]
    chosen = node.narrowing(
        lambda bits: builder.op("Where", condition, *(as_float(builder, node.fitted(index, bits)) for index in (1, 2))),
        53,
    )
    whole = all(np.dtype(node.item(index).dtype).kind in "iu" for index in (1, 2))
    return [builder.cast(chosen, "int64") if whole else chosen]


@lowers("IsNaN", "IsInf")
def lower_is_special(node: Node) -> list[Item]:
    """No number of an exact program is: a constant, by which a Where that asks is folded."""
    return [np.zeros(node.value(0).shape, np.bool_)]
