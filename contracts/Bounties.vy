# pragma version ~=0.4.3
# pragma nonreentrancy on
# pragma optimize codesize
"""
@title   Bounties
@license Apache-2.0
@notice  Escrow of bounties for model adapters. A sponsor escrows a reward for a submission that reaches a score;
         solvers commit to submissions; a panel of staked verifiers reports the score of each one; every party withdraws
         what it is owed.
@dev     The steps of a task. Each step is open to the party that owes it, or to anyone if no party does:
           create_task -> commit_submission* -> (panel draws and attests) -> reveal_holdout
           -> reveal_submission* | decline* -> (panel votes) -> settle -> claim_submission* -> withdraw
         `cancel` ends a task in which a required step was not taken. Each deadline counts from the time at which the
         previous step actually happened. Windows are half-open: a step is in time while start <= now < end.

         There is no owner, no admin key, no upgrade and no pause. Storage words are packed by hand; a comment at each
         variable gives its layout.
"""

from .interfaces import IBounties
from .interfaces import IPanel
from .interfaces import IStakes
from .modules import commitments
from .modules import endings
from .modules import limits
from .modules import payments
from .modules import policies
from .modules import tasks
from .modules import words

implements: IBounties
initializes: limits
initializes: payments
initializes: tasks[limits := limits]
initializes: endings[limits := limits, payments := payments, tasks := tasks]
exports: (
    limits.PANEL,
    limits.MIN_COMMITTEE,
    limits.MAX_COMMITTEE_SIZE,
    limits.SEAT_FACTOR,
    limits.SUBMISSION_BOND,
    limits.SPONSOR_BOND_BPS,
    limits.REFERENCE_RATE,
    limits.MIN_SEAT_FEE,
    limits.VOID_DELAY,
    limits.TERMINAL_DELAY,
    limits.window_range,
    limits.bond_of,
    payments.withdraw,
    payments.credit,
    payments.burned,
    tasks.nonce,
    tasks.brief,
    tasks.judging_from,
    tasks.phase,
    tasks.task,
    tasks.submission,
    tasks.inputs,
    tasks.root,
    tasks.fee,
    tasks.reconvene_fee,
    tasks.max_submissions,
    endings.settle,
    endings.cancel,
    endings.claim_submission,
    endings.pay_seat,
)


@deploy
def __init__(panel: address, ranges: IBounties.Limits):
    """
    @notice Fixes the panel and the ranges of terms permanently.
    @param panel The panel contract that judges the tasks; it must have been deployed with this contract's address.
    @param ranges The ranges within which sponsors choose their terms.
    """
    limits.__init__(panel, ranges)


# ------------------------------------------------------------------------------------------------ sponsor


