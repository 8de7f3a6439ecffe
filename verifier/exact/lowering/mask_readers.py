"""What reads a mask: a tensor whose masked numbers become MASK must not be read by anything that they matter to.

A softmax or a maximum needs no more of a masked number than that it is far below the others. Anything else that reads
the tensor, a mean or an output of the model, gets a whole copy of it, in which the masked numbers keep their value. The
copy is a copy of the nodes from the constants and inputs on. Where the masked numbers are so large that all others
would lose their precision beside them, the model is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from verifier.exact.errors import LoweringError
from verifier.exact.lowering.calibrate import Range
from verifier.exact.lowering.masks import COMPARING, MASK, MASKED, MAXIMA, SMALLEST, SOFTMAXES, Array, Masks

# Operators that read no more of a tensor than its shape, its dtype or the order of its numbers, or test for NaN.
_ORDER_AND_SHAPE_READERS = frozenset(("ArgMax", "EyeLike", "IsInf", "IsNaN", "Shape", "Size"))
# Operators whose result is masked where their operand is, and does not matter if it does not matter to its readers.
_PASSING = frozenset(
    ("Add", "Cast", "CastLike", "Expand", "Identity", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
)
# Minimum masked number of a whole copy: scores up to 32 keep 12 of 30 bits below the binary point beside it.
MIN_WHOLE = -(2.0**17)
# Suffix of the name of a whole copy.
_WHOLE = "/whole"


@dataclass
class WholeCopies:
    """The nodes of a graph with those of the copies, in order.

    `copies` maps the name of a masked tensor to that of its copy.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)


def with_whole_copies(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], masks: Masks, constants: Mapping[str, Array]
) -> WholeCopies:
    """Let whatever masked numbers matter to read whole copies of the masked tensors.

    Errors: LoweringError for a tensor whose masked numbers are beyond MIN_WHOLE.
    """
    readers = _Readers(nodes, frozenset(outputs), masks, constants)
    found = WholeCopies()
    producers = {name: node for node in nodes for name in node.output if name}
    pending = []
    for name in masks.thresholds:
        reader = readers.first_sensitive(name)
        if reader:
            _check_whole(name, reader, masks)
            pending.append(name)
    while pending:
        name = pending.pop()
        found.copies[name] = f"{name}{_WHOLE}"
        for operand in producers[name].input if name in producers else ():
            if name in masks.passes.get(operand, ()) and operand in masks.thresholds and operand not in found.copies:
                pending.append(operand)
    for node in nodes:
        found.nodes.extend(_copied(node, name, found.copies, masks) for name in node.output if name in found.copies)
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name in found.copies and readers.is_sensitive(node, name):
                kept.input[index] = found.copies[name]
        found.nodes.append(kept)
    return found


def _check_whole(name: str, reader: str, masks: Masks) -> None:
    lowest = masks.numbers(name)[0]
    if lowest < MIN_WHOLE:
        raise LoweringError(
            f"tensor {name!r}",
            f"a softmax or a maximum takes its masked numbers, down to {lowest:g}, for minus infinity, but {reader} "
            "reads them as numbers, beside which all others would lose their precision: let that read the numbers "
            "before they are masked, or mask them with -10000",
        )


def check_masked_rows(
    nodes: Sequence[onnx.NodeProto], outputs: Collection[str], masks: Masks, seen: Mapping[str, Range]
) -> None:
    """Check that no softmax or maximum depends on masked numbers in calibration.

    Errors: LoweringError for a tensor of numbers below the masked ones, and for a row that is masked throughout and of
    which the model reads the maximum, or a softmax whose weights follow from unlike masks.
    """
    for name, found in seen.items():
        if masks.threshold(name) == SMALLEST and found.lo <= MASK:
            raise LoweringError(
                f"tensor {name!r}",
                f"a maximum reads it, its masked numbers become {MASK:g}, and its other numbers reach {found.lo:g}: "
                "scale them down",
            )
    for node in nodes:
        source = node.input[0] if node.input else ""
        floored = node.op_type in ("Softmax", "LogSoftmax") and masks.absorbing(source)
        if floored and seen.get(source, Range()).uneven_masks:
            raise LoweringError(
                f"{node.op_type} node {_label(node)!r}",
                f"a row of its operand {source!r} is masked throughout in calibration, by numbers of unlike "
                "size, of which the largest would keep all the weight: mask with one number, with -10000 where two are "
                "added, or leave such rows out of the calibration",
            )
        if node.op_type not in (*MAXIMA, "ReduceLogSumExp") or source not in masks.thresholds:
            continue
        result = node.output[0]
        lowest = seen[result].lo if result in seen else 0.0
        if lowest < MASK and lowest <= masks.threshold(node.input[0]) and _is_read(nodes, outputs, result, masks):
            raise LoweringError(
                f"{node.op_type} node {_label(node)!r}",
                f"all numbers of a row are masked in calibration, and their maximum is {lowest:g}, beside which all "
                "others would lose their precision: mask them with -10000, or leave such rows out",
            )


