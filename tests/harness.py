"""Stakes, Panel and Bounties on an in-process chain, and the actions of the parties that use them.

A `World` is one deployment with its seats and tokens. Its methods are the steps of the protocol: each sends one
transaction unless its docstring says otherwise, and raises `Reverted` with the contract's whole reason. Keys, salts and
digests are derived from names, so every run is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts._parameters import Limits, Parameters, deploy
from tests.evm import NATIVE, ZERO, Chain, Contract, Receipt, account, compiled, word
from verifier.protocol import commitments
from verifier.protocol.constants import ETHER, Outcome, RewardPolicy, Windows

SEAT = 8 * ETHER
RESERVATION = SEAT // 4
SILENCE = RESERVATION // 20
EXIT_DELAY = 20_000
DRAW_DELAY = 2
CHALLENGE_WINDOW = 50
# The native balance that each party starts with; no test needs more.
PURSE = 10**9 * ETHER

# The windows of a task in seconds; all differ, so that a test fails if the contracts confuse two of them.
WINDOWS = Windows(commit=100, attest=90, holdout=80, reveal=70, verdict_commit=60, verdict_reveal=40)

PARAMETERS = Parameters(
    seat=SEAT,
    exit_delay=EXIT_DELAY,
    draw_delay=DRAW_DELAY,
    challenge_window=CHALLENGE_WINDOW,
    limits=Limits(
        min_committee=3,
        max_committee=31,
        seat_factor=1,
        min_windows=Windows(*[10] * 6),
        max_windows=Windows(*[3600] * 6),
        submission_bond=ETHER // 100,
        sponsor_bond_bps=2000,
        reference_rate=10**10,
        min_seat_fee=10**9,
        void_delay=1_000,
        terminal_delay=5_000,
    ),
)
LIMITS = PARAMETERS.limits

DEPLOYER = account("deployer")
OWNER = account("owner")
OPERATOR = account("operator")
SPONSOR = account("sponsor")
SOLVER = account("solver")
RIVAL = account("rival")
OUTSIDER = account("outsider")


@dataclass
class Entry:
    """One submission with the secrets of its solver."""

    solver: str
    index: int
    sealed: bytes
    plain: bytes
    key: bytes
    commitment: bytes

    @property
    def uri(self) -> str:
        return f"https://solver.example/{self.sealed.hex()}"


@dataclass
class Task:
    """One task with the secrets of its sponsor."""

    id: bytes
    sponsor: str
    nonce: int
    terms: dict[str, Any]
    created_at: int
    holdout: tuple[bytes, bytes, bytes] | None  # sealed, plain, key
    entries: list[Entry] = field(default_factory=list)

    @property
    def commit_closes(self) -> int:
        return self.created_at + self.terms["windows"].commit

    @property
    def everything(self) -> int:
        """The attestation bitmap of a seat that has every file."""
        return int(2 ** (len(self.entries) + 1) - 1)


class World:
    """One deployment of the protocol with its parties. `sources` maps a contract to a file to compile instead."""

    def __init__(
        self, parameters: Parameters = PARAMETERS, chain: Chain | None = None, sources: Mapping[str, str] | None = None
    ) -> None:
        self.chain = chain or Chain()
        for role in (DEPLOYER, OWNER, OPERATOR, SPONSOR, SOLVER, RIVAL, OUTSIDER):
            self.chain.fund(role, PURSE)
        self.limits = parameters.limits
        self.challenge_window = parameters.challenge_window

        def create(name: str, *arguments: Any) -> Contract:
            source = (sources or {}).get(name, f"contracts/{name}.vy")
            return self.chain.deploy(compiled(source), *arguments, sender=DEPLOYER)

        nonce = self.chain.nonce(DEPLOYER)
        self.stakes, self.panel, self.bounties = deploy(parameters, DEPLOYER, nonce, create)

    @classmethod
    def with_seats(cls, count: int, **arguments: Any) -> World:
        """Make a deployment with `count` seats of one owner and one operator, which any later task can draw."""
        world = cls(**arguments)
        world.join_early(count)
        return world

    # ------------------------------------------------------------------------------------------------- seats

    def join(
        self, count: int = 1, owner: str = OWNER, operator: str = OPERATOR, panel: str | None = None
    ) -> list[bytes]:
        """Open seats in one transaction each, enrolled at this panel unless another is named; returns stake ids."""
        where = self.panel.address if panel is None else panel
        seat = self.stakes.SEAT()
        return [
            bytes(self.stakes.join(operator, "https://mirror.example", where, sender=owner, value=seat).result)
            for _ in range(count)
        ]

    def join_early(self, count: int = 1, owner: str = OWNER, operator: str = OPERATOR) -> list[bytes]:
        """Open seats and advance by one second, so that any later task can draw them; returns their stake ids."""
        stakes = self.join(count, owner, operator)
        self.chain.at(self.chain.now + 1)
        return stakes

    def operator_of(self, slot: int) -> str:
        """The key that attests and votes now for the seat in a slot."""
        _, operator = self.stakes.voter(slot)
        return str(operator)

    # ------------------------------------------------------------------------------------------------- tasks

    def terms(self, **changes: Any) -> dict[str, Any]:
        """The terms of a public task with a native reward and a committee of three, changed by `changes`."""
        return {
            "asset": NATIVE,
            "reward": ETHER,
            "policy": RewardPolicy.BEST,
            "threshold": 100,
            "baseline": 0,
            "committee": 3,
            "windows": WINDOWS,
            "macs": 10**9,
            "seat_fee": 10**15,
            "reserve": 0,
            "manifest": word("manifest"),
            "program": word("program"),
            "practice": word("practice"),
            "holdout": ZERO,
        } | changes

    def create(self, sponsor: str = SPONSOR, sealed: bool = False, **changes: Any) -> Task:
        """Create a task, with a sealed holdout if `sealed`; the reward's token must have been approved."""
        nonce = self.bounties.nonce(sponsor)
        holdout = None
        if sealed:
            name = f"holdout {sponsor} {nonce}"
            holdout = (word(f"sealed {name}"), word(f"plain {name}"), word(f"key {name}"))
            changes["holdout"] = commitments.holdout(
                self.chain.chain_id, self.bounties.address, sponsor, nonce, *holdout
            )
        terms = self.terms(**changes)
        value = terms["reserve"]
        if terms["asset"] == NATIVE:
            value += terms["reward"] + self.sponsor_bond(terms)
        receipt = self.bounties.create_task(
            tuple(terms.values()), "https://sponsor.example/manifest.json", sender=sponsor, value=value
        )
        return Task(receipt.result, sponsor, nonce, terms, self.chain.now, holdout)

    def sponsor_bond(self, terms: dict[str, Any]) -> int:
        """The bond for a sealed holdout, in the reward's asset."""
        return int(terms["reward"] * self.limits.sponsor_bond_bps // 10_000) if terms["holdout"] != ZERO else 0

    def entry(self, task: Task, solver: str, name: str = "") -> Entry:
        """The submission that a solver would commit next; sends nothing."""
        index = len(task.entries)
        name = name or f"{task.id.hex()} {index}"
        sealed, plain, key = word(f"sealed {name}"), word(f"plain {name}"), word(f"key {name}")
        commitment = commitments.submission(
            self.chain.chain_id, self.bounties.address, task.id, solver, sealed, plain, key
        )
        return Entry(solver, index, sealed, plain, key, commitment)

    def due(self, task: Task) -> int:
        """The bond and the fee of the next submission together, wei."""
        return int(self.bounties.bond_of(len(task.entries)) + self.bounties.fee(task.id))

    def submit(self, task: Task, solver: str = SOLVER, entry: Entry | None = None) -> Entry:
        entry = entry or self.entry(task, solver)
        self.bounties.commit_submission(
            task.id, entry.commitment, entry.sealed, entry.uri, sender=solver, value=self.due(task)
        )
        task.entries.append(entry)
        return entry

    def reveal_holdout(self, task: Task) -> Receipt:
        assert task.holdout is not None
        return self.bounties.reveal_holdout(task.id, *task.holdout, sender=task.sponsor)

    def reveal(self, task: Task, index: int, sender: str | None = None) -> Receipt:
        entry = task.entries[index]
        return self.bounties.reveal_submission(
            task.id, index, entry.sealed, entry.plain, entry.key, sender=sender or entry.solver
        )

    # ------------------------------------------------------------------------------------------------- panel

    def convene(self, task: Task) -> Receipt:
        return self.panel.convene(task.id, sender=OUTSIDER)

    def draw(self, task: Task) -> Receipt:
        """Advance past the target block if necessary, and draw with its header."""
        target = self.panel.panel(task.id)["target_block"]
        if self.chain.block <= target:
            self.chain.block = target + 1
            self.chain.now += 1
        return self.panel.draw(task.id, self.chain.header(target), sender=OUTSIDER)

    def committee(self, task: Task, number: int = 1) -> list[int]:
        """The slots of a round's seats, by position."""
        return list(self.panel.committee(task.id, number))

    def attest(self, task: Task, bitmaps: Sequence[int | None] | None = None) -> None:
        """Attest a bitmap by position (default: everything; None stays silent), and close after the window."""
        committee = self.committee(task)
        for position, bitmap in enumerate(bitmaps or [task.everything] * len(committee)):
            if bitmap is not None:
                operator = self.operator_of(committee[position])
                self.panel.attest(task.id, position, bitmap, sender=operator)
        self.chain.at(self.panel.panel(task.id)["attest_closes"])
        self.panel.close_attestation(task.id, sender=OUTSIDER)

    # ------------------------------------------------------------------------------------------------- votes

    def scored(self, task: Task) -> int:
        return int(self.bounties.task(task.id)["revealed"])

    def verdict(
        self, task: Task, scores: Sequence[int] = (), outcome: int = Outcome.SCORED, evidence: bytes | None = None
    ) -> bytes:
        """The digest of a verdict on the task in its current state, computed outside the contracts."""
        evidence = self.evidence(outcome) if evidence is None else evidence
        set_ = task.holdout[1] if task.holdout else task.terms["practice"]
        root = commitments.root(entry.commitment for entry in task.entries)
        inputs = commitments.inputs(task.id, set_, root, self.scored(task))
        return commitments.verdict(self.chain.chain_id, self.panel.address, task.id, inputs, outcome, scores, evidence)

    @staticmethod
    def evidence(outcome: int) -> bytes:
        return word("evidence") if outcome == Outcome.SCORED else ZERO

    @staticmethod
    def salt(round_: int, position: int) -> bytes:
        return word(f"salt {round_} {position}")

    def hidden(self, task: Task, position: int, verdict: bytes, round_: int = 1) -> bytes:
        """The hidden vote of the seat at a position for a verdict."""
        stake = self.stakes.stake_of(self.committee(task, round_)[position])
        return commitments.vote(
            self.chain.chain_id, self.panel.address, task.id, round_, stake, verdict, self.salt(round_, position)
        )

    def commit(self, task: Task, position: int, verdict: bytes, round_: int = 1) -> Receipt:
        operator = self.operator_of(self.committee(task, round_)[position])
        return self.panel.commit_verdict(
            task.id, round_, position, self.hidden(task, position, verdict, round_), sender=operator
        )

    def disclose(self, task: Task, position: int, verdict: bytes, round_: int = 1) -> Receipt:
        """Reveal a committed vote."""
        return self.panel.reveal_verdict(
            task.id, round_, position, verdict, self.salt(round_, position), sender=OUTSIDER
        )

    def judge(
        self, task: Task, votes: Sequence[bytes | None], revealed: Sequence[bool] | None = None, round_: int = 1
    ) -> None:
        """Play one round: each position commits its vote (None stays silent) and, by default, reveals it."""
        opens = self.bounties.judging_from(task.id) if round_ == 1 else self.chain.now
        self.chain.at(max(opens, self.chain.now))
        for position, verdict in enumerate(votes):
            if verdict is not None:
                self.commit(task, position, verdict, round_)
        self.chain.at(self.panel.round(task.id, round_)["commit_closes"])
        for position, verdict in enumerate(votes):
            if verdict is not None and (revealed is None or revealed[position]):
                self.disclose(task, position, verdict, round_)

    def pass_reveals(self, task: Task, round_: int = 1) -> None:
        self.chain.at(self.panel.round(task.id, round_)["reveal_closes"])

    def next_round(self, task: Task, after: int = 1) -> None:
        """Wait for the end of a round that accepted nothing, and draw the next one."""
        self.pass_reveals(task, after)
        self.convene(task)
        self.draw(task)

    def pass_challenge(self, task: Task, round_: int = 1) -> None:
        self.chain.at(self.panel.round(task.id, round_)["reveal_closes"] + self.challenge_window)

    # ------------------------------------------------------------------------------------------------- ends

    def settle(
        self, task: Task, scores: Sequence[int] = (), outcome: int = Outcome.SCORED, evidence: bytes | None = None
    ) -> Receipt:
        evidence = self.evidence(outcome) if evidence is None else evidence
        return self.bounties.settle(task.id, outcome, list(scores), evidence, sender=OUTSIDER)

    def claim(self, task: Task, index: int, scores: Sequence[int] = ()) -> Receipt:
        return self.bounties.claim_submission(task.id, index, list(scores), sender=OUTSIDER)

    def close(self, task: Task, position: int, round_: int = 1) -> Receipt:
        return self.panel.close_vote(task.id, round_, position, sender=OUTSIDER)

    def owed(self, account_: str, asset: str = NATIVE, contract: Contract | None = None) -> int:
        """The credit of an account at the escrow, or at another contract of the protocol."""
        return int((contract or self.bounties).credit(asset, account_))

    # ------------------------------------------------------------------------------------------------ stages

    def to_committed(self, submissions: int | Iterable[str] = 1, **changes: Any) -> Task:
        """Make a task in the second in which its commits close.

        `submissions` is the number that the solver committed, or one solver for each; `changes` are for `create`.
        """
        task = self.create(**changes)
        for solver in [SOLVER] * submissions if isinstance(submissions, int) else submissions:
            self.submit(task, solver)
        self.chain.at(task.commit_closes)
        return task

    def to_convened(self, submissions: int | Iterable[str] = 1, **changes: Any) -> Task:
        """Make a task whose eligible seats are frozen and whose draw is awaited."""
        task = self.to_committed(submissions, **changes)
        self.convene(task)
        return task

    def to_drawn(self, submissions: int | Iterable[str] = 1, **changes: Any) -> Task:
        """Make a task whose first committee is drawn."""
        task = self.to_convened(submissions, **changes)
        self.draw(task)
        return task

    def to_attested(
        self, submissions: int | Iterable[str] = 1, bitmaps: Sequence[int | None] | None = None, **changes: Any
    ) -> Task:
        """Make a task whose attestation is closed; a sealed holdout is not revealed yet."""
        task = self.to_drawn(submissions, **changes)
        self.attest(task, bitmaps)
        return task

    def to_revealing(
        self, submissions: int | Iterable[str] = 1, bitmaps: Sequence[int | None] | None = None, **changes: Any
    ) -> Task:
        """Make a task whose solvers can reveal."""
        task = self.to_attested(submissions, bitmaps, **changes)
        if task.holdout is not None:
            self.reveal_holdout(task)
        return task

    def to_judging(
        self, submissions: int | Iterable[str] = 1, bitmaps: Sequence[int | None] | None = None, **changes: Any
    ) -> Task:
        """Make a task with all submissions revealed, at the first second in which a verdict can be committed."""
        task = self.to_revealing(submissions, bitmaps, **changes)
        for index in range(len(task.entries)):
            self.reveal(task, index)
        self.chain.at(self.bounties.judging_from(task.id))
        return task

    def to_final(self, scores: Sequence[int] = (150,), solvers: Sequence[str] | None = None, **changes: Any) -> Task:
        """Make a task whose whole committee voted for the same scores, at the first second in which they are final."""
        task = self.to_judging(solvers or len(scores), **changes)
        self.agree(task, scores)
        return task

    def to_settled(self, scores: Sequence[int] = (150,), solvers: Sequence[str] | None = None, **changes: Any) -> Task:
        """Make a task that was settled by its final verdict."""
        task = self.to_final(scores, solvers, **changes)
        self.settle(task, scores)
        return task

    # The same steps for a task that a test has prepared itself.

    def seat_committee(self, task: Task) -> None:
        """Close the commits, convene, and draw the first committee."""
        self.chain.at(task.commit_closes)
        self.convene(task)
        self.draw(task)

    def agree(self, task: Task, scores: Sequence[int], round_: int = 1) -> None:
        """Let a round's whole committee vote for these scores, and advance to the second in which they are final."""
        self.judge(task, [self.verdict(task, scores)] * len(self.committee(task, round_)), round_=round_)
        self.pass_challenge(task, round_)

    def close_all(self, task: Task) -> None:
        """Close every vote of every round of an ended task."""
        for round_ in range(1, self.panel.tally(task.id)["rounds"] + 1):
            for position in range(len(self.committee(task, round_))):
                self.close(task, position, round_)
