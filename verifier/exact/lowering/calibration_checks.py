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
from verifier.exact.lowering.masks import COMPARING, MASKED, MAXIMA, Masks

Array = NDArray[Any]
_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract}
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
        known = [arrays.get(name) for name in node.input]
        if any(array is None for array in known):
            continue
        if node.op_type in _ARITHMETIC:
            _check_overflow(node, [array for array in known if array is not None], arrays[node.output[0]])
        elif node.op_type in _READING_NAN:
            for name, array in zip(node.input, known, strict=True):
                if array is not None and array.dtype.kind == "f" and np.isnan(array).any():
                    _refuse_nan(node, name, masks)
        elif node.op_type == "IsInf" and masks.threshold(node.input[0]) != MASKED and arrays[node.output[0]].any():
            raise LoweringError(
                node_description(node),
                f"its operand {node.input[0]!r} is infinite in calibration, which no number of an exact program is: "
                "clip what overflows",
            )


def _check_overflow(node: onnx.NodeProto, operands: Sequence[Array], result: Array) -> None:
    if result.dtype.kind not in "iu" or not result.size:
        return
    wide = _ARITHMETIC[node.op_type](*(array.astype(np.float64) for array in operands))
    largest = float(np.abs(wide).max())
    # float64 rounds beyond 2**53, by far less than half of the range that is missed by an overflow.
    if (np.abs(wide - result) > np.abs(wide) * 2.0**-40).any():
        raise LoweringError(
            node_description(node),
            f"its result reaches {largest:.3g} in calibration and overflows {result.dtype}, where an exact program "
            "does not wrap around: cast its operands to int64, or keep them smaller",
        )


def _refuse_nan(node: onnx.NodeProto, name: str, masks: Masks) -> None:
    if node.op_type == "IsNaN" and name in masks.undefined:
        return
    raise LoweringError(
        node_description(node),
        f"its operand {name!r} is NaN in calibration, which no number of an exact program is: keep what makes it NaN "
        "(a division of 0 by 0, a root or a logarithm of negative numbers, a row that is masked throughout) out of it",
    )
