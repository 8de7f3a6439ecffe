# pragma version ~=0.4.3
# pragma nonreentrancy on
# pragma optimize codesize
"""
@title   Bounties
@license Apache-2.0
@notice  Escrow of bounties for model adapters. A sponsor escrows a reward for a submission that reaches a score; solvers
         commit to submissions; a panel of staked verifiers says what each one scores; everybody pulls what is theirs.
@dev     The life of a task, each step open to its party or, where nobody in particular owes it, to anyone:
           create_task -> commit_submission* -> (panel draws and attests) -> reveal_holdout -> reveal_submission* | decline*
           -> (panel votes) -> settle -> claim_submission* -> withdraw
         and `cancel` wherever a step failed that somebody owed. Deadlines count from the actual transition before them;
         windows are half-open: a step is in time while start <= now < end.

         No owner, no admin key, no upgrade, no pause. Words are packed by hand; each layout stands beside it.
"""

from .interfaces import IBounties
from .interfaces import IPanel
from .interfaces import IStakes
from .modules import commitments
from .modules import payments
from .modules import policies

implements: IBounties
initializes: payments
exports: (payments.withdraw, payments.credit, payments.burned)

MAX_SUBMISSIONS: constant(uint256) = 64
MAX_COMMITTEE: constant(uint256) = 31
MAX_ROUND_SEATS: constant(uint256) = 63
# Bonds double every so many submissions: squatting on all 64 places costs 255 times the first bond.
BOND_STEP: constant(uint256) = 8
# One fifth of a fee is for attesting, the rest for accepted verdicts.
ATTEST_PART: constant(uint256) = 5
BPS: constant(uint256) = 10_000
# Amounts are below this, so that a product with a weight and packed words cannot overflow.
MAX_AMOUNT: constant(uint256) = 2**120
MAX_SEAT_FEE: constant(uint256) = 2**64
# Tasks of one sponsor.
MAX_TASKS: constant(uint256) = 2**24

# Order of Terms.windows.
COMMIT: constant(uint256) = 0
ATTEST: constant(uint256) = 1
HOLDOUT: constant(uint256) = 2
REVEAL: constant(uint256) = 3
VERDICT_COMMIT: constant(uint256) = 4
VERDICT_REVEAL: constant(uint256) = 5

PHASE_NONE: constant(uint256) = 0
PHASE_COMMITTING: constant(uint256) = 1
PHASE_CONVENING: constant(uint256) = 2
PHASE_ATTESTING: constant(uint256) = 3
PHASE_HOLDOUT: constant(uint256) = 4
PHASE_REVEALING: constant(uint256) = 5
PHASE_JUDGING: constant(uint256) = 6
PHASE_SETTLED: constant(uint256) = 7
PHASE_CANCELLED: constant(uint256) = 8

VERDICT_FINAL: constant(uint256) = 3
OUTCOME_NONE: constant(uint256) = 0
OUTCOME_SCORED: constant(uint256) = 1
OUTCOME_HOLDOUT_INVALID: constant(uint256) = 2
OUTCOME_PROGRAM_INVALID: constant(uint256) = 3

# Why a task was cancelled.
GROUND_WITHDRAWN: constant(uint256) = 1  # by its sponsor, before any submission
GROUND_EMPTY: constant(uint256) = 2  # nobody submitted
GROUND_NO_COMMITTEE: constant(uint256) = 3  # no committee was drawn for VOID_DELAY
GROUND_UNAVAILABLE: constant(uint256) = 4  # the committee could not get manifest, program or holdout
GROUND_HOLDOUT_SILENT: constant(uint256) = 5  # the sponsor kept the holdout's key
GROUND_HOLDOUT_INVALID: constant(uint256) = 6
GROUND_PROGRAM_INVALID: constant(uint256) = 7
GROUND_TERMINAL: constant(uint256) = 8  # no settlement for TERMINAL_DELAY after the last votes

LOW_4: constant(uint256) = 2**4 - 1
LOW_8: constant(uint256) = 2**8 - 1
LOW_32: constant(uint256) = 2**32 - 1
LOW_48: constant(uint256) = 2**48 - 1
LOW_64: constant(uint256) = 2**64 - 1
LOW_80: constant(uint256) = 2**80 - 1
LOW_120: constant(uint256) = 2**120 - 1
LOW_96: constant(uint256) = 2**96 - 1
LOW_128: constant(uint256) = 2**128 - 1
LOW_160: constant(uint256) = 2**160 - 1

PANEL: public(immutable(address))
STAKES: immutable(address)
SEAT: immutable(uint256)
MIN_COMMITTEE: public(immutable(uint256))
MAX_COMMITTEE_SIZE: public(immutable(uint256))
SEAT_FACTOR: public(immutable(uint256))
# Six windows of 32 bits each, as in Terms.windows.
MIN_WINDOWS: immutable(uint256)
MAX_WINDOWS: immutable(uint256)
SUBMISSION_BOND: public(immutable(uint256))
SPONSOR_BOND_BPS: public(immutable(uint256))
REFERENCE_RATE: public(immutable(uint256))
MIN_SEAT_FEE: public(immutable(uint256))
VOID_DELAY: public(immutable(uint256))
TERMINAL_DELAY: public(immutable(uint256))

