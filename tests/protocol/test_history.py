"""The fold over events: the same at once and event by event."""

from __future__ import annotations

from typing import Any

import pytest

from verifier.protocol.constants import NATIVE, RewardPolicy, Windows
from verifier.protocol.errors import IncompleteHistory
from verifier.protocol.history import Event, History

TASK, STAKE = b"\x01" * 32, b"\x02" * 32
OPERATOR, SUCCESSOR = "0x" + "aa" * 20, "0x" + "bb" * 20
TERMS = {
    "asset": NATIVE,
    "reward": 1,
    "policy": 0,
    "threshold": 1,
    "baseline": 0,
    "committee": 1,
    "windows": [1] * 6,
    "macs": 1,
    "seat_fee": 1,
    "reserve": 0,
    "manifest": b"m" * 32,
    "program": b"p" * 32,
    "practice": b"s" * 32,
    "holdout": bytes(32),
}


def event(name: str, **args: Any) -> Event:
    return Event("0x" + "11" * 20, name, args, 1, 0)


EVENTS = [
    event("Joined", stake=STAKE, operator=OPERATOR, slot=4, endpoint="https://mirror"),
    event("TaskCreated", task=TASK, terms=TERMS, manifest_uri="https://manifest"),
    event("SubmissionCommitted", task=TASK, index=0, solver=OPERATOR, commitment=b"c" * 32, sealed=b"e" * 32, uri="u"),
    event("Drawn", task=TASK, round=1, slots=[4]),
    event("Attested", task=TASK, stake=STAKE),
    event("HoldoutRevealed", task=TASK, sealed=b"e" * 32, plain=b"h" * 32, key=b"k" * 32),
    event("SubmissionRevealed", task=TASK, index=0, plain=b"q" * 32, key=b"k" * 32),
    event("OperatorSet", stake=STAKE, operator=SUCCESSOR),
    event("VerdictCommitted", task=TASK, round=1, stake=STAKE, vote=b"v" * 32),
    event("VerdictRevealed", task=TASK, round=1, stake=STAKE),
    event("Settled", task=TASK, scores=[5]),
]
CLOSING = [
    event("VoteClosed", task=TASK, round=1, stake=STAKE),
    event("SubmissionClaimed", task=TASK, index=0),
]


def test_follow__events_one_by_one__is_the_same_as_at_once() -> None:
    log: list[Event] = []
    history = History()
    for entry in EVENTS:
        log.append(entry)
        history.follow(log)
    at_once = History()
    at_once.follow(EVENTS)
    assert history.tasks == at_once.tasks
    task = history.tasks[TASK]
    assert (task.ended, task.scores, task.votes) == (True, (5,), {(1, STAKE): b"v" * 32})
    assert task.submissions[0].plain == b"q" * 32
    (member,) = history.members(TASK, 1)
    assert (member.stake, member.operator, member.endpoint) == (STAKE, SUCCESSOR, "https://mirror")


def test_follow__key_rotated__seat_and_duties_go_to_the_new_one() -> None:
    history = History()
    history.follow(EVENTS)
    assert not history.has_seat(TASK, OPERATOR)
    assert history.has_seat(TASK, SUCCESSOR)
    assert history.stakes_of(OPERATOR) == []
    assert history.stakes_of(SUCCESSOR) == [STAKE]


def test_finished__every_vote_closed_and_submission_claimed__says_so() -> None:
    history = History()
    history.follow(EVENTS)
    assert not history.tasks[TASK].finished()
    history.follow([*EVENTS, CLOSING[0]])
    assert not history.tasks[TASK].finished()
    history.follow([*EVENTS, *CLOSING])
    assert history.tasks[TASK].finished()


def test_follow__task_created__its_terms_have_named_windows_and_a_policy() -> None:
    terms = History.of(EVENTS).tasks[TASK].terms
    assert terms.windows == Windows(1, 1, 1, 1, 1, 1)
    assert (terms.windows.commit, terms.policy) == (1, RewardPolicy.BEST)


def test_follow__beginning_is_missing__names_the_first_event_without_it() -> None:
    with pytest.raises(IncompleteHistory, match=r"^Drawn in block 1 is about something that was never announced$"):
        History().follow(EVENTS[1:])
