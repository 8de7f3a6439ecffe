"""The output of `touchstone seal`: a sealed file, its digests and its key. Keys are never printed."""

import json
from dataclasses import dataclass
from pathlib import Path

import click

from verifier.artifacts import digests, sealing
from verifier.tasks.case import SealedFile


@dataclass(frozen=True)
class SealedRecord:
    """The digests of a sealed file, and the file of its key."""

    sealed: bytes  # digest of the ciphertext
    plain: bytes  # digest of the decrypted content
    file: Path
    key_file: Path

    def key(self) -> bytes:
        """The 32-byte key. Errors: KeyFileError."""
        return sealing.read_key(self.key_file)

    def opened(self) -> SealedFile:
        """The sealed file as a verifier opens it. Errors: KeyFileError."""
        return SealedFile(self.file, self.sealed, self.plain, self.key())


def load(path: Path) -> SealedRecord:
    """Read the JSON that `touchstone seal` printed, and check that the key opens the sealed file to the stated digests.

    Its paths are tried as they are, then relative to the JSON's folder. Errors: UsageError, KeyFileError.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
        sealed, plain = digests.from_hex(fields["sealed"]), digests.from_hex(fields["plain"])
        file, key_file = _locate(path, fields["file"]), _locate(path, fields["key_file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} does not have the JSON that `touchstone seal` prints: {error}") from error
    found = SealedRecord(sealed, plain, file, key_file)
    # A wrong key must be found now: at the reveal it would cost the bond.
    if not file.exists():
        raise click.UsageError(f"the sealed file {file} does not exist")
    if digests.digest_file(file) != sealed:
        raise click.UsageError(f"{file} does not have the digest that {path} states: seal the file again")
    if sealing.unsealed_digest(found.key(), file) != plain:
        raise click.UsageError(f"the key in {key_file} does not open {file}")
    return found


def _locate(beside: Path, text: str) -> Path:
    path = Path(text)
    return path if path.exists() else beside.parent / path
