"""Downloads the public files of a task into a folder.

Everything that is fetched is untrusted until its size and digest are checked, and only then gets its name in the
folder: an interruption leaves no partial file. What is already there is compared instead of fetched again, and a file
with other content is never replaced. The same call therefore continues a download that was interrupted.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from verifier.artifacts import digests
from verifier.artifacts.errors import ArtifactError, StoreError
from verifier.artifacts.fetch import Policy, artifact_uri, fetch, fetch_unpinned
from verifier.artifacts.policy import printable
from verifier.artifacts.store import Store
from verifier.tasks.errors import ManifestError, TaskError
from verifier.tasks.manifest import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    PRACTICE_FILE,
    PROGRAM_FILE,
    SEALED_FILE,
    Manifest,
)

# Maximum size of one file: the default of the service's store.max_file_bytes, so that a task that verifiers accept with
# their default settings can be downloaded.
MAX_DOWNLOAD_BYTES = 1 << 32
# Speed in bytes per second that a host must reach: a download may take MIN_TIMEOUT_S plus its size over this speed.
MIN_BYTES_PER_S = 1 << 15
# Seconds that a download of any size may take, for name look-ups, connections and redirects.
MIN_TIMEOUT_S = 60.0
# Start of the name of the folder, inside the task's, of files that are not complete yet. Each download has its own.
_UNFINISHED = ".unfinished-"
# Age in seconds, two days, from which such a folder is what a killed download left: the largest file may take 36 hours.
STALE_S = 172_800.0
# A URI as `touchstone publish` prints it, which states the digest of the file.
_ARTIFACT_URI = re.compile(r".*/artifacts/(0x[0-9a-f]{64})")

OnBytes = Callable[[str, int, int], None]  # (name of the file, bytes received, bytes in all)


@dataclass(frozen=True)
class TaskFile:
    """A file of a task: its name in the folder, and what the manifest says about it."""

    name: str
    digest: bytes
    size: int  # bytes
    uris: tuple[str, ...]

    def with_mirrors(self, mirrors: Iterable[str]) -> TaskFile:
        """Return the file with its URIs at these servers of artifacts, which are tried after the manifest's."""
        return replace(self, uris=(*self.uris, *(artifact_uri(mirror, self.digest) for mirror in mirrors)))


def public_files(manifest: Manifest) -> list[TaskFile]:
    """Return the files that a solver needs: program, practice set, and training rows where they are published."""
    files = [
        TaskFile(PROGRAM_FILE, _digest(manifest.program.digest), manifest.program.size, manifest.program.uris),
        TaskFile(PRACTICE_FILE, _digest(manifest.practice.digest), manifest.practice.size, manifest.practice.uris),
    ]
    if manifest.training is not None:
        rows = manifest.training
        files.append(TaskFile(rows.file, _digest(rows.digest), rows.size, rows.uris))
    return files


def sealed_holdout(manifest: Manifest) -> TaskFile:
    """Return the sealed holdout's file. Errors: TaskError when the task has none."""
    if manifest.holdout is None:
        raise TaskError("the task has no holdout: its practice set is the evaluation set")
    holdout = manifest.holdout
    return TaskFile(SEALED_FILE, _digest(holdout.sealed_digest), holdout.size, holdout.uris)


def task_files(manifest: Manifest) -> list[TaskFile]:
    """Return all files that a sponsor publishes beside the manifest."""
    sealed = [] if manifest.holdout is None else [sealed_holdout(manifest)]
    return public_files(manifest) + sealed


def digest_in(uri: str) -> bytes | None:
    """Return the digest that a URI of `touchstone publish` states; None for another URI."""
    found = _ARTIFACT_URI.fullmatch(uri)
    return None if found is None else digests.from_hex(found[1])


