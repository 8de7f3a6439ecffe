"""What a float model does in calibration that its exact program would not do: integers that overflow, and reads of NaN.

Integers of a float model wrap around at 32 or 64 bits, where those of an exact program do not. NaN and infinity are no
numbers of an exact program. Where they only flow to an output, nothing is lost. But an operator that turns them into
numbers, as a comparison or a maximum does, would do so from something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.errors import LoweringError
from verifier.exact.lowering.canonicalise import node_description
from verifier.exact.lowering.fusion.graph_index import attribute
from verifier.exact.lowering.masks import COMPARING, MASKED, MAXIMA, Masks

Array = NDArray[Any]
# Why a Clip is refused.
NAN_LIMIT = "its limit is NaN, which makes every result NaN: give it a number or leave it out"
# What operators whose integers can overflow compute of numbers that cannot, for the operands in float64.
_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "Abs": lambda _, x: np.abs(x),
    "Add": lambda _, a, b: np.add(a, b),
    "Cast": lambda _, x: np.trunc(x),
    "CumSum": lambda node, x, axis: _running_sums(node, x, int(axis.reshape(()))),
    "MatMul": lambda _, a, b: np.matmul(a, b),
    "Mul": lambda _, a, b: np.multiply(a, b),
    "Neg": lambda _, x: np.negative(x),
    "Pow": lambda _, a, b: np.where(b < 0, np.nan, np.power(a, np.maximum(b, 0))),  # the lowering refuses these
    "ReduceL1": lambda node, x, *axes: _sums(node, np.abs(x), *axes),
    "ReduceSum": lambda node, x, *axes: _sums(node, x, *axes),
    "ReduceSumSquare": lambda node, x, *axes: _sums(node, x * x, *axes),
    "Sub": lambda _, a, b: np.subtract(a, b),
}
# Operators that make numbers or bools of NaN, by rules of their own.
_READING_NAN = frozenset(
    (
        *COMPARING,
        *MAXIMA,
        "ArgMax",
        "ArgMin",
        "Clip",
        "IsNaN",
        "Max",
        "Min",
        "ReduceMin",
        "Relu",
        "Sign",
        "TopK",
    )
)


def check_results(nodes: Sequence[onnx.NodeProto], arrays: Mapping[str, Array], masks: Masks) -> None:
    """Check what the nodes of a float model computed on one feed; `arrays` are the tensors that are known.

    Errors: LoweringError for a node whose integers overflow, for one that reads NaN, and for IsInf of an infinity that
    is not a mask.
    """
    for node in nodes:
        known = {name: arrays.get(name) for name in node.input if name}
        present = [array for array in known.values() if array is not None]
        if node.op_type in _ARITHMETIC and len(present) == len(known):
            _check_overflow(node, [arrays[name] for name in node.input if name], arrays[node.output[0]])
        if node.op_type in _READING_NAN or (node.op_type == "Cast" and arrays[node.output[0]].dtype.kind != "f"):
            for name, array in known.items():
                if array is not None and array.dtype.kind == "f" and np.isnan(array).any():
                    _refuse_nan(node, name, masks)
        if node.op_type == "IsInf" and masks.threshold(node.input[0]) != MASKED and arrays[node.output[0]].any():
            raise LoweringError(
                node_description(node),
                f"its operand {node.input[0]!r} is infinite in calibration, which no number of an exact program is: "
                "clip what overflows",
            )


def _check_overflow(node: onnx.NodeProto, operands: Sequence[Array], result: Array) -> None:
    if result.dtype.kind not in "iu" or not result.size:
        return
    if node.op_type == "Cast" and result.dtype.itemsize < 4:
        return  # the lowering of Cast wraps around, or refuses what can overflow
    wide = _ARITHMETIC[node.op_type](node, *(array.astype(np.float64) for array in operands))
    defined = ~np.isnan(wide)  # NaN is refused elsewhere
    largest = float(np.abs(wide[defined]).max(initial=0))
    # float64 rounds beyond 2**53, by far less than half of the range that is missed by an overflow.
    if (np.abs(wide - result) > np.abs(wide) * 2.0**-40)[defined].any():
        raise LoweringError(
            node_description(node),
            f"its result reaches {largest:.3g} in calibration and overflows {result.dtype}, where an exact program "
            "does not wrap around: cast its operands to int64, or keep them smaller",
        )


def _sums(node: onnx.NodeProto, x: Array, axes: Array | None = None) -> Array:
    """Sum over the axes of a reduction, which are an operand or, in older opsets, an attribute; without either, all."""
    listed = attribute(node, "axes", None) if axes is None else axes
    axis = tuple(int(item) for item in np.reshape(np.asarray(listed), -1)) if listed is not None else ()
    if not axis and attribute(node, "noop_with_empty_axes", 0):
        return x
    return np.asarray(x.sum(axis or None, keepdims=bool(attribute(node, "keepdims", 1))))


def _running_sums(node: onnx.NodeProto, x: Array, axis: int) -> Array:
    """Sum along an axis as CumSum does, from either end, with or without the element itself."""
    ordered = np.flip(x, axis) if attribute(node, "reverse", 0) else x
    sums = np.cumsum(ordered, axis) - (ordered if attribute(node, "exclusive", 0) else 0)
    return np.flip(sums, axis) if attribute(node, "reverse", 0) else sums


def _refuse_nan(node: onnx.NodeProto, name: str, masks: Masks) -> None:
    if node.op_type == "IsNaN" and name in masks.undefined:
        return
    if node.op_type == "Clip" and name != node.input[0]:
        raise LoweringError(node_description(node), NAN_LIMIT)
    raise LoweringError(
        node_description(node),
        f"its operand {name!r} is NaN in calibration, which no number of an exact program is: keep what makes it NaN "
        "(a division of 0 by 0, a root or a logarithm of negative numbers, a row that is masked throughout) out of it",
    )
