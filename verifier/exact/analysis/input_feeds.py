"""What feeds show of a model's inputs: ranges, inputs that are constant, rows that are used in part, and saturation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.float_model import FloatInput
from verifier.exact.lowering.graph import DEFAULT_HEADROOM
from verifier.exact.lowering.input_quantisation import INPUT_HEADROOM
from verifier.exact.program import Program
from verifier.exact.program.values import INTEGER_RANGES

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SeenInput:
    """What feeds show of one input: its extremes, and how much of a row is used, where a row is what the last axis has.

    `row` is the length of a row of integers, and `longest` the most of it that any row uses: of a mask, which holds
    only 0 and 1, the number of ones; of other integers, the positions up to the last one that is not the same number in
    every row. Both are 0 for floats and for inputs of fewer than two dimensions.
    """

    lo: float
    hi: float
    row: int = 0
    longest: int = 0

    @property
    def constant(self) -> bool:
        """Whether the input holds one number only."""
        return self.lo == self.hi

    @property
    def mask(self) -> bool:
        """Whether the input has rows of zeros and ones."""
        return self.row > 0 and (self.lo, self.hi) == (0, 1)


def seen_inputs(inputs: Sequence[FloatInput], feeds: Sequence[Feeds]) -> dict[str, SeenInput]:
    """Return what the feeds show of each input that holds numbers, by name."""
    found = {}
    for item in inputs:
        arrays = [feed[item.name] for feed in feeds if feed[item.name].size]
        if arrays:
            lo, hi = float(min(array.min() for array in arrays)), float(max(array.max() for array in arrays))
            seen = SeenInput(lo, hi)
            if not item.real and len(item.shape) > 1:
                rows = np.concatenate([array.reshape(-1, item.shape[-1]) for array in arrays])
                seen = SeenInput(lo, hi, item.shape[-1], _longest(rows, (lo, hi) == (0, 1)))
            found[item.name] = seen
    return found


def _longest(rows: NDArray[Any], mask: bool) -> int:
    """The most positions that any of these rows uses; all of them where the rows are one constant."""
    if mask:
        return int((rows != 0).sum(axis=1).max())
    used = np.flatnonzero((rows != rows[0, -1]).any(axis=0))
    return int(used[-1]) + 1 if used.size else rows.shape[1]


def calibration_warnings(seen: Mapping[str, SeenInput], headroom: float = DEFAULT_HEADROOM) -> Iterator[str]:
    """Yield a sentence for each input of which the calibration feeds show too little, with what to do.

    A sum over a row grows at most with the row's length, and tensors have room for `headroom` times what calibration
    reached. So a row is too short for calibration where the program's rows are longer than `headroom` times that.
    """
    for name, item in seen.items():
        if item.constant:
            yield (
                f"input {name!r} holds nothing but {item.lo:g} in calibration, so what other numbers lead to is not "
                "measured: calibrate with feeds in which it varies, if it varies in what will be evaluated"
            )
    for name, item in _partly_used(seen):
        if item.row > headroom * item.longest:
            yield (
                f"rows of input {name!r} use at most {item.longest} of their {item.row} positions in calibration, so "
                f"rows of more than {math.floor(headroom * item.longest)} can saturate: calibrate with rows as long as "
                "those that will be evaluated"
            )


def _partly_used(seen: Mapping[str, SeenInput]) -> Iterator[tuple[str, SeenInput]]:
    """The inputs of which no row is used up; a mask speaks for the other inputs with rows of its length."""
    masked = {item.row for item in seen.values() if item.mask}
    for name, item in seen.items():
        if item.longest < item.row and (item.mask or item.row not in masked):
            yield name, item


def difference_warnings(
    calibrated: Mapping[str, SeenInput], here: Mapping[str, SeenInput], headroom: float = DEFAULT_HEADROOM
) -> Iterator[str]:
    """Yield a sentence for each input that these feeds use in a way that calibration did not see."""
    partly = dict(_partly_used(calibrated))
    for name, item in here.items():
        before = calibrated.get(name)
        if before is not None and before.constant and (item.lo, item.hi) != (before.lo, before.hi):
            yield (
                f"input {name!r} is {item.lo:g} to {item.hi:g} in these feeds and was nothing but {before.lo:g} in "
                "calibration: lower the model again, calibrated with feeds in which it varies"
            )
        elif name in partly and item.longest > headroom * partly[name].longest:
            yield (
                f"rows of input {name!r} use up to {item.longest} of their {item.row} positions in these feeds and "
                f"used at most {partly[name].longest} in calibration: lower the model again, calibrated with rows as "
                "long"
            )


def saturated_inputs(
    program: Program, inputs: Sequence[FloatInput], feeds: Sequence[Feeds], grids: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the float inputs that pass the dtype in which the program takes them, as `input_quantisation` rounds them.

    Each is described by `name`, `dtype`, `grid`, the `share` of numbers that saturate, the largest magnitude `reached`
    of these, the `limit` that they saturate at, and `excess`, the distance from the limit as a share of it.
    """
    dtypes = {item.name: item.dtype for item in program.inputs}
    found = []
    for item in inputs:
        if not item.real or item.name not in dtypes:
            continue
        dtype, grid = dtypes[item.name], grids[item.name]
        lo, hi = INTEGER_RANGES[dtype]
        steps = [np.rint(np.ldexp(feed[item.name].astype(np.float64), -grid)) for feed in feeds]
        beyond = [np.abs(array[(array < lo) | (array > hi)]) for array in steps]
        count, size = sum(array.size for array in beyond), sum(array.size for array in steps)
        if count:
            reached, limit = (float(np.ldexp(x, grid)) for x in (max(float(a.max(initial=0)) for a in beyond), hi))
            known = {"name": item.name, "dtype": dtype, "grid": grid}
            found.append(
                known
                | {"share": count / size, "reached": reached, "limit": limit, "excess": max(reached / limit - 1, 0)}
            )
    return found


def input_remedy(saturated: Mapping[str, Any]) -> str:
    """Return the option of `touchstone lower` by which a saturated input would have room."""
    bits = INTEGER_RANGES[saturated["dtype"]][1].bit_length() + 1
    return f"--input {saturated['name']}={saturated['dtype']}:{grid_for(INPUT_HEADROOM * saturated['reached'], bits)}"
