"""Fetches of files, each a job in the background that is repeated after a pause.

A file can come from the URIs that its owner announced or from the mirror of any committee member; its digest decides
whether it is the right one, not its source.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import sha256

from verifier.artifacts.fetch import fetch
from verifier.artifacts.policy import Policy, printable
from verifier.artifacts.store import Store
from verifier.errors import TouchstoneError
from verifier.service.config import StoreConfig
from verifier.service.jobs import Jobs
from verifier.service.metrics import Metrics
from verifier.tasks.manifest import MAX_MANIFEST_BYTES

# Speed in bytes per second that a host must reach: a fetch gets MIN_TIMEOUT_S plus the file's size over this speed.
MIN_BYTES_PER_S = 1 << 16
# Seconds that a fetch of any size may take, for name look-ups, connections and redirects.
MIN_TIMEOUT_S = 60.0
# How much of the reason for a failed fetch goes into the log; it names each URI that was tried.
MAX_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Need:
    """A file that a task cannot do without: its attestation bit, and where it can be fetched."""

    bit: int
    label: str
    digest: bytes
    size: int | None  # bytes; None for a manifest, of which only MAX_MANIFEST_BYTES is known
    uris: tuple[str, ...]


class Fetches:
    """Gets files into the store, within the limits of the configuration."""

    def __init__(self, store: Store, limits: StoreConfig, pause_s: float, jobs: Jobs, metrics: Metrics) -> None:
        self._store = store
        self._limits = limits
        self._pause_s = pause_s  # between two attempts to get one file
        self._jobs = jobs
        self._metrics = metrics
        self._requested: dict[str, bytes] = {}  # job -> digest of its file
        self._policy = Policy(
            allow_hosts=limits.allow_hosts,
            ipfs_gateway=limits.ipfs_gateway,
            max_unsized_bytes=MAX_MANIFEST_BYTES,
        )

    def request(self, need: Need) -> str:
        """Start the job that fetches one file, or start it again after a pause; returns how it stands, for people."""
        limit = need.size if need.size is not None else MAX_MANIFEST_BYTES
        if limit > self._limits.max_file_bytes:
            return f"it has up to {limit} bytes, store.max_file_bytes is {self._limits.max_file_bytes}"
        name = _job(need)
        self._requested[name] = need.digest
        outcome = self._jobs.outcome(name)
        if outcome is None or time.monotonic() - outcome.finished_at >= self._pause_s:
            if limit + self._store.total_bytes() > self._limits.max_bytes:
                return f"the store is full: store.max_bytes is {self._limits.max_bytes}"
            self._jobs.start(name, lambda: self._fetch(need, limit))
        if outcome is None or outcome.error is None:
            return "is being fetched"
        return printable(str(outcome.error), MAX_REASON_CHARACTERS)

    def retain(self, digests: Collection[bytes]) -> None:
        """Forget how the fetches of all other files ended."""
        self._requested = {name: digest for name, digest in self._requested.items() if digest in digests}
        self._jobs.retain(self._requested.keys())

    def _fetch(self, need: Need, limit: int) -> None:
        timeout_s = min(self._limits.timeout_s, MIN_TIMEOUT_S + limit / MIN_BYTES_PER_S)
        try:
            fetch(need.uris, need.digest, need.size, replace(self._policy, timeout_s=timeout_s), self._store)
        except TouchstoneError:
            self._metrics.fetches.labels("failed").inc()
            raise
        self._metrics.fetches.labels("fetched").inc()


def _job(need: Need) -> str:
    """Name the job by the file, its size and its URIs.

    Two tasks or submissions can name one file. If they shared a job, whoever names it first with a URI where nothing is
    could keep the other's URI from ever being tried.
    """
    source = sha256(repr((need.size, need.uris)).encode()).hexdigest()[:16]
    return f"fetch:{need.digest.hex()}:{source}"
