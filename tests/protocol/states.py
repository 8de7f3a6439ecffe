"""Builders of task states: complete views whose fields are zero unless a test names them."""

from __future__ import annotations

from typing import Any

from verifier.protocol.constants import Ground, Outcome, Phase, RewardPolicy, VerdictStatus, Windows
from verifier.protocol.history import Member
from verifier.protocol.state import Round
from verifier.protocol.views import PanelView, RoundView, TaskView, Terms

NATIVE = "0x" + "00" * 20
SPONSOR = "0x" + "5a" * 20


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
