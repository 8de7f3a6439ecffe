"""Sealed artifacts: ChaCha20 of RFC 8439 with a single-use key, zero nonce, block counter from 1, no framing.

Sealed chunk i is plain chunk i under 16 blocks of the key stream, so one chunk can be opened alone. There is no
authentication tag: the digest of the plain bytes, committed to beforehand, is what authenticates them. A key seals one
file and never another; with the nonce fixed, a second file under it would reveal both.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from verifier.artifacts import digests
from verifier.artifacts.digests import READ_BYTES
from verifier.artifacts.errors import ArtifactError

KEY_BYTES = 32
_COUNTER_AND_NONCE = (1).to_bytes(4, "little") + bytes(12)


@dataclass(frozen=True)
class Sealed:
    """A file that was sealed under a new key."""

    plain: bytes  # digest of what the key makes of it
    sealed: bytes  # digest of the ciphertext
    size: int  # bytes
    file: Path
    key_file: Path

    def fields(self) -> dict[str, str | int]:
        """As `touchstone seal` prints it, for those who commit and reveal."""
        return {
            "plain": digests.to_hex(self.plain),
            "sealed": digests.to_hex(self.sealed),
            "size": self.size,
            "file": str(self.file),
            "key_file": str(self.key_file),
        }


def seal_file(source: Path, target: Path, key_file: Path) -> Sealed:
    """Seal a file under a new key, which goes to `key_file`, readable by its owner alone. Nothing is overwritten.

    Errors: ArtifactError.
    """
    if target.exists():
        raise ArtifactError(f"{target} exists and is not overwritten")
    key = new_key()
    _write_key(key_file, key)  # first: a sealed file without its key is worth nothing
    try:
        apply_to_file(key, source, target)
    except FileExistsError as error:
        raise ArtifactError(f"{target} exists and is not overwritten") from error
    except OSError as error:
        raise ArtifactError(f"cannot write {target}: {error.strerror}") from error
    return Sealed(digests.digest_file(source), digests.digest_file(target), target.stat().st_size, target, key_file)


def new_key() -> bytes:
    """A fresh 32-byte key from the operating system. It is good for one file."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, data: bytes) -> bytes:
    """The bytes under the key's stream, as many as came in. Errors: ValueError when the key is not 32 bytes."""
    return _cipher(key).update(data)


def unseal(key: bytes, data: bytes) -> bytes:
    """The plain bytes of what `seal` returned: the same operation. Errors: ValueError when the key is not 32 bytes."""
    return seal(key, data)


def apply_to_file(key: bytes, source: Path, target: Path) -> None:
    """Seal or unseal a file of any size into a new one.

    Errors: ValueError when the key is not 32 bytes; OSError, also (FileExistsError) when the target exists. No half of
    a target stays behind.
    """
    cipher = _cipher(key)
    with source.open("rb") as plain, target.open("xb") as sealed:
        try:
            while piece := plain.read(READ_BYTES):
                sealed.write(cipher.update(piece))
        except BaseException:
            target.unlink()
            raise


def _write_key(path: Path, key: bytes) -> None:
    """Readable by its owner alone; an existing key is never overwritten. Errors: ArtifactError."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("0x" + key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise ArtifactError(f"{path} exists: a key is for one file and is never overwritten") from error
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror}") from error


def _cipher(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return Cipher(ChaCha20(key, _COUNTER_AND_NONCE), mode=None).encryptor()
