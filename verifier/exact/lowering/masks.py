"""Masks: tensors in which a large negative number stands for minus infinity.

Models write minus infinity as -inf, as the smallest number of a dtype, or as -1e4 or -1e9. Such a number says nothing
about the size of the others and must not widen a tensor's range. It is not told by its size, because a tensor may
simply hold numbers as large as that, but by its use: it is added to scores, or selected in their place, and a softmax
gives it a weight of 0; or it is selected in place of a number, and a maximum never returns it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.lowering.fusion.graph_index import attribute

Array = NDArray[Any]
# Numbers up to this count as minus infinity in scores of a softmax: their weight is 0 unless all of a row is masked.
MASKED = -1e4
# Numbers up to this count as minus infinity in the operand of a maximum. Only the smallest numbers of float32 and
# bfloat16, and -inf itself, are below it.
SMALLEST = -1e38
# Replaces minus infinity. A softmax gives a weight of 0 to anything 20 or more below the maximum.
MASK = -(2.0**16)
# Softmax raises all numbers to this one where masks are so large that float32 absorbs scores into them, so that a row
# that is masked throughout gets equal weights.
MASK_FLOOR = MASK / 2
# Float32 absorbs scores into numbers below this: its steps are 1/4 and more there. A row that is masked throughout by
# them has equal weights. One that is masked by numbers above keeps the weights of its scores.
ABSORBING = -(2.0**21)

SOFTMAXES = ("LogSoftmax", "ReduceLogSumExp", "Softmax")
MAXIMA = ("GlobalMaxPool", "MaxPool", "ReduceMax")
COMPARING = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
# Operators whose first operand passes its masks on.
_PASSING = frozenset(
    (
        "Cast",
        "CastLike",
        "Clip",
        "Div",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    )
)
# Operators that put masked numbers beside others, with the operands that may be masks.
_SELECTING = {
    "Concat": None,
    "Max": None,
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
    "Trilu": (0,),
    "Where": (1, 2),
}
# Operators with bools as results, and operators whose result holds only 0 and 1 where their operands do.
_BOOLEAN = frozenset(
    ("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor")
)
_BINARY = frozenset(("Concat", "Max", "Min", "Mul", "ReduceMax", "ReduceMin", "Where")) | _PASSING - {"Div"}


@dataclass(frozen=True)
class Masks:
    """The names of the float tensors that hold masks, each with the number up to which its numbers are masked.

    `weakest` is the masked number nearest to 0 that a softmax reads, as far as constants and feeds tell; -inf if none.
    `passes` maps a tensor to the results through which its masked numbers reach a softmax or a maximum, and `sources`
    the tensors where masked numbers come from to the extremes of these numbers.
    `undefined` maps the results of softmaxes to these, where a row that is masked throughout is NaN in float32.
    """

    thresholds: Mapping[str, float]
    weakest: float = -np.inf
    passes: Mapping[str, Collection[str]] = field(default_factory=dict)
    sources: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    undefined: Mapping[str, onnx.NodeProto] = field(default_factory=dict)

    def threshold(self, name: str) -> float:
        """Return the number up to which the numbers of a tensor stand for minus infinity; -inf if none does."""
        return self.thresholds.get(name, -np.inf)

    def numbers(self, name: str) -> tuple[float, float]:
        """Return the extremes of the numbers that reach a tensor as masks; (inf, -inf) for a tensor without masks."""
        found, pending, seen = (np.inf, -np.inf), [name], {name}
        while pending:
            current = pending.pop()
            lo, hi = self.sources.get(current, (np.inf, -np.inf))
            found = (min(found[0], lo), max(found[1], hi))
            pending.extend(self._operands.get(current, set()) - seen)
            seen |= self._operands.get(current, set())
        return found

    @cached_property
    def _operands(self) -> Mapping[str, set[str]]:
        """The tensors from which masked numbers reach a tensor directly."""
        found: dict[str, set[str]] = {}
        for operand, results in self.passes.items():
            for result in results:
                found.setdefault(result, set()).add(operand)
        return found

    def infinite(self, name: str) -> bool:
        """Return whether minus infinity itself is all that a tensor's masked numbers are made of."""
        return name in self.thresholds and self.numbers(name) == (-np.inf, -np.inf)

    def absorbing(self, name: str) -> bool:
        """Return whether float32 absorbs scores into some of the masks that reach a tensor."""
        return self.numbers(name)[0] < ABSORBING


