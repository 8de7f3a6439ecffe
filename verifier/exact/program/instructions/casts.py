"""Cast: between integer-valued types with a proven range; to bool it is a comparison with zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.registry import Site, register
from verifier.exact.program.parse import DTYPE_OF, Attribute
from verifier.exact.program.values import BOOL, FLOAT, MAX_STEPS, Value

Q = NDArray[Any]


def _infer_cast(site: Site) -> list[Value]:
    (x,) = site.arguments(1)
    dtype = DTYPE_OF.get(site.integer("to"))
    if dtype is None:
        raise site.fail("it casts to a type that is not allowed: integers, bool and float64 are")
    if dtype == BOOL:
        return [site.result(BOOL, x.shape, 0, 0, 1)]
    if x.dtype == FLOAT and dtype != FLOAT:
        if x.grid < 0:
            raise site.fail("it casts numbers that are not whole: round them before")
        # Out of range, processors and runtime versions differ; in range all agree.
        return [site.result(dtype, x.shape, 0, *x.aligned(0))]
    if dtype == FLOAT and x.magnitude > MAX_STEPS:
        raise site.fail(f"it casts {x.dtype} of up to {x.magnitude.bit_length()} bits, float64 holds 53: clip before")
    # A stored weight stays stored as it is: only its declared type changes.
    return [site.result(dtype, x.shape, x.grid, x.lo, x.hi, constant=x.constant)]


def _compute_cast(
    _attributes: Mapping[str, Attribute], values: Sequence[Value], qs: Sequence[Q], outputs: Sequence[Value]
) -> list[Q]:
    q = qs[0].astype(np.int64)
    if outputs[0].dtype == BOOL:
        return [(q != 0).astype(np.int64)]
    return [q << (values[0].grid - outputs[0].grid)]


register("Cast", infer=_infer_cast, compute=_compute_cast)
