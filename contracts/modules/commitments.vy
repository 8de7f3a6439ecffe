# pragma version ~=0.4.3
"""
@title   Commitments
@license Apache-2.0
@notice  Every hash that the protocol commits to. Each starts with a type tag, so that a commitment of one kind cannot
         be presented as one of another kind, and binds the chain and the contract for which it is meant.
@dev     Artifact digests ("D") are Touchstone's SHA-256 digests, which bind the length.
         verifier/protocol/commitments.py computes the same hashes in Python.
"""

STAKE: constant(bytes32) = keccak256("touchstone.stake.v1")
HOLDOUT: constant(bytes32) = keccak256("touchstone.holdout.v1")
TASK: constant(bytes32) = keccak256("touchstone.task.v1")
SUBMISSION: constant(bytes32) = keccak256("touchstone.submission.v1")
INPUTS: constant(bytes32) = keccak256("touchstone.inputs.v1")
VERDICT: constant(bytes32) = keccak256("touchstone.verdict.v1")
VOTE: constant(bytes32) = keccak256("touchstone.vote.v1")

MAX_SUBMISSIONS: constant(uint256) = 64


@internal
@view
def _stake(owner: address, nonce: uint256) -> bytes32:
    """
    @notice Id of one seat. It follows from the owner and the owner's nonce, never from an index that a reorganisation
            can assign to another seat.
    """
    return keccak256(abi_encode(STAKE, chain.id, self, owner, nonce))


@internal
@view
def _holdout(sponsor: address, nonce: uint256, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @notice Commitment to a sealed holdout. It binds both digests and the key, so that none of the three can be replaced
            later.
    """
    return keccak256(abi_encode(HOLDOUT, chain.id, self, sponsor, nonce, sealed, plain, key))


@internal
@view
def _task(
    sponsor: address, nonce: uint256, manifest: bytes32, program: bytes32, practice: bytes32, holdout: bytes32
) -> bytes32:
    """
    @notice Task id. It binds what is judged (manifest, program and both data sets), the sponsor and the contract.
    """
    return keccak256(abi_encode(TASK, chain.id, self, sponsor, nonce, manifest, program, practice, holdout))


@internal
@view
def _submission(task: bytes32, solver: address, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @notice Commitment to a submission. It binds the solver, so nobody else can open a copied commitment.
    """
    return keccak256(abi_encode(SUBMISSION, chain.id, self, task, solver, sealed, plain, key))


@internal
@pure
def _inputs(task: bytes32, evaluation_set: bytes32, root: bytes32, scored: uint256) -> bytes32:
    """
    @notice What a verdict is about: the evaluation set, every commitment in commit order (as the rolling hash `root`),
            and the bitmap `scored` of the submissions that were admitted and revealed. A reorganisation cannot make an
            honest vote false, because the vote binds this digest.
    """
    return keccak256(abi_encode(INPUTS, task, evaluation_set, root, scored))


@internal
@view
def _verdict(
    panel: address,
    task: bytes32,
    inputs: bytes32,
    outcome: uint256,
    scores: DynArray[int128, MAX_SUBMISSIONS],
    evidence: bytes32,
) -> bytes32:
    """
    @notice Digest of one verdict: the outcome, a score for each submission in commit order, and the digest of the
            evidence file.
    """
    return keccak256(abi_encode(VERDICT, chain.id, panel, task, inputs, outcome, scores, evidence))


@internal
@view
def _vote(task: bytes32, round: uint256, stake: bytes32, verdict: bytes32, salt: bytes32) -> bytes32:
    """
    @notice A seat's hidden vote. It binds the stake id, so a copied vote cannot be opened for another seat, and the
            task and the round, so a vote cannot be replayed.
    """
    return keccak256(abi_encode(VOTE, chain.id, self, task, round, stake, verdict, salt))