def _is_read(nodes: Sequence[onnx.NodeProto], outputs: Collection[str], name: str, masks: Masks) -> bool:
    """Return whether a maximum is read, except where it is subtracted from its row, as every softmax does first."""
    readers = [node for node in nodes if name in node.input and node.op_type not in COMPARING]
    return name in outputs or any(node.op_type != "Sub" or node.output[0] not in masks.thresholds for node in readers)


def _label(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]


def _copied(node: onnx.NodeProto, name: str, copies: Mapping[str, str], masks: Masks) -> onnx.NodeProto:
    """Return a copy of a node that makes the whole copy of one of its outputs from those of its operands."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    passed = [operand in copies and name in masks.passes.get(operand, ()) for operand in node.input]
    copy.input[:] = [copies[item] if whole else item for item, whole in zip(node.input, passed, strict=True)]
    copy.output[:] = [copies[name] if item == name else f"{item}{_WHOLE}/unread" for item in node.output]
    return copy


class _Readers:
    """Which nodes read a tensor, and whether masked numbers matter to them."""

    def __init__(
        self,
        nodes: Sequence[onnx.NodeProto],
        outputs: frozenset[str],
        masks: Masks,
        constants: Mapping[str, Array],
    ) -> None:
        self.outputs, self._masks, self._constants = outputs, masks, dict(constants)
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in nodes:
            # onnx's functions hold constants as nodes, and cast them to the dtype of an operand.
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type in ("Cast", "CastLike", "Identity") and node.input[0] in self._constants:
                self._constants[node.output[0]] = self._constants[node.input[0]]
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)

    def of(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a tensor."""
        return self._readers.get(name, [])

    def first_sensitive(self, name: str) -> str:
        """Return what first reads a tensor so that its masked numbers matter; "" if nothing does."""
        sensitive = [f"{node.op_type} node {_label(node)!r}" for node in self.of(name) if self.is_sensitive(node, name)]
        return [*sensitive, *(["the model's output"] if name in self.outputs else []), ""][0]

    def is_sensitive(self, node: onnx.NodeProto, name: str) -> bool:
        """Return whether a masked number of a tensor matters to a node that reads it, beyond being far below others."""
        if node.op_type in COMPARING:
            return not self._compares_above(node, name)
        # A maximum returns a masked number of a row that is masked throughout: `check_masked_rows` looks for these. A
        # log-softmax returns masked numbers that, like its operand's, stand for minus infinity.
        if node.op_type in SOFTMAXES or node.op_type in MAXIMA or self._reads_order_or_shape(node, name):
            return False
        passed = self._masks.passes.get(name, ())
        if any(output in passed and output in self._masks.thresholds for output in node.output):
            return False  # the readers of its result decide
        result = node.output[0]
        return node.op_type not in _PASSING or result in self.outputs or bool(self.first_sensitive(result))

    def _reads_order_or_shape(self, node: onnx.NodeProto, name: str) -> bool:
        """Return whether a node asks for the shape, the dtype or the order of a tensor's numbers, or tests for NaN."""
        if node.op_type == "CastLike":
            return bool(node.input[0] != name)
        if node.op_type == "TopK":
            return not self._reads(node.output[0])
        return node.op_type in _ORDER_AND_SHAPE_READERS

    def _reads(self, name: str) -> bool:
        return name in self.outputs or len(self.of(name)) > 0

    def _compares_above(self, node: onnx.NodeProto, name: str) -> bool:
        """Return whether a comparison is with constants above every mask, or tests for minus infinity."""
        known = [self._constants[item] for item in node.input if item in self._constants]
        if not known or known[0].dtype.kind not in "fiu":
            return False
        other = known[0].astype(np.float64)
        infinite = node.op_type == "Equal" and bool(np.isneginf(other).all())
        limit = MASKED if self._masks.threshold(name) == MASKED else SMALLEST
        return infinite or bool(np.all(other > limit))
