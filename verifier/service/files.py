"""The files of tasks: which are needed, where they may come from, which are here, which are served and kept.

A file may come from where its owner put it or from the mirror of any committee member; its digest decides, not its
source. Every fetch is a job, tried again after a pause.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from verifier.artifacts import tensors
from verifier.artifacts.digests import from_hex
from verifier.artifacts.errors import StoreError
from verifier.artifacts.fetch import artifact_uri, fetch
from verifier.artifacts.policy import Policy, printable
from verifier.artifacts.store import Store
from verifier.errors import TouchstoneError
from verifier.protocol.constants import OWN_FILES
from verifier.protocol.state import TaskState
from verifier.service.config import Config
from verifier.service.errors import Retry, Skip
from verifier.service.jobs import Jobs
from verifier.service.journal import Journal
from verifier.service.metrics import Metrics
from verifier.tasks.manifest import MAX_MANIFEST_BYTES, Manifest

UNUSED_S = 3600.0  # a file no live task names is deleted after this long
SLOWEST_BYTES_PER_S = 1 << 16  # a host slower than this is not waited for
SHORTEST_TIMEOUT_S = 60.0
REASON_CHARACTERS = 300  # of why a fetch failed, in the log


@dataclass(frozen=True)
class Need:
    """A file a task cannot do without: the attestation bit it belongs to and where it may be found."""

    bit: int
    label: str
    digest: bytes
    size: int | None  # bytes; None when only a limit is known
    uris: tuple[str, ...]


class Files:
    """The artifact store as the service uses it."""

    def __init__(self, store: Store, config: Config, jobs: Jobs, journal: Journal, metrics: Metrics) -> None:
        self._store = store
        self._limits = config.store
        self._pause_s = config.duties.fetch_pause_s
        self._jobs = jobs
        self._journal = journal
        self._metrics = metrics
        self._policy = Policy(
            allow_hosts=config.store.allow_hosts,
            ipfs_gateway=config.store.ipfs_gateway,
            max_unsized_bytes=MAX_MANIFEST_BYTES,
        )
        self._served: frozenset[bytes] = frozenset()
        self._manifests: dict[bytes, Manifest] = {}

    def path(self, digest: bytes) -> Path:
        return self._store.path(digest)

    def discard(self, digest: bytes) -> None:
        """Remove a damaged file, so that it is fetched again."""
        self._store.remove(digest)
        self._manifests.pop(digest, None)

    def size(self) -> int:
        """Bytes on disk."""
        return self._store.total_bytes()

    def adopt(self, file: Path, digest: bytes) -> None:
        """Take a file into the store; `digest` is what it must have. Errors: Retry when it cannot be written."""
        try:
            with self._store.writer(expected=digest) as writer:
                writer.write(file.read_bytes())
        except OSError as error:
            raise Retry(f"cannot keep {file.name}: {error.strerror}") from error

    def served(self, digest: bytes) -> Path | None:
        """Where the mirror finds that file, if it is one of a live task. Called from the servers' thread."""
        return self._store.path(digest) if digest in self._served and self._store.has(digest) else None

    def manifest(self, state: TaskState) -> Manifest:
        """The task's manifest. Errors: Retry while it is not here, Skip when it contradicts itself or the task."""
        terms = state.terms
        manifest = self._manifests.get(terms.manifest)
        if manifest is None:
            if not self._store.has(terms.manifest):
                raise Retry("the manifest is not here yet")
            try:
                manifest = Manifest.from_bytes(self._store.get(terms.manifest))
            except StoreError as error:  # rotten, and removed: it is fetched again
                raise Retry(str(error)) from error
            except TouchstoneError as error:
                raise Skip(f"the manifest is not valid: {error}") from error
            self._manifests[terms.manifest] = manifest
        announced = {
            "program": (manifest.program.digest, "0x" + terms.program.hex()),
            "practice set": (manifest.practice.digest, "0x" + terms.practice.hex()),
            "cost": (manifest.macs, terms.macs),
            "holdout": (manifest.holdout is not None, state.sealed),
        }
        wrong = [name for name, (said, on_chain) in announced.items() if said != on_chain]
        if wrong:
            raise Skip(f"the manifest contradicts the task on chain: {', '.join(wrong)}")
        return manifest

    def fetch_missing(self, state: TaskState) -> dict[int, str]:
        """Start fetching what is not here; returns attestation bit -> what is missing and why. Empty: all is here."""
        missing: dict[int, str] = {}
        for need in self._needs(state, missing):
            if not self._store.has(need.digest):
                missing[need.bit] = f"{need.label} ({self._fetch(need)})"
        return missing

    def discard_damaged(self, state: TaskState) -> list[str]:
        """Read every stored file of the task and remove those that do not have their digest; returns their labels."""
        damaged = []
        for need in self._needs(state, {}):
            try:
                if self._store.has(need.digest):
                    self._store.check(need.digest)
            except StoreError:
                self._manifests.pop(need.digest, None)
                damaged.append(need.label)
        return damaged

    def _needs(self, state: TaskState, missing: dict[int, str]) -> Iterator[Need]:
        terms = state.terms
        mirrors = [member.endpoint for round_ in state.rounds for member in round_.members if member.endpoint]

        def need(bit: int, label: str, digest: bytes, size: int | None, uris: Iterable[str]) -> Need:
            copies = [artifact_uri(mirror, digest) for mirror in dict.fromkeys(mirrors)]
            return Need(bit, label, digest, size, (*uris, *copies))

        yield need(OWN_FILES, "manifest", terms.manifest, None, [state.history.manifest_uri])
        try:
            manifest = self.manifest(state)
        except (Retry, Skip) as error:
            missing.setdefault(OWN_FILES, str(error))
            missing.update({item.index + 1: f"submission {item.index}" for item in state.history.submissions})
            return
        yield need(OWN_FILES, "program", terms.program, manifest.program.size, manifest.program.uris)
        if manifest.holdout is None:
            practice = manifest.practice
            yield need(OWN_FILES, "practice set", terms.practice, practice.size, practice.uris)
        else:
            sealed = from_hex(manifest.holdout.sealed_digest)
            yield need(OWN_FILES, "sealed holdout", sealed, manifest.holdout.size, manifest.holdout.uris)
        size = tensors.size(manifest.submission_schema)
        for item in state.history.submissions:
            yield need(item.index + 1, f"submission {item.index}", item.sealed, size, [item.uri])

    def _fetch(self, need: Need) -> str:
        """Start, or after a pause start again, the job that gets one file; returns how that stands, for people."""
        limit = need.size if need.size is not None else MAX_MANIFEST_BYTES
        if limit > self._limits.max_file_bytes:
            return f"{limit} bytes are more than store.max_file_bytes"
        name = _job(need.digest)
        outcome = self._jobs.outcome(name)
        if outcome is None or time.monotonic() - outcome.finished_at >= self._pause_s:
            if limit + self.size() > self._limits.max_bytes:
                return "the store is full: store.max_bytes"
            self._jobs.start(name, lambda: self._get(need, limit))
        if outcome is None or outcome.error is None:
            return "on its way"
        return printable(str(outcome.error), REASON_CHARACTERS)

    def _get(self, need: Need, limit: int) -> None:
        timeout_s = min(self._limits.timeout_s, SHORTEST_TIMEOUT_S + limit / SLOWEST_BYTES_PER_S)
        try:
            fetch(need.uris, need.digest, need.size, replace(self._policy, timeout_s=timeout_s), self._store)
        except TouchstoneError:
            self._metrics.fetches.labels("failed").inc()
            raise
        self._metrics.fetches.labels("fetched").inc()

    def keep(self, states: list[TaskState]) -> None:
        """Serve the files of live tasks, and forget those no live task needs any more. Errors: Retry."""
        live: set[bytes] = set()
        for state in states:
            live.update(need.digest for need in self._needs(state, {}))
            found = self._journal.evaluation(state.inputs)
            if found is not None:
                live.add(found.evidence)
        self._served = frozenset(live)
        self._jobs.retain({_job(digest) for digest in live})
        self._manifests = {digest: manifest for digest, manifest in self._manifests.items() if digest in live}
        try:
            self._store.remove_unused(live, UNUSED_S)
        except OSError as error:
            raise Retry(f"cannot tidy the store: {error.strerror}") from error


def _job(digest: bytes) -> str:
    return f"fetch:{digest.hex()}"
