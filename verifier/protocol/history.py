"""Builds a history from the contracts' events, which have data that the contracts do not store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from verifier.protocol.errors import IncompleteHistory
from verifier.protocol.views import Terms, from_abi


@dataclass(frozen=True)
class Event:
    """One decoded event: the contract that emitted it, its name, its arguments by name and its place in the chain."""

    address: str
    name: str
    args: dict[str, Any]
    block: int
    index: int


@dataclass(frozen=True)
class Submission:
    """A submission as it was committed and, once revealed, the plain digest and key that open it."""

    index: int
    solver: str
    commitment: bytes
    sealed: bytes
    uri: str
    plain: bytes | None = None
    key: bytes | None = None


@dataclass(frozen=True)
class Opening:
    """A revealed holdout: the digests of its ciphertext and of its content, and the key that decrypts it."""

    sealed: bytes
    plain: bytes
    key: bytes


@dataclass(frozen=True)
class Member:
    """A drawn seat: its position in the committee, its stake, its present operator and the URL of its mirror."""

    position: int
    stake: bytes
    operator: str
    endpoint: str


@dataclass
class TaskHistory:
    """The events of one task."""

    id: bytes
    terms: Terms  # as created: top-ups of the reward are not included
    manifest_uri: str
    submissions: list[Submission] = field(default_factory=list)
    holdout: Opening | None = None
    committees: dict[int, tuple[bytes, ...]] = field(default_factory=dict)  # round -> stakes by position
    attested: set[bytes] = field(default_factory=set)  # stakes
    votes: dict[tuple[int, bytes], bytes] = field(default_factory=dict)  # (round, stake) -> vote digest
    revealed: set[tuple[int, bytes]] = field(default_factory=set)  # (round, stake)
    closed: set[tuple[int, bytes]] = field(default_factory=set)  # (round, stake)
    claimed: set[int] = field(default_factory=set)  # indices of submissions
    ended: bool = False
    scores: tuple[int, ...] = ()  # as settled; empty after a cancellation

    def finished(self) -> bool:
        """Whether nothing about the task can change any more: it ended, every vote is closed, every claim is made."""
        if not self.ended or len(self.claimed) < len(self.submissions):
            return False
        return len(self.closed) == sum(len(committee) for committee in self.committees.values())


class History:
    """The tasks and seats that the events of Stakes, Panel and Bounties describe, taken in chain order."""

    def __init__(self) -> None:
        self._followed = 0
        self.tasks: dict[bytes, TaskHistory] = {}
        self.operators: dict[bytes, str] = {}  # stake -> operator
        self.endpoints: dict[bytes, str] = {}  # stake -> URL of its mirror
        self._exited: set[bytes] = set()
        self._occupants: dict[int, bytes] = {}  # slot -> stake

    @classmethod
    def of(cls, events: Sequence[Event]) -> History:
        """The history of those events. Errors: IncompleteHistory."""
        history = cls()
        history.follow(events)
        return history

    def follow(self, events: Sequence[Event]) -> None:
        """Apply the events that were appended to `events` since the last call. Errors: IncompleteHistory."""
        for event in islice(events, self._followed, None):
            handler = _HANDLERS.get(event.name)
            if handler is not None:
                try:
                    handler(self, event.args)
                except (KeyError, IndexError) as error:
                    raise IncompleteHistory(
                        f"{event.name} in block {event.block} is about something that was never announced"
                    ) from error
            self._followed += 1

    def stakes_of(self, operator: str) -> list[bytes]:
        """The stakes that `operator` acts for and that have not left, oldest first."""
        return [stake for stake, current in self.operators.items() if current == operator and stake not in self._exited]

    def has_seat(self, task: bytes, operator: str) -> bool:
        """Whether `operator` acts for a seat that was drawn in any round of that task."""
        own = set(self.stakes_of(operator))
        return any(own.intersection(committee) for committee in self.tasks[task].committees.values())

    def members(self, task: bytes, round_: int) -> tuple[Member, ...]:
        """The committee of that round, by position; empty before it was drawn."""
        return tuple(
            Member(position, stake, self.operators[stake], self.endpoints[stake])
            for position, stake in enumerate(self.tasks[task].committees.get(round_, ()))
        )

    # Stakes

    def _joined(self, args: Mapping[str, Any]) -> None:
        self.operators[args["stake"]] = args["operator"]
        self.endpoints[args["stake"]] = args["endpoint"]
        self._occupants[args["slot"]] = args["stake"]

    def _exit(self, args: Mapping[str, Any]) -> None:
        self._exited.add(args["stake"])

    def _operator_set(self, args: Mapping[str, Any]) -> None:
        self.operators[args["stake"]] = args["operator"]

    def _endpoint_set(self, args: Mapping[str, Any]) -> None:
        self.endpoints[args["stake"]] = args["endpoint"]

    # Bounties

    def _task_created(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]] = TaskHistory(args["task"], from_abi(Terms, args["terms"]), args["manifest_uri"])

    def _submission_committed(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].submissions.append(
            Submission(args["index"], args["solver"], args["commitment"], args["sealed"], args["uri"])
        )

    def _holdout_revealed(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].holdout = Opening(args["sealed"], args["plain"], args["key"])

    def _submission_revealed(self, args: Mapping[str, Any]) -> None:
        submissions = self.tasks[args["task"]].submissions
        submissions[args["index"]] = replace(submissions[args["index"]], plain=args["plain"], key=args["key"])

    def _settled(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].ended = True
        self.tasks[args["task"]].scores = tuple(args["scores"])

    def _cancelled(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].ended = True

    def _submission_claimed(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].claimed.add(args["index"])

    # Panel

    def _drawn(self, args: Mapping[str, Any]) -> None:
        stakes = tuple(self._occupants[slot] for slot in args["slots"])
        self.tasks[args["task"]].committees[args["round"]] = stakes

    def _attested(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].attested.add(args["stake"])

    def _verdict_committed(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].votes[args["round"], args["stake"]] = args["vote"]

    def _verdict_revealed(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].revealed.add((args["round"], args["stake"]))

    def _vote_closed(self, args: Mapping[str, Any]) -> None:
        self.tasks[args["task"]].closed.add((args["round"], args["stake"]))


# Events that are not listed here do not change the history.
_HANDLERS: Mapping[str, Callable[[History, Mapping[str, Any]], None]] = {
    "Joined": History._joined,
    "Exited": History._exit,
    "OperatorSet": History._operator_set,
    "EndpointSet": History._endpoint_set,
    "TaskCreated": History._task_created,
    "SubmissionCommitted": History._submission_committed,
    "HoldoutRevealed": History._holdout_revealed,
    "SubmissionRevealed": History._submission_revealed,
    "Settled": History._settled,
    "Cancelled": History._cancelled,
    "SubmissionClaimed": History._submission_claimed,
    "Drawn": History._drawn,
    "Attested": History._attested,
    "VerdictCommitted": History._verdict_committed,
    "VerdictRevealed": History._verdict_revealed,
    "VoteClosed": History._vote_closed,
}
