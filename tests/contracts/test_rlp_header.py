"""The one field of a block header that a draw reads: prevRandao, item 13 of its RLP list."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from boa.interpret import set_search_paths
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evm import ROOT, Chain, Reverted, compiled_source, reverts, word
from tests.harness import DEPLOYER

READER = """
# pragma version ~=0.4.3
from contracts.modules import rlp_header

@external
@view
def prev_randao(header: Bytes[rlp_header.MAX_HEADER]) -> bytes32:
    return rlp_header._prev_randao(header)
"""
RANDAO = word("randao")
MALFORMED = "header: malformed"


@pytest.fixture(scope="module")
def reader() -> Any:
    set_search_paths([str(ROOT)])
    return Chain().deploy(compiled_source(READER), sender=DEPLOYER)


def header(*after: bytes, bloom: bytes = bytes(256), extra: bytes = b"builder", randao: Any = RANDAO) -> bytes:
    """Encode a header with `after` as the fields that follow prevRandao."""
    fields: list[Any] = [word("parent"), word("ommers"), bytes(20), word("state"), word("transactions")]
    fields += [word("receipts"), bloom, b"", b"\x7f", b"\x80", b"\x01\xc9\xc3\x80", b"\x65", extra, randao]
    return bytes(rlp.encode([*fields, *after]))


def listed(payload: bytes) -> bytes:
    """Encode a list of encoded items, 56 to 65,535 bytes in total."""
    width = 1 if len(payload) < 256 else 2
    return bytes([247 + width]) + len(payload).to_bytes(width, "big") + payload


# ---------------------------------------------------------------------------------------------- real headers


def test_prev_randao__ethereums_first_block__is_its_mix_hash(reader: Any) -> None:
    empty_trie = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
    fields = [
        bytes(32),
        bytes.fromhex("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"),
        bytes(20),
        bytes.fromhex("d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544"),
        empty_trie,
        empty_trie,
        bytes(256),
        bytes.fromhex("0400000000"),
        b"",
        (5000).to_bytes(2, "big"),
        b"",
        b"",
        bytes.fromhex("11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa"),
        bytes(32),
        bytes.fromhex("0000000000000042"),
    ]
    first = bytes(rlp.encode(fields))
    assert keccak(first).hex() == "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
    assert reader.prev_randao(first) == bytes(32)


@pytest.mark.parametrize("fields", [14, 15, 16, 17, 20, 21, 24], ids=lambda fields: f"{fields} fields")
def test_prev_randao__fields_that_forks_appended__are_ignored(reader: Any, fields: int) -> None:
    assert reader.prev_randao(header(*[b"\x09" * 8] * (fields - 14))) == RANDAO


@pytest.mark.parametrize("length", [0, 1, 2, 31, 55, 56, 57, 200, 255, 256, 257])
def test_prev_randao__field_before_it_of_any_length__is_skipped(reader: Any, length: int) -> None:
    for byte in (b"\x00", b"\x7f", b"\x80", b"\xff"):  # a single byte below 128 is its own encoding
        assert reader.prev_randao(header(extra=byte * length)) == RANDAO


def test_prev_randao__list_of_one_length_byte__is_read(reader: Any) -> None:
    for length in (56, 57, 254, 255):
        rest = bytes(length - len(TWELVE) - 1 - 33)  # each is a field of one byte
        assert reader.prev_randao(listed(TWELVE + b"\x80\xa0" + RANDAO + rest)) == RANDAO


def test_prev_randao__largest_header__is_read(reader: Any) -> None:
    room = 1024 - len(header(b"\xff" * 300)) + 300
    assert len(header(b"\xff" * room)) == 1024
    assert reader.prev_randao(header(b"\xff" * room)) == RANDAO
    with reverts(""):
        reader.prev_randao(header(b"\xff" * (room + 1)))


# ------------------------------------------------------------------------------------------------- malformed

GOOD = header(b"\x42" * 8)
TWELVE = b"\x80" * 12

BAD = {
    "nothing": b"",
    "a list prefix alone": b"\xf9",
    "half a length": b"\xf9\x02",
    "a short list": bytes(rlp.encode([b""] * 13)),
    "a string": bytes(rlp.encode(bytes(600))),
    "a list of three length bytes": b"\xfa\x00" + GOOD[1:],
    "a byte missing": GOOD[:-1],
    "a byte too many": GOOD + b"\x00",
    "a length too large by one": GOOD[:2] + bytes([GOOD[2] + 1]) + GOOD[3:],
    "thirteen fields": listed(TWELVE + bytes(rlp.encode(word("the last")))),
    "prevRandao of 31 bytes": header(b"\x42" * 8, randao=RANDAO[:31]),
    "prevRandao of 33 bytes": header(b"\x42" * 8, randao=RANDAO + b"\x01"),
    "prevRandao of one byte": header(b"\x42" * 8, randao=b"\x01"),
    "prevRandao a list": header(b"\x42" * 8, randao=[RANDAO]),
    "prevRandao cut by the end": listed(bytes(rlp.encode(bytes(30))) + TWELVE + b"\xa0" + RANDAO[:31]),
    "a list among the fields before": header(b"\x42" * 8, extra=[b"\x01"]),  # type: ignore[arg-type]
    "a field of three length bytes": listed(b"\xba\x00\x00\x01\x80" + b"\x80" * 12 + b"\xa0" + RANDAO + bytes(32)),
    "a field that ends beyond the list": listed(b"\xb9\xff\xff" + b"\x80" * 12 + b"\xa0" + RANDAO + bytes(32)),
    "a field whose length is cut": listed(bytes(rlp.encode(bytes(60))) + b"\xb9"),
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD.keys())
def test_prev_randao__anything_but_a_header__reverts(reader: Any, wrong: bytes) -> None:
    with reverts(MALFORMED):
        reader.prev_randao(wrong)


# ---------------------------------------------------------------------------------------------- any bytes


def said(reader: Any, data: bytes) -> str:
    """The result of the reader: `read`, or its revert reason."""
    try:
        reader.prev_randao(data)
    except Reverted as error:
        return error.reason
    return "read"


SOME = settings(max_examples=100, deadline=None)


@SOME
@given(
    before=st.lists(st.binary(max_size=70), min_size=13, max_size=13),
    after=st.lists(st.binary(max_size=20), max_size=3),
    randao=st.binary(min_size=32, max_size=32),
)
def test_prev_randao__any_fields__equals_an_rlp_librarys(
    reader: Any, before: list[bytes], after: list[bytes], randao: bytes
) -> None:
    encoded = bytes(rlp.encode([*before, randao, *after]))
    if encoded[0] > 247 and len(encoded) <= 1024:
        assert reader.prev_randao(encoded) == rlp.decode(encoded)[13] == randao


@SOME
@given(position=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), keep=st.integers(0, len(GOOD)))
def test_prev_randao__damaged_header__is_read_or_refused_with_the_reason(
    reader: Any, position: int, byte: int, keep: int
) -> None:
    damaged = GOOD[:position] + bytes([byte]) + GOOD[position + 1 :]
    assert {said(reader, damaged), said(reader, damaged[:keep])} <= {"read", MALFORMED}
