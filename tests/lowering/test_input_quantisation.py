"""The encodings of inputs that are chosen from the calibration, and those that do not hold it."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.exact import LoweringError
from verifier.exact.lowering import InputSpec
from verifier.exact.lowering.float_model import FloatInput
from verifier.exact.lowering.input_quantisation import specs_for

X = FloatInput("x", np.dtype(np.float32), (2,), "input 'x'")


def spec(numbers: list[float], dtype: str | None = None, grid: int | None = None) -> InputSpec:
    """The encoding of a float input that holds these numbers in calibration, one after the other in feeds of two."""
    feeds = [{"x": np.array([number, 1], np.float32)} for number in numbers]
    return specs_for([X], feeds, {} if dtype is None else {"x": (dtype, grid)})["x"]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([3.0, 255.0], InputSpec("int16", -6)),  # exact on the finer grid
        ([2.0**14, 40_000.0], InputSpec("int32", 0)),
        ([2.0**30], InputSpec("int32", 0)),
        # No indices. The second number is always 1, which is less than the step of 4 that int16 has.
        ([40_000.5, 500.0], InputSpec("int32", -14)),
    ],
)
def test_specs_for__floats_of_a_calibration__get_a_grid_on_which_whole_numbers_are_exact(
    numbers: list[float], expected: InputSpec
) -> None:
    assert spec(numbers) == expected


@pytest.mark.parametrize(
    ("numbers", "dtype", "grid", "reason"),
    [
        (
            [40_000.0],
            "int16",
            None,
            "it holds whole numbers up to 40000, which int16 would round to multiples of 4: declare it as --input "
            "x=int32:0",
        ),
        (
            [2.0**40],
            "int32",
            None,
            "it holds whole numbers up to 1.09951e+12, which int32 would round to multiples of 1024: scale it down, or "
            "declare that grid with --input x=int32:10",
        ),
        (
            [2.5],
            "int8",
            -6,
            "it reaches 2.5 in calibration, and int8 on grid -6 holds -2 to 1.98438: declare it as --input x=int32:-28",
        ),
        (
            [300.0],
            "uint8",
            0,
            "it reaches 300 in calibration, and uint8 on grid 0 holds 0 to 255: declare it as --input x=int32:0",
        ),
    ],
)
def test_specs_for__encoding_that_does_not_hold_the_calibration__is_refused_with_another(
    numbers: list[float], dtype: str, grid: int | None, reason: str
) -> None:
    with pytest.raises(LoweringError) as caught:
        spec(numbers, dtype, grid)
    assert str(caught.value) == f"cannot lower input 'x': {reason}"
