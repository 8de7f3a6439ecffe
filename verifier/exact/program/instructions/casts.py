"""Cast: between integer-valued types with a proven range; a cast to bool is a comparison with zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.site import InstructionSite, Operands
from verifier.exact.program.parse import DTYPE_OF
from verifier.exact.program.values import BOOL, FLOAT, MAX_STEPS, Value


def infer_cast(site: InstructionSite) -> list[Value]:
    """Cast: the same interval, which must fit the new dtype: out of range, processors and runtime versions differ.

    A stored weight keeps the dtype in which it is stored: only the declared dtype of the tensor changes.
    """
    (x,) = site.arguments(1)
    dtype = DTYPE_OF.get(site.integer("to"))
    if dtype is None:
        raise site.fail("it casts to a type that is not allowed: integers, bool and float64 are")
    if dtype == BOOL:
        return [site.result(BOOL, x.shape, 0, 0, 1)]
    if x.dtype == FLOAT and dtype != FLOAT:
        if x.grid < 0:
            raise site.fail("it casts numbers that are not whole: round them first")
        return [site.result(dtype, x.shape, 0, *x.aligned(0))]
    if dtype == FLOAT and x.magnitude > MAX_STEPS:
        raise site.fail(f"it casts {x.dtype} of up to {x.magnitude.bit_length()} bits, float64 holds 53: clip it first")
    return [site.result(dtype, x.shape, x.grid, x.lo, x.hi, x.constant)]


def compute_cast(operands: Operands) -> list[NDArray[Any]]:
    """Cast: x itself; to bool, whether x is not 0."""
    if operands.outputs[0].dtype == BOOL:
        return [(operands.q[0] != 0).astype(np.int64)]
    return [operands.at(0, operands.outputs[0].grid)]
