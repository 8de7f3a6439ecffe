"""The ids, commitments and digests on chain; contracts/modules/commitments.vy has the same functions.

Every hash is keccak256(abi_encode(tag, ...)) with tag = keccak256("touchstone.<name>.v1"), so that no hash of one kind
can be read as another. The chain id and the contract's address prevent replay elsewhere. A test compares each function
with the contract's.

Addresses are hexadecimal text; ids, digests, keys and salts are 32 bytes. `sealed` is the digest of a ciphertext,
`plain` the digest of its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

# The empty word: stands for "no holdout", "no evidence" and the root of no submissions.
ZERO = bytes(32)


def tag(name: str) -> bytes:
    """The type tag that begins the preimage of every commitment called `name`."""
    return keccak(text=f"touchstone.{name}.v1")


def stake(chain: int, stakes: str, owner: str, owner_nonce: int) -> bytes:
    """The id of the seat that `owner` opened as its seat number `owner_nonce`, counted from 0."""
    return _hash("stake", ["uint256", "address", "address", "uint256"], [chain, stakes, owner, owner_nonce])


def holdout(chain: int, bounties: str, sponsor: str, nonce: int, sealed: bytes, plain: bytes, key: bytes) -> bytes:
    """The commitment to a sealed holdout, for the sponsor's task number `nonce`, counted from 0."""
    types = ["uint256", "address", "address", "uint256", "bytes32", "bytes32", "bytes32"]
    return _hash("holdout", types, [chain, bounties, sponsor, nonce, sealed, plain, key])


def task(
    chain: int,
    bounties: str,
    sponsor: str,
    nonce: int,
    manifest: bytes,
    program: bytes,
    practice: bytes,
    holdout_commitment: bytes,
) -> bytes:
    """The id of the sponsor's task number `nonce`; `holdout_commitment` is ZERO without a sealed holdout."""
    types = ["uint256", "address", "address", "uint256", "bytes32", "bytes32", "bytes32", "bytes32"]
    return _hash("task", types, [chain, bounties, sponsor, nonce, manifest, program, practice, holdout_commitment])


def submission(
    chain: int, bounties: str, task_id: bytes, solver: str, sealed: bytes, plain: bytes, key: bytes
) -> bytes:
    """The commitment to a submission. It contains the solver, so that nobody else can open a copy of it."""
    types = ["uint256", "address", "bytes32", "address", "bytes32", "bytes32", "bytes32"]
    return _hash("submission", types, [chain, bounties, task_id, solver, sealed, plain, key])


def root(submissions: Iterable[bytes]) -> bytes:
    """The rolling hash of submission commitments in commit order; ZERO without any."""
    current = ZERO
    for commitment in submissions:
        current = keccak(encode(["bytes32", "bytes32"], [current, commitment]))
    return current


def inputs(task_id: bytes, evaluation_set: bytes, root_: bytes, scored: int) -> bytes:
    """The digest of what a verdict depends on.

    `evaluation_set` is the digest of the opened holdout or, without one, of the practice set. Bit i of `scored` is
    submission i: admitted and revealed.
    """
    return _hash("inputs", ["bytes32", "bytes32", "bytes32", "uint256"], [task_id, evaluation_set, root_, scored])


def verdict(
    chain: int, panel: str, task_id: bytes, inputs_: bytes, outcome: int, scores: Sequence[int], evidence: bytes
) -> bytes:
    """The digest of a verdict: its outcome, one score for each submission in commit order, and the evidence's digest.

    An invalid holdout or program has no scores, and ZERO as evidence.
    """
    types = ["uint256", "address", "bytes32", "bytes32", "uint256", "int128[]", "bytes32"]
    return _hash("verdict", types, [chain, panel, task_id, inputs_, outcome, list(scores), evidence])


def vote(chain: int, panel: str, task_id: bytes, round_: int, stake_id: bytes, verdict_: bytes, salt: bytes) -> bytes:
    """A seat's hidden vote. It contains the stake, so that a copy cannot be opened for another seat."""
    types = ["uint256", "address", "bytes32", "uint256", "bytes32", "bytes32", "bytes32"]
    return _hash("vote", types, [chain, panel, task_id, round_, stake_id, verdict_, salt])


def _hash(name: str, types: Sequence[str], values: Sequence[Any]) -> bytes:
    """keccak256 of the ABI encoding of the tag of `name` and the values."""
    return keccak(encode(["bytes32", *types], [tag(name), *values]))
