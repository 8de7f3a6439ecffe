"""The digest that names every file: D = SHA-256(0x02 || length in bytes as uint64 big-endian || MTH).

MTH is the Merkle tree hash of RFC 6962, section 2.1 (SHA-256, leaf prefix 0x00, node prefix 0x01), over the file's
1,024-byte chunks, of which the last may be shorter. The length is part of the digest because a Merkle tree hash alone
can be opened at the wrong index of a tree of another size. A chunk and its path of hashes prove any byte range of a
file against the 32 bytes of D.
"""

import re
from hashlib import sha256
from pathlib import Path

CHUNK_BYTES = 1024  # a leaf of the tree: what is proven on chain in one piece
DIGEST_BYTES = 32
READ_BYTES = 1 << 20  # how much of a file is read at once

_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


class Hasher:
    """Digests a file that is given in pieces of any size. Needs memory for one chunk and one hash per tree level."""

    def __init__(self) -> None:
        self._length = 0
        self._rest = bytearray()  # the bytes after the last whole chunk: fewer than CHUNK_BYTES
        self._leaves = 0
        self._subtrees: list[bytes] = []  # roots of the complete subtrees so far: one per bit set in _leaves

    @property
    def length(self) -> int:
        """The number of bytes given so far."""
        return self._length

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes to the file."""
        view = memoryview(data).cast("B")
        self._length += len(view)
        start = 0
        if self._rest:
            start = min(CHUNK_BYTES - len(self._rest), len(view))
            self._rest += view[:start]
            if len(self._rest) < CHUNK_BYTES:
                return
            self._leaf(self._rest)
            self._rest.clear()
        whole = start + (len(view) - start) // CHUNK_BYTES * CHUNK_BYTES
        for position in range(start, whole, CHUNK_BYTES):
            self._leaf(view[position : position + CHUNK_BYTES])
        self._rest += view[whole:]

    def digest(self) -> bytes:
        """Return the 32-byte digest of the bytes given so far. More bytes may be appended afterwards."""
        subtrees = self._subtrees
        if self._rest:
            subtrees = [*subtrees, sha256(b"\x00" + self._rest).digest()]
        # RFC 6962 splits at the largest power of two below the number of leaves, so complete subtrees are combined
        # from the right.
        root = subtrees[-1] if subtrees else sha256().digest()
        for left in reversed(subtrees[:-1]):
            root = sha256(b"\x01" + left + root).digest()
        return sha256(b"\x02" + self._length.to_bytes(8, "big") + root).digest()

    def _leaf(self, chunk: bytearray | memoryview) -> None:
        root = sha256(b"\x00" + chunk).digest()
        level = self._leaves
        while level & 1:  # combine complete subtrees of the same size
            root = sha256(b"\x01" + self._subtrees.pop() + root).digest()
            level >>= 1
        self._subtrees.append(root)
        self._leaves += 1


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the 32-byte digest of a file whose bytes are `data`."""
    hasher = Hasher()
    hasher.update(data)
    return hasher.digest()


def digest_file(path: Path) -> bytes:
    """Return the 32-byte digest of a file on disk, which is read in pieces. Errors: OSError."""
    hasher = Hasher()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            hasher.update(piece)
    return hasher.digest()


def to_hex(value: bytes) -> str:
    """Write 32 bytes as manifests, records and commands do: 0x and 64 lower-case hexadecimal digits."""
    return "0x" + value.hex()


def from_hex(text: str) -> bytes:
    """Read a digest from 64 hexadecimal digits, with or without 0x before them. Errors: ValueError."""
    value = parse_hex(text)
    if value is None:
        raise ValueError(f"{text[:80]!a} is not a digest, which has 64 hexadecimal digits, with or without 0x")
    return value


def parse_hex(text: str) -> bytes | None:
    """Read 32 bytes from 64 hexadecimal digits, with or without 0x before them; None for any other text."""
    match = _HEX.fullmatch(text)
    return None if match is None else bytes.fromhex(match[1])
