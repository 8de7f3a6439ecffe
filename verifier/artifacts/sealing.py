"""Sealed artifacts: ChaCha20 of RFC 8439 with a single-use key, zero nonce, block counter from 1, no framing.

Sealed chunk i is plain chunk i under 16 blocks of the key stream, so one chunk can be opened alone. There is no
authentication tag: the digest of the plain bytes, committed to beforehand, is what authenticates them. A key seals one
file and never another; with the nonce fixed, a second file under it would reveal both.
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from verifier.artifacts.digests import READ_BYTES

KEY_BYTES = 32
_COUNTER_AND_NONCE = (1).to_bytes(4, "little") + bytes(12)


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


def _cipher(key: bytes) -> CipherContext:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return Cipher(ChaCha20(key, _COUNTER_AND_NONCE), mode=None).encryptor()
