"""The hashes that bind everything said on chain: twins of contracts/modules/commitments.vy.

Every one is keccak256(abi_encode(tag, ...)) with tag = keccak256("touchstone.<name>.v1"), so that no hash of one kind
can be read as another; the chain id and the contract's address keep it from being replayed elsewhere. A test holds
each function equal to the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

ZERO = bytes(32)


def tag(name: str) -> bytes:
    """The type tag that opens the preimage of every commitment called `name`."""
    return keccak(text=f"touchstone.{name}.v1")


def _hash(name: str, types: Sequence[str], values: Sequence[Any]) -> bytes:
    return keccak(encode(["bytes32", *types], [tag(name), *values]))


def stake(chain: int, stakes: str, owner: str, owner_nonce: int) -> bytes:
    return _hash("stake", ["uint256", "address", "address", "uint256"], [chain, stakes, owner, owner_nonce])


def holdout(chain: int, bounties: str, sponsor: str, nonce: int, sealed: bytes, plain: bytes, key: bytes) -> bytes:
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
    types = ["uint256", "address", "address", "uint256", "bytes32", "bytes32", "bytes32", "bytes32"]
    return _hash("task", types, [chain, bounties, sponsor, nonce, manifest, program, practice, holdout_commitment])


def submission(
    chain: int, bounties: str, task_id: bytes, solver: str, sealed: bytes, plain: bytes, key: bytes
) -> bytes:
    types = ["uint256", "address", "bytes32", "address", "bytes32", "bytes32", "bytes32"]
    return _hash("submission", types, [chain, bounties, task_id, solver, sealed, plain, key])


def root(submissions: Iterable[bytes]) -> bytes:
    """The rolling root over submission commitments in commit order; of none it is zero."""
    current = ZERO
    for commitment in submissions:
        current = keccak(encode(["bytes32", "bytes32"], [current, commitment]))
    return current


def inputs(task_id: bytes, evaluation_set: bytes, root_: bytes, scored: int) -> bytes:
    """What a verdict is about; bit i of `scored` is submission i: admitted and revealed."""
    return _hash("inputs", ["bytes32", "bytes32", "bytes32", "uint256"], [task_id, evaluation_set, root_, scored])


def verdict(
    chain: int, panel: str, task_id: bytes, inputs_: bytes, outcome: int, scores: Sequence[int], evidence: bytes
) -> bytes:
    types = ["uint256", "address", "bytes32", "bytes32", "uint256", "int128[]", "bytes32"]
    return _hash("verdict", types, [chain, panel, task_id, inputs_, outcome, list(scores), evidence])


def vote(chain: int, panel: str, task_id: bytes, round_: int, stake_id: bytes, verdict_: bytes, salt: bytes) -> bytes:
    types = ["uint256", "address", "bytes32", "uint256", "bytes32", "bytes32", "bytes32"]
    return _hash("vote", types, [chain, panel, task_id, round_, stake_id, verdict_, salt])
