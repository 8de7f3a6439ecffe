"""Operators that are written out as others before calibration, so that each intermediate result is calibrated.

Writes out CumProd, LRN, LpNormalization, ReduceProd and Shrink, and recurrent layers whose batch is the first axis,
which onnxruntime does not run. `quantised` holds the operators of quantised models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from verifier.exact.lowering import quantised
from verifier.exact.lowering.attributes import check_unread
from verifier.exact.lowering.control_flow import KnownTensors
from verifier.exact.lowering.node_writer import CompoundNode

# Maximum number of factors of a product: each takes a multiplication, before which the operands are rounded.
MAX_FACTORS = 256
# From this opset on the axes of ReduceL1 and ReduceL2 are an operand.
AXES_OPERAND_OPSET = 18
SPLIT_OPERAND_OPSET = 13
MACHINE_LEARNING = "ai.onnx.ml"
RECURRENT = ("GRU", "LSTM", "RNN")


def is_compound(node: onnx.NodeProto) -> bool:
    """Return whether `write_out` replaces a node."""
    if node.domain == MACHINE_LEARNING:
        return node.op_type in LEARNED_WRITERS
    if node.domain not in ("", "ai.onnx") and not quantised.is_own(node):
        return False
    if node.op_type in RECURRENT:
        return any(item.name == "layout" and item.i for item in node.attribute)
    return node.op_type in WRITERS


def write_out(graph: onnx.GraphProto, node: onnx.NodeProto, known: KnownTensors) -> list[onnx.NodeProto]:
    """Return the nodes that compute a compound node; constants are added to the graph.

    Errors: LoweringError that names the node, for operands that must be constant or of a known shape.
    """
    compound = CompoundNode(graph, node, known)
    (LEARNED_WRITERS if node.domain == MACHINE_LEARNING else WRITERS)[node.op_type](compound)
    check_unread(node, compound.attributes.unread, known.opset)
    return compound.writer.nodes


def _recurrent(node: CompoundNode) -> None:
    """Put the steps first: X and Y have the batch first with layout=1, and so have the states."""
    writer = node.writer
    inputs = list(node.proto.input)
    for place in (0, 5, 6):
        if len(inputs) > place and inputs[place]:
            inputs[place] = writer.op("Transpose", inputs[place], perm=[1, 0, 2])
    outputs = [f"{name}/steps first" if name else "" for name in node.proto.output]
    attributes = {name: item for name, item in node.attributes.items() if name != "layout"}
    writer.nodes.append(
        helper.make_node(node.proto.op_type, inputs, outputs, name=f"{node.output}/steps first", **attributes)
    )
    for source, output, perm in zip(outputs, node.proto.output, ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2]), strict=False):
        if output:
            writer.op("Transpose", source, output=output, perm=perm)


def _lp_normalization(node: CompoundNode) -> None:
    """x / (sum of |x|**p)**(1/p) over an axis, for a p of 1 or 2."""
    writer, x = node.writer, node.proto.input[0]
    axes = [node.attributes.get("axis", -1)]
    op = "ReduceL1" if node.attributes.get("p", 2) == 1 else "ReduceL2"
    if node.known.opset < AXES_OPERAND_OPSET:
        norm = writer.op(op, x, axes=axes, keepdims=1)
    else:
        norm = writer.op(op, x, writer.constant(axes), keepdims=1)
    writer.op("Div", x, norm, output=node.output)


def _lrn(node: CompoundNode) -> None:
    """x / (bias + alpha / size * sum of x² over neighbouring channels)**beta."""
    writer, x = node.writer, node.proto.input[0]
    rank, channels = len(node.shape(0)), node.shape(0)[1]
    size = int(node.attributes["size"])
    places = np.arange(channels)
    offset = places[:, None] - places[None, :]  # of a channel that is summed from the one that it is summed for
    window = (offset >= -((size - 1) // 2)) & (offset <= size // 2)
    scale = node.attributes.get("alpha", 1e-4) / size
    last = [0, *range(2, rank), 1]
    first = [0, rank - 1, *range(1, rank - 1)]
    squares = writer.op("Transpose", writer.op("Mul", x, x), perm=last)
    sums = writer.op("MatMul", squares, writer.constant(window * scale, np.float32))
    total = writer.op("Add", sums, writer.constant(node.attributes.get("bias", 1.0), np.float32))
    power = writer.op("Pow", total, writer.constant(-node.attributes.get("beta", 0.75), np.float32))
    writer.op("Mul", x, writer.op("Transpose", power, perm=first), output=node.output)


def _reduce_prod(node: CompoundNode) -> None:
    """A product over axes: multiplied in pairs, so that the number of roundings grows with the logarithm of factors."""
    writer, shape = node.writer, node.shape(0)
    listed = node.integers(1, "axes")
    if not listed and node.attributes.get("noop_with_empty_axes"):
        writer.op("Identity", node.proto.input[0], output=node.output)
        return
    axes = sorted({axis % len(shape) for axis in listed}) if listed else list(range(len(shape)))
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    rows = [shape[axis] for axis in kept]
    ordered = writer.op("Transpose", node.proto.input[0], perm=[*kept, *axes])
    count = math.prod(shape[axis] for axis in axes)
    parts = _parts(node, writer.op("Reshape", ordered, writer.constant([*rows, count])), len(kept), count)
    while len(parts) > 1:
        pairs = [writer.op("Mul", *parts[at : at + 2]) for at in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[2 * len(pairs) :]
    keep = node.attributes.get("keepdims", 1)
    result = [1 if axis in axes else dim for axis, dim in enumerate(shape)] if keep else rows
    writer.op("Reshape", parts[0], writer.constant(result), output=node.output)


def _cum_prod(node: CompoundNode) -> None:
    """The products of the first 1, 2, … elements along an axis, or of the last ones with `reverse`."""
    writer, shape = node.writer, node.shape(0)
    (axis,) = node.integers(1, "axis") or [0]
    axis %= len(shape)
    parts = _parts(node, node.proto.input[0], axis, shape[axis])
    if node.attributes.get("reverse"):
        parts.reverse()
    if node.attributes.get("exclusive"):
        ones = writer.constant(np.ones([1 if at == axis else dim for at, dim in enumerate(shape)]), np.float32)
        one = writer.op("CastLike", ones, node.proto.input[0])
        parts = [one, *parts[:-1]]
    products = parts[:1]
    for part in parts[1:]:
        products.append(writer.op("Mul", products[-1], part))
    if node.attributes.get("reverse"):
        products.reverse()
    writer.op("Concat", *products, output=node.output, axis=axis)


def _parts(node: CompoundNode, source: str, axis: int, count: int) -> list[str]:
    """Split a tensor into `count` parts of length 1 along an axis."""
    if count > MAX_FACTORS:
        raise node.fail(f"it multiplies {count} numbers, more than {MAX_FACTORS}: reduce fewer, or sum logarithms")
    writer = node.writer
    if count == 1:
        return [source]
    names = [f"{node.output}/factor {number}" for number in range(count)]
    lengths = [1] * count
    if node.known.opset < SPLIT_OPERAND_OPSET:
        split = helper.make_node("Split", [source], names, name=f"{node.output}/factors", axis=axis, split=lengths)
    else:
        inputs = [source, writer.constant(lengths)]
        split = helper.make_node("Split", inputs, names, name=f"{node.output}/factors", axis=axis)
    writer.nodes.append(split)
    return names


def _shrink(node: CompoundNode) -> None:
    """x + bias below -lambd, x - bias above lambd, 0 between."""
    writer, x = node.writer, node.proto.input[0]
    limit, bias = (float(node.attributes.get(name, default)) for name, default in (("lambd", 0.5), ("bias", 0.0)))
    above = writer.op("Greater", x, writer.constant(limit, np.float32))
    below = writer.op("Less", x, writer.constant(-limit, np.float32))
    lowered = writer.op("Sub", x, writer.constant(bias, np.float32))
    raised = writer.op("Add", x, writer.constant(bias, np.float32))
    inner = writer.op("Where", below, raised, writer.constant(0, np.float32))
    writer.op("Where", above, lowered, inner, output=node.output)


# Of the domain ai.onnx.ml


def _scaler(node: CompoundNode) -> None:
    """(x - offset) * scale, for each column or for all."""
    writer = node.writer
    offset, scale = (writer.constant(node.attributes[name], np.float32) for name in ("offset", "scale"))
    x = writer.op("Cast", node.proto.input[0], to=TensorProto.FLOAT)
    writer.op("Mul", writer.op("Sub", x, offset), scale, output=node.output)


def _binarizer(node: CompoundNode) -> None:
    """1 where x exceeds a threshold, else 0."""
    writer = node.writer
    limit = writer.constant(node.attributes.get("threshold", 0.0), np.float32)
    x = writer.op("Cast", node.proto.input[0], to=TensorProto.FLOAT)
    writer.op("Cast", writer.op("Greater", x, limit), output=node.output, to=TensorProto.FLOAT)


def _array_feature_extractor(node: CompoundNode) -> None:
    """Elements of the last axis, by index."""
    writer = node.writer
    index = writer.op("Reshape", node.proto.input[1], writer.constant([-1]))
    if len(node.shape(0)) > 1:
        writer.op("Gather", node.proto.input[0], index, output=node.output, axis=len(node.shape(0)) - 1)
    else:
        found = writer.op("Gather", node.proto.input[0], index, axis=0)
        writer.op("Reshape", found, writer.constant([1, -1]), output=node.output)


def _linear_regressor(node: CompoundNode) -> None:
    """x times coefficients, plus intercepts."""
    if bytes(node.attributes.get("post_transform", b"NONE")) != b"NONE":
        raise node.fail("its post_transform is not supported: export it without one, and add the function after it")
    writer, targets = node.writer, int(node.attributes.get("targets", 1))
    weights = np.reshape(node.attributes["coefficients"], (targets, -1)).T
    x = writer.op("Cast", node.proto.input[0], to=TensorProto.FLOAT)
    intercepts = writer.constant(node.attributes.get("intercepts", np.zeros(targets)), np.float32)
    product = writer.op("MatMul", x, writer.constant(weights, np.float32))
    writer.op("Add", product, intercepts, output=node.output)


LEARNED_WRITERS: Mapping[str, Callable[[CompoundNode], Any]] = {
    "ArrayFeatureExtractor": _array_feature_extractor,
    "Binarizer": _binarizer,
    "LinearRegressor": _linear_regressor,
    "Scaler": _scaler,
}
WRITERS: Mapping[str, Callable[[CompoundNode], Any]] = {
    **dict.fromkeys(RECURRENT, _recurrent),
    "CumProd": _cum_prod,
    "LRN": _lrn,
    "LpNormalization": _lp_normalization,
    "ReduceProd": _reduce_prod,
    "Shrink": _shrink,
    **quantised.WRITERS,
}
