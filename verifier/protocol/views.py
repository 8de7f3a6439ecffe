"""The contracts' structs as value objects; fields have the names of the Vyper structs in contracts/interfaces/.

Times are in seconds since the epoch, 0 where a step has not happened. Native amounts are in wei, token amounts in the
token's smallest unit. Addresses are checksummed hexadecimal text, digests and ids are 32 bytes.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from verifier.protocol.constants import Ground, Outcome, Phase, RewardPolicy, VerdictStatus, Windows

T = TypeVar("T")


@dataclass(frozen=True)
class Terms:
    """IBounties.Terms: what the sponsor fixed when creating the task."""

    asset: str  # token of the reward; the zero address is the native coin
    reward: int
    policy: RewardPolicy
    threshold: int
    baseline: int
    committee: int  # seats drawn in the first round
    windows: Windows
    macs: int  # multiply-accumulates of one submission over the whole evaluation set
    seat_fee: int  # wei for each seat and submission
    reserve: int  # wei that pays later rounds
    manifest: bytes
    program: bytes
    practice: bytes
    holdout: bytes  # commitment to the sealed holdout; zero when the practice set is evaluated


@dataclass(frozen=True)
class TaskView:
    """IBounties.TaskView: the state of a task. In a bitmap, bit i is submission i."""

    sponsor: str
    created_at: int
    reward: int  # with top-ups; 0 once it was returned
    phase: Phase
    submissions: int
    revealed: int
    declined: int
    claimed: int
    holdout_plain: bytes  # zero while the holdout is sealed
    holdout_revealed_at: int
    outcome: Outcome
    ground: Ground
    best: int  # index of the best submission, once settled
    total_weight: int  # 0 when no submission won


@dataclass(frozen=True)
class PanelView:
    """IPanel.PanelView: the state of a task's panel."""

    round: int  # convened last, drawn or not
    status: VerdictStatus
    verdict: bytes
    target_block: int  # block whose prevRandao draws the next committee; 0 when no draw is awaited
    frozen_at: int
    rearms: int
    attest_closes: int
    closed_at: int
    admitted: int  # bitmap: bit 0 is the task's own files, bit i + 1 the ciphertext of submission i
    attesters: int  # seats whose attestation covers every admitted item


@dataclass(frozen=True)
class RoundView:
    """IPanel.RoundView: one round of voting. In a bitmap, bit p is the seat at position p of the committee."""

    seats: int
    drawn_at: int
    opens: int
    commit_closes: int
    reveal_closes: int
    committed: int
    revealed: int
    closed: int


@dataclass(frozen=True)
class SeatView:
    """IStakes.Seat: one seat of the registry."""

    stake: bytes
    slot: int
    owner: str
    operator: str
    joined_at: int
    exit_at: int  # when the owner asked to leave
    balance: int
    reserved: int  # part of the balance that panels hold
    endpoint: str  # base URL of the operator's mirror; may be empty


@dataclass(frozen=True)
class Delays:
    """Delays that a deployment fixes, in seconds."""

    void: int  # after commits close without a committee: the task can be cancelled
    terminal: int  # after the last reveals without a settlement: the terminal rule applies
    challenge: int  # after the reveals of the accepting round: the verdict is final


def from_abi(cls: type[T], answer: Any) -> T:
    """Build a view from a decoded struct (an object from a call, a mapping from an event), by field name.

    A field that the contract has and `cls` does not is ignored. Errors: ValueError when a number is not a member of the
    field's enumeration, AttributeError or KeyError when a field is missing.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]
        value = answer[field.name] if isinstance(answer, Mapping) else getattr(answer, field.name)
        hint = hints[field.name]
        values[field.name] = hint(*value) if hint is Windows else hint(value)
    return cls(**values)
