"""Checks of stored files against their digests, each a job in the background.

Hashing takes 10 s per GiB, and a tick must not wait for it: a reveal could miss its window.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from verifier.artifacts.digests import digest_file
from verifier.artifacts.store import Store
from verifier.service.jobs import Jobs
from verifier.service.telemetry import Telemetry
from verifier.tasks.errors import DamagedFile, UnreadableFile

# Seconds after which a file is checked again when this machine lacked the descriptors or the memory to read it.
RETRY_S = 30.0


@dataclass(frozen=True)
class FileStamp:
    """What changes when a file is written again."""

    mtime_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """The stamp of a file on disk. Errors: OSError."""
        status = path.stat()
        return cls(status.st_mtime_ns, status.st_size)


@dataclass(frozen=True)
class CheckedFile:
    """What a check found: the file's stamp before it was read, and its damage, if there is any."""

    stamp: FileStamp
    damage: DamagedFile | None


class FileChecks:
    """Checks stored files, and remembers which of them are intact for as long as they do not change."""

    def __init__(self, store: Store, jobs: Jobs, telemetry: Telemetry) -> None:
        self._store = store
        self._jobs = jobs
        self._telemetry = telemetry
        self._intact: dict[bytes, FileStamp] = {}

    def request(self, digest: bytes) -> bool:
        """Start the check of a file unless it has been checked; returns whether the file is known to be intact.

        A file that the check found to be damaged is logged and deleted. Errors: OSError.
        """
        path = self._store.folder / digest.hex()
        try:
            stamp = FileStamp.of(path)
        except FileNotFoundError:
            return False
        if self._intact.get(digest) != stamp:
            self._advance(path, digest, stamp)
        return self._intact.get(digest) == stamp

    def _advance(self, path: Path, digest: bytes, stamp: FileStamp) -> None:
        """Take over what the check of the file found, or start the check."""
        name = _job(digest)
        outcome = self._jobs.outcome(name)
        found: CheckedFile | None = None if outcome is None else outcome.value
        if found is not None and found.stamp == stamp:
            self._jobs.forget(name)
            if found.damage is None:
                self._intact[digest] = stamp
            else:
                self._telemetry.damaged(found.damage)
                self._store.remove(digest)
        # A file that was written again while it was checked is checked again at once.
        elif outcome is None or outcome.error is None or time.monotonic() - outcome.finished_at >= RETRY_S:
            self._jobs.start(name, partial(_check, path, digest))

    def retain(self, digests: Collection[bytes]) -> None:
        """Forget what was found about all other files."""
        self._jobs.retain({_job(digest) for digest in digests})
        self._intact = {digest: stamp for digest, stamp in self._intact.items() if digest in digests}


def _check(path: Path, digest: bytes) -> CheckedFile:
    """Read a whole file. Errors: OSError when this machine lacks descriptors or memory."""
    stamp = FileStamp.of(path)
    try:
        found = digest_file(path)
    except OSError as error:
        return CheckedFile(stamp, UnreadableFile.from_error(path, digest, error))
    return CheckedFile(stamp, None if found == digest else DamagedFile(path, digest, found))


def _job(digest: bytes) -> str:
    return f"check:{digest.hex()}"