# Tasks a sponsor ever created; part of the task id.
nonce: public(HashMap[address, uint256])
# sponsor (160 bits) | created at (48) | committee (8) | policy (4) | sealed (4) | most submissions (8) | nonce (24)
heads: HashMap[bytes32, uint256]
# six windows of 32 bits
windows: HashMap[bytes32, uint256]
# the reward's token; zero for the native coin
assets: HashMap[bytes32, address]
# threshold (128) | baseline (128), two's complement
bars: HashMap[bytes32, uint256]
# reward (128) | sponsor bond (128); once settled: reward (128) | forfeited bonds (128)
pots: HashMap[bytes32, uint256]
# seat fee (64) | reserve (120) | MACs (64); once ended: attest share (80) | verdict share (80) | owed to seats (96)
fees: HashMap[bytes32, uint256]
# the holdout's commitment and, once revealed, its plain digest; of a public task the practice set's digest
sets: HashMap[bytes32, bytes32]
# submissions (8) | holdout revealed at (48) | revealed (64) | declined (64) | claimed (64)
progress: HashMap[bytes32, uint256]
# rolling hash of the commitments in commit order; once settled: hash of the accepted scores
roots: HashMap[bytes32, bytes32]
# task -> index -> solver, and keccak256(commitment, sealed digest)
solvers: HashMap[bytes32, HashMap[uint256, address]]
entries: HashMap[bytes32, HashMap[uint256, bytes32]]
# fees paid for rounds after the free ones, wei
bought: HashMap[bytes32, uint256]
# phase (8) | outcome (8) | ground (8) | best (8) | total weight (128)
ends: HashMap[bytes32, uint256]
# cancelled tasks: fee refund of a submission, wei (96) | compensation of a submission, in the asset (128)
refunds: HashMap[bytes32, uint256]


@deploy
def __init__(panel: address, limits: IBounties.Limits):
    """
    @param panel The panel that judges; it was deployed for this contract's address.
    @param limits The ranges within which sponsors choose, fixed for ever.
    """
    assert staticcall IPanel(panel).BOUNTIES() == self, "bounties: not this panel's escrow"
    assert (
        limits.min_committee >= 1
        and limits.min_committee <= limits.max_committee
        and limits.max_committee <= MAX_COMMITTEE
    ), "bounties: bad committee range"
    shortest: uint256 = 0
    longest: uint256 = 0
    for i: uint256 in range(6):
        assert (
            limits.min_windows[i] >= 1
            and limits.min_windows[i] <= limits.max_windows[i]
            and limits.max_windows[i] <= LOW_32
        ), "bounties: bad window range"
        shortest |= limits.min_windows[i] << (32 * i)
        longest |= limits.max_windows[i] << (32 * i)
    assert limits.submission_bond < 2**80, "bounties: bad submission bond"
    assert limits.sponsor_bond_bps <= BPS, "bounties: bad sponsor bond"
    assert limits.reference_rate != 0 and limits.reference_rate <= LOW_64, "bounties: bad reference rate"
    assert limits.min_seat_fee < MAX_SEAT_FEE, "bounties: bad seat fee"
    assert limits.void_delay != 0 and limits.terminal_delay != 0, "bounties: bad delay"
    PANEL = panel
    STAKES = staticcall IPanel(panel).STAKES()
    SEAT = staticcall IStakes(STAKES).SEAT()
    MIN_COMMITTEE = limits.min_committee
    MAX_COMMITTEE_SIZE = limits.max_committee
    SEAT_FACTOR = limits.seat_factor
    MIN_WINDOWS = shortest
    MAX_WINDOWS = longest
    SUBMISSION_BOND = limits.submission_bond
    SPONSOR_BOND_BPS = limits.sponsor_bond_bps
    REFERENCE_RATE = limits.reference_rate
    MIN_SEAT_FEE = limits.min_seat_fee
    VOID_DELAY = limits.void_delay
    TERMINAL_DELAY = limits.terminal_delay


# ------------------------------------------------------------------------------------------------ sponsor


