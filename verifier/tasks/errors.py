"""Errors about tasks, and about a machine that cannot judge them.

TaskError
├── ManifestError     bytes or fields that are not a valid manifest; the message names the field
├── KindError         a task kind that is not installed, or that is installed and cannot be used
├── BuildError        a model, a data set or an option from which no task can be built
├── WrongBase         a local model folder that is not the base model of the task; the message names the file
├── PackError         a file that does not fit the task; the message names the tensor, row or setting
├── InvalidProgram    a program that is not exact, or differs from its manifest: every machine finds the same
└── InvalidHoldout    an evaluation set that differs from the manifest or its opening: every machine finds the same

MachineTrouble        nothing about the task follows from it: a verifier abstains
├── DamagedFile       a file on this machine that does not have its digest
└── NotEnoughMemory   a program that needs more memory than this machine allows

DamagedFile
└── UnreadableFile    a file on this machine that is missing or cannot be read
"""

from __future__ import annotations

import errno
from pathlib import Path

from verifier.artifacts import digests
from verifier.errors import TouchstoneError

# Error numbers of a process or machine that lacks descriptors or memory: they say nothing about the file.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_shortage(error: OSError) -> bool:
    """Whether reading a file failed because this machine lacks descriptors or memory, not because of the file."""
    return error.errno in _SHORTAGES


class TaskError(TouchstoneError):
    """The root of the errors about tasks."""


class ManifestError(TaskError, ValueError):
    """Bytes or fields that are not a valid manifest."""


class KindError(TaskError):
    """A task kind that is not installed, or that is installed and cannot be used."""


class BuildError(TaskError):
    """A model, data set or option from which no task can be built."""


class WrongBase(TaskError):
    """A local model folder whose files are not those of the base model that the manifest names."""


class PackError(TaskError):
    """A file that cannot become a submission to this task."""


class InvalidProgram(TaskError):
    """A program that is not exact, or whose inputs, outputs or cost differ from its manifest."""


class InvalidHoldout(TaskError):
    """An evaluation set that differs from the manifest or from its opening."""


class MachineTrouble(TouchstoneError):
    """A condition of this machine that prevents it from judging. It says nothing about the task."""


class DamagedFile(MachineTrouble):
    """A file on this machine whose bytes have the digest `found` and not `digest`, 32 bytes each."""

    def __init__(self, path: Path, digest: bytes, found: bytes) -> None:
        super().__init__(f"{path} is damaged: its digest is {digests.to_hex(found)}, not {digests.to_hex(digest)}")
        self.path = path
        self.digest = digest
        self.found = found


class UnreadableFile(DamagedFile):
    """A file on this machine that cannot be read, and the operating system's reason."""

    def __init__(self, path: Path, digest: bytes, reason: str) -> None:
        MachineTrouble.__init__(self, f"{path} cannot be read: {reason}")
        self.path = path
        self.digest = digest
        self.found = b""
        self.reason = reason

    @classmethod
    def from_error(cls, path: Path, digest: bytes, error: OSError) -> UnreadableFile:
        """The error for a file whose reading failed with `error`. Errors: `error` when this machine lacks something."""
        if is_shortage(error):
            raise error
        return cls(path, digest, error.strerror or str(error))


class NotEnoughMemory(MachineTrouble):
    """A program that needs more memory than it may have on this machine."""

    def __init__(self, needed: int, allowed: int) -> None:
        super().__init__(f"the program needs {needed} bytes of memory, {allowed} are allowed")
