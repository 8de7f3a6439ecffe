"""The model of one task: its money, its state, and the calls that are permitted now."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from tests.evm import HASH_REACH, NATIVE, ZERO
from tests.harness import CHALLENGE_WINDOW, LIMITS, Entry, Task
from tests.stateful.ledger import require
from tests.stateful.seats import Seat
from verifier.protocol.constants import FREE_ROUNDS, MAX_REARMS, Ground, Phase

ATTEST_PART = 5
MAX_ROUND_SEATS = 63


@dataclass
class Submission:
    """One submission; `score` is the honest evaluation's result, `answer` is "revealed", "declined" or empty."""

    entry: Entry
    bond: int
    score: int
    answer: str = ""
    claimed: bool = False

    @property
    def solver(self) -> str:
        return self.entry.solver


@dataclass
class Ballot:
    """The vote of one seat in a round: its verdict and salt, and whether it was revealed."""

    verdict: bytes
    salt: bytes
    shown: bool = False


@dataclass
class Round:
    """One round of voting. The first round has no opening time until a submission is revealed."""

    number: int
    seats: list[Seat]
    drawn_at: int
    ballots: dict[int, Ballot] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    @property
    def quorum(self) -> int:
        return 2 * len(self.seats) // 3 + 1

    def shown(self, verdict: bytes | None) -> list[int]:
        """The positions that revealed this verdict."""
        return [position for position, ballot in self.ballots.items() if ballot.shown and ballot.verdict == verdict]


@dataclass
class Ending:
    """How a task ended, and what each submission (asset, wei) and each seat (round, position) can still be paid."""

    phase: int
    outcome: int
    ground: int
    scores: tuple[int, ...]
    claims: list[tuple[int, int]]
    pay: dict[tuple[int, int], int]


