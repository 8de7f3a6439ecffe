"""Sealing, compared with the test vectors of RFC 8439, and key files."""

from pathlib import Path

import pytest

from verifier.artifacts import sealing
from verifier.artifacts.digests import digest
from verifier.artifacts.errors import ArtifactError, KeyFileError, TargetExistsError

KEY = bytes(range(32))


def quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for left, right, into, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[left] = (state[left] + state[right]) & 0xFFFFFFFF
        mixed = state[into] ^ state[left]
        state[into] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF


def key_stream_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439, section 2.3."""
    words = b"expand 32-byte k" + key + counter.to_bytes(4, "little") + nonce
    start = [int.from_bytes(words[i : i + 4], "little") for i in range(0, 64, 4)]
    state = list(start)
    for _ in range(10):
        for column in range(4):
            quarter_round(state, *(column + 4 * row for row in range(4)))
        for diagonal in range(4):
            quarter_round(state, *((diagonal + row) % 4 + 4 * row for row in range(4)))
    return b"".join(((x + y) & 0xFFFFFFFF).to_bytes(4, "little") for x, y in zip(state, start, strict=True))


def test_key_stream_block__rfc_8439_section_2_3_2__is_the_published_block() -> None:
    block = key_stream_block(KEY, 1, bytes.fromhex("000000090000004a00000000"))
    assert block.hex() == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )


def test_seal__rfc_8439_appendix_a_1_vector_2__is_the_published_key_stream() -> None:
    sealed = sealing.seal(bytes(32), bytes(64))
    assert sealed.hex() == (
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )


def test_seal__many_blocks__count_from_one_under_the_zero_nonce() -> None:
    stream = b"".join(key_stream_block(KEY, 1 + number, bytes(12)) for number in range(40))
    data = bytes(range(256)) * 9 + b"tail"
    assert sealing.seal(KEY, data) == bytes(x ^ y for x, y in zip(data, stream, strict=False))


def test_unseal__sealed_bytes__are_the_plain_ones_again() -> None:
    key = sealing.new_key()
    assert sealing.unseal(key, sealing.seal(key, b"adapter")) == b"adapter"


def test_new_key__twice__differs() -> None:
    assert sealing.new_key() != sealing.new_key()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_seal__key_of_another_length__is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"a key has 32 bytes, not {length}"):
        sealing.seal(bytes(length), b"data")


def test_apply_to_file__larger_than_one_piece__is_the_same_as_in_memory(tmp_path: Path) -> None:
    plain, sealed = tmp_path / "plain", tmp_path / "sealed"
    plain.write_bytes(bytes(3 << 20) + b"end")
    sealing.apply_to_file(KEY, plain, sealed)
    assert sealed.read_bytes() == sealing.seal(KEY, plain.read_bytes())


def test_apply_to_file__target_exists__is_not_overwritten(tmp_path: Path) -> None:
    plain, taken = tmp_path / "plain", tmp_path / "taken"
    plain.write_bytes(b"plain")
    taken.write_bytes(b"precious")
    with pytest.raises(TargetExistsError) as refused:
        sealing.apply_to_file(KEY, plain, taken)
    assert str(refused.value) == f"{taken} exists and is not overwritten: choose another name, or move it away"
    assert taken.read_bytes() == b"precious"


def test_apply_to_file__target_cannot_be_created__says_why(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"plain")
    target = tmp_path / "missing" / "sealed"
    with pytest.raises(ArtifactError) as refused:
        sealing.apply_to_file(KEY, tmp_path / "plain", target)
    assert str(refused.value) == f"cannot create {target}: No such file or directory"


def test_unsealed_digest__larger_than_one_piece__is_that_of_the_plain_file(tmp_path: Path) -> None:
    plain = bytes(3 << 20) + b"end"
    (tmp_path / "sealed").write_bytes(sealing.seal(KEY, plain))
    assert sealing.unsealed_digest(KEY, tmp_path / "sealed") == digest(plain)


def test_write_key__new_file__is_read_back_and_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "key"
    sealing.write_key(file, KEY)
    assert sealing.read_key(file) == KEY
    assert file.read_text() == "0x" + KEY.hex() + "\n"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper() + "\n", " 0x" + KEY.hex() + "\r\n"])
def test_read_key__written_by_hand__is_the_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    assert sealing.read_key(file) == KEY


@pytest.mark.parametrize("content", [b"secret words", b"secret \xff", b"", b"00" * 31])
def test_read_key__file_of_something_else__is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(KeyFileError) as refused:
        sealing.read_key(file)
    assert str(refused.value) == f"{file} is not a key file, which has one line of 64 hexadecimal digits"


def test_read_key__missing_file__says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as refused:
        sealing.read_key(tmp_path / "key")
    assert str(refused.value) == f"cannot read the key file {tmp_path / 'key'}: No such file or directory"
