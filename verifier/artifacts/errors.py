"""Errors about files that are addressed by their digest, and about new files.

ArtifactError
├── SchemaError        a list of tensors that no tensor file can have
├── Misfit             bytes that differ from what their digest, length or schema says; everyone finds the same
├── KeyFileError       a key that cannot be read, or is not 64 hexadecimal digits
├── TargetExistsError  a file or folder that would have to be overwritten
├── StoreError         a file that is missing from the store or corrupted in it; a store that cannot be written
├── UriRefused         an untrusted URI that is not followed, and the reason
├── FetchError         no copy could be fetched; `.reasons` gives the reason for each URI; trying again may help
└── ListenError        an address and port that a server of artifacts cannot listen on
"""

from collections.abc import Sequence
from pathlib import Path

from verifier.errors import TouchstoneError


class ArtifactError(TouchstoneError):
    """The base of all errors about files that are addressed by their digest, and about writing new files."""


class SchemaError(ArtifactError, ValueError):
    """A name, dtype, shape or grid that no tensor file can have. It is a ValueError so that pydantic reports it."""


class Misfit(ArtifactError):
    """Bytes that differ from what their digest, length or schema says."""


class KeyFileError(ArtifactError):
    """A key that cannot be read, or is not 64 hexadecimal digits. The message never quotes what was read."""


class TargetExistsError(ArtifactError):
    """A file or folder that exists where a command was asked to create one."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists and is not overwritten: choose another name, or move it away")
        self.path = path


class StoreError(ArtifactError):
    """A file that is missing from the store or corrupted in it, or a store that cannot be written."""


class UriRefused(ArtifactError):
    """A URI or redirect that the policy for untrusted URIs does not allow."""


class FetchError(ArtifactError):
    """No URI returned the file. `reasons` holds (URI, reason) in the order in which they were tried.

    `digest` is None for a file of which only the URI was known. `refused` holds the URIs that the policy refused.
    """

    def __init__(self, digest: bytes | None, reasons: Sequence[tuple[str, str]], refused: Sequence[str] = ()) -> None:
        tried = "; ".join(f"{uri}: {reason}" for uri, reason in reasons) or "no URI is known for it"
        super().__init__(f"no copy of 0x{digest.hex()}: {tried}" if digest is not None else f"no file at {tried}")
        self.digest = digest
        self.reasons = tuple(reasons)
        self.refused = tuple(refused)


class ListenError(ArtifactError):
    """An address and port that a server of artifacts cannot listen on."""
