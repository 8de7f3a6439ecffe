"""The attributes of a float node, and the check that the lowering has read each one that can change the result.

An attribute that a lowering ignores would change the meaning of the model without a message. Therefore reads are
recorded, and an attribute that nothing has read is accepted only with ONNX's default value, or where it cannot change
the result of an inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import onnx.defs
from onnx import helper

from verifier.exact.errors import LoweringError

# Attributes that cannot change a result where the lowering does not read them.
IRRELEVANT: dict[str, frozenset[str]] = {
    # They only matter while a model is trained.
    "BatchNormalization": frozenset({"momentum"}),
    "Dropout": frozenset({"ratio", "seed"}),
    # They only matter for results in 8 bits, to which no lowering casts.
    "Cast": frozenset({"round_mode", "saturate"}),
    "CastLike": frozenset({"round_mode", "saturate"}),
    # A single operand is returned unchanged, so the axis has no effect.
    "Concat": frozenset({"axis"}),
    # onnxruntime refuses a kernel_shape other than the weight's, and a num_outputs other than the node's.
    "Conv": frozenset({"kernel_shape"}),
    "Split": frozenset({"num_outputs"}),
    # Exact tensors are finite.
    "IsInf": frozenset({"detect_negative", "detect_positive"}),
    # It only matters for the second output, which is not lowered.
    "MaxPool": frozenset({"storage_order"}),
    # It only matters where no axes are listed, and is read there.
    **dict.fromkeys(
        (
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceSum",
            "ReduceSumSquare",
        ),
        frozenset({"noop_with_empty_axes"}),
    ),
}
# Default values of attributes of onnxruntime's own operators, of which ONNX has no schema.
MICROSOFT_DEFAULTS: dict[tuple[str, str], Any] = {
    ("SimplifiedLayerNormalization", "stash_type"): 1,
}


class Attributes(Mapping[str, Any]):
    """The attributes of one node by name. `unread` tells which of them nothing has asked for."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        self.unread = dict(self._values)

    def __getitem__(self, name: str) -> Any:
        self.unread.pop(name, None)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def check_unread(node: onnx.NodeProto, unread: Mapping[str, Any], opset: int) -> None:
    """Check that the attributes which nothing has read do not change a node's result.

    Errors: LoweringError that names the operator, the attribute and its value.
    """
    for name, value in unread.items():
        if name in IRRELEVANT.get(node.op_type, ()) or value == _default(node, name, opset):
            continue
        shown = value.decode(errors="replace") if isinstance(value, bytes) else value
        raise LoweringError(
            f"{node.op_type} node {node.name or node.output[0]!r}",
            f"its attribute {name!r} has the value {shown!r}, which the lowering does not support: leave the attribute "
            "out, or express the node by other operators",
        )


def _default(node: onnx.NodeProto, name: str, opset: int) -> Any:
    """Return an attribute's default value, None where it has none."""
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, opset):
        return MICROSOFT_DEFAULTS.get((node.op_type, name))
    known = onnx.defs.get_schema(node.op_type, opset).attributes.get(name)
    if known is None or not known.default_value.name:
        return MICROSOFT_DEFAULTS.get((node.op_type, name))
    return helper.get_attribute_value(known.default_value)
