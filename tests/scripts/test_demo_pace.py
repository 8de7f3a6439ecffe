"""The windows of the demo's task follow the measured speed of the machine, within what the deployment allows."""

import pytest

from scripts._parameters import PROFILES
from scripts.demo.parties import Pace
from verifier.protocol.constants import Windows


def test_windows__of_two_quiet_cores__are_short() -> None:
    assert Pace(script_s=10, score_s=9).windows() == Windows(25, 11, 600, 25, 47, 11)


def test_windows__of_a_machine_ten_times_slower__grow_with_it() -> None:
    slow, quick = Pace(script_s=100, score_s=90).windows(), Pace(script_s=10, score_s=9).windows()
    assert all(a > 3 * b for a, b in zip(slow, quick, strict=True) if b != quick.holdout)


@pytest.mark.parametrize("seconds", [0.01, 10_000])
def test_windows__of_any_machine__are_within_the_deployments_ranges(seconds: float) -> None:
    limits = PROFILES["demo"].parameters.limits
    found = Pace(script_s=seconds, score_s=seconds).windows()
    ranges = zip(limits.min_windows, found, limits.max_windows, strict=True)
    assert all(low <= chosen <= high for low, chosen, high in ranges)