@dataclass(eq=False, repr=False)
class Case:
    """One task. `reward` and `bond` are in the task's asset, all other amounts in wei."""

    task: Task
    reward: int
    bond: int
    score_outcome: int
    submissions: list[Submission] = field(default_factory=list)
    bought: int = 0
    convened: int = 0
    target: int = 0
    rearms: int = 0
    extra_rounds: int = 0
    frozen: tuple[int, int] = (0, 0)
    rounds: list[Round] = field(default_factory=list)
    attested: dict[int, int] = field(default_factory=dict)
    closed_at: int = 0
    admitted: int = 0
    holdout_at: int = 0
    accepted: bytes | None = None
    ending: Ending | None = None
    # The content of every verdict that a seat voted for, by digest: outcome, scores, evidence.
    known: dict[bytes, tuple[int, tuple[int, ...], bytes]] = field(default_factory=dict)

    def __repr__(self) -> str:
        end = f"ended {self.ending.outcome} {self.ending.ground}" if self.ending else f"round {self.convened}"
        return f"<task {self.task.id.hex()[:8]}: {len(self.submissions)} submissions, {end}>"

    # ------------------------------------------------------------------------------------------------- terms

    @property
    def terms(self) -> dict[str, Any]:
        return self.task.terms

    @property
    def asset(self) -> str:
        return str(self.terms["asset"])

    @property
    def committee(self) -> int:
        return int(self.terms["committee"])

    @property
    def sealed(self) -> bool:
        return bool(self.terms["holdout"] != ZERO)

    @property
    def fee(self) -> int:
        """The committee's fee for one submission, wei."""
        return int(self.terms["seat_fee"]) * self.committee

    @property
    def attest_fee(self) -> int:
        return self.fee // ATTEST_PART

    @property
    def room(self) -> int:
        return int(min(64, self.terms["windows"].verdict_commit * LIMITS.reference_rate // self.terms["macs"]))

    @property
    def reconvene_fee(self) -> int:
        seat_fee = int(self.terms["seat_fee"])
        seats = min(4 * self.committee, MAX_ROUND_SEATS)
        return len(self.submissions) * seats * (seat_fee - seat_fee // ATTEST_PART)

    # ------------------------------------------------------------------------------------------------- money

    def escrow(self, asset: str) -> int:
        """The amount of an asset that the task still holds."""
        if self.ending:
            unclaimed = [
                claim for claim, entry in zip(self.ending.claims, self.submissions, strict=True) if not entry.claimed
            ]
            native = sum(wei for _, wei in unclaimed) + sum(self.ending.pay.values())
            rewards = sum(amount for amount, _ in unclaimed)
        else:
            native = int(self.terms["reserve"]) + self.bought
            native += sum(entry.bond + self.fee for entry in self.submissions)
            rewards = self.reward + self.bond
        return (native if asset == NATIVE else 0) + (rewards if asset == self.asset else 0)

    # ------------------------------------------------------------------------------------------ times and phase

    @property
    def drawn(self) -> Round | None:
        """The last round that was drawn, or None."""
        return self.rounds[-1] if self.rounds else None

    @property
    def attest_closes(self) -> int:
        return self.rounds[0].drawn_at + self.terms["windows"].attest

    @property
    def holdout_closes(self) -> int:
        return self.closed_at + self.terms["windows"].holdout

    @property
    def answers_open(self) -> int:
        """When solvers can start to reveal or decline, or 0 while that time is unknown."""
        return (self.holdout_at if self.sealed else self.closed_at) if self.admitted & 1 else 0

    @property
    def answers_close(self) -> int:
        return self.answers_open + self.terms["windows"].reveal

    @property
    def scored(self) -> int:
        return sum(1 << i for i, entry in enumerate(self.submissions) if entry.answer == "revealed")

    def opens(self, round_: Round) -> int:
        """When a round's votes can be committed, or 0 while that time is unknown."""
        if round_.number > 1:
            return round_.drawn_at
        return self.answers_close if self.scored else 0

    def commits_close(self, round_: Round) -> int:
        return self.opens(round_) + self.terms["windows"].verdict_commit if self.opens(round_) else 0

    def reveals_close(self, round_: Round | None) -> int:
        if round_ is None or not self.opens(round_):
            return 0
        return self.commits_close(round_) + self.terms["windows"].verdict_reveal

    def is_final(self, now: int) -> bool:
        return self.accepted is not None and now >= self.reveals_close(self.drawn) + CHALLENGE_WINDOW

    def phase(self, now: int) -> int:
        if self.ending:
            return self.ending.phase
        if now < self.task.commit_closes:
            return Phase.COMMITTING
        if not self.rounds:
            return Phase.CONVENING
        if not self.closed_at:
            return Phase.ATTESTING
        if not self.answers_open:
            return Phase.HOLDOUT
        return Phase.REVEALING if now < self.answers_close else Phase.JUDGING

    def deadlines(self, now: int) -> list[int]:
        """The future seconds at which a window opens or closes, in order."""
        times = [self.task.commit_closes]
        times.append(self.attest_closes if self.rounds else self.task.commit_closes + LIMITS.void_delay)
        if self.closed_at and self.sealed and not self.holdout_at:
            times.append(self.holdout_closes)
        if self.answers_open:
            times.append(self.answers_close)
        if ends := self.reveals_close(self.drawn):
            assert self.drawn is not None
            times += [self.commits_close(self.drawn), ends, ends + CHALLENGE_WINDOW, ends + LIMITS.terminal_delay]
        return sorted(time for time in times if time > now) if not self.ending else []

    def next_deadline(self, now: int) -> float:
        return min(self.deadlines(now), default=inf)

    # ------------------------------------------------------------------------------------------------- bounties

    def top_up(self, arrived: int, now: int, bound: int) -> None:
        require(self.phase(now) == Phase.COMMITTING, "top_up: closed")
        require(arrived, "top_up: nothing sent")
        require(self.asset != NATIVE or self.reward + arrived <= bound, "reward: above the committee's stake")
        self.reward += arrived

    def submit(self, submission: Submission, value: int, now: int) -> int:
        """Commit a submission; returns the part of the value above bond and fee."""
        require(self.phase(now) == Phase.COMMITTING, "commit: closed")
        require(len(self.submissions) < self.room, "commit: task is full")
        due = submission.bond + self.fee
        require(value >= due, "commit: too little sent")
        self.submissions.append(submission)
        return value - due

    def reveal_holdout(self, opening: tuple[bytes, ...], now: int) -> None:
        awaited = not self.ending and self.sealed and self.closed_at and self.admitted & 1 and not self.holdout_at
        require(awaited, "holdout: not awaited")
        require(now < self.holdout_closes, "holdout: too late")
        require(opening == self.task.holdout, "holdout: wrong opening")
        self.holdout_at = now

    def answer(self, index: int, answer: str, allowed: bool, now: int) -> None:
        """Reveal or decline; `allowed` says whether the opening, or the sender, is correct."""
        require(self.answers_open, "reveal: not open")
        require(now < self.answers_close, "reveal: too late")
        require(index < len(self.submissions), "submission: unknown")
        require(self.admitted >> (index + 1) & 1, "reveal: not admitted")
        require(not self.submissions[index].answer, "reveal: already answered")
        require(allowed, "reveal: wrong opening" if answer == "revealed" else "decline: not the solver")
        self.submissions[index].answer = answer

    def reconvene(self, value: int, now: int, block: int, slots: int, draw_delay: int) -> int:
        """Pay for a round; returns the part of the value above the fee."""
        require(not self.ending, "reconvene: already ended")
        due = self.reconvene_fee
        require(value >= due, "reconvene: too little sent")
        if self.target:
            spent = self.convened > 1 and self.rearms == MAX_REARMS and block > self.target + HASH_REACH
            require(spent, "reopen: not failed")
        else:
            require(self.convened and self.convened == FREE_ROUNDS + self.extra_rounds, "reopen: not failed")
            self._assert_failed(now)
            self.convened += 1
            self.extra_rounds += 1
        self.rearms = 0
        self.bought += due
        self._freeze(now, block, slots, draw_delay)
        return value - due

    def ground(self, sender: str, now: int) -> Ground:
        """The ground on which the task can be cancelled; NONE when it cannot."""
        committing = self.phase(now) == Phase.COMMITTING
        if not self.submissions:
            return (Ground.WITHDRAWN if sender == self.task.sponsor else Ground.NONE) if committing else Ground.EMPTY
        if committing:
            return Ground.NONE
        if not self.rounds:
            return Ground.NO_COMMITTEE if now >= self.task.commit_closes + LIMITS.void_delay else Ground.NONE
        if not self.closed_at:
            return Ground.NONE
        if not self.admitted & 1:
            return Ground.UNAVAILABLE
        if self.sealed and not self.holdout_at:
            return Ground.HOLDOUT_SILENT if now >= self.holdout_closes else Ground.NONE
        ends = self.reveals_close(self.drawn)
        return Ground.TERMINAL if self.scored and ends and now >= ends + LIMITS.terminal_delay else Ground.NONE

    # ---------------------------------------------------------------------------------------------------- panel

    def convene(self, now: int, block: int, slots: int, draw_delay: int) -> None:
        require(not self.ending, "panel: task ended")
        if not self.convened:
            require(now >= self.task.commit_closes, "convene: commits are open")
            require(self.submissions, "convene: no submissions")
            self.convened = 1
        elif self.target:
            require(block > self.target + HASH_REACH, "convene: draw is open")
            require(self.rearms < MAX_REARMS, "convene: re-arms used up")
            self.rearms += 1
        else:
            self._assert_failed(now)
            require(self.convened < FREE_ROUNDS + self.extra_rounds, "convene: rounds used up")
            self.convened += 1
            self.rearms = 0
        self._freeze(now, block, slots, draw_delay)

    def assert_drawable(self, block: int, right_header: bool) -> None:
        require(self.target, "draw: not convened")
        require(block > self.target, "draw: too early")
        require(block <= self.target + HASH_REACH, "draw: too late")
        require(right_header, "draw: wrong header")
        require(not self.ending, "panel: task ended")

    @property
    def wanted(self) -> int:
        """The number of seats that the next draw asks for."""
        return min(self.committee << (min(self.convened, FREE_ROUNDS) - 1), MAX_ROUND_SEATS)

    def drew(self, seats: list[Seat], now: int) -> None:
        require(len(seats) >= self.committee, "draw: too few seats")
        self.rounds.append(Round(self.convened, seats, now))
        self.target = 0

    def attest(self, position: int, bitmap: int, sender: str, now: int) -> None:
        require(self.rounds, "attest: not drawn")
        require(now < self.attest_closes, "attest: closed")
        require(bitmap < 2 ** (len(self.submissions) + 1), "attest: no such item")
        self._assert_operator(self.rounds[0], position, sender)
        require(position not in self.attested, "attest: already attested")
        self.attested[position] = bitmap

    def close_attestation(self, now: int) -> None:
        require(self.rounds, "attest: not drawn")
        require(now >= self.attest_closes, "attest: open")
        require(not self.closed_at, "attest: already closed")
        self.closed_at = now
        for item in range(len(self.submissions) + 1):
            having = sum(bitmap >> item & 1 for bitmap in self.attested.values())
            if 2 * having > len(self.rounds[0].seats):
                self.admitted |= 1 << item

    def commit(self, number: int, position: int, ballot: Ballot, sender: str, now: int) -> None:
        require(number <= len(self.rounds), "verdict: not drawn")
        round_ = self.rounds[number - 1]
        require(self.opens(round_) and now >= self.opens(round_), "verdict: not open")
        require(now < self.commits_close(round_), "verdict: commits are closed")
        self._assert_operator(round_, position, sender)
        require(position not in round_.ballots, "verdict: already committed")
        round_.ballots[position] = ballot

    def show(self, number: int, position: int, verdict: bytes, salt: bytes, now: int) -> bool:
        """Reveal a vote; returns whether that accepts the verdict."""
        require(number <= len(self.rounds), "verdict: not drawn")
        round_ = self.rounds[number - 1]
        # The contract stores the opening time of the first round with the first vote.
        dated = number > 1 or round_.ballots
        require(dated and now >= self.commits_close(round_), "reveal: not open")
        require(now < self.reveals_close(round_), "reveal: closed")
        require(verdict != ZERO, "reveal: empty verdict")
        require(position < len(round_.seats), "panel: not a seat")
        ballot = round_.ballots.get(position)
        require(not (ballot and ballot.shown), "reveal: already revealed")
        require(ballot and (ballot.verdict, ballot.salt) == (verdict, salt), "reveal: wrong vote")
        assert ballot is not None
        ballot.shown = True
        if len(round_.shown(verdict)) != round_.quorum:
            return False
        self.accepted = verdict
        return True

    def close(self, number: int, position: int, now: int) -> None:
        require(self.ending, "close: task not ended")
        require(number <= len(self.rounds) and position < len(self.rounds[number - 1].seats), "panel: not a seat")
        require(position not in self.rounds[number - 1].closed, "close: already closed")
        self.rounds[number - 1].closed.add(position)

    def excused(self, number: int, position: int) -> bool:
        """Whether a seat of the first round attested and lacked an admitted item."""
        return number == 1 and position in self.attested and self.admitted & ~self.attested[position] != 0

    def _freeze(self, now: int, block: int, slots: int, draw_delay: int) -> None:
        self.target = block + draw_delay
        self.frozen = (now, slots)

    def _assert_failed(self, now: int) -> None:
        ends = self.reveals_close(self.drawn)
        require(ends and now >= ends, "convene: round is open")
        require(self.accepted is None, "convene: verdict accepted")

    @staticmethod
    def _assert_operator(round_: Round, position: int, sender: str) -> None:
        require(position < len(round_.seats), "panel: not a seat")
        require(round_.seats[position].operator == sender, "panel: not the operator")
