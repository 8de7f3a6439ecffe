"""The files of tasks: which are needed, which are here, which an evaluation reads, which are served and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifier.artifacts import digests, tensors
from verifier.artifacts.digests import from_hex
from verifier.artifacts.errors import Misfit, StoreError
from verifier.artifacts.fetch import artifact_uri
from verifier.artifacts.store import Store
from verifier.errors import TouchstoneError
from verifier.protocol.constants import OWN_FILES, attestation_bit
from verifier.protocol.history import Submission
from verifier.protocol.state import TaskState
from verifier.service.checks import FileChecks
from verifier.service.errors import Retry, Skip
from verifier.service.fetches import Fetches, Need
from verifier.service.journal import Journal
from verifier.tasks.case import Case, SealedFile, StoredFile
from verifier.tasks.errors import DamagedFile, UnreadableFile, is_shortage
from verifier.tasks.manifest import Manifest

# Seconds that a file is kept after the last live task that names it: a reorganisation can bring a task back.
KEEP_UNUSED_S = 3600.0


@dataclass(frozen=True)
class Needs:
    """The files of a task as far as they are known, and why the files of some attestation bits are not known."""

    files: tuple[Need, ...]
    unknown: dict[int, str]  # attestation bit -> reason


class Files:
    """The artifact store as the service uses it."""

    def __init__(self, store: Store, fetches: Fetches, checks: FileChecks, journal: Journal) -> None:
        self._store = store
        self._fetches = fetches
        self._checks = checks
        self._journal = journal
        self._served: frozenset[bytes] = frozenset()
        self._manifests: dict[bytes, Manifest] = {}
        self._invalid_manifests: dict[bytes, str] = {}  # digest -> reason: a file of that digest stays invalid

    # What a task needs

    def manifest(self, state: TaskState) -> Manifest:
        """Return the task's manifest.

        Errors: Retry while it is not here, Skip when it is not valid or contradicts the task on chain.
        """
        terms = state.terms
        manifest = self._manifests.get(terms.manifest)
        if manifest is None:
            manifest = self._manifests[terms.manifest] = self._read_manifest(terms.manifest)
        wrong = manifest.contradictions(terms)
        if wrong:
            raise Skip(f"the manifest contradicts the task on chain: {', '.join(wrong)}")
        return manifest

    def _read_manifest(self, digest: bytes) -> Manifest:
        if digest in self._invalid_manifests:
            raise Skip(self._invalid_manifests[digest])
        try:
            data = self._store.get(digest) if self._store.has(digest) else None
        except StoreError as error:  # it was damaged, and the store has removed it: it is fetched again
            raise Retry(str(error)) from error
        except OSError as error:
            if not is_shortage(error):
                self.discard(digest)
            raise Retry(f"the manifest cannot be read: {error.strerror}") from error
        if data is None:
            raise Retry("the manifest is not here yet")
        try:
            return Manifest.from_bytes(data)
        except TouchstoneError as error:
            self._invalid_manifests[digest] = f"the manifest is not valid: {error}"
            raise Skip(self._invalid_manifests[digest]) from error

    def _needs(self, state: TaskState) -> Needs:
        terms = state.terms
        mirrors = dict.fromkeys(member.endpoint for round_ in state.rounds for member in round_.members)

        def need(bit: int, label: str, digest: bytes, size: int | None, uris: Sequence[str]) -> Need:
            copies = [artifact_uri(mirror, digest) for mirror in mirrors if mirror]
            return Need(bit, label, digest, size, (*uris, *copies))

        files = [need(OWN_FILES, "manifest", terms.manifest, None, [state.history.manifest_uri])]
        try:
            manifest = self.manifest(state)
        except (Retry, Skip) as error:
            submissions = {
                attestation_bit(item.index): f"submission {item.index}" for item in state.history.submissions
            }
            return Needs(tuple(files), {OWN_FILES: str(error), **submissions})
        files.append(need(OWN_FILES, "program", terms.program, manifest.program.size, manifest.program.uris))
        if manifest.holdout is None:
            practice = manifest.practice
            files.append(need(OWN_FILES, "practice set", terms.practice, practice.size, practice.uris))
        else:
            sealed = from_hex(manifest.holdout.sealed_digest)
            files.append(need(OWN_FILES, "sealed holdout", sealed, manifest.holdout.size, manifest.holdout.uris))
        size = tensors.size(manifest.submission_schema)
        files.extend(
            need(attestation_bit(item.index), f"submission {item.index}", item.sealed, size, [item.uri])
            for item in state.history.submissions
        )
        return Needs(tuple(files), {})

    # What is here

    def fetch_missing(self, state: TaskState) -> dict[int, str]:
        """Start fetching what is not here; returns attestation bit -> what is missing and why. Empty: all is here."""
        needs = self._needs(state)
        missing = dict(needs.unknown)
        for need in needs.files:
            try:
                if not self._store.has(need.digest):
                    missing[need.bit] = f"{need.label} ({self._fetches.request(need)})"
            except OSError as error:  # of this file alone: the others are not to wait for it
                missing[need.bit] = f"{need.label} (the store cannot be read: {error.strerror})"
        return missing

    def check(self, state: TaskState) -> dict[int, str]:
        """Start checking the stored files of the task; returns attestation bit -> label of a file not checked yet.

        A damaged file is deleted, so that `fetch_missing` fetches it again.
        """
        unchecked = {}
        for need in self._needs(state).files:
            try:
                if not self._store.has(need.digest) or self._checks.request(need.digest):
                    continue
                if self._store.has(need.digest):
                    unchecked[need.bit] = need.label
                else:
                    self._manifests.pop(need.digest, None)
            except OSError:  # of this file alone: the others are not to wait for it
                unchecked[need.bit] = need.label
        return unchecked

    def discard(self, digest: bytes) -> None:
        """Delete a damaged file, so that it is fetched again. Errors: OSError."""
        self._manifests.pop(digest, None)
        self._store.remove(digest)

    def case(self, state: TaskState) -> Case:
        """Return the files that an evaluation of the task reads; all of them must be here.

        Errors: Retry, Skip as from `manifest`; Retry too when a file is missing.
        """
        terms = state.terms
        try:
            return Case(
                manifest=self._stored(terms.manifest),
                program=self._stored(terms.program),
                evaluation_set=self._evaluation_set(state),
                submissions=tuple(
                    self._submission(item) if state.scored >> item.index & 1 else None
                    for item in state.history.submissions
                ),
                macs=terms.macs,
            )
        except StoreError as error:  # another process has deleted it since `fetch_missing` found it
            raise Retry(str(error)) from error

    def _stored(self, digest: bytes) -> StoredFile:
        return StoredFile(self._store.path(digest), digest)

    def _evaluation_set(self, state: TaskState) -> StoredFile | SealedFile:
        opening = state.history.holdout
        if opening is None:
            return self._stored(state.terms.practice)
        announced = self.manifest(state).holdout
        assert announced is not None, "a manifest without the holdout of the task on chain is skipped"
        # Whether the revealed holdout is the announced one is for the judge to say.
        return SealedFile(
            self._store.path(from_hex(announced.sealed_digest)), opening.sealed, opening.plain, opening.key
        )

    def _submission(self, item: Submission) -> SealedFile:
        assert item.plain is not None
        assert item.key is not None
        return SealedFile(self._store.path(item.sealed), item.sealed, item.plain, item.key)

    def adopt(self, file: Path, digest: bytes) -> None:
        """Copy a file with that digest into the store.

        Errors: DamagedFile when it cannot be read or does not have the digest; Retry when the store cannot be written.
        """
        try:
            data = _read(file, digest)
            with self._store.writer(expected=digest) as writer:
                writer.write(data)
        except Misfit as error:
            raise DamagedFile(file, digest, digests.digest(data)) from error
        except OSError as error:
            raise Retry(f"cannot keep {file.name}: {error.strerror}") from error

    # Serving and keeping

    def served(self, digest: bytes) -> Path | None:
        """Return the file that the mirror serves under that digest, if it is one of a live task.

        Called from the thread of the servers.
        """
        return self._store.path(digest) if digest in self._served and self._store.has(digest) else None

    def size(self) -> int:
        """Bytes on disk."""
        return self._store.total_bytes()

    def keep(self, states: Sequence[TaskState]) -> None:
        """Serve the files of live tasks, and delete those that no live task has named for an hour. Errors: Retry."""
        live: set[bytes] = set()
        for state in states:
            live.update(need.digest for need in self._needs(state).files)
            found = self._journal.evaluation(state.inputs)
            if found is not None:
                live.add(found.evidence)
        self._served = frozenset(live)
        self._fetches.retain(live)
        self._checks.retain(live)
        self._manifests = {digest: manifest for digest, manifest in self._manifests.items() if digest in live}
        self._invalid_manifests = {d: reason for d, reason in self._invalid_manifests.items() if d in live}
        try:
            self._store.remove_unused(live, KEEP_UNUSED_S)
        except OSError as error:
            raise Retry(f"cannot delete unused files from the store: {error.strerror}") from error


def _read(file: Path, digest: bytes) -> bytes:
    """Read a file that must have that digest. Errors: UnreadableFile; OSError when this machine lacks something."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableFile.from_error(file, digest, error) from error
