"""Attention and MultiHeadAttention of onnxruntime, written out as the products, mask and softmax that they contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from verifier.exact.errors import LoweringError
from verifier.exact.lowering.node_writer import NodeWriter

FUSED_ATTENTION = ("Attention", "MultiHeadAttention")
# onnxruntime's default for what is added to the score of a masked key.
MASK_FILTER = -10_000.0
# onnxruntime gives this score, the lowest float32, to future keys in place of their own.
FUTURE = float(np.finfo(np.float32).min)
# Minimum mask_filter_value beside a causal mask. Softmax raises lower scores to -32,768, where padded keys would equal
# future ones; 12,768 are left for the scores themselves. FUTURE is accepted, because there onnxruntime's are equal too.
MIN_CAUSAL_FILTER = -20_000.0
# Operands that are not supported, by their place: the past of a decoder, and what belongs to it.
UNSUPPORTED: dict[str, Mapping[int, str]] = {
    "Attention": {4: "past", 6: "past_sequence_length"},
    "MultiHeadAttention": {6: "past_key", 7: "past_value", 8: "past_sequence_length", 9: "cache_indirection"},
}
# Minimum opset: Trilu exists from here on.
MIN_CAUSAL_OPSET = 14


def written_out(
    graph: onnx.GraphProto, node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]], opset: int
) -> list[onnx.NodeProto]:
    """Return the nodes that compute a fused attention; constants are added to the graph.

    `shapes` are those that are known. Errors: LoweringError that names the node, for a past, a mask that does not have
    two axes, a mask_filter_value that a causal mask cannot be told from, and further outputs.
    """
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    _check(node, attributes, shapes, opset)
    operands = [*node.input, *[""] * 10]
    writer = NodeWriter(graph, node)
    heads = int(attributes["num_heads"])
    if node.op_type == "Attention":
        source, weight, bias, mask, _, scores_bias = operands[:6]
        size = shapes[weight][1] // 3
        product = writer.op("MatMul", source, weight)
        packed = writer.op("Add", product, bias) if bias else product
        parts = [_part(writer, packed, number, size) for number in range(3)]
    else:
        *parts, bias, mask, scores_bias = operands[:6]
        if bias:
            size = shapes[bias][0] // 3
            parts = [
                writer.op("Add", part, _part(writer, bias, number, size, axis=0)) for number, part in enumerate(parts)
            ]
    by_head = writer.constant([0, 0, heads, -1])
    query, key, value = (
        writer.op("Transpose", writer.op("Reshape", part, by_head), perm=perm)
        for part, perm in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    scores = writer.op("Mul", writer.op("MatMul", query, key), _scale(writer, query, attributes))
    filler = float(attributes.get("mask_filter_value", MASK_FILTER))
    if mask:
        by_key = writer.op("Reshape", mask, writer.constant([0, 1, 1, -1]))
        kept = writer.op("Cast", writer.op("Greater", by_key, writer.constant(0, np.int32)), to=TensorProto.FLOAT)
        hidden = writer.op("Sub", writer.constant(1, np.float32), kept)
        scores = writer.op("Add", scores, writer.op("Mul", hidden, writer.constant(filler, np.float32)))
    if scores_bias:
        scores = writer.op("Add", scores, scores_bias)
    if attributes.get("unidirectional"):
        square = writer.op("Slice", writer.op("Shape", scores), *(writer.constant([item]) for item in (2, 4)))
        future = writer.op(
            "Trilu", writer.op("Expand", writer.constant(True, np.bool_), square), writer.constant(1), upper=1
        )
        scores = writer.op("Where", future, writer.constant(FUTURE, np.float32), scores)
    mixed = writer.op("MatMul", writer.op("Softmax", scores, axis=-1), value)
    rows = writer.op("Transpose", mixed, perm=[0, 2, 1, 3])
    writer.op("Reshape", rows, writer.constant([0, 0, -1]), output=node.output[0])
    return writer.nodes


def _part(writer: NodeWriter, packed: str, number: int, size: int, axis: int = 2) -> str:
    """Emit the first, second or third part of a tensor that holds queries, keys and values."""
    bounds = (number * size, (number + 1) * size, axis)
    return writer.op("Slice", packed, *(writer.constant([bound]) for bound in bounds))


def _scale(writer: NodeWriter, query: str, attributes: Mapping[str, Any]) -> str:
    """Return the factor of the scores, by default 1 / sqrt(size of a head), which shapes make a constant."""
    if attributes.get("scale"):
        return writer.constant(attributes["scale"], np.float32)
    size = writer.op("Gather", writer.op("Shape", query), writer.constant(3))
    return writer.op("Reciprocal", writer.op("Sqrt", writer.op("Cast", size, to=TensorProto.FLOAT)))


def _check(
    node: onnx.NodeProto, attributes: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], opset: int
) -> None:
    """Refuse what the written-out form does not have."""
    given = [name for place, name in UNSUPPORTED[node.op_type].items() if len(node.input) > place and node.input[place]]
    given += [name for name in ("do_rotary", "qkv_hidden_sizes") if attributes.get(name)]
    mask_at = 3 if node.op_type == "Attention" else 4
    mask = node.input[mask_at] if len(node.input) > mask_at else ""
    size_at = 1 if node.op_type == "Attention" else 3
    size = node.input[size_at] if len(node.input) > size_at else ""
    three = all(len(node.input) > place and node.input[place] for place in range(3)) or node.op_type == "Attention"
    filler = float(attributes.get("mask_filter_value", MASK_FILTER))
    reason, fix = "", "lower the model as it was before onnxruntime optimised it"
    if given:
        reason = f"it uses {', '.join(given)}, which is not supported"
    elif any(node.output[1:]):
        reason = "its outputs beyond the first are not supported"
    elif not three or any(len(shapes.get(name, (1, 1, 1))) != 3 for name in node.input[: 3 if mask_at == 4 else 1]):
        reason = "its queries, keys and values must be three tensors of three axes"
    elif mask and len(shapes.get(mask, ())) != 2:
        reason = "its mask must be known to have two axes, [batch, keys]"
    elif size and size not in shapes:
        reason = "the shape of its weight or bias is unknown"
    elif attributes.get("unidirectional") and opset < MIN_CAUSAL_OPSET:
        reason = f"a causal mask needs opset {MIN_CAUSAL_OPSET}"
    elif mask and not np.isfinite(filler):
        reason = f"mask_filter_value {filler:g} makes rows NaN that are masked throughout"
        fix = f"set it to {MASK_FILTER:g}, or {fix}"
    elif mask and attributes.get("unidirectional") and not (filler >= MIN_CAUSAL_FILTER or filler == FUTURE):
        reason = f"mask_filter_value {filler:g} beside a causal mask is not supported"
        fix = f"set it to {MASK_FILTER:g}, or {fix}"
    if reason:
        raise LoweringError(f"{node.op_type} node {node.name or node.output[0]!r}", f"{reason}: {fix}")
