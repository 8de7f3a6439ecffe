"""Builders of task states: complete views whose fields are zero unless a test names them."""

from __future__ import annotations

from typing import Any

from verifier.protocol.constants import NATIVE, Ground, Outcome, Phase, RewardPolicy, VerdictStatus, Windows
from verifier.protocol.history import Member, Submission, TaskHistory
from verifier.protocol.state import Round, TaskState
from verifier.protocol.views import Delays, PanelView, RoundView, TaskView, Terms

SPONSOR = "0x" + "5a" * 20
# All different, so that none passes for another.
WINDOWS = Windows(commit=100, attest=50, holdout=40, reveal=30, verdict_commit=20, verdict_reveal=10)
DELAYS = Delays(void=1_000, terminal=5_000, challenge=7)


def some_terms(**changes: Any) -> Terms:
    """Terms of a task with a sealed holdout and windows of 100 seconds."""
    fields: dict[str, Any] = {
        "asset": NATIVE,
        "reward": 1,
        "policy": RewardPolicy.BEST,
        "threshold": 1,
        "baseline": 0,
        "committee": 2,
        "windows": Windows(*[100] * 6),
        "macs": 1,
        "seat_fee": 1,
        "reserve": 0,
        "manifest": b"m" * 32,
        "program": b"p" * 32,
        "practice": b"s" * 32,
        "holdout": b"h" * 32,
    }
    return Terms(**{**fields, **changes})


def task_view(phase: Phase, **changes: Any) -> TaskView:
    fields: dict[str, Any] = {
        "sponsor": SPONSOR,
        "created_at": 0,
        "reward": 1,
        "submissions": 0,
        "revealed": 0,
        "declined": 0,
        "claimed": 0,
        "holdout_plain": bytes(32),
        "holdout_revealed_at": 0,
        "outcome": Outcome.NONE,
        "ground": Ground.NONE,
        "best": 0,
        "total_weight": 0,
    }
    return TaskView(phase=phase, **{**fields, **changes})


def panel_view(**changes: Any) -> PanelView:
    fields: dict[str, Any] = {
        "round": 0,
        "status": VerdictStatus.NONE,
        "verdict": bytes(32),
        "target_block": 0,
        "frozen_at": 0,
        "rearms": 0,
        "attest_closes": 0,
        "closed_at": 0,
        "admitted": 0,
        "attesters": 0,
    }
    return PanelView(**{**fields, **changes})


def drawn_round(number: int, members: tuple[Member, ...], **changes: int) -> Round:
    """A drawn round of those members; its times are zero, and nobody has voted, unless said."""
    fields = {"drawn_at": 1, "opens": 0, "commit_closes": 0, "reveal_closes": 0}
    votes = {"committed": 0, "revealed": 0, "closed": 0}
    return Round(number, RoundView(seats=len(members), **{**fields, **votes, **changes}), members)


def two_submissions(view: TaskView, panel: PanelView, *rounds: Round) -> TaskState:
    """A task with two submissions. The votes and closed seats in the rounds, and the claims, are in its history too."""
    history = TaskHistory(bytes(32), some_terms(windows=WINDOWS), "")
    history.submissions = [
        Submission(index, "0x" + f"{index + 1:02x}" * 20, bytes([index] * 32), bytes(32), "") for index in range(2)
    ]
    history.claimed = {index for index in range(2) if view.claimed >> index & 1}
    for round_ in rounds:
        for member in round_.members:
            seat, bit = (round_.number, member.stake), 1 << member.position
            if round_.view.committed & bit:
                history.votes[seat] = b"v" * 32
            if round_.view.revealed & bit:
                history.revealed.add(seat)
            if round_.view.closed & bit:
                history.closed.add(seat)
    return TaskState(history, view, panel, rounds, bytes(32), DELAYS)