@external
@payable
def create_task(terms: IBounties.Terms, manifest_uri: String[256]) -> bytes32:
    """
    @notice Escrows a reward and opens a task. A sealed holdout requires a bond in the reward's asset; the sponsor loses
            the bond by withholding the key or by supplying an invalid holdout.
            For a reward in the native coin, the value sent is reward + bond + reserve. For a token, the contract pulls
            reward + bond, the received amount minus the bond becomes the reward, and the value sent is the reserve.
            Reverts with `create: ...`, which names the term that is not allowed, `reward: out of range`,
            `reward: above the committee's stake`, `token: transfer failed`.
    @param terms What the sponsor offers and requires; see IBounties.Terms.
    @param manifest_uri Where the manifest can be fetched; it is only logged.
    @return The task id.
    """
    assert terms.policy <= policies.LADDER, "create: unknown policy"
    assert (
        terms.threshold < policies.SCORE_BOUND and terms.threshold > -policies.SCORE_BOUND
    ), "create: bad threshold"
    assert terms.baseline < policies.SCORE_BOUND and terms.baseline > -policies.SCORE_BOUND, "create: bad baseline"
    assert terms.policy != policies.LADDER or terms.baseline < terms.threshold, "create: baseline above threshold"
    assert (
        terms.committee >= limits.MIN_COMMITTEE and terms.committee <= limits.MAX_COMMITTEE_SIZE
    ), "create: bad committee"
    assert (
        staticcall IStakes(limits.STAKES).active_seats() >= limits.SEAT_FACTOR * terms.committee
    ), "create: too few seats staked"
    packed_windows: uint256 = 0
    for i: uint256 in range(6):
        shortest: uint256 = 0
        longest: uint256 = 0
        shortest, longest = limits._window_range(i)
        assert terms.windows[i] >= shortest and terms.windows[i] <= longest, "create: bad window"
        packed_windows |= terms.windows[i] << (32 * i)
    assert terms.macs != 0 and terms.macs <= words.LOW_64, "create: bad MACs"
    # The number of submissions that the slowest permitted operator can evaluate before verdict commits close.
    most: uint256 = min(tasks.MAX_SUBMISSIONS, terms.windows[tasks.VERDICT_COMMIT] * limits.REFERENCE_RATE // terms.macs)
    assert most != 0, "create: verdict window too short for the MACs"
    assert terms.seat_fee >= limits.MIN_SEAT_FEE and terms.seat_fee < limits.MAX_SEAT_FEE, "create: bad seat fee"
    assert terms.reserve < tasks.MAX_AMOUNT, "create: bad reserve"
    self._assert_reward(terms.reward, terms.asset, terms.committee)

    bond: uint256 = 0
    sealed: uint256 = 0
    evaluation_set: bytes32 = terms.practice
    if terms.holdout != empty(bytes32):
        bond = terms.reward * limits.SPONSOR_BOND_BPS // limits.BPS
        sealed = 1
        evaluation_set = terms.holdout
    reward: uint256 = terms.reward
    if terms.asset == empty(address):
        assert msg.value == reward + bond + terms.reserve, "create: wrong value"
    else:
        assert msg.value == terms.reserve, "create: wrong value"
        arrived: uint256 = payments._pull(terms.asset, reward + bond)
        assert arrived > bond, "create: too little arrived"
        reward = arrived - bond
        self._assert_reward(reward, terms.asset, terms.committee)

    nonce: uint256 = tasks.nonce[msg.sender]
    assert nonce < tasks.MAX_TASKS, "create: too many tasks"
    tasks.nonce[msg.sender] = nonce + 1
    task: bytes32 = commitments._task(
        msg.sender, nonce, terms.manifest, terms.program, terms.practice, terms.holdout
    )
    tasks.heads[task] = (
        convert(msg.sender, uint256)
        | (block.timestamp << 160)
        | (terms.committee << 208)
        | (terms.policy << 216)
        | (sealed << 220)
        | (most << 224)
        | (nonce << 232)
    )
    tasks.windows[task] = packed_windows
    if terms.asset != empty(address):
        tasks.assets[task] = terms.asset
    tasks.bars[task] = words._pack_bars(terms.threshold, terms.baseline)
    tasks.pots[task] = reward | (bond << 128)
    tasks.fees[task] = terms.seat_fee | (terms.reserve << 64)
    tasks.sets[task] = evaluation_set
    log IBounties.TaskCreated(
        task=task, sponsor=msg.sender, nonce=nonce, terms=terms, manifest_uri=manifest_uri
    )
    return task


@external
@payable
def top_up(task: bytes32, amount: uint256):
    """
    @notice Adds to the reward while commits are open. Anyone may call. The amount has the same destination as the
            reward, which includes a return to the sponsor. For a token, the received amount is added.
            Reverts with `task: unknown`, `top_up: closed`, `top_up: nothing sent`, `top_up: wrong value`,
            `reward: out of range`, `reward: above the committee's stake`, `token: transfer failed`.
    @param task The task id.
    @param amount The amount to add, in the smallest unit of the reward's asset.
    """
    head: uint256 = tasks._head(task)
    assert tasks._committing(task, head), "top_up: closed"
    asset: address = tasks.assets[task]
    arrived: uint256 = amount
    if asset == empty(address):
        assert msg.value == amount, "top_up: wrong value"
    else:
        assert msg.value == 0, "top_up: wrong value"
        arrived = payments._pull(asset, amount)
    assert arrived != 0, "top_up: nothing sent"
    pot: uint256 = tasks.pots[task]
    self._assert_reward((pot & words.LOW_128) + arrived, asset, (head >> 208) & words.LOW_8)
    tasks.pots[task] = pot + arrived
    log IBounties.ToppedUp(task=task, payer=msg.sender, amount=arrived)


@external
def reveal_holdout(task: bytes32, sealed: bytes32, plain: bytes32, key: bytes32):
    """
    @notice Opens the sealed holdout after commits have closed and the committee has attested. Anyone who knows the key
            may call.
            Reverts with `task: unknown`, `holdout: not awaited`, `holdout: too late`, `holdout: wrong opening`.
    @param task The task id.
    @param sealed Digest of the ciphertext.
    @param plain Digest of the plaintext.
    @param key The key that opens the ciphertext.
    """
    head: uint256 = tasks._head(task)
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = tasks._admission(task)
    progress: uint256 = tasks.progress[task]
    assert (
        tasks.ends[task] == 0
        and tasks._sealed(head)
        and closed_at != 0
        and admitted & 1 == 1
        and (progress >> 8) & words.LOW_48 == 0
    ), "holdout: not awaited"
    assert block.timestamp < closed_at + tasks._window(task, tasks.HOLDOUT), "holdout: too late"
    assert tasks.sets[task] == commitments._holdout(
        tasks._sponsor(head), head >> 232, sealed, plain, key
    ), "holdout: wrong opening"
    tasks.sets[task] = plain
    tasks.progress[task] = progress | (block.timestamp << 8)
    log IBounties.HoldoutRevealed(task=task, sealed=sealed, plain=plain, key=key)


# ------------------------------------------------------------------------------------------------ solvers


@external
@payable
def commit_submission(task: bytes32, commitment: bytes32, sealed: bytes32, uri: String[256]) -> uint256:
    """
    @notice Enters a submission: a hash of its ciphertext digest, plain digest and key, bound to the sender. The value
            sent covers the bond of the next index and the committee's fee; any excess is credited back.
            Reverts with `task: unknown`, `commit: closed`, `commit: task is full`, `commit: empty commitment`,
            `commit: too little sent`.
    @param task The task id.
    @param commitment See `submission_commitment`.
    @param sealed Digest of the ciphertext that verifiers mirror.
    @param uri Where the ciphertext can be fetched.
    @return The submission's index, in commit order.
    """
    head: uint256 = tasks._head(task)
    assert tasks._committing(task, head), "commit: closed"
    assert commitment != empty(bytes32), "commit: empty commitment"
    progress: uint256 = tasks.progress[task]
    index: uint256 = progress & words.LOW_8
    assert index < (head >> 224) & words.LOW_8, "commit: task is full"
    due: uint256 = limits._bond(index) + tasks._fee(tasks.fees[task], head)
    assert msg.value >= due, "commit: too little sent"

    tasks.progress[task] = progress + 1
    tasks.roots[task] = keccak256(abi_encode(tasks.roots[task], commitment))
    tasks.solvers[task][index] = msg.sender
    tasks.entries[task][index] = keccak256(abi_encode(commitment, sealed))
    payments._credit(empty(address), msg.sender, msg.value - due)
    log IBounties.SubmissionCommitted(
        task=task, solver=msg.sender, index=index, commitment=commitment, sealed=sealed, uri=uri
    )
    return index


@external
def reveal_submission(task: bytes32, index: uint256, sealed: bytes32, plain: bytes32, key: bytes32):
    """
    @notice Opens an admitted submission once the holdout is known. Anyone who knows the key may call. The ciphertext
            digest must be the one that was announced with the commitment.
            Reverts with `task: unknown`, `reveal: not open`, `reveal: too late`, `submission: unknown`,
            `reveal: not admitted`, `reveal: already answered`, `reveal: wrong opening`.
    @param task The task id.
    @param index The submission's index.
    @param sealed Digest of the ciphertext.
    @param plain Digest of the plaintext.
    @param key The key that opens the ciphertext.
    """
    progress: uint256 = tasks._answerable(task, index)
    commitment: bytes32 = commitments._submission(task, tasks.solvers[task][index], sealed, plain, key)
    assert tasks.entries[task][index] == keccak256(abi_encode(commitment, sealed)), "reveal: wrong opening"
    tasks.progress[task] = progress | (1 << (56 + index))
    log IBounties.SubmissionRevealed(task=task, index=index, sealed=sealed, plain=plain, key=key)


@external
def decline(task: bytes32, index: uint256):
    """
    @notice Withdraws an admitted submission instead of revealing it: the solver gets the bond back and the adapter
            stays private.
            Reverts with `decline: not the solver`, and for the same reasons as `reveal_submission` before it checks the
            opening.
    @param task The task id.
    @param index The submission's index.
    """
    progress: uint256 = tasks._answerable(task, index)
    assert tasks.solvers[task][index] == msg.sender, "decline: not the solver"
    tasks.progress[task] = progress | (1 << (120 + index))
    log IBounties.SubmissionDeclined(task=task, index=index)


# ------------------------------------------------------------------------------------------------ judging


@external
@payable
def reconvene(task: bytes32):
    """
    @notice Pays for one more round after the free rounds ended without acceptance. Anyone may call. Any value above
            `reconvene_fee` is credited back.
            Reverts with `task: unknown`, `reconvene: already ended`, `reconvene: too little sent`, `reopen: ...`.
    @param task The task id.
    """
    head: uint256 = tasks._head(task)
    assert tasks.ends[task] == 0, "reconvene: already ended"
    due: uint256 = tasks._reconvene_fee(task, head)
    assert msg.value >= due, "reconvene: too little sent"
    tasks.bought[task] += due
    payments._credit(empty(address), msg.sender, msg.value - due)
    log IBounties.Reconvened(task=task, payer=msg.sender, amount=due)
    extcall IPanel(limits.PANEL).reopen(task)


# -------------------------------------------------------------------------------------------------- views


@external
@view
def holdout_commitment(sponsor: address, nonce: uint256, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @param sponsor The sponsor's address.
    @param nonce The number of the sponsor's task, as `nonce` returns it before the task is created.
    @param sealed Digest of the ciphertext.
    @param plain Digest of the plaintext.
    @param key The key that opens the ciphertext.
    @return The commitment to this holdout.
    """
    return commitments._holdout(sponsor, nonce, sealed, plain, key)


@external
@view
def submission_commitment(task: bytes32, solver: address, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @param task The task id.
    @param solver The solver's address.
    @param sealed Digest of the ciphertext.
    @param plain Digest of the plaintext.
    @param key The key that opens the ciphertext.
    @return The commitment to this submission.
    """
    return commitments._submission(task, solver, sealed, plain, key)


@internal
@view
def _assert_reward(reward: uint256, asset: address, committee: uint256):
    assert reward != 0 and reward < tasks.MAX_AMOUNT, "reward: out of range"
    if asset == empty(address):
        # At most half of the stake that the committee has reserved, so that a lie costs more than it can earn. Rewards
        # in tokens have no such limit, because the contracts cannot know what a token is worth.
        assert reward <= committee * limits.SEAT // 8, "reward: above the committee's stake"
