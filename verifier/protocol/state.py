"""The state of one task at one block: its history, the contracts' views, and the deadlines that follow from them.

Every deadline is the first second at which the step is too late: a step is in time while now < deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from verifier.protocol.constants import OWN_FILES, Phase, VerdictStatus, attestation_bit
from verifier.protocol.history import Member, Submission, TaskHistory
from verifier.protocol.views import Delays, PanelView, RoundView, TaskView, Terms


@dataclass(frozen=True)
class Round:
    """A drawn round: its number from 1 on, its times and votes, and its committee by position."""

    number: int
    view: RoundView
    members: tuple[Member, ...]


@dataclass(frozen=True)
class TaskState:
    """The state of one task at one block."""

    history: TaskHistory
    view: TaskView
    panel: PanelView
    rounds: tuple[Round, ...]  # the drawn ones, oldest first
    inputs: bytes  # digest of what a verdict depends on; zero before judging
    delays: Delays

    @property
    def id(self) -> bytes:
        """The task's id."""
        return self.history.id

    @property
    def terms(self) -> Terms:
        """What the sponsor fixed when creating the task."""
        return self.history.terms

    @property
    def scored(self) -> int:
        """Bitmap of the submissions to score: the revealed ones; only an admitted submission can be revealed."""
        return self.view.revealed

    @property
    def ended(self) -> bool:
        """Whether the task is settled or cancelled."""
        return self.view.phase in (Phase.SETTLED, Phase.CANCELLED)

    @property
    def final(self) -> bool:
        """Whether the panel's verdict is final."""
        return self.panel.status == VerdictStatus.FINAL

    @property
    def sealed(self) -> bool:
        """Whether the evaluation set is a sealed holdout."""
        return any(self.terms.holdout)

    @property
    def own_files_admitted(self) -> bool:
        """Whether the committee has the task's own files: manifest, program and evaluation set."""
        return bool(self.panel.admitted >> OWN_FILES & 1)

    def admitted(self, index: int) -> bool:
        """Whether the committee has the ciphertext of that submission."""
        return bool(self.panel.admitted >> attestation_bit(index) & 1)

    def awaits_answer(self, index: int) -> bool:
        """Whether that submission was admitted and is neither revealed nor declined."""
        return self.admitted(index) and not (self.view.revealed | self.view.declined) >> index & 1

    def scored_submissions(self) -> Iterator[Submission]:
        """The admitted and revealed submissions, in commit order."""
        return (item for item in self.history.submissions if self.scored >> item.index & 1)

    # Deadlines

    @property
    def commit_closes(self) -> int:
        """End of the window in which solvers commit."""
        return self.view.created_at + self.terms.windows.commit

    @property
    def void_at(self) -> int:
        """When the task becomes cancellable, if no committee was drawn."""
        return self.commit_closes + self.delays.void

    @property
    def holdout_closes(self) -> int | None:
        """End of the sponsor's window to reveal the holdout; None while the attestation is not closed."""
        return self.panel.closed_at + self.terms.windows.holdout if self.panel.closed_at else None

    @property
    def reveal_closes(self) -> int | None:
        """End of the solvers' window to reveal or decline; None while it has not begun."""
        opens = self.view.holdout_revealed_at if self.sealed else self.panel.closed_at
        return opens + self.terms.windows.reveal if opens else None
