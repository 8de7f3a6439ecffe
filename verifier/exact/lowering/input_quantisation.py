"""Input quantisation: an exact program takes integers q of a narrow dtype that mean q * 2**grid.

Chooses the dtype and the grid of each input when a model is lowered, and converts a float model's feeds accordingly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import FeedError, LoweringError
from verifier.exact.lowering import InputSpec
from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.calibrate import Feeds
from verifier.exact.lowering.float_model import FloatInput
from verifier.exact.program import Program
from verifier.exact.program.values import INTEGER_RANGES, MAX_GRID

# Dtypes of inputs for which none is declared.
DEFAULT_FLOAT = "int16"
DEFAULT_INTEGER = "int32"
# A float input's grid covers this multiple of its calibrated range, so that larger inputs do not saturate at once.
INPUT_HEADROOM = 2.0
# Minimum number of steps up to the peak of each channel; with fewer on the grid of DEFAULT_FLOAT an input is int32.
# Columns of a table, such as an income and a share, can differ by more than the grid of 16 bits resolves.
MIN_CHANNEL_STEPS = 2**5


def specs_for(
    inputs: Sequence[FloatInput], calibration: Sequence[Feeds], declared: Mapping[str, tuple[str, int | None]]
) -> dict[str, InputSpec]:
    """Choose the encoding of each input: as declared by (dtype, grid or None), otherwise from the calibration feeds.

    Floats default to int16 on a grid that covers twice the calibrated range, integers to int32. Floats that hold whole
    numbers which that grid would round default to int32 on grid 0, and floats of which a channel has fewer than
    MIN_CHANNEL_STEPS steps on that grid to int32. Integers that are only 0 or 1 in calibration, such
    as masks and bools, are clipped to 0..1. Errors: LoweringError that names the input and what to declare, also where
    the declared encoding does not hold the numbers of the calibration.
    """
    unknown = sorted(set(declared) - {item.name for item in inputs})
    if unknown:
        raise LoweringError(f"input {unknown[0]!r}", f"the model has no such input: its inputs are {_names(inputs)}")
    return {item.name: _spec(item, calibration, *declared.get(item.name, (None, None))) for item in inputs}


def _names(inputs: Sequence[FloatInput]) -> str:
    return ", ".join(item.name for item in inputs)


def _spec(item: FloatInput, calibration: Sequence[Feeds], dtype: str | None, grid: int | None) -> InputSpec:
    seen = [feed[item.name] for feed in calibration]
    if not item.real:
        if grid:
            reason = f"it holds integers, which have no grid: declare it without the grid {grid}"
            raise LoweringError(f"input {item.name!r}", reason)
        narrow = all(np.isin(array, (0, 1)).all() for array in seen)
        return InputSpec(dtype or DEFAULT_INTEGER, 0, *((0, 1) if narrow else ()))
    magnitude = max((float(np.abs(array, dtype=np.float64).max(initial=0)) for array in seen), default=0.0)
    if grid is None:
        dtype, grid = _grid_of_floats(item, seen, magnitude, dtype)
    dtype = dtype or DEFAULT_FLOAT
    if abs(grid) > MAX_GRID:
        reason = f"its grid {grid} is out of range: declare one from -{MAX_GRID} to {MAX_GRID}"
        raise LoweringError(f"input {item.name!r}", reason)
    lo, hi = (math.ldexp(limit, grid) for limit in INTEGER_RANGES[dtype])
    half = math.ldexp(1, grid - 1)
    if any(array.size and (array.min() < lo - half or array.max() > hi + half) for array in seen):
        finer = 0 if _whole(seen) else grid_for(INPUT_HEADROOM * magnitude, 32)
        raise LoweringError(
            item.description,
            f"it reaches {magnitude:g} in calibration, and {dtype} on grid {grid} holds {lo:g} to {hi:g}: declare it "
            f"as --input {item.name}=int32:{finer}",
        )
    return InputSpec(dtype, grid)


def _grid_of_floats(
    item: FloatInput, seen: Sequence[NDArray[Any]], magnitude: float, dtype: str | None
) -> tuple[str, int]:
    """Choose the dtype, unless it is declared, and the grid of a float input.

    Whole numbers that the grid of DEFAULT_FLOAT would round may be indices, so they get a grid on which they are exact.
    Channels that it would leave next to no steps get a finer one.
    """
    if not math.isfinite(magnitude):
        reason = "its calibration feeds hold NaN or infinite numbers, which no integer stands for: replace these"
        raise LoweringError(item.description, reason)
    if magnitude == 0:
        raise LoweringError(
            item.description,
            f"its largest magnitude in calibration is {magnitude}, from which no grid follows: declare one, as in "
            f"--input {item.name}={dtype or DEFAULT_FLOAT}:-9",
        )
    chosen = dtype or DEFAULT_FLOAT
    grid = grid_for(INPUT_HEADROOM * magnitude, INTEGER_RANGES[chosen][1].bit_length() + 1)
    if grid <= 0 or not _whole(seen):
        if dtype is None and _weakest_channel(seen) < MIN_CHANNEL_STEPS * 2.0**grid:
            return "int32", grid_for(INPUT_HEADROOM * magnitude, 32)
        return chosen, grid
    if dtype is None and magnitude <= INTEGER_RANGES["int32"][1]:
        return "int32", 0
    if magnitude <= INTEGER_RANGES[chosen][1]:
        return chosen, 0
    remedy = f"declare it as --input {item.name}=int32:0"
    if magnitude > INTEGER_RANGES["int32"][1]:
        remedy = f"scale it down, or declare that grid with --input {item.name}={chosen}:{grid}"
    raise LoweringError(
        item.description,
        f"it holds whole numbers up to {magnitude:g}, which {chosen} would round to multiples of {2**grid}: {remedy}",
    )


def _weakest_channel(seen: Sequence[NDArray[Any]]) -> float:
    """Return the smallest peak of a channel, which is an entry of the last axis; channels of zeros are left out."""
    peaks = np.max([np.abs(np.atleast_1d(array)).max(axis=tuple(range(array.ndim - 1))) for array in seen], axis=0)
    return float(peaks[peaks > 0].min(initial=math.inf))


def _whole(seen: Sequence[NDArray[Any]]) -> bool:
    """Return whether all numbers are whole."""
    return all(bool((np.rint(array) == array).all()) for array in seen)


def grids_of_inputs(program: Program) -> dict[str, int]:
    """Return the grids on which a program takes its inputs, by name, as `grid_of_input` finds them."""
    return {item.name: grid_of_input(program, item.name) for item in program.inputs}


def grid_of_input(program: Program, name: str) -> int:
    """Return the exponent of the power of two by which a program first multiplies an integer input, otherwise 0."""
    while True:
        readers = [item for item in program.live_instructions if name in item.inputs]
        if len(readers) != 1:
            return 0
        (reader,) = readers
        if reader.op in ("Cast", "Clip"):
            name = reader.outputs[0]
            continue
        if reader.op != "Mul" or reader.inputs[0] == reader.inputs[1]:
            return 0
        factor = program.values[reader.inputs[1] if reader.inputs[0] == name else reader.inputs[0]]
        return factor.grid if factor.constant is not None and factor.size == 1 and factor.lo == 1 else 0


def integers(
    program: Program, inputs: Sequence[FloatInput], feeds: Feeds, grids: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Convert a feed of a float model to a feed of its program.

    Floats are rounded to the nearest step of their grid and saturate at the dtype. Errors: FeedError for an input that
    the float model does not have, for integers outside of the dtype, for NaN and for infinity.
    """
    real = {item.name: item.real for item in inputs}
    converted = {}
    for item in program.inputs:
        if item.name not in real:
            raise FeedError(f"the float model has no input {item.name!r}: the program was lowered from another model")
        lo, hi = INTEGER_RANGES[item.dtype]
        array = feeds[item.name]
        if real[item.name]:
            _check_finite(item.name, array)
            array = np.clip(np.rint(np.ldexp(array.astype(np.float64), -grids[item.name])), lo, hi)
        elif array.size and (array.min() < lo or array.max() > hi):
            raise FeedError(f"array {item.name!r} has numbers outside of {item.dtype}, in which the program takes them")
        converted[item.name] = array.astype(item.dtype)
    return converted


