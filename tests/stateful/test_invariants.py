"""The eight invariants over random histories of Stakes, Panel and Bounties together.

`pytest tests/stateful` repeats the same histories every time. `make fuzz` makes new ones until there were 50,000
successful actions.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.counts import Counts
from tests.stateful.machine import Bounties

COMMON = settings(
    deadline=None,
    database=None,
    print_blob=True,
    phases=(Phase.generate, Phase.shrink),
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
SAME = settings(COMMON, derandomize=True, max_examples=28)
FUZZ = settings(COMMON, derandomize=False, max_examples=30)
LEAST, LEAST_FUZZ = 5_000, 50_000


def test_protocol__random_histories__the_eight_invariants_hold(pytestconfig: pytest.Config) -> None:
    fuzz = pytestconfig.getoption("--hypothesis-profile") == "fuzz"
    Bounties.counts = counts = Counts()
    try:
        run_state_machine_as_test(Bounties, settings=FUZZ if fuzz else SAME)
        while fuzz and counts.done.total() < LEAST_FUZZ:
            run_state_machine_as_test(Bounties, settings=FUZZ)
    finally:
        print(counts.table())
    assert counts.done.total() >= (LEAST_FUZZ if fuzz else LEAST), counts.table()
    assert not counts.missing(), counts.table()
