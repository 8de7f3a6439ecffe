"""A case and its judgement: what one evaluation reads, and what it finds.

Both are values without behaviour, so that a process can hand a case to another process or machine and read the
judgement that comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verifier.protocol import commitments
from verifier.protocol.constants import Outcome

OnBatch = Callable[[int, int], None]  # (batches done, batches in all)


@dataclass(frozen=True)
class StoredFile:
    """A public file on disk, and the digest that its bytes must have."""

    path: Path
    digest: bytes


@dataclass(frozen=True)
class SealedFile:
    """A sealed file on disk, with what its owner revealed: sealed digest, plain digest and key, 32 bytes each."""

    path: Path
    sealed: bytes
    plain: bytes
    key: bytes


@dataclass(frozen=True)
class Case:
    """Everything that an evaluation depends on."""

    manifest: StoredFile
    program: StoredFile
    evaluation_set: StoredFile | SealedFile  # the practice set of a task without a holdout, else the revealed holdout
    submissions: tuple[SealedFile | None, ...]  # in commit order; None for a submission that is not scored
    macs: int  # multiply-accumulates of one submission, as the sponsor declared them on chain

    @property
    def scored(self) -> int:
        """How many submissions are scored."""
        return sum(entry is not None for entry in self.submissions)

    def files(self) -> Iterator[StoredFile]:
        """Every file of the case with the digest that its bytes on disk must have."""
        for entry in (self.manifest, self.program, self.evaluation_set, *self.submissions):
            if isinstance(entry, SealedFile):
                yield StoredFile(entry.path, entry.sealed)
            elif entry is not None:
                yield entry

    def to_json(self) -> str:
        """Write the case for another process; `from_json` reads it."""
        return json.dumps(asdict(self), default=lambda value: value.hex() if isinstance(value, bytes) else str(value))

    @classmethod
    def from_json(cls, text: str) -> Case:
        """Read what `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        return cls(
            manifest=_stored(raw["manifest"]),
            program=_stored(raw["program"]),
            evaluation_set=(_sealed if "key" in raw["evaluation_set"] else _stored)(raw["evaluation_set"]),
            submissions=tuple(None if entry is None else _sealed(entry) for entry in raw["submissions"]),
            macs=int(raw["macs"]),
        )


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found: the outcome, one score per submission, and the evidence file.

    An invalid program or holdout has no scores and no evidence; `fault` then says what is wrong with it.
    """

    outcome: Outcome  # SCORED, PROGRAM_INVALID or HOLDOUT_INVALID
    scores: tuple[int, ...]  # in commit order
    evidence_digest: bytes
    evidence: Path | None
    fault: str = ""

    @classmethod
    def invalid(cls, outcome: Outcome, fault: str) -> Judgement:
        """The judgement on an invalid program or holdout. The outcome is what is voted; `fault` is for the log."""
        return cls(outcome, (), commitments.ZERO, evidence=None, fault=fault)


def _stored(entry: dict[str, str]) -> StoredFile:
    return StoredFile(Path(entry["path"]), bytes.fromhex(entry["digest"]))


def _sealed(entry: dict[str, str]) -> SealedFile:
    sealed, plain, key = (bytes.fromhex(entry[name]) for name in ("sealed", "plain", "key"))
    return SealedFile(Path(entry["path"]), sealed, plain, key)