def _check_finite(name: str, array: NDArray[Any]) -> None:
    """Check the floats of a feed. Errors: FeedError for NaN and for infinity."""
    for found, what in ((np.isnan(array), "NaNs"), (np.isinf(array), "infinite numbers")):
        if found.any():
            raise FeedError(f"array {name!r} has {what}, which no integer stands for")


def batches_of(program: Program, arrays: Feeds) -> list[dict[str, NDArray[Any]]]:
    """Cut arrays into feeds of a program, one for each batch, in the dtypes of its inputs as `as_integers` converts.

    An array of several batches has them stacked along the first axis; one of a single batch is part of every feed.
    Errors: FeedError.
    """
    converted = as_integers(program, arrays)
    counts = {
        item.name: _batch_count(item.shape, converted[item.name]) for item in program.inputs if item.name in arrays
    }
    count = max(counts.values(), default=1)
    for name, found in counts.items():
        if found not in (1, count):
            raise FeedError(f"array {name!r} has {found} batches: it must have {count}, as others have, or one")
    feeds: list[dict[str, NDArray[Any]]] = [dict(converted) for _ in range(count)]
    for item in program.inputs:
        if counts.get(item.name, 1) > 1:
            stack = converted[item.name].reshape(-1, *item.shape)
            for feed, array in zip(feeds, stack, strict=True):
                feed[item.name] = np.asarray(array)
    return feeds


def _batch_count(shape: tuple[int, ...], array: NDArray[Any]) -> int:
    """The number of batches of a shape in an array; 1 for an array of another shape, which the engine refuses."""
    if not shape:
        return len(array) if array.ndim == 1 and len(array) else 1
    stacked = array.ndim == len(shape) and array.shape[1:] == shape[1:] and len(array) and len(array) % shape[0] == 0
    return len(array) // shape[0] if stacked else 1


def as_integers(program: Program, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """Convert a feed of one batch to the dtypes of a program's inputs, without the float model.

    Integers and bools are the program's own integers. Floats are rounded to the nearest step of the input's grid, as
    `grid_of_input` finds it, and saturate at the dtype. An array of an unknown name is left as it is. Errors: FeedError
    for integers outside of the dtype, for NaN and for infinity.
    """
    converted = dict(feeds)
    for item in program.inputs:
        array = feeds.get(item.name)
        if array is None or array.dtype.kind not in "biuf":
            continue
        lo, hi = INTEGER_RANGES[item.dtype]
        if array.dtype.kind == "f":
            _check_finite(item.name, array)
            grid = grid_of_input(program, item.name)
            array = np.clip(np.rint(np.ldexp(array.astype(np.float64), -grid)), lo, hi)
        elif array.size and (array.min() < lo or array.max() > hi):
            raise FeedError(f"array {item.name!r} has numbers outside of {item.dtype}, in which the program takes them")
        converted[item.name] = array.astype(item.dtype)
    return converted
