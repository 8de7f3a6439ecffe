"""What can be wrong with an artifact.

ArtifactError
├── SchemaError    a list of tensors that no tensor file can have
├── Misfit         bytes that are not what their digest, length or schema says: a fact that everybody finds
├── StoreError     a file that is not in the store or no longer what it was, a folder that cannot be written
├── UriRefused     a stranger's URI that is not followed, and why
└── FetchError     no copy could be had; `.reasons` says why, by URI: not a fact, trying again may help
"""

from collections.abc import Sequence

from verifier.errors import TouchstoneError


class ArtifactError(TouchstoneError):
    """Anything about files that are addressed by their digest."""


class SchemaError(ArtifactError, ValueError):
    """A name, dtype, shape or grid that no tensor file can have. A ValueError too, so that pydantic reports it."""


class Misfit(ArtifactError):
    """Bytes that are not what their digest, length or schema says."""


class StoreError(ArtifactError):
    """A file that the store does not have or that rotted in it, or a store that cannot be written."""


class UriRefused(ArtifactError):
    """A URI, or a redirect, that leads where strangers must not lead a verifier."""


class FetchError(ArtifactError):
    """No URI gave the file. `reasons` holds (URI, why not), in the order they were tried."""

    def __init__(self, digest: bytes, reasons: Sequence[tuple[str, str]]) -> None:
        tried = "; ".join(f"{uri}: {reason}" for uri, reason in reasons) or "no URI is known for it"
        super().__init__(f"no copy of 0x{digest.hex()}: {tried}")
        self.digest = digest
        self.reasons = tuple(reasons)