def find_masks(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Array], feeds: Sequence[Mapping[str, Array]]
) -> Masks:
    """Find the masks of a graph from its nodes, its constants by name, and feeds of its inputs."""
    graph = _Graph(nodes, constants, feeds)
    maxima, softmaxes = _Walk(graph, SMALLEST), _Walk(graph, MASKED)
    for walk, operators in ((maxima, MAXIMA), (softmaxes, SOFTMAXES)):
        for node in nodes:
            if node.op_type in operators:
                walk.visit(node.input[0], False)
    found = dict.fromkeys(maxima.masked(), SMALLEST) | dict.fromkeys(softmaxes.masked(), MASKED)
    passes = {name: maxima.results.get(name, set()) | results for name, results in softmaxes.results.items()}
    sources = maxima.sources | softmaxes.sources
    masks = Masks(found, softmaxes.weakest, maxima.results | passes, sources)
    undefined = {node.output[0]: node for node in nodes if node.op_type == "Softmax" and masks.infinite(node.input[0])}
    return replace(masks, undefined=undefined)


class _Graph:
    """Look-ups by tensor name."""

    def __init__(
        self, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Array], feeds: Sequence[Mapping[str, Array]]
    ) -> None:
        self.producers = {name: node for node in nodes for name in node.output if name}
        self._constants, self._feeds = constants, feeds
        self._binary: dict[str, bool] = {}

    def arrays(self, name: str) -> list[Array]:
        """Return what is known of a tensor: the array of a constant, the feeds of an input, nothing of others."""
        node = self.producers.get(name)
        if node is None:
            return (
                [self._constants[name]]
                if name in self._constants
                else [feed[name] for feed in self._feeds if name in feed]
            )
        if node.op_type == "Constant" and node.attribute:
            return [np.asarray(_number(node.attribute[0]))]
        if node.op_type == "ConstantOfShape":
            return [np.asarray(_number(item)) for item in node.attribute if item.name == "value"]
        return []

    def binary(self, name: str) -> bool:
        """Return whether a tensor holds only 0 and 1, as far as its producers tell; of inputs, whether all feeds do."""
        if name not in self._binary:
            self._binary[name] = False  # for the time in which its producers are asked
            self._binary[name] = self._is_binary(name)
        return self._binary[name]

    def _is_binary(self, name: str) -> bool:
        known = self.arrays(name)
        if known:
            return all(bool(np.isin(array, (0, 1)).all()) for array in known)
        node = self.producers.get(name)
        if node is None or node.op_type in _BOOLEAN:
            return node is not None
        if node.op_type == "Cast" and attribute(node, "to") == onnx.TensorProto.BOOL:
            return True
        if node.op_type == "Sub":  # 1 - mask
            ones = self.arrays(node.input[0])
            return bool(ones) and all(bool((array == 1).all()) for array in ones) and self.binary(node.input[1])
        if node.op_type not in _BINARY:
            return False
        operands = node.input[1:] if node.op_type == "Where" else node.input
        if node.op_type in _PASSING or node.op_type in ("ReduceMax", "ReduceMin"):
            operands = node.input[:1]
        return all(self.binary(operand) for operand in operands)


