"""What can be wrong with a task, and what can keep this machine from judging it.

TaskError
├── ManifestError     bytes that are no manifest; the message names the field
├── BuildError        a model or a data set that no task can be built from
├── PackError         an adapter that does not fit the task; the message names the tensor
├── InvalidProgram    a program that is not exact, or not the one its manifest describes: every machine finds it
└── InvalidHoldout    an evaluation set that is not what the manifest and its opening say: every machine finds it

MachineTrouble        nothing about the task follows from it: a verifier abstains
├── DamagedFile       a file on this machine that does not have its digest
└── NotEnoughMemory   a program that needs more memory than this machine allows
"""

from pathlib import Path

from verifier.artifacts import digests
from verifier.errors import TouchstoneError


class TaskError(TouchstoneError):
    """Anything about what is to be evaluated."""


class ManifestError(TaskError, ValueError):
    """Bytes or fields that make no manifest."""


class BuildError(TaskError):
    """A model, data set or option that no task can be built from."""


class PackError(TaskError):
    """An adapter that cannot become a submission to this task."""


class InvalidProgram(TaskError):
    """A program that is not exact, or that takes, returns or costs something else than its manifest says."""


class InvalidHoldout(TaskError):
    """An evaluation set that is not what the manifest and its opening say."""


class MachineTrouble(TouchstoneError):
    """Something about this machine that keeps it from judging. It says nothing about the task."""


class DamagedFile(MachineTrouble):
    """A file on this machine whose bytes have the digest `found` and not `digest`, 32 bytes each."""

    def __init__(self, path: Path, digest: bytes, found: bytes) -> None:
        super().__init__(f"{path} is damaged: its digest is {digests.to_hex(found)}, not {digests.to_hex(digest)}")
        self.path = path
        self.digest = digest
        self.found = found


class NotEnoughMemory(MachineTrouble):
    """A program that needs more memory than it may have on this machine."""

    def __init__(self, needed: int, allowed: int) -> None:
        super().__init__(f"the program needs {needed} bytes of memory, {allowed} are allowed")
