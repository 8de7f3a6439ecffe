"""The eight invariants over random histories of Stakes, Panel and Bounties together.

`pytest tests/stateful` plays batches of histories, the same in every run, until there were enough successful actions
and every kind of action and event occurred. One batch need not contain every rare event, because what a seed draws
depends on the loaded modules. `make fuzz` plays new histories until there were 50,000 successful actions.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
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
# A run must have at least this many successful actions.
MIN_ACTIONS, MIN_ACTIONS_FUZZ = 5_000, 50_000
MAX_BATCHES = 6
BATCH = settings(COMMON, max_examples=20)
FUZZ = settings(COMMON, max_examples=30)


def test_protocol__random_histories__the_eight_invariants_hold(pytestconfig: pytest.Config) -> None:
    fuzz = pytestconfig.getoption("--hypothesis-profile") == "fuzz"
    Bounties.counts = counts = Counts()
    try:
        if fuzz:
            while counts.done.total() < MIN_ACTIONS_FUZZ:
                run_state_machine_as_test(Bounties, settings=FUZZ)
        for batch in range(MAX_BATCHES):
            if counts.done.total() < MIN_ACTIONS or counts.missing():
                run_state_machine_as_test(seed(batch)(Bounties), settings=BATCH)
    finally:
        print(counts.table())
    assert counts.done.total() >= (MIN_ACTIONS_FUZZ if fuzz else MIN_ACTIONS), counts.table()
    assert not counts.missing(), counts.table()
