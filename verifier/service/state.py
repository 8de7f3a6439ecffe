"""Everything the service knows about the chain at one block.

`History` folds the contracts' events; `read_task` adds what only a state call can tell. Both are values: duties are
derived from them without another look at the chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from verifier.chain.client import Block
from verifier.chain.contracts import (
    CANCELLED,
    FINAL,
    JUDGING,
    SETTLED,
    Contracts,
    PanelView,
    RoundView,
    TaskView,
    Terms,
    as_struct,
)
from verifier.chain.events import Event
from verifier.service.errors import Stop

OWN_FILES = 0  # bit of an attestation for manifest, program and evaluation set; bit i + 1 is submission i


@dataclass(frozen=True)
class Submission:
    """A submission as it was announced and, once revealed, what opens it."""

    index: int
    solver: str
    commitment: bytes
    sealed: bytes
    uri: str
    plain: bytes | None = None
    key: bytes | None = None


@dataclass(frozen=True)
class Opening:
    """A revealed holdout: the digests of its sealed and plain bytes, and the key between them."""

    sealed: bytes
    plain: bytes
    key: bytes


@dataclass(frozen=True)
class Member:
    """A drawn seat: its position in the committee, its stake, who operates it now and where it mirrors."""

    position: int
    stake: bytes
    operator: str
    endpoint: str


@dataclass
class TaskHistory:
    """What events say about one task."""

    id: bytes
    terms: Terms  # as offered: the reward may have been topped up since
    manifest_uri: str
    submissions: list[Submission] = field(default_factory=list)
    holdout: Opening | None = None
    committees: dict[int, tuple[bytes, ...]] = field(default_factory=dict)  # round -> stakes by position
    attested: set[bytes] = field(default_factory=set)  # stakes
    votes: dict[tuple[int, bytes], bytes] = field(default_factory=dict)  # (round, stake) -> vote digest
    revealed: set[tuple[int, bytes]] = field(default_factory=set)
    closed: set[tuple[int, bytes]] = field(default_factory=set)
    claimed: set[int] = field(default_factory=set)
    ended: bool = False
    scores: tuple[int, ...] = ()  # as settled; none after a cancellation

    def finished(self) -> bool:
        """Nothing about it can change any more."""
        if not self.ended or len(self.claimed) < len(self.submissions):
            return False
        return len(self.closed) == sum(len(committee) for committee in self.committees.values())


class History:
    """The fold over all events of the three contracts, in chain order."""

    def __init__(self) -> None:
        self._folded = 0
        self.tasks: dict[bytes, TaskHistory] = {}
        self.operators: dict[bytes, str] = {}  # stake -> operator
        self.endpoints: dict[bytes, str] = {}  # stake -> mirror
        self._exited: set[bytes] = set()
        self._occupants: dict[int, bytes] = {}  # slot -> stake

    @classmethod
    def of(cls, events: Sequence[Event]) -> History:
        history = cls()
        history.follow(events)
        return history

    def follow(self, events: Sequence[Event]) -> None:
        """Fold in what was appended to `events` since the last time. Errors: Stop when the beginning is missing."""
        for event in islice(events, self._folded, None):
            try:
                self._apply(event.name, event.args)
            except (KeyError, IndexError) as error:
                raise Stop(
                    f"{event.name} in block {event.block} is about something that was never announced: "
                    "set chain.from_block to the block in which Stakes was deployed"
                ) from error
            self._folded += 1

    def stakes_of(self, operator: str) -> list[bytes]:
        """The stakes `operator` acts for, oldest first."""
        return [stake for stake, current in self.operators.items() if current == operator and stake not in self._exited]

    def has_seat(self, task: bytes, operator: str) -> bool:
        """Whether `operator` acts for a seat drawn in any round of that task."""
        mine = set(self.stakes_of(operator))
        return any(mine.intersection(committee) for committee in self.tasks[task].committees.values())

    def members(self, task: bytes, round_: int) -> tuple[Member, ...]:
        """The committee of that round, by position; empty before its draw."""
        return tuple(
            Member(position, stake, self.operators[stake], self.endpoints[stake])
            for position, stake in enumerate(self.tasks[task].committees.get(round_, ()))
        )

    def _apply(self, name: str, args: dict[str, Any]) -> None:
        match name:
            # Stakes
            case "Joined":
                self.operators[args["stake"]] = args["operator"]
                self.endpoints[args["stake"]] = args["endpoint"]
                self._occupants[args["slot"]] = args["stake"]
            case "Exited":
                self._exited.add(args["stake"])
            case "OperatorSet":
                self.operators[args["stake"]] = args["operator"]
            case "EndpointSet":
                self.endpoints[args["stake"]] = args["endpoint"]
            # Bounties
            case "TaskCreated":
                self.tasks[args["task"]] = TaskHistory(
                    args["task"], as_struct(Terms, args["terms"]), args["manifest_uri"]
                )
            case "SubmissionCommitted":
                self.tasks[args["task"]].submissions.append(
                    Submission(args["index"], args["solver"], args["commitment"], args["sealed"], args["uri"])
                )
            case "HoldoutRevealed":
                self.tasks[args["task"]].holdout = Opening(args["sealed"], args["plain"], args["key"])
            case "SubmissionRevealed":
                submissions = self.tasks[args["task"]].submissions
                opened = replace(submissions[args["index"]], plain=args["plain"], key=args["key"])
                submissions[args["index"]] = opened
            case "Settled":
                self.tasks[args["task"]].ended = True
                self.tasks[args["task"]].scores = tuple(args["scores"])
            case "Cancelled":
                self.tasks[args["task"]].ended = True
            case "SubmissionClaimed":
                self.tasks[args["task"]].claimed.add(args["index"])
            # Panel
            case "Drawn":
                stakes = tuple(self._occupants[slot] for slot in args["slots"])
                self.tasks[args["task"]].committees[args["round"]] = stakes
            case "Attested":
                self.tasks[args["task"]].attested.add(args["stake"])
            case "VerdictCommitted":
                self.tasks[args["task"]].votes[args["round"], args["stake"]] = args["vote"]
            case "VerdictRevealed":
                self.tasks[args["task"]].revealed.add((args["round"], args["stake"]))
            case "VoteClosed":
                self.tasks[args["task"]].closed.add((args["round"], args["stake"]))


@dataclass(frozen=True)
class Round:
    """A drawn round."""

    number: int
    view: RoundView
    members: tuple[Member, ...]


@dataclass(frozen=True)
class TaskState:
    """One task at one block: its history and the state machine's own answers."""

    history: TaskHistory
    view: TaskView
    panel: PanelView
    rounds: tuple[Round, ...]  # the drawn ones, oldest first
    inputs: bytes  # what a verdict would be about; zero before judging
    void_delay: int
    terminal_delay: int

    @property
    def id(self) -> bytes:
        return self.history.id

    @property
    def terms(self) -> Terms:
        return self.history.terms

    @property
    def scored(self) -> int:
        """Bitmap of the submissions to score: the revealed ones; only admitted ones can be revealed."""
        return self.view.revealed

    @property
    def ended(self) -> bool:
        return self.view.phase in (SETTLED, CANCELLED)

    @property
    def final(self) -> bool:
        return self.panel.status == FINAL

    @property
    def sealed(self) -> bool:
        """Whether the evaluation set is a sealed holdout."""
        return any(self.terms.holdout)

    def scored_submissions(self) -> Iterator[Submission]:
        """The admitted and revealed submissions, in commit order."""
        return (item for item in self.history.submissions if self.scored >> item.index & 1)


def read_task(contracts: Contracts, history: History, task: bytes, block: Block) -> TaskState:
    """Ask the contracts about one task at that block. Errors: Unreachable, Reverted."""
    at = block.number
    known = history.tasks[task]
    view = contracts.task(task, at)
    rounds = tuple(
        Round(number, contracts.round(task, number, at), history.members(task, number))
        for number in sorted(known.committees)
    )
    return TaskState(
        history=known,
        view=view,
        panel=contracts.panel_of(task, at),
        rounds=rounds,
        inputs=contracts.inputs(task, at) if view.phase == JUDGING else bytes(32),
        void_delay=contracts.void_delay,
        terminal_delay=contracts.terminal_delay,
    )