class _Walk:
    """A walk from the operands of softmaxes or maxima back to the numbers that stand for minus infinity."""

    def __init__(self, graph: _Graph, threshold: float) -> None:
        self._graph, self._threshold = graph, threshold
        self._seen: set[tuple[str, bool]] = set()
        self.results: dict[str, set[str]] = {}
        self.sources: dict[str, tuple[float, float]] = {}

    def visit(self, name: str, selected: bool) -> None:
        """Visit a tensor; `selected` tells whether other numbers can stand in the place of its own."""
        pending = [(name, selected)]
        while pending:
            step = pending.pop()
            if step in self._seen:
                continue
            self._seen.add(step)
            name, selected = step
            self._note_source(name, selected)
            for operand, through in self._operands(name, selected):
                self.results.setdefault(operand, set()).add(name)
                pending.append((operand, through))

    def masked(self) -> set[str]:
        """Return the visited tensors that hold numbers which stand for minus infinity."""
        found, pending = set(self.sources), list(self.sources)
        while pending:
            for name in self.results.get(pending.pop(), set()) - found:
                found.add(name)
                pending.append(name)
        return found

    @property
    def weakest(self) -> float:
        """The masked number nearest to 0; -inf if there is none."""
        return max((hi for _, hi in self.sources.values()), default=-np.inf)

    def _note_source(self, name: str, selected: bool) -> None:
        """Note the masked numbers of a tensor whose numbers are known, if it has any."""
        known = [array for array in self._graph.arrays(name) if array.dtype.kind == "f"]
        masked = [array[array <= self._threshold] for array in known]
        if selected or any(bool((array > self._threshold).any()) for array in known):
            for numbers in masked:
                self._add(name, numbers)

    def _add(self, name: str, numbers: Array) -> None:
        if numbers.size:
            lo, hi = self.sources.get(name, (np.inf, -np.inf))
            self.sources[name] = (min(lo, float(numbers.min())), max(hi, float(numbers.max())))

    def _operands(self, name: str, selected: bool) -> list[tuple[str, bool]]:
        """Return the operands through which masks reach a tensor, each with whether it is selected."""
        node = self._graph.producers.get(name)
        operator = "" if node is None else node.op_type
        found: list[tuple[str, bool]] = []
        if node is None:
            return found
        if operator in _PASSING:
            found = [(node.input[0], selected)]
        elif operator in _SELECTING:
            indices = _SELECTING[operator] or range(len(node.input))
            found = [(node.input[index], True) for index in indices]
        elif operator in ("Add", "Sum", "Min"):
            found = [(operand, selected) for operand in node.input]
        elif operator == "Sub":
            found = self._subtracted(node, name, selected)
        elif operator == "Mul":
            # A factor of zeros and ones selects the other factor or 0. Any other constant factor scales scores.
            for operand, other in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
                gated = self._graph.binary(other)
                if gated or not self._graph.arrays(operand):
                    found.append((operand, selected or gated))
        return found

    def _subtracted(self, node: onnx.NodeProto, name: str, selected: bool) -> list[tuple[str, bool]]:
        """Return the minuend of a Sub. scores - 1e4 * (1 - mask) is itself where masked numbers begin.

        The subtrahend is a product of a large number with zeros and ones, or a constant of large and other numbers.
        """
        subtracted = self._graph.arrays(node.input[1])
        if any(array.size > 1 and bool((array < -self._threshold).any()) for array in subtracted):
            self._subtract(name, subtracted)
        product = self._graph.producers.get(node.input[1])
        if product is not None and product.op_type == "Mul":
            for one, other in ((0, 1), (1, 0)):
                if self._graph.binary(product.input[other]):
                    self._subtract(name, self._graph.arrays(product.input[one]))
        return [(node.input[0], selected)]

    def _subtract(self, name: str, arrays: Sequence[Array]) -> None:
        """Note that a tensor is masked where large numbers are subtracted."""
        for array in arrays:
            if array.dtype.kind == "f":
                self._add(name, -array[array >= -self._threshold])


def _number(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
