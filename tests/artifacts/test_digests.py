"""The digest, compared with the recursive definition of RFC 6962."""

from hashlib import sha256
from pathlib import Path

import pytest

from verifier.artifacts import digests


def tree_hash(chunks: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, implemented literally."""
    if not chunks:
        return sha256(b"").digest()
    if len(chunks) == 1:
        return sha256(b"\x00" + chunks[0]).digest()
    split = 1
    while 2 * split < len(chunks):
        split *= 2
    return sha256(b"\x01" + tree_hash(chunks[:split]) + tree_hash(chunks[split:])).digest()


def expected_digest(data: bytes) -> bytes:
    chunks = [data[start : start + 1024] for start in range(0, len(data), 1024)]
    return sha256(b"\x02" + len(data).to_bytes(8, "big") + tree_hash(chunks)).digest()


def pattern(length: int) -> bytes:
    return bytes(position * position % 251 for position in range(length))


@pytest.mark.parametrize(
    "length", [0, 1, 1023, 1024, 1025, 2048, 2049, 3 * 1024, 7 * 1024 + 5, 8 * 1024, 33 * 1024 + 1]
)
def test_digest__any_length__is_the_recursive_definition(length: int) -> None:
    assert digests.digest(pattern(length)) == expected_digest(pattern(length))


@pytest.mark.parametrize(
    ("length", "digest"),
    [
        (0, "f0c1e0b4cd1983b9c92909f8145cc102993e4c797489c0ba98639fd93056b82f"),
        (3, "af42053d057c7b2f43a71a97effcb329ec84a3b8fb8e6492ab13419e43e7e2ea"),
        (5_000, "a89422f0024e130c66aa71bb6bd11f32a7ec255e585d53779219206dcb25b667"),
    ],
)
def test_digest__literal_vectors__never_change(length: int, digest: str) -> None:
    assert digests.digest(pattern(length)).hex() == digest


@pytest.mark.parametrize("piece", [1, 7, 1000, 1024, 1025, 4096, 10_000])
def test_hasher__pieces_of_any_size__give_the_same_digest(piece: int) -> None:
    data = pattern(9_999)
    hasher = digests.Hasher()
    for start in range(0, len(data), piece):
        hasher.update(data[start : start + piece])
    assert hasher.length == len(data)
    assert hasher.digest() == expected_digest(data)


def test_hasher__digest_in_between__does_not_disturb_what_follows() -> None:
    hasher = digests.Hasher()
    for start in range(0, 5_000, 500):
        hasher.update(pattern(5_000)[start : start + 500])
        assert hasher.digest() == expected_digest(pattern(5_000)[: start + 500])


def test_digest__padding_with_zeros__is_another_file() -> None:
    assert digests.digest(bytes(1024)) != digests.digest(bytes(1023))


def test_digest_file__file_on_disk__is_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(70_000))
    assert digests.digest_file(path) == digests.digest(pattern(70_000))


@pytest.mark.parametrize("text", ["0x" + "ab" * 32, "ab" * 32, "AB" * 32])
def test_from_hex__digest_as_people_write_it__is_read(text: str) -> None:
    assert digests.to_hex(digests.from_hex(text)) == "0x" + "ab" * 32


@pytest.mark.parametrize("text", ["", "0x", "ab" * 31, "ab" * 33, "zz" * 32, "0x" + "ab" * 32 + "\n"])
def test_from_hex__anything_else__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a digest, which has 64 hexadecimal digits, with or without 0x"):
        digests.from_hex(text)