@external
@payable
def create_task(terms: IBounties.Terms, manifest_uri: String[256]) -> bytes32:
    """
    @notice Escrows a reward. A sealed holdout asks for a bond in the reward's asset, lost when the sponsor keeps the key
            or the holdout turns out invalid. In the native coin the value sent is reward + bond + reserve; of a token
            reward + bond are pulled, what arrived less the bond is the reward, and the value sent is the reserve.
            Reverts with `create: ...` naming the term that is out of range, `token: transfer failed`.
    @return The task id.
    """
    assert terms.reward != 0 and terms.reward < MAX_AMOUNT, "create: bad reward"
    assert terms.policy <= policies.LADDER, "create: unknown policy"
    assert (
        terms.threshold < policies.SCORE_BOUND and terms.threshold > -policies.SCORE_BOUND
    ), "create: bad threshold"
    assert terms.baseline < policies.SCORE_BOUND and terms.baseline > -policies.SCORE_BOUND, "create: bad baseline"
    assert terms.policy != policies.LADDER or terms.baseline < terms.threshold, "create: baseline above threshold"
    assert terms.committee >= MIN_COMMITTEE and terms.committee <= MAX_COMMITTEE_SIZE, "create: bad committee"
    assert (
        staticcall IStakes(STAKES).active_seats() >= SEAT_FACTOR * terms.committee
    ), "create: too few seats staked"
    packed_windows: uint256 = 0
    for i: uint256 in range(6):
        shortest: uint256 = 0
        longest: uint256 = 0
        shortest, longest = self._window_range(i)
        assert terms.windows[i] >= shortest and terms.windows[i] <= longest, "create: bad window"
        packed_windows |= terms.windows[i] << (32 * i)
    assert terms.macs != 0 and terms.macs <= LOW_64, "create: bad MACs"
    # What the slowest permitted operator evaluates within the window in which verdicts are committed.
    most: uint256 = min(MAX_SUBMISSIONS, terms.windows[VERDICT_COMMIT] * REFERENCE_RATE // terms.macs)
    assert most != 0, "create: verdict window too short for the MACs"
    assert terms.seat_fee >= MIN_SEAT_FEE and terms.seat_fee < MAX_SEAT_FEE, "create: bad seat fee"
    assert terms.reserve < MAX_AMOUNT, "create: bad reserve"

    bond: uint256 = 0
    sealed: uint256 = 0
    evaluation_set: bytes32 = terms.practice
    if terms.holdout != empty(bytes32):
        bond = terms.reward * SPONSOR_BOND_BPS // BPS
        sealed = 1
        evaluation_set = terms.holdout
    reward: uint256 = terms.reward
    if terms.asset == empty(address):
        assert reward <= self._reward_limit(terms.committee), "create: reward above the committee's stake"
        assert msg.value == reward + bond + terms.reserve, "create: wrong value"
    else:
        assert msg.value == terms.reserve, "create: wrong value"
        arrived: uint256 = payments._pull(terms.asset, reward + bond)
        assert arrived > bond and arrived < 2 * MAX_AMOUNT, "create: too little arrived"
        reward = arrived - bond

    nonce: uint256 = self.nonce[msg.sender]
    assert nonce < MAX_TASKS, "create: too many tasks"
    self.nonce[msg.sender] = nonce + 1
    task: bytes32 = commitments._task(
        msg.sender, nonce, terms.manifest, terms.program, terms.practice, terms.holdout
    )
    self.heads[task] = (
        convert(msg.sender, uint256)
        | (block.timestamp << 160)
        | (terms.committee << 208)
        | (terms.policy << 216)
        | (sealed << 220)
        | (most << 224)
        | (nonce << 232)
    )
    self.windows[task] = packed_windows
    if terms.asset != empty(address):
        self.assets[task] = terms.asset
    self.bars[task] = self._pack_bars(terms.threshold, terms.baseline)
    self.pots[task] = reward | (bond << 128)
    self.fees[task] = terms.seat_fee | (terms.reserve << 64) | (terms.macs << 184)
    self.sets[task] = evaluation_set
    log IBounties.TaskCreated(
        task=task, sponsor=msg.sender, nonce=nonce, terms=terms, manifest_uri=manifest_uri
    )
    return task


@external
@payable
def top_up(task: bytes32, amount: uint256):
    """
    @notice Adds to the reward while commits are open; anyone may. Of a token, what arrives is added.
            Reverts with `task: unknown`, `top_up: closed`, `top_up: nothing sent`, `top_up: wrong value`,
            `create: reward above the committee's stake`, `token: transfer failed`.
    """
    head: uint256 = self._head(task)
    assert self._committing(task, head), "top_up: closed"
    assert amount != 0 and amount < MAX_AMOUNT, "top_up: nothing sent"
    asset: address = self.assets[task]
    arrived: uint256 = amount
    if asset == empty(address):
        assert msg.value == amount, "top_up: wrong value"
    else:
        assert msg.value == 0, "top_up: wrong value"
        arrived = payments._pull(asset, amount)
        assert arrived != 0, "top_up: nothing sent"
    pot: uint256 = self.pots[task] + arrived
    assert pot & LOW_128 < MAX_AMOUNT, "create: bad reward"
    if asset == empty(address):
        assert pot & LOW_128 <= self._reward_limit(
            (head >> 208) & LOW_8
        ), "create: reward above the committee's stake"
    self.pots[task] = pot
    log IBounties.ToppedUp(task=task, payer=msg.sender, amount=arrived)


@external
def reveal_holdout(task: bytes32, sealed: bytes32, plain: bytes32, key: bytes32):
    """
    @notice Opens the sealed holdout once every commitment is fixed and the committee has attested. Anyone who knows the
            key may. Reverts with `task: unknown`, `holdout: not awaited`, `holdout: too late`, `holdout: wrong opening`.
    """
    head: uint256 = self._head(task)
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = self._admission(task)
    progress: uint256 = self.progress[task]
    assert (
        self.ends[task] == 0
        and self._sealed(head)
        and closed_at != 0
        and admitted & 1 == 1
        and (progress >> 8) & LOW_48 == 0
    ), "holdout: not awaited"
    assert block.timestamp < closed_at + self._window(task, HOLDOUT), "holdout: too late"
    assert self.sets[task] == commitments._holdout(
        self._sponsor(head), head >> 232, sealed, plain, key
    ), "holdout: wrong opening"
    self.sets[task] = plain
    self.progress[task] = progress | (block.timestamp << 8)
    log IBounties.HoldoutRevealed(task=task, sealed=sealed, plain=plain, key=key)


# ------------------------------------------------------------------------------------------------ solvers


@external
@payable
def commit_submission(task: bytes32, commitment: bytes32, sealed: bytes32, uri: String[256]) -> uint256:
    """
    @notice Enters a submission: a hash of its ciphertext, plain digest and key, which binds the sender. The value sent
            covers the bond of the next index and the committee's fee; what is above is credited back.
            Reverts with `task: unknown`, `commit: closed`, `commit: task is full`, `commit: empty commitment`,
            `commit: too little sent`.
    @param commitment See `submission_commitment`.
    @param sealed Digest of the ciphertext that verifiers mirror.
    @param uri Where the ciphertext can be fetched.
    @return The submission's index, in commit order.
    """
    head: uint256 = self._head(task)
    assert self._committing(task, head), "commit: closed"
    assert commitment != empty(bytes32), "commit: empty commitment"
    progress: uint256 = self.progress[task]
    index: uint256 = progress & LOW_8
    assert index < (head >> 224) & LOW_8, "commit: task is full"
    due: uint256 = self._bond(index) + self._fee(self.fees[task], head)
    assert msg.value >= due, "commit: too little sent"

    self.progress[task] = progress + 1
    self.roots[task] = keccak256(abi_encode(self.roots[task], commitment))
    self.solvers[task][index] = msg.sender
    self.entries[task][index] = keccak256(abi_encode(commitment, sealed))
    payments._credit(empty(address), msg.sender, msg.value - due)
    log IBounties.SubmissionCommitted(
        task=task, solver=msg.sender, index=index, commitment=commitment, sealed=sealed, uri=uri
    )
    return index


@external
def reveal_submission(task: bytes32, index: uint256, sealed: bytes32, plain: bytes32, key: bytes32):
    """
    @notice Opens an admitted submission after the holdout is known; anyone who knows the key may. The ciphertext must be
            the one announced at the commit. Reverts with `task: unknown`, `reveal: not open`, `reveal: too late`,
            `submission: unknown`, `reveal: not admitted`, `reveal: already answered`, `reveal: wrong opening`.
    """
    progress: uint256 = self._answerable(task, index)
    commitment: bytes32 = commitments._submission(task, self.solvers[task][index], sealed, plain, key)
    assert self.entries[task][index] == keccak256(abi_encode(commitment, sealed)), "reveal: wrong opening"
    self.progress[task] = progress | (1 << (56 + index))
    log IBounties.SubmissionRevealed(task=task, index=index, sealed=sealed, plain=plain, key=key)


@external
def decline(task: bytes32, index: uint256):
    """
    @notice Withdraws an admitted submission instead of revealing it: the bond comes back, the adapter stays private.
            Reverts with `decline: not the solver` and as `reveal_submission` does.
    """
    progress: uint256 = self._answerable(task, index)
    assert self.solvers[task][index] == msg.sender, "decline: not the solver"
    self.progress[task] = progress | (1 << (120 + index))
    log IBounties.SubmissionDeclined(task=task, index=index)


# ------------------------------------------------------------------------------------------------- ending


@external
def settle(
    task: bytes32, outcome: uint256, scores: DynArray[int128, MAX_SUBMISSIONS], evidence: bytes32
):
    """
    @notice Ends a task with the panel's final verdict, of which the arguments must be the content; with outcome 0, no
            scores and no evidence when there was nothing to judge. Credits the sponsor what is the sponsor's: bond, unused
            reserve, dust, and without a winner the reward. Solvers and seats are paid one by one by `claim_submission` and
            the panel's `close_vote`.
            Reverts with `task: unknown`, `settle: already ended`, `settle: too early`, `settle: nothing was scored`,
            `settle: no final verdict`, `settle: not the final verdict`, `settle: unknown outcome`, `settle: wrong scores`.
    """
    head: uint256 = self._head(task)
    assert self.ends[task] == 0, "settle: already ended"
    assert self._phase(task) == PHASE_JUDGING, "settle: too early"
    progress: uint256 = self.progress[task]
    revealed: uint256 = (progress >> 56) & LOW_64
    if revealed == 0:
        assert (
            outcome == OUTCOME_NONE and len(scores) == 0 and evidence == empty(bytes32)
        ), "settle: nothing was scored"
        self._settle_scored(task, head, progress, outcome, scores)
        return

    status: uint256 = 0
    verdict: bytes32 = empty(bytes32)
    status, verdict = staticcall IPanel(PANEL).final_verdict(task)
    assert status == VERDICT_FINAL, "settle: no final verdict"
    assert verdict == commitments._verdict(
        PANEL, task, self._inputs(task, revealed), outcome, scores, evidence
    ), "settle: not the final verdict"
    assert outcome >= OUTCOME_SCORED and outcome <= OUTCOME_PROGRAM_INVALID, "settle: unknown outcome"
    if outcome == OUTCOME_SCORED:
        assert len(scores) == progress & LOW_8, "settle: wrong scores"
        self._settle_scored(task, head, progress, outcome, scores)
    else:
        assert len(scores) == 0 and evidence == empty(bytes32), "settle: wrong scores"
        ground: uint256 = GROUND_HOLDOUT_INVALID
        if outcome == OUTCOME_PROGRAM_INVALID:
            ground = GROUND_PROGRAM_INVALID
        self._end_cancelled(task, head, progress, outcome, ground, revealed)


@external
def cancel(task: bytes32):
    """
    @notice Ends a task that cannot go on: by its sponsor while there is no submission; by anyone when nobody submitted,
            when no committee was drawn for VOID_DELAY, when the committee could not get the sponsor's files, when the
            sponsor kept the holdout's key, or when nothing was settled for TERMINAL_DELAY after the last votes.
            Reverts with `task: unknown`, `cancel: already ended`, `cancel: no ground`.
    """
    head: uint256 = self._head(task)
    assert self.ends[task] == 0, "cancel: already ended"
    progress: uint256 = self.progress[task]
    ground: uint256 = 0
    compensated: uint256 = 0
    ground, compensated = self._ground(task, head, progress)
    assert ground != 0, "cancel: no ground"
    self._end_cancelled(task, head, progress, OUTCOME_NONE, ground, compensated)


@external
@payable
def reconvene(task: bytes32):
    """
    @notice Pays for one more round after the free ones ended without acceptance; anyone may.
            Reverts with `task: unknown`, `reconvene: already ended`, `reconvene: too little sent`, `reopen: ...`.
    """
    head: uint256 = self._head(task)
    assert self.ends[task] == 0, "reconvene: already ended"
    assert msg.value >= self._reconvene_fee(task, head), "reconvene: too little sent"
    self.bought[task] += msg.value
    log IBounties.Reconvened(task=task, payer=msg.sender, amount=msg.value)
    extcall IPanel(PANEL).reopen(task)


@external
def claim_submission(task: bytes32, index: uint256, scores: DynArray[int128, MAX_SUBMISSIONS]):
    """
    @notice Credits a solver, once, what is theirs after the end: the bond unless forfeited, the share of reward and
            forfeited bonds, and of a cancelled task the refund and compensation. Anyone may call.
            Reverts with `task: unknown`, `claim: not ended`, `submission: unknown`, `claim: already claimed`,
            `claim: wrong scores`.
    @param scores The scores that `settle` accepted; none for a task that was cancelled or had nothing to judge.
    """
    head: uint256 = self._head(task)
    end: uint256 = self.ends[task]
    assert end != 0, "claim: not ended"
    progress: uint256 = self.progress[task]
    assert index < progress & LOW_8, "submission: unknown"
    assert (progress >> (184 + index)) & 1 == 0, "claim: already claimed"
    self.progress[task] = progress | (1 << (184 + index))

    revealed: uint256 = (progress >> 56) & LOW_64
    reward: uint256 = 0
    native: uint256 = 0
    if end & LOW_8 == PHASE_SETTLED:
        if (end >> 8) & LOW_8 == OUTCOME_SCORED:
            assert self.roots[task] == keccak256(abi_encode(scores)), "claim: wrong scores"
        else:
            assert len(scores) == 0, "claim: wrong scores"
        total: uint256 = (end >> 32) & LOW_128
        if total != 0:
            bars: uint256 = self.bars[task]
            best: uint256 = 0
            weights: DynArray[uint256, MAX_SUBMISSIONS] = []
            best, total, weights = policies._weights(
                (head >> 216) & LOW_4, self._low_bar(bars), self._high_bar(bars), revealed, scores
            )
            if weights[index] != 0:
                pot: uint256 = self.pots[task]
                reward = policies._share(pot & LOW_128, index, best, total, weights)
                if pot >> 128 != 0:
                    native = policies._share(pot >> 128, index, best, total, weights)
    else:
        assert len(scores) == 0, "claim: wrong scores"
        refund: uint256 = self.refunds[task]
        native = refund & LOW_96
        if (self._compensated(task, end, revealed) >> index) & 1 == 1:
            reward = refund >> 96
    if not self._forfeits(task, end, progress, index):
        native += self._bond(index)

    solver: address = self.solvers[task][index]
    asset: address = self.assets[task]
    log IBounties.SubmissionClaimed(task=task, solver=solver, index=index, reward=reward, native=native)
    if asset == empty(address):
        payments._credit(empty(address), solver, reward + native)
    else:
        payments._credit(asset, solver, reward)
        payments._credit(empty(address), solver, native)


@external
def pay_seat(task: bytes32, owner: address, amount: uint256):
    """
    @notice Credits a seat's owner what the panel found it earned. Panel only, and never more than the task's fees.
            Reverts with `pay: not the panel`, `pay: task not ended`, `pay: above the fees`.
    """
    assert msg.sender == PANEL, "pay: not the panel"
    assert self.ends[task] != 0, "pay: task not ended"
    fees: uint256 = self.fees[task]
    assert amount <= fees >> 160, "pay: above the fees"
    self.fees[task] = fees - (amount << 160)
    payments._credit(empty(address), owner, amount)
    log IBounties.SeatPaid(task=task, owner=owner, amount=amount)


# -------------------------------------------------------------------------------------------------- views
# Those that the panel reads while this contract calls it are marked reentrant; only tokens are strangers here, and they are
# called before anything is written or after everything is.


@external
@view
@reentrant
def brief(task: bytes32) -> IBounties.Brief:
    """
    @return What the panel needs of a task; zeros for an unknown one.
    """
    head: uint256 = self.heads[task]
    windows: uint256 = self.windows[task]
    ended: bool = self.ends[task] != 0
    fees: uint256 = self.fees[task]
    attest_share: uint256 = 0
    verdict_share: uint256 = 0
    if ended:
        attest_share = fees & LOW_80
        verdict_share = (fees >> 80) & LOW_80
    return IBounties.Brief(
        created_at=self._created_at(head),
        commit_closes=self._created_at(head) + (windows & LOW_32),
        committee=(head >> 208) & LOW_8,
        submissions=self.progress[task] & LOW_8,
        attest_window=(windows >> (32 * ATTEST)) & LOW_32,
        verdict_commit_window=(windows >> (32 * VERDICT_COMMIT)) & LOW_32,
        verdict_reveal_window=(windows >> (32 * VERDICT_REVEAL)) & LOW_32,
        ended=ended,
        attest_share=attest_share,
        verdict_share=verdict_share,
    )


@external
@view
@reentrant
def judging_from(task: bytes32) -> uint256:
    """
    @return When the first round's verdicts can be committed: the end of the solvers' reveal window. 0 while that is not
            known, or while no submission is revealed.
    """
    if (self.progress[task] >> 56) & LOW_64 == 0:
        return 0
    opens: uint256 = 0
    closes: uint256 = 0
    admitted: uint256 = 0
    opens, closes, admitted = self._reveal_window(task, self.heads[task])
    return closes


@external
@view
def phase(task: bytes32) -> uint256:
    """
    @return 0 none, 1 committing, 2 convening, 3 attesting, 4 holdout awaited, 5 revealing, 6 judging, 7 settled,
            8 cancelled.
    """
    return self._phase(task)


@external
@view
def task(task: bytes32) -> IBounties.TaskView:
    """
    @notice Where a task stands; its terms are in the TaskCreated event. The reward includes top-ups, and is zero once it
            went back. Reverts with `task: unknown`.
    """
    head: uint256 = self._head(task)
    end: uint256 = self.ends[task]
    progress: uint256 = self.progress[task]
    holdout_revealed_at: uint256 = (progress >> 8) & LOW_48
    holdout_plain: bytes32 = empty(bytes32)
    if holdout_revealed_at != 0:
        holdout_plain = self.sets[task]
    return IBounties.TaskView(
        sponsor=self._sponsor(head),
        created_at=self._created_at(head),
        reward=self.pots[task] & LOW_128,
        phase=self._phase(task),
        submissions=progress & LOW_8,
        revealed=(progress >> 56) & LOW_64,
        declined=(progress >> 120) & LOW_64,
        claimed=progress >> 184,
        holdout_plain=holdout_plain,
        holdout_revealed_at=holdout_revealed_at,
        outcome=(end >> 8) & LOW_8,
        ground=(end >> 16) & LOW_8,
        best=(end >> 24) & LOW_8,
        total_weight=(end >> 32) & LOW_128,
    )


@external
@view
def submission(task: bytes32, index: uint256) -> IBounties.SubmissionView:
    """
    @notice One submission. Reverts with `submission: unknown`.
    """
    progress: uint256 = self.progress[task]
    assert index < progress & LOW_8, "submission: unknown"
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = self._admission(task)
    return IBounties.SubmissionView(
        solver=self.solvers[task][index],
        entry=self.entries[task][index],
        admitted=(admitted >> (index + 1)) & 1 == 1,
        revealed=(progress >> (56 + index)) & 1 == 1,
        declined=(progress >> (120 + index)) & 1 == 1,
        claimed=(progress >> (184 + index)) & 1 == 1,
    )


@external
@view
def inputs(task: bytes32) -> bytes32:
    """
    @return What a verdict on this task is about; fixed once the reveal window is over, meaningless after settlement.
    """
    return self._inputs(task, (self.progress[task] >> 56) & LOW_64)


@external
@view
def root(task: bytes32) -> bytes32:
    """
    @return The rolling hash of all commitments in commit order; after settlement the hash of the accepted scores.
    """
    return self.roots[task]


@external
@view
def window_range(which: uint256) -> (uint256, uint256):
    """
    @return Shortest and longest permitted window, seconds; numbered from 0 in the order of Terms.windows.
    """
    return self._window_range(which)


@external
@view
def bond_of(index: uint256) -> uint256:
    """
    @return Bond of the submission at `index`, wei.
    """
    return self._bond(index)


@external
@view
def fee(task: bytes32) -> uint256:
    """
    @return The committee's fee for one submission, wei; zero once the task has ended.
    """
    if self.ends[task] != 0:
        return 0
    return self._fee(self.fees[task], self.heads[task])


@external
@view
def reconvene_fee(task: bytes32) -> uint256:
    """
    @return What `reconvene` costs, wei; zero once the task has ended.
    """
    if self.ends[task] != 0:
        return 0
    return self._reconvene_fee(task, self.heads[task])


@external
@view
def max_submissions(task: bytes32) -> uint256:
    """
    @return How many submissions the task takes.
    """
    return (self.heads[task] >> 224) & LOW_8


@external
@view
def holdout_commitment(sponsor: address, nonce: uint256, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @return The commitment to a holdout for the sponsor's task number `nonce`.
    """
    return commitments._holdout(sponsor, nonce, sealed, plain, key)


@external
@view
def submission_commitment(task: bytes32, solver: address, sealed: bytes32, plain: bytes32, key: bytes32) -> bytes32:
    """
    @return The commitment to a submission.
    """
    return commitments._submission(task, solver, sealed, plain, key)


# ------------------------------------------------------------------------------------------------- ending


@internal
def _settle_scored(
    task: bytes32,
    head: uint256,
    progress: uint256,
    outcome: uint256,
    scores: DynArray[int128, MAX_SUBMISSIONS],
):
    """
    @notice Ends a task whose submissions were scored, or that had none to score.
    """
    revealed: uint256 = (progress >> 56) & LOW_64
    pot: uint256 = self.pots[task]
    bars: uint256 = self.bars[task]
    best: uint256 = 0
    total: uint256 = 0
    weights: DynArray[uint256, MAX_SUBMISSIONS] = []
    if outcome == OUTCOME_SCORED:
        best, total, weights = policies._weights(
            (head >> 216) & LOW_4, self._low_bar(bars), self._high_bar(bars), revealed, scores
        )
        self.roots[task] = keccak256(abi_encode(scores))
    else:
        # Every solver declined or kept silent: the verdict part of the fees is nobody's, so that it profits nobody.
        fee: uint256 = self._fee(self.fees[task], head)
        payments._burn(empty(address), (progress & LOW_8) * (fee - fee // ATTEST_PART))
    forfeited: uint256 = self._forfeited_bonds(task, progress)
    native: uint256 = self._pay_committee(task, head, progress, outcome != OUTCOME_NONE, True)
    back: uint256 = pot >> 128
    if total == 0:
        back += pot & LOW_128
        native += forfeited
        self.pots[task] = 0
    else:
        self.pots[task] = (pot & LOW_128) | (forfeited << 128)
    self.ends[task] = PHASE_SETTLED | (outcome << 8) | (best << 24) | (total << 32)
    log IBounties.Settled(task=task, outcome=outcome, best=best, total_weight=total, scores=scores)
    self._credit_sponsor(task, head, back, native)


@internal
def _end_cancelled(
    task: bytes32, head: uint256, progress: uint256, outcome: uint256, ground: uint256, compensated: uint256
):
    """
    @notice Ends a task without a winner. `compensated` is the bitmap of submissions among which half the bond is shared.
    """
    pot: uint256 = self.pots[task]
    asset: address = self.assets[task]
    back: uint256 = (pot & LOW_128) + (pot >> 128)
    fee: uint256 = self._fee(self.fees[task], head)
    judged: bool = ground == GROUND_HOLDOUT_INVALID or ground == GROUND_PROGRAM_INVALID
    refund: uint256 = 0
    if not judged:
        # Nobody gave a verdict, so its part of the fee goes back; the attesters keep theirs, if there are any.
        refund = fee
        if self._tally(task).attesters != 0:
            refund = fee - fee // ATTEST_PART
    native: uint256 = self._pay_committee(task, head, progress, judged, refund != fee)
    compensation: uint256 = 0
    if (judged or ground == GROUND_HOLDOUT_SILENT) and compensated != 0:
        bond: uint256 = pot >> 128
        solvers: uint256 = self._count(compensated)
        compensation = (bond // 2) // solvers
        payments._burn(asset, bond - compensation * solvers)
        back -= bond
    elif ground == GROUND_TERMINAL:
        half: uint256 = (pot & LOW_128) // 2
        payments._burn(asset, half)
        payments._burn(empty(address), self._forfeited_bonds(task, progress) + self.bought[task])
        back -= half
    self.pots[task] = 0
    self.refunds[task] = refund | (compensation << 96)
    self.ends[task] = PHASE_CANCELLED | (outcome << 8) | (ground << 16)
    log IBounties.Cancelled(task=task, ground=ground)
    self._credit_sponsor(task, head, back, native)


@internal
def _pay_committee(task: bytes32, head: uint256, progress: uint256, judged: bool, attested: bool) -> uint256:
    """
    @notice Turns the task's fees into a share for each seat that earned one, which `pay_seat` pays out. The attestation
            part goes to those who attested everything admitted; the verdict part, with what the reserve adds for later
            rounds, to those who revealed the accepted verdict. So nobody gains by more than the fees that others missed.
    @param judged Whether a verdict was accepted.
    @param attested Whether attesters are paid; if not, the caller returns the whole fee to the solvers.
    @return What of fees and reserve is the sponsor's, wei: the unused reserve and dust.
    """
    fees: uint256 = self.fees[task]
    count: uint256 = progress & LOW_8
    fee: uint256 = self._fee(fees, head)
    reserve: uint256 = (fees >> 64) & LOW_120
    sponsor: uint256 = reserve
    attest_share: uint256 = 0
    verdict_share: uint256 = 0
    owed: uint256 = 0
    if count != 0:
        tally: IPanel.Tally = self._tally(task)
        if attested:
            pool: uint256 = count * (fee // ATTEST_PART)
            if tally.attesters != 0:
                attest_share = pool // tally.attesters
                owed = attest_share * tally.attesters
            sponsor += pool - owed
        if judged:
            pool: uint256 = count * (fee - fee // ATTEST_PART)
            extra: uint256 = min(reserve, pool * tally.later_seats // ((head >> 208) & LOW_8))
            pool += extra + self.bought[task]
            verdict_share = pool // tally.accepted_seats
            owed += verdict_share * tally.accepted_seats
            sponsor += pool - verdict_share * tally.accepted_seats - extra
    self.fees[task] = attest_share | (verdict_share << 80) | (owed << 160)
    return sponsor


@internal
def _credit_sponsor(task: bytes32, head: uint256, back: uint256, native: uint256):
    sponsor: address = self._sponsor(head)
    asset: address = self.assets[task]
    if asset == empty(address):
        payments._credit(asset, sponsor, back + native)
    else:
        payments._credit(asset, sponsor, back)
        payments._credit(empty(address), sponsor, native)


@internal
@view
def _ground(task: bytes32, head: uint256, progress: uint256) -> (uint256, uint256):
    """
    @return Why the task can be cancelled now (0: it cannot), and who is compensated.
    """
    committing: bool = self._committing(task, head)
    if progress & LOW_8 == 0:
        if not committing:
            return GROUND_EMPTY, 0
        if msg.sender == self._sponsor(head):
            return GROUND_WITHDRAWN, 0
        return 0, 0
    if committing:
        return 0, 0
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = self._admission(task)
    if drawn_at == 0:
        if block.timestamp >= self._commit_closes(task, head) + VOID_DELAY:
            return GROUND_NO_COMMITTEE, 0
        return 0, 0
    if closed_at == 0:
        return 0, 0
    if admitted & 1 == 0:
        return GROUND_UNAVAILABLE, 0
    if self._sealed(head) and (progress >> 8) & LOW_48 == 0:
        if block.timestamp >= closed_at + self._window(task, HOLDOUT):
            return GROUND_HOLDOUT_SILENT, admitted >> 1
        return 0, 0
    if (progress >> 56) & LOW_64 != 0:
        judged_until: uint256 = self._tally(task).judged_until
        if judged_until != 0 and block.timestamp >= judged_until + TERMINAL_DELAY:
            return GROUND_TERMINAL, 0
    return 0, 0


# ------------------------------------------------------------------------------------------------ helpers


@internal
@view
def _phase(task: bytes32) -> uint256:
    head: uint256 = self.heads[task]
    if head == 0:
        return PHASE_NONE
    end: uint256 = self.ends[task]
    if end != 0:
        return end & LOW_8
    if self._committing(task, head):
        return PHASE_COMMITTING
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = self._admission(task)
    if drawn_at == 0:
        return PHASE_CONVENING
    if closed_at == 0:
        return PHASE_ATTESTING
    opens: uint256 = 0
    closes: uint256 = 0
    opens, closes, admitted = self._reveal_window(task, head)
    if opens == 0:
        return PHASE_HOLDOUT
    if block.timestamp < closes:
        return PHASE_REVEALING
    return PHASE_JUDGING


@internal
@view
def _reveal_window(task: bytes32, head: uint256) -> (uint256, uint256, uint256):
    """
    @return Start and end of the solvers' reveal window (0 while it has no start) and the admitted bitmap. It starts when
            the holdout is revealed; of a public task when attestation is closed. Without the sponsor's files it never does.
    """
    drawn_at: uint256 = 0
    opens: uint256 = 0
    admitted: uint256 = 0
    drawn_at, opens, admitted = self._admission(task)
    if self._sealed(head):
        opens = (self.progress[task] >> 8) & LOW_48
    if opens == 0 or admitted & 1 == 0:
        return 0, 0, admitted
    return opens, opens + self._window(task, REVEAL), admitted


@internal
@view
def _answerable(task: bytes32, index: uint256) -> uint256:
    """
    @notice The submission can be revealed or declined now. Returns the task's progress word.
    """
    head: uint256 = self._head(task)
    opens: uint256 = 0
    closes: uint256 = 0
    admitted: uint256 = 0
    opens, closes, admitted = self._reveal_window(task, head)
    assert opens != 0, "reveal: not open"
    assert block.timestamp < closes, "reveal: too late"
    progress: uint256 = self.progress[task]
    assert index < progress & LOW_8, "submission: unknown"
    assert (admitted >> (index + 1)) & 1 == 1, "reveal: not admitted"
    assert ((progress >> (56 + index)) | (progress >> (120 + index))) & 1 == 0, "reveal: already answered"
    return progress


@internal
@view
def _compensated(task: bytes32, end: uint256, revealed: uint256) -> uint256:
    """
    @return Bitmap of the submissions that share half the sponsor's bond.
    """
    ground: uint256 = (end >> 16) & LOW_8
    if ground == GROUND_HOLDOUT_SILENT:
        return self._admitted(task)
    if ground == GROUND_HOLDOUT_INVALID or ground == GROUND_PROGRAM_INVALID:
        return revealed
    return 0


@internal
@view
def _forfeits(task: bytes32, end: uint256, progress: uint256, index: uint256) -> bool:
    """
    @return Whether the solver lost the bond: admitted, and then neither revealed nor declined.
    """
    if ((progress >> (56 + index)) | (progress >> (120 + index))) & 1 == 1:
        return False
    if end & LOW_8 != PHASE_SETTLED and (end >> 16) & LOW_8 != GROUND_TERMINAL:
        return False
    return (self._admitted(task) >> index) & 1 == 1


@internal
@view
def _forfeited_bonds(task: bytes32, progress: uint256) -> uint256:
    """
    @return Sum of the bonds of admitted submissions that were neither revealed nor declined, wei.
    """
    answered: uint256 = ((progress >> 56) | (progress >> 120)) & LOW_64
    silent: uint256 = self._admitted(task) & ~answered
    bonds: uint256 = 0
    if silent != 0:
        for index: uint256 in range(MAX_SUBMISSIONS):
            if (silent >> index) & 1 == 1:
                bonds += self._bond(index)
    return bonds


@internal
@view
def _admission(task: bytes32) -> (uint256, uint256, uint256):
    """
    @return When the committee was drawn, when attestation was closed (0: not yet), and the admitted bitmap of the panel.
    """
    return staticcall IPanel(PANEL).admission(task)


@internal
@view
def _tally(task: bytes32) -> IPanel.Tally:
    return staticcall IPanel(PANEL).tally(task)


@internal
@view
def _admitted(task: bytes32) -> uint256:
    """
    @return Bitmap of admitted submissions.
    """
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = self._admission(task)
    return admitted >> 1


@internal
@view
def _inputs(task: bytes32, scored: uint256) -> bytes32:
    return commitments._inputs(task, self.sets[task], self.roots[task], scored)


@internal
@view
def _head(task: bytes32) -> uint256:
    head: uint256 = self.heads[task]
    assert head != 0, "task: unknown"
    return head


@internal
@pure
def _sponsor(head: uint256) -> address:
    return convert(head & LOW_160, address)


@internal
@pure
def _created_at(head: uint256) -> uint256:
    return (head >> 160) & LOW_48


@internal
@pure
def _sealed(head: uint256) -> bool:
    return (head >> 220) & LOW_4 == 1


@internal
@view
def _window(task: bytes32, which: uint256) -> uint256:
    return (self.windows[task] >> (32 * which)) & LOW_32


@internal
@view
def _window_range(which: uint256) -> (uint256, uint256):
    return (MIN_WINDOWS >> (32 * which)) & LOW_32, (MAX_WINDOWS >> (32 * which)) & LOW_32


@internal
@view
def _commit_closes(task: bytes32, head: uint256) -> uint256:
    return self._created_at(head) + self._window(task, COMMIT)


@internal
@view
def _committing(task: bytes32, head: uint256) -> bool:
    return self.ends[task] == 0 and block.timestamp < self._commit_closes(task, head)


@internal
@view
def _reward_limit(committee: uint256) -> uint256:
    """
    @return The largest native reward: half of what the committee has reserved, so that lying costs more than it brings.
    """
    return committee * SEAT // 8


@internal
@view
def _bond(index: uint256) -> uint256:
    return SUBMISSION_BOND << (index // BOND_STEP)


@internal
@pure
def _fee(fees: uint256, head: uint256) -> uint256:
    """
    @return One submission's fee for the committee, wei, from the words of a task that has not ended.
    """
    return (fees & LOW_64) * ((head >> 208) & LOW_8)


@internal
@view
def _reconvene_fee(task: bytes32, head: uint256) -> uint256:
    """
    @return The verdict part of the fees of a round as large as the third, wei.
    """
    seat_fee: uint256 = self.fees[task] & LOW_64
    seats: uint256 = min(4 * ((head >> 208) & LOW_8), MAX_ROUND_SEATS)
    return (self.progress[task] & LOW_8) * seats * (seat_fee - seat_fee // ATTEST_PART)


@internal
@pure
def _count(bitmap: uint256) -> uint256:
    count: uint256 = 0
    for i: uint256 in range(MAX_SUBMISSIONS):
        count += (bitmap >> i) & 1
    return count


@internal
@pure
def _pack_bars(threshold: int128, baseline: int128) -> uint256:
    low: uint256 = convert(convert(threshold, bytes32), uint256) & LOW_128
    return low | (convert(convert(baseline, bytes32), uint256) << 128)


@internal
@pure
def _low_bar(bars: uint256) -> int128:
    return self._signed(bars & LOW_128)


@internal
@pure
def _high_bar(bars: uint256) -> int128:
    return self._signed(bars >> 128)


@internal
@pure
def _signed(word: uint256) -> int128:
    """
    @return The 128-bit two's-complement number in the low bits.
    """
    return convert(convert(word ^ 2**127, int256) - 2**127, int128)
