"""Votes and their salts.

A salt hides a verdict until all seats have committed. It is derived from a seed file and the fields of the vote, so an
operator who loses the disk between commit and reveal, and has a copy of the seed, can still reveal. The seed is not the
operator's key, which may be rotated in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from verifier.protocol import commitments
from verifier.service.errors import Stop
from verifier.service.keys import read_secret

SEED_BYTES = 32
CREATE_SEED = "create one with `(umask 077; openssl rand -hex 32 > FILE)` and back it up"


@dataclass(frozen=True)
class PanelIdentity:
    """Which panel on which chain: verdicts and votes are bound to both."""

    chain_id: int
    address: str


@dataclass(frozen=True)
class Seat:
    """The seat that a vote is cast from: chain, panel, task, round and stake."""

    chain: int
    panel: str
    task: bytes
    round: int
    stake: bytes


@dataclass(frozen=True)
class Vote:
    """What is committed (`digest`), and the verdict and salt that open it."""

    verdict: bytes
    salt: bytes
    digest: bytes


def load_seed(path: Path) -> bytes:
    """Read the 32-byte seed. Errors: Stop when it is missing, readable by others, or not 32 bytes in hex."""
    try:
        seed = bytes.fromhex(read_secret(path, "seed", CREATE_SEED))
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise Stop(f"{path} does not hold {SEED_BYTES} bytes in hex: {CREATE_SEED}")
    return seed


def salt(seed: bytes, seat: Seat, verdict: bytes) -> bytes:
    """Derive the 32-byte salt of a vote (HKDF-SHA256, RFC 5869): only the holder of the seed can compute it.

    It differs for every seat, round and verdict.
    """
    fields = (
        seat.chain.to_bytes(32, "big"),
        bytes.fromhex(seat.panel.removeprefix("0x")).rjust(32, b"\0"),
        seat.task,
        seat.round.to_bytes(32, "big"),
        seat.stake,
        verdict,
    )
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"touchstone.salt.v1" + b"".join(fields)).derive(seed)


def vote(seed: bytes, seat: Seat, verdict: bytes) -> Vote:
    """Make the one vote that this seat can cast for this verdict."""
    secret = salt(seed, seat, verdict)
    digest = commitments.vote(seat.chain, seat.panel, seat.task, seat.round, seat.stake, verdict, secret)
    return Vote(verdict, secret, digest)
