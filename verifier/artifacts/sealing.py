"""Sealed artifacts: files encrypted with ChaCha20 (RFC 8439) under a single-use key.

The nonce is zero, the block counter starts at 1, and there is no framing: the ciphertext is as long as the plain file,
and each 1,024-byte chunk of it is the same chunk of the plain file XORed with 16 blocks of the key stream. One chunk
can therefore be decrypted alone. There is no authentication tag; the digest of the plain bytes, which was committed to
beforehand, authenticates them. Because the nonce is fixed, a key must never encrypt a second file: the two ciphertexts
together would reveal both.

A key is 32 bytes. A key file holds it as one line of 64 hexadecimal digits, with 0x before them when `touchstone seal`
wrote it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from verifier.artifacts import digests
from verifier.artifacts.digests import READ_BYTES, Hasher
from verifier.artifacts.errors import KeyFileError
from verifier.artifacts.new_files import check_new, new_file, write_new

KEY_BYTES = 32
_COUNTER_AND_NONCE = (1).to_bytes(4, "little") + bytes(12)


@dataclass(frozen=True)
class Sealed:
    """A file that was encrypted under a new key."""

    plain: bytes  # digest of the plain file
    sealed: bytes  # digest of the ciphertext
    size: int  # bytes, of the plain file and of the ciphertext
    file: Path  # the ciphertext
    key_file: Path

    def fields(self) -> dict[str, str | int]:
        """The fields that `touchstone seal` prints, for the scripts that commit and reveal."""
        return {
            "plain": digests.to_hex(self.plain),
            "sealed": digests.to_hex(self.sealed),
            "size": self.size,
            "file": str(self.file),
            "key_file": str(self.key_file),
        }


def seal_file(source: Path, target: Path, key_file: Path) -> Sealed:
    """Encrypt `source` into the new file `target` under a new key, and write that key to the new file `key_file`.

    Only the owner may read the key file. Errors: TargetExistsError when a file to be written exists; ArtifactError when
    it cannot be written; OSError when the source cannot be read.
    """
    check_new(target, key_file)
    key = new_key()
    write_key(key_file, key)  # before the ciphertext, which is worthless without its key
    apply_to_file(key, source, target)
    return Sealed(digests.digest_file(source), digests.digest_file(target), target.stat().st_size, target, key_file)


def new_key() -> bytes:
    """Return 32 random bytes from the operating system, the key for one file."""
    return os.urandom(KEY_BYTES)


def write_key(path: Path, key: bytes) -> None:
    """Write a key to a new file that only its owner may read.

    Errors: TargetExistsError when the file exists; ArtifactError when it cannot be written.
    """
    write_new(path, f"{digests.to_hex(key)}\n".encode("ascii"), secret=True)


def read_key(path: Path) -> bytes:
    """Read a key from its file. Errors: KeyFileError, which does not quote the file."""
    try:
        text = path.read_text("ascii")
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path} is not a key file, which has one line of 64 hexadecimal digits") from error
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from error
    key = parse_key(text)
    if key is None:
        raise KeyFileError(f"{path} is not a key file, which has one line of 64 hexadecimal digits")
    return key


def parse_key(text: str) -> bytes | None:
    """Read a key from text, with or without space around it; None when it is not a key."""
    return digests.parse_hex(text.strip())


def seal(key: bytes, data: bytes) -> bytes:
    """Encrypt `data`; the result has the same length. Errors: ValueError when the key does not have 32 bytes."""
    return _cipher(key).update(data)


def unseal(key: bytes, data: bytes) -> bytes:
    """Decrypt what `seal` returned; ChaCha20 is its own inverse. Errors: ValueError when the key is not 32 bytes."""
    return seal(key, data)


def apply_to_file(key: bytes, source: Path, target: Path) -> None:
    """Encrypt or decrypt `source`, of any size, into the new file `target`; on an error `target` is removed.

    Errors: ValueError when the key does not have 32 bytes; TargetExistsError when the target exists; ArtifactError when
    it cannot be written; OSError when the source cannot be read.
    """
    cipher = _cipher(key)
    with source.open("rb") as data, new_file(target) as result:
        while piece := data.read(READ_BYTES):
            result.write(cipher.update(piece))


def unsealed_digest(key: bytes, sealed: Path) -> bytes:
    """Return the digest of the plain bytes that the key decrypts `sealed` to, without writing them to disk.

    Errors: ValueError when the key does not have 32 bytes; OSError when the file cannot be read.
    """
    cipher, hasher = _cipher(key), Hasher()
    with sealed.open("rb") as data:
        while piece := data.read(READ_BYTES):
            hasher.update(cipher.update(piece))
    return hasher.digest()


def _cipher(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return Cipher(ChaCha20(key, _COUNTER_AND_NONCE), mode=None).encryptor()
