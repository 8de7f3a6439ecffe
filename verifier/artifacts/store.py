"""The store: a folder of files that are named by their digest.

A file is written under a temporary name, flushed to disk, and only then renamed to its digest, so that no partial file
ever has a digest as its name. `get` and `check` compare a file with its digest again when they read it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from verifier.artifacts import digests
from verifier.artifacts.digests import READ_BYTES, Hasher, digest_file, to_hex
from verifier.artifacts.errors import Misfit, StoreError

_PART = ".part"
_STALE_S = 86_400.0  # a day: an unfinished file this old belongs to a process that was killed


class StoreWriter:
    """A file that is being written into the store."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hasher = Hasher()

    @property
    def length(self) -> int:
        """The number of bytes written so far."""
        return self._hasher.length

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Errors: OSError."""
        self._hasher.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def digest(self) -> bytes:
        """Return the digest of the bytes written so far."""
        return self._hasher.digest()


class Store:
    """The files in `folder`, which is created when it is missing. Several processes may share a store.

    Errors: OSError when the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._remove_stale_parts()

    def has(self, digest: bytes) -> bool:
        """Return whether the store has a file of that digest. `get` and `check` also detect a corrupted one."""
        return self._at(digest).is_file()

    def path(self, digest: bytes) -> Path:
        """Return the file's path. Errors: StoreError when the store does not have it."""
        path = self._at(digest)
        if not path.is_file():
            raise StoreError(f"the store {self.folder} does not have {to_hex(digest)}")
        return path

    def get(self, digest: bytes) -> bytes:
        """Return the file's bytes, checked against the digest. Errors: StoreError when it is missing or corrupted."""
        data = self.path(digest).read_bytes()
        self._require(digest, digests.digest(data))
        return data

    def check(self, digest: bytes) -> Path:
        """Check the file against its digest and return its path. Errors: StoreError when it is missing or corrupted."""
        path = self.path(digest)
        self._require(digest, digest_file(path))
        return path

    def put(self, source: bytes | Path) -> bytes:
        """Copy bytes or a file into the store, and return the digest. Errors: OSError."""
        with self.writer() as writer:
            if isinstance(source, bytes):
                writer.write(source)
            else:
                with source.open("rb") as file:
                    while piece := file.read(READ_BYTES):
                        writer.write(piece)
        return writer.digest()

    @contextmanager
    def writer(self, expected: bytes | None = None) -> Iterator[StoreWriter]:
        """Write a file piece by piece; it is added when the block ends, and removed when the block raises.

        Errors: Misfit when its digest is not the `expected` one; OSError.
        """
        descriptor, name = tempfile.mkstemp(suffix=_PART, prefix=".", dir=self.folder)
        part = Path(name)
        try:
            try:
                writer = StoreWriter(descriptor)
                yield writer
                found = writer.digest()
                if expected is not None and found != expected:
                    raise Misfit(f"the bytes have digest {to_hex(found)}, not {to_hex(expected)}")
                os.fchmod(descriptor, 0o644)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(part, self._at(found))
            self._sync_folder()
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def remove(self, digest: bytes) -> None:
        """Remove the file; do nothing when the store does not have it."""
        self._at(digest).unlink(missing_ok=True)

    def remove_unused(self, used: Collection[bytes], older_than_s: float) -> None:
        """Remove every file not in `used` that was added more than `older_than_s` seconds ago. Errors: OSError."""
        oldest = time.time() - older_than_s
        for digest in set(self) - set(used):
            with suppress(FileNotFoundError):  # another process has removed it
                if self._at(digest).stat().st_mtime < oldest:
                    self.remove(digest)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the digests of all files."""
        for path in self.folder.iterdir():
            if len(path.name) == 64 and path.is_file():
                with suppress(ValueError):
                    yield bytes.fromhex(path.name)

    def total_bytes(self) -> int:
        """Return the size of all files, including unfinished ones."""
        total = 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def _at(self, digest: bytes) -> Path:
        return self.folder / digest.hex()

    def _require(self, expected: bytes, found: bytes) -> None:
        """Remove a corrupted file, so that it is fetched again when it is needed. Errors: StoreError."""
        if found != expected:
            self.remove(expected)
            raise StoreError(
                f"{to_hex(expected)} was corrupted in the store {self.folder} and has been removed from it"
            )

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _remove_stale_parts(self) -> None:
        oldest = time.time() - _STALE_S
        for part in self.folder.glob(f".*{_PART}"):
            with suppress(FileNotFoundError):
                if part.stat().st_mtime < oldest:
                    part.unlink()
