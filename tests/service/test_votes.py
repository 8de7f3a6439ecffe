"""Salts and seeds, with which an operator reveals even when the disk is lost."""

from dataclasses import replace
from pathlib import Path

import pytest

from verifier.protocol import commitments
from verifier.service.errors import Stop
from verifier.service.votes import Seat, load_seed, salt, vote

SEED = bytes(range(32))
SEAT = Seat(chain=31337, panel="0x" + "11" * 20, task=b"\x22" * 32, round=1, stake=b"\x33" * 32)
VERDICT = b"\x44" * 32


def test_salt__same_fields__is_derived_again() -> None:
    # A literal value: a version that derives another salt could not reveal the votes of an earlier version.
    assert salt(SEED, SEAT, VERDICT).hex() == "b9354f3bd82724b3a1decfcf05379e2d0d382d15caeb84d35806aa6c7b107082"


@pytest.mark.parametrize(
    "other",
    [
        replace(SEAT, chain=1),
        replace(SEAT, panel="0x" + "12" * 20),
        replace(SEAT, task=b"\x23" * 32),
        replace(SEAT, round=2),
        replace(SEAT, stake=b"\x34" * 32),
    ],
)
def test_salt__any_field_differs__differs(other: Seat) -> None:
    assert salt(SEED, other, VERDICT) != salt(SEED, SEAT, VERDICT)


def test_salt__other_verdict_or_seed__differs() -> None:
    assert len({salt(SEED, SEAT, VERDICT), salt(SEED, SEAT, b"\x45" * 32), salt(b"\1" * 32, SEAT, VERDICT)}) == 3


def test_vote__opens_with_its_own_salt() -> None:
    cast = vote(SEED, SEAT, VERDICT)
    assert cast.digest == commitments.vote(
        SEAT.chain, SEAT.panel, SEAT.task, SEAT.round, SEAT.stake, cast.verdict, cast.salt
    )


def test_load_seed__private_hex_file__is_read(tmp_path: Path) -> None:
    file = tmp_path / "seed"
    file.write_text(SEED.hex() + "\n")
    file.chmod(0o600)
    assert load_seed(file) == SEED


def test_load_seed__readable_by_others__stops(tmp_path: Path) -> None:
    file = tmp_path / "seed"
    file.write_text(SEED.hex())
    file.chmod(0o640)
    with pytest.raises(Stop, match="others may read"):
        load_seed(file)


@pytest.mark.parametrize("text", ["", "ab", "zz" * 32, "ab" * 33])
def test_load_seed__not_32_bytes_of_hex__stops(tmp_path: Path, text: str) -> None:
    file = tmp_path / "seed"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(Stop, match="does not hold 32 bytes"):
        load_seed(file)


def test_load_seed__missing__says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="openssl rand -hex 32"):
        load_seed(tmp_path / "seed")
