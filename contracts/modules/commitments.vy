# pragma version ~=0.4.3
"""
@title   Commitments
@license Apache-2.0
@notice  Every hash the protocol commits to, in one place. Each starts with a type tag, so that no commitment of one
         kind can be presented as another, and binds the chain and the contract it is meant for.
@dev     Artifact digests ("D") are Touchstone's SHA-256 digests with the length inside; the Python twins of these
         functions are in verifier/chain/commitments.py.
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
    @notice Identity of one seat, from its content and never from an index that a reorganisation can hand to another.
    """
    return keccak256(abi_encode(STAKE, chain.id, self, owner, nonce))


@internal
@view
def _holdout(sponsor: address, nonce: uint256, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @notice Commitment to a sealed holdout: both digests and the key, so that none of the three can be exchanged later.
    """
    return keccak256(abi_encode(HOLDOUT, chain.id, self, sponsor, nonce, sealed, plain, key))


@internal
@view
def _task(
    sponsor: address, nonce: uint256, manifest: bytes32, program: bytes32, practice: bytes32, holdout: bytes32
) -> bytes32:
    """
    @notice Task id: what is judged (manifest, program, both data sets), by whom it was asked, and where.
    """
    return keccak256(abi_encode(TASK, chain.id, self, sponsor, nonce, manifest, program, practice, holdout))


@internal
@view
def _submission(task: bytes32, solver: address, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @notice Commitment to a submission. The solver is inside: a copied commitment cannot be opened by the copier.
    """
    return keccak256(abi_encode(SUBMISSION, chain.id, self, task, solver, sealed, plain, key))


@internal
@pure
def _inputs(task: bytes32, evaluation_set: bytes32, root: bytes32, scored: uint256) -> bytes32:
    """
    @notice What a verdict is about: the set, every commitment in commit order (rolled into `root`), and the bitmap of
            those that were admitted and revealed. A vote that binds this cannot be turned into a lie by a reorganisation.
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
    @notice Digest of one verdict: the outcome, a score per submission in commit order and the evidence file.
    """
    return keccak256(abi_encode(VERDICT, chain.id, panel, task, inputs, outcome, scores, evidence))


@internal
@view
def _vote(task: bytes32, round: uint256, stake: bytes32, verdict: bytes32, salt: bytes32) -> bytes32:
    """
    @notice A seat's hidden vote. The stake id is inside, so a copied vote cannot be opened for another seat; task and
            round are inside, so it cannot be replayed.
    """
    return keccak256(abi_encode(VOTE, chain.id, self, task, round, stake, verdict, salt))
