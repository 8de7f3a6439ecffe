"""Each commitment in Python equals the contract's, for random arguments, to find errors of encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.protocol import commitments

boa = pytest.importorskip("boa", reason="titanoboa is not installed: the `contracts` extra brings it")
from boa.interpret import set_search_path  # noqa: E402  (importable only if boa is installed)

ROOT = Path(__file__).resolve().parents[2]
HARNESS = """
# pragma version ~=0.4.3
from contracts.modules import commitments

@external
def stake(owner: address, nonce: uint256) -> bytes32:
    return commitments._stake(owner, nonce)

@external
def holdout(sponsor: address, nonce: uint256, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    return commitments._holdout(sponsor, nonce, sealed, plain, key)

@external
def task(
    sponsor: address, nonce: uint256, manifest: bytes32, program: bytes32, practice: bytes32, holdout: bytes32
) -> bytes32:
    return commitments._task(sponsor, nonce, manifest, program, practice, holdout)

@external
def submission(task: bytes32, solver: address, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    return commitments._submission(task, solver, sealed, plain, key)

@external
def inputs(task: bytes32, evaluation_set: bytes32, root: bytes32, scored: uint256) -> bytes32:
    return commitments._inputs(task, evaluation_set, root, scored)

@external
def verdict(
    panel: address, task: bytes32, inputs: bytes32, outcome: uint256, scores: DynArray[int128, 64], evidence: bytes32
) -> bytes32:
    return commitments._verdict(panel, task, inputs, outcome, scores, evidence)

@external
def vote(task: bytes32, round: uint256, stake: bytes32, verdict: bytes32, salt: bytes32) -> bytes32:
    return commitments._vote(task, round, stake, verdict, salt)
"""

WORD = st.binary(min_size=32, max_size=32)
ADDRESS = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
NUMBER = st.integers(0, 2**256 - 1)
SCORES = st.lists(st.integers(-(2**127), 2**127 - 1), max_size=64)


@pytest.fixture(scope="module")
def harness() -> Any:
    set_search_path([str(ROOT)])
    return boa.loads(HARNESS)


@pytest.fixture(scope="module")
def chain() -> int:
    return int(boa.env.evm.patch.chain_id)


FEW = settings(max_examples=20, deadline=None)


@FEW
@given(owner=ADDRESS, nonce=NUMBER)
def test_stake__any_arguments__equals_the_contract(harness: Any, chain: int, owner: str, nonce: int) -> None:
    assert commitments.stake(chain, harness.address, owner, nonce) == harness.stake(owner, nonce)


@FEW
@given(sponsor=ADDRESS, nonce=NUMBER, words=st.tuples(WORD, WORD, WORD))
def test_holdout__any_arguments__equals_the_contract(
    harness: Any, chain: int, sponsor: str, nonce: int, words: tuple[bytes, bytes, bytes]
) -> None:
    expected = harness.holdout(sponsor, nonce, *words)
    assert commitments.holdout(chain, harness.address, sponsor, nonce, *words) == expected


@FEW
@given(sponsor=ADDRESS, nonce=NUMBER, words=st.tuples(WORD, WORD, WORD, WORD))
def test_task__any_arguments__equals_the_contract(
    harness: Any, chain: int, sponsor: str, nonce: int, words: tuple[bytes, bytes, bytes, bytes]
) -> None:
    expected = harness.task(sponsor, nonce, *words)
    assert commitments.task(chain, harness.address, sponsor, nonce, *words) == expected


@FEW
@given(task=WORD, solver=ADDRESS, words=st.tuples(WORD, WORD, WORD))
def test_submission__any_arguments__equals_the_contract(
    harness: Any, chain: int, task: bytes, solver: str, words: tuple[bytes, bytes, bytes]
) -> None:
    expected = harness.submission(task, solver, *words)
    assert commitments.submission(chain, harness.address, task, solver, *words) == expected


@FEW
@given(words=st.tuples(WORD, WORD, WORD), scored=NUMBER)
def test_inputs__any_arguments__equals_the_contract(
    harness: Any, words: tuple[bytes, bytes, bytes], scored: int
) -> None:
    assert commitments.inputs(*words, scored) == harness.inputs(*words, scored)


@FEW
@given(panel=ADDRESS, words=st.tuples(WORD, WORD, WORD), outcome=NUMBER, scores=SCORES)
def test_verdict__any_scores__equals_the_contract(
    harness: Any, chain: int, panel: str, words: tuple[bytes, bytes, bytes], outcome: int, scores: list[int]
) -> None:
    task, inputs, evidence = words
    expected = harness.verdict(panel, task, inputs, outcome, scores, evidence)
    assert commitments.verdict(chain, panel, task, inputs, outcome, scores, evidence) == expected


@FEW
@given(round_=NUMBER, words=st.tuples(WORD, WORD, WORD, WORD))
def test_vote__any_arguments__equals_the_contract(
    harness: Any, chain: int, round_: int, words: tuple[bytes, bytes, bytes, bytes]
) -> None:
    task, stake, verdict, salt = words
    expected = harness.vote(task, round_, stake, verdict, salt)
    assert commitments.vote(chain, harness.address, task, round_, stake, verdict, salt) == expected


def test_root__two_submissions__is_hashed_in_commit_order() -> None:
    first, second = b"\x01" * 32, b"\x02" * 32
    one = keccak(bytes(32) + first)
    assert commitments.root([]) == bytes(32)
    assert commitments.root([first]) == one
    assert commitments.root([first, second]) == keccak(one + second)
    assert commitments.root([second, first]) != commitments.root([first, second])