class TaskFolder:
    """The folder of a task's files. It is created by the first file."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder = folder
        self._policy = replace(policy, max_unsized_bytes=MAX_MANIFEST_BYTES)

    def manifest(self, uri: str, digest: bytes | None, mirrors: Iterable[str] = ()) -> Manifest:
        """Return the manifest, which is fetched unless the folder has the one of that digest.

        Without a digest, whatever the URI's host returns is taken. `mirrors` are URLs of servers of artifacts, which
        are tried after the URI. Errors: FetchError, StoreError, ManifestError; TaskError when the folder holds another
        manifest.
        """
        here = self.folder / MANIFEST_FILE
        if digest is not None and self._has(here, digest):
            return Manifest.from_bytes(here.read_bytes(), digest)
        with self._unfinished() as store:
            if digest is None:
                digest = fetch_unpinned(uri, self._policy, store)
            else:
                copies = [artifact_uri(mirror, digest) for mirror in mirrors]
                fetch([uri, *copies], digest, None, self._policy, store)
            try:
                manifest = Manifest.from_bytes(store.get(digest), digest)
            except ManifestError as error:
                raise ManifestError(f"{printable(uri)} is not a task's manifest: {error}") from error
            if not self._has(here, digest):
                _move(store.path(digest), here)
        return manifest

    def add_manifest(self, manifest: Manifest) -> None:
        """Write a manifest that was not fetched, unless it is there. Errors: StoreError, TaskError."""
        here = self.folder / MANIFEST_FILE
        if not self._has(here, manifest.digest()):
            with self._unfinished() as store:
                _move(store.path(store.put(manifest.to_bytes())), here)

    def require(self, files: Iterable[TaskFile], on_bytes: OnBytes = lambda *_: None) -> list[TaskFile]:
        """Fetch the files that the folder lacks; returns them.

        All files are compared before the first one is fetched. Errors: FetchError, StoreError; TaskError when a file
        has other content, is too large, or does not fit on the disk.
        """
        missing = [file for file in files if not self._has(self.folder / file.name, file.digest)]
        for file in missing:
            if file.size > MAX_DOWNLOAD_BYTES:
                raise TaskError(f"{file.name} has {file.size:,} bytes; at most {MAX_DOWNLOAD_BYTES:,} are downloaded")
        if not missing:
            return []
        with self._unfinished() as store:
            needed, free = sum(file.size for file in missing), shutil.disk_usage(store.folder).free
            if needed > free:
                raise TaskError(f"the files take {needed:,} bytes, and the disk of {self.folder} has {free:,} left")
            for file in missing:
                policy = replace(self._policy, timeout_s=MIN_TIMEOUT_S + file.size / MIN_BYTES_PER_S)
                on_bytes(file.name, 0, file.size)

                def on_bytes_of_file(done: int, file: TaskFile = file) -> None:
                    on_bytes(file.name, done, file.size)

                fetched = fetch(file.uris, file.digest, file.size, policy, store, on_bytes=on_bytes_of_file)
                _move(fetched, self.folder / file.name)
        return missing

    def _has(self, path: Path, digest: bytes) -> bool:
        """Whether the file is there. Errors: TaskError when something else has its name."""
        if not os.path.lexists(path):
            return False
        if path.exists() and not path.is_file():
            raise TaskError(f"{path} is not a file: move it away, or choose another folder")
        try:
            found = digests.digest_file(path)
        except OSError as error:
            raise TaskError(f"cannot read {path}: {error.strerror}") from error
        if found != digest:
            raise TaskError(
                f"{path} is another file and is not overwritten: its digest is {digests.to_hex(found)}, the task's is "
                f"{digests.to_hex(digest)}; move it away, or choose another folder"
            )
        return True

    @contextmanager
    def _unfinished(self) -> Iterator[Store]:
        """A store of its own for the files that are not complete, which is removed at the end."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_stale()
            with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=self.folder, ignore_cleanup_errors=True) as name:
                yield Store(Path(name))
        except OSError as error:
            raise StoreError(f"cannot write in {self.folder}: {error.strerror}") from error

    def _remove_stale(self) -> None:
        """Remove what a download that was killed has left."""
        oldest = time.time() - STALE_S
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            with suppress(FileNotFoundError):
                if left.stat().st_mtime < oldest:
                    shutil.rmtree(left, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Give a complete file its name in the folder. Errors: ArtifactError."""
    try:
        source.rename(target)
    except OSError as error:
        raise ArtifactError(f"cannot write {target}: {error.strerror}") from error


def _digest(text: str) -> bytes:
    return digests.from_hex(text)
