"""What `touchstone seal` left behind: a sealed file, its digests and the key that opens it. Keys are never printed."""

import json
from dataclasses import dataclass
from pathlib import Path

import click

from verifier.artifacts import digests, sealing


@dataclass(frozen=True)
class Sealed:
    """A sealed file as its owner knows it."""

    sealed: bytes  # digest of the ciphertext
    plain: bytes  # digest of what the key makes of it
    key_file: Path

    def key(self) -> bytes:
        """The 32-byte key. Errors: KeyFileError."""
        return sealing.read_key(self.key_file)


def load(path: Path) -> Sealed:
    """Read the JSON that `touchstone seal` printed, and see that key and sealed file are what it says.

    Paths in it are tried as they stand, then relative to the JSON's folder. Errors: UsageError, KeyFileError.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
        sealed, plain = digests.from_hex(fields["sealed"]), digests.from_hex(fields["plain"])
        file, key_file = _there(path, fields["file"]), _there(path, fields["key_file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} is not what `touchstone seal` prints: {error}") from error
    found = Sealed(sealed, plain, key_file)
    # A wrong key is noticed now, by its owner, and not at the reveal, by everybody.
    if not file.exists():
        raise click.UsageError(f"the sealed file {file} is not there")
    if digests.digest_file(file) != sealed:
        raise click.UsageError(f"{file} is not the sealed file that {path} describes")
    if sealing.unsealed_digest(found.key(), file) != plain:
        raise click.UsageError(f"the key in {key_file} does not open {file}")
    return found


def _there(beside: Path, text: str) -> Path:
    path = Path(text)
    return path if path.exists() else beside.parent / path
