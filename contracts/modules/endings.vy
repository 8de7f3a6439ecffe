# pragma version ~=0.4.3
# pragma nonreentrancy on
"""
@title   Endings
@license Apache-2.0
@notice  How a task ends, settled or cancelled, and how its money is divided. The transaction that ends a task credits,
         burns or sets aside for a later claim every wei of its reward, bonds, fees and reserve.
"""

from ..interfaces import IBounties
from ..interfaces import IPanel
from . import commitments
from . import limits
from . import payments
from . import policies
from . import tasks
from . import words

uses: limits
uses: payments
uses: tasks

VERDICT_FINAL: constant(uint256) = 3
OUTCOME_NONE: constant(uint256) = 0
OUTCOME_SCORED: constant(uint256) = 1
OUTCOME_HOLDOUT_INVALID: constant(uint256) = 2
OUTCOME_PROGRAM_INVALID: constant(uint256) = 3

# The grounds on which a task is cancelled.
GROUND_WITHDRAWN: constant(uint256) = 1  # the sponsor cancelled before any submission
GROUND_EMPTY: constant(uint256) = 2  # nobody submitted
GROUND_NO_COMMITTEE: constant(uint256) = 3  # no committee was drawn for VOID_DELAY
GROUND_UNAVAILABLE: constant(uint256) = 4  # the committee could not get manifest, program or holdout
GROUND_HOLDOUT_SILENT: constant(uint256) = 5  # the sponsor withheld the holdout's key
GROUND_HOLDOUT_INVALID: constant(uint256) = 6
GROUND_PROGRAM_INVALID: constant(uint256) = 7
GROUND_TERMINAL: constant(uint256) = 8  # no settlement for TERMINAL_DELAY after the last votes


@external
def settle(
    task: bytes32, outcome: uint256, scores: DynArray[int128, tasks.MAX_SUBMISSIONS], evidence: bytes32
):
    """
    @notice Ends a task with the panel's final verdict; the arguments must be the content of that verdict. When nothing
            was revealed, the outcome is 0 and there are no scores and no evidence. Anyone may call. Credits the sponsor
            with the bond, the unused reserve and rounding remainders, and with the reward when there is no winner.
            Solvers and seats are paid one by one by `claim_submission` and the panel's `close_vote`.
            Reverts with `task: unknown`, `settle: already ended`, `settle: too early`, `settle: nothing was scored`,
            `settle: no final verdict`, `settle: not the final verdict`, `settle: unknown outcome`,
            `settle: wrong scores`.
    @param task The task id.
    @param outcome 0 nothing to judge, 1 scored, 2 holdout invalid, 3 program invalid.
    @param scores A score for each submission in commit order; none unless the outcome is 1.
    @param evidence Digest of the evidence file; empty unless the outcome is 1.
    """
    head: uint256 = tasks._head(task)
    assert tasks.ends[task] == 0, "settle: already ended"
    assert tasks._phase(task) == tasks.PHASE_JUDGING, "settle: too early"
    progress: uint256 = tasks.progress[task]
    revealed: uint256 = (progress >> 56) & words.LOW_64
    if revealed == 0:
        assert (
            outcome == OUTCOME_NONE and len(scores) == 0 and evidence == empty(bytes32)
        ), "settle: nothing was scored"
        self._settle_scored(task, head, progress, outcome, scores)
        return

    status: uint256 = 0
    verdict: bytes32 = empty(bytes32)
    status, verdict = staticcall IPanel(limits.PANEL).final_verdict(task)
    assert status == VERDICT_FINAL, "settle: no final verdict"
    assert verdict == commitments._verdict(
        limits.PANEL, task, tasks._inputs(task, revealed), outcome, scores, evidence
    ), "settle: not the final verdict"
    assert outcome >= OUTCOME_SCORED and outcome <= OUTCOME_PROGRAM_INVALID, "settle: unknown outcome"
    if outcome == OUTCOME_SCORED:
        assert len(scores) == progress & words.LOW_8, "settle: wrong scores"
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
    @notice Ends a task that cannot continue. The sponsor may call while there is no submission. Anyone may call when
            nobody submitted, when no committee was drawn for limits.VOID_DELAY, when the committee could not get the
            sponsor's files, when the sponsor withheld the holdout's key, or when nothing was settled for
            limits.TERMINAL_DELAY after the last votes.
            Reverts with `task: unknown`, `cancel: already ended`, `cancel: no ground`.
    @param task The task id.
    """
    head: uint256 = tasks._head(task)
    assert tasks.ends[task] == 0, "cancel: already ended"
    progress: uint256 = tasks.progress[task]
    ground: uint256 = 0
    compensated: uint256 = 0
    ground, compensated = self._ground(task, head, progress)
    assert ground != 0, "cancel: no ground"
    self._end_cancelled(task, head, progress, OUTCOME_NONE, ground, compensated)


@external
def claim_submission(task: bytes32, index: uint256, scores: DynArray[int128, tasks.MAX_SUBMISSIONS]):
    """
    @notice Credits a solver, once, with what it is owed after the end of a task: the bond unless it is forfeited, the
            share of the reward and of forfeited bonds, and for a cancelled task the refund and the compensation. Anyone
            may call.
            Reverts with `task: unknown`, `claim: not ended`, `submission: unknown`, `claim: already claimed`,
            `claim: wrong scores`.
    @param task The task id.
    @param index The submission's index.
    @param scores The scores that `settle` accepted; none for a task that was cancelled or had nothing to judge.
    """
    head: uint256 = tasks._head(task)
    end: uint256 = tasks.ends[task]
    assert end != 0, "claim: not ended"
    progress: uint256 = tasks.progress[task]
    assert index < progress & words.LOW_8, "submission: unknown"
    assert (progress >> (184 + index)) & 1 == 0, "claim: already claimed"
    tasks.progress[task] = progress | (1 << (184 + index))

    revealed: uint256 = (progress >> 56) & words.LOW_64
    reward: uint256 = 0
    native: uint256 = 0
    if end & words.LOW_8 == tasks.PHASE_SETTLED:
        if (end >> 8) & words.LOW_8 == OUTCOME_SCORED:
            assert tasks.roots[task] == keccak256(abi_encode(scores)), "claim: wrong scores"
        else:
            assert len(scores) == 0, "claim: wrong scores"
        total: uint256 = (end >> 32) & words.LOW_128
        if total != 0:
            bars: uint256 = tasks.bars[task]
            best: uint256 = 0
            weights: DynArray[uint256, tasks.MAX_SUBMISSIONS] = []
            best, total, weights = policies._weights(
                (head >> 216) & words.LOW_4, words._low_bar(bars), words._high_bar(bars), revealed, scores
            )
            if weights[index] != 0:
                pot: uint256 = tasks.pots[task]
                reward = policies._share(pot & words.LOW_128, index, best, total, weights)
                if pot >> 128 != 0:
                    native = policies._share(pot >> 128, index, best, total, weights)
    else:
        assert len(scores) == 0, "claim: wrong scores"
        refund: uint256 = tasks.refunds[task]
        native = refund & words.LOW_96
        if (self._compensated(task, end, revealed) >> index) & 1 == 1:
            reward = refund >> 96
    if not self._forfeits(task, end, progress, index):
        native += limits._bond(index)

    solver: address = tasks.solvers[task][index]
    asset: address = tasks.assets[task]
    log IBounties.SubmissionClaimed(task=task, solver=solver, index=index, reward=reward, native=native)
    if asset == empty(address):
        payments._credit(empty(address), solver, reward + native)
    else:
        payments._credit(asset, solver, reward)
        payments._credit(empty(address), solver, native)


@external
def pay_seat(task: bytes32, owner: address, amount: uint256):
    """
    @notice Credits a seat's owner with what the panel found that the seat earned. Only the panel may call, and it can
            never pay more than the task's fees. Reverts with `pay: not the panel`, `pay: task not ended`,
            `pay: above the fees`.
    @param task The task id.
    @param owner The seat's owner.
    @param amount The amount earned, wei.
    """
    assert msg.sender == limits.PANEL, "pay: not the panel"
    assert tasks.ends[task] != 0, "pay: task not ended"
    fees: uint256 = tasks.fees[task]
    assert amount <= fees >> 160, "pay: above the fees"
    tasks.fees[task] = fees - (amount << 160)
    payments._credit(empty(address), owner, amount)
    log IBounties.SeatPaid(task=task, owner=owner, amount=amount)


@internal
def _settle_scored(
    task: bytes32,
    head: uint256,
    progress: uint256,
    outcome: uint256,
    scores: DynArray[int128, tasks.MAX_SUBMISSIONS],
):
    """
    @notice Ends a task whose submissions were scored, or that had no submission to score.
    """
    revealed: uint256 = (progress >> 56) & words.LOW_64
    pot: uint256 = tasks.pots[task]
    bars: uint256 = tasks.bars[task]
    best: uint256 = 0
    total: uint256 = 0
    weights: DynArray[uint256, tasks.MAX_SUBMISSIONS] = []
    if outcome == OUTCOME_SCORED:
        best, total, weights = policies._weights(
            (head >> 216) & words.LOW_4, words._low_bar(bars), words._high_bar(bars), revealed, scores
        )
        tasks.roots[task] = keccak256(abi_encode(scores))
    else:
        # Every solver declined or stayed silent. Nobody earned the verdict part of the fees, so it is burned.
        fee: uint256 = tasks._fee(tasks.fees[task], head)
        payments._burn(empty(address), (progress & words.LOW_8) * (fee - fee // tasks.ATTEST_PART))
    forfeited: uint256 = self._forfeited_bonds(task, progress)
    native: uint256 = self._pay_committee(task, head, progress, outcome != OUTCOME_NONE, True)
    back: uint256 = pot >> 128
    if total == 0:
        back += pot & words.LOW_128
        native += forfeited
        tasks.pots[task] = 0
    else:
        tasks.pots[task] = (pot & words.LOW_128) | (forfeited << 128)
    tasks.ends[task] = tasks.PHASE_SETTLED | (outcome << 8) | (best << 24) | (total << 32)
    log IBounties.Settled(task=task, outcome=outcome, best=best, total_weight=total, scores=scores)
    self._credit_sponsor(task, head, back, native)


@internal
def _end_cancelled(
    task: bytes32, head: uint256, progress: uint256, outcome: uint256, ground: uint256, compensated: uint256
):
    """
    @notice Ends a task without a winner. `compensated` is the bitmap of the submissions that share half the bond.
    """
    pot: uint256 = tasks.pots[task]
    asset: address = tasks.assets[task]
    back: uint256 = (pot & words.LOW_128) + (pot >> 128)
    fee: uint256 = tasks._fee(tasks.fees[task], head)
    judged: bool = ground == GROUND_HOLDOUT_INVALID or ground == GROUND_PROGRAM_INVALID
    refund: uint256 = 0
    if not judged:
        # There was no verdict, so the verdict part of the fee goes back; attesters, if there are any, keep their part.
        refund = fee
        if tasks._tally(task).attesters != 0:
            refund = fee - fee // tasks.ATTEST_PART
    native: uint256 = self._pay_committee(task, head, progress, judged, refund != fee)
    compensation: uint256 = 0
    if tasks._sealed(head) and (judged or ground == GROUND_HOLDOUT_SILENT) and compensated != 0:
        # The bond is computed from the reward with its top-ups; otherwise a sponsor could escrow one wei and top it up.
        # The part above the escrowed bond is taken from the reward, which goes back.
        bond: uint256 = max(pot >> 128, (pot & words.LOW_128) * limits.SPONSOR_BOND_BPS // limits.BPS)
        solvers: uint256 = words._count(compensated)
        compensation = (bond // 2) // solvers
        payments._burn(asset, bond - compensation * solvers)
        back -= bond
    elif ground == GROUND_TERMINAL:
        half: uint256 = (pot & words.LOW_128) // 2
        payments._burn(asset, half)
        payments._burn(empty(address), self._forfeited_bonds(task, progress) + tasks.bought[task])
        back -= half
    tasks.pots[task] = 0
    tasks.refunds[task] = refund | (compensation << 96)
    tasks.ends[task] = tasks.PHASE_CANCELLED | (outcome << 8) | (ground << 16)
    log IBounties.Cancelled(task=task, ground=ground)
    self._credit_sponsor(task, head, back, native)


@internal
def _pay_committee(task: bytes32, head: uint256, progress: uint256, judged: bool, attested: bool) -> uint256:
    """
    @notice Divides the task's fees into a share for each seat that earned one, which `pay_seat` pays out. The
            attestation part goes to the seats that attested everything admitted. The verdict part, with what the
            reserve adds for later rounds, goes to the seats that revealed the accepted verdict. A seat therefore gains
            at most the fees that other seats failed to earn.
    @param judged Whether a verdict was accepted.
    @param attested Whether attesters are paid; if not, the caller returns the whole fee to the solvers.
    @return What the sponsor gets of fees and reserve, wei: the unused reserve and the rounding remainders.
    """
    fees: uint256 = tasks.fees[task]
    count: uint256 = progress & words.LOW_8
    fee: uint256 = tasks._fee(fees, head)
    reserve: uint256 = (fees >> 64) & words.LOW_120
    sponsor: uint256 = reserve
    attest_share: uint256 = 0
    verdict_share: uint256 = 0
    owed: uint256 = 0
    if count != 0:
        tally: IPanel.Tally = tasks._tally(task)
        if attested:
            pool: uint256 = count * (fee // tasks.ATTEST_PART)
            if tally.attesters != 0:
                attest_share = pool // tally.attesters
                owed = attest_share * tally.attesters
                sponsor += pool - owed
            else:
                # Each seat lacked an item that others have. A party that hides files must not gain from it.
                payments._burn(empty(address), pool)
        if judged:
            pool: uint256 = count * (fee - fee // tasks.ATTEST_PART)
            extra: uint256 = min(reserve, pool * tally.later_seats // ((head >> 208) & words.LOW_8))
            pool += extra + tasks.bought[task]
            # Rounds that are bought repeatedly without a draw could make the share exceed its 80 bits.
            verdict_share = min(pool // tally.accepted_seats, words.LOW_80)
            paid: uint256 = verdict_share * tally.accepted_seats
            owed += paid
            # This order avoids an underflow: `paid` can be nearly the whole pool, which includes `extra`.
            sponsor = sponsor - extra + pool - paid
    tasks.fees[task] = attest_share | (verdict_share << 80) | (owed << 160)
    return sponsor


@internal
def _credit_sponsor(task: bytes32, head: uint256, back: uint256, native: uint256):
    """
    @notice Credits the sponsor with `back` in the reward's asset and `native` in the native coin.
    """
    sponsor: address = tasks._sponsor(head)
    asset: address = tasks.assets[task]
    if asset == empty(address):
        payments._credit(asset, sponsor, back + native)
    else:
        payments._credit(asset, sponsor, back)
        payments._credit(empty(address), sponsor, native)


@internal
@view
def _ground(task: bytes32, head: uint256, progress: uint256) -> (uint256, uint256):
    """
    @return The ground on which the task can be cancelled now (0 when there is none), and the bitmap of the submissions
            to compensate.
    """
    committing: bool = tasks._committing(task, head)
    if progress & words.LOW_8 == 0:
        if not committing:
            return GROUND_EMPTY, 0
        if msg.sender == tasks._sponsor(head):
            return GROUND_WITHDRAWN, 0
        return 0, 0
    if committing:
        return 0, 0
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = tasks._admission(task)
    if drawn_at == 0:
        if block.timestamp >= tasks._commit_closes(task, head) + limits.VOID_DELAY:
            return GROUND_NO_COMMITTEE, 0
        return 0, 0
    if closed_at == 0:
        return 0, 0
    if admitted & 1 == 0:
        return GROUND_UNAVAILABLE, 0
    if tasks._sealed(head) and (progress >> 8) & words.LOW_48 == 0:
        if block.timestamp >= closed_at + tasks._window(task, tasks.HOLDOUT):
            return GROUND_HOLDOUT_SILENT, admitted >> 1
        return 0, 0
    if (progress >> 56) & words.LOW_64 != 0:
        judged_until: uint256 = tasks._tally(task).judged_until
        if judged_until != 0 and block.timestamp >= judged_until + limits.TERMINAL_DELAY:
            return GROUND_TERMINAL, 0
    return 0, 0


@internal
@view
def _compensated(task: bytes32, end: uint256, revealed: uint256) -> uint256:
    """
    @return Bitmap of the submissions that share half the sponsor's bond.
    """
    ground: uint256 = (end >> 16) & words.LOW_8
    if ground == GROUND_HOLDOUT_SILENT:
        return tasks._admitted(task)
    if ground == GROUND_HOLDOUT_INVALID or ground == GROUND_PROGRAM_INVALID:
        return revealed
    return 0


@internal
@view
def _forfeits(task: bytes32, end: uint256, progress: uint256, index: uint256) -> bool:
    """
    @return Whether the solver lost the bond: the submission was admitted and neither revealed nor declined, and the
            task was settled or ended by the terminal rule.
    """
    if ((progress >> (56 + index)) | (progress >> (120 + index))) & 1 == 1:
        return False
    if end & words.LOW_8 != tasks.PHASE_SETTLED and (end >> 16) & words.LOW_8 != GROUND_TERMINAL:
        return False
    return (tasks._admitted(task) >> index) & 1 == 1


@internal
@view
def _forfeited_bonds(task: bytes32, progress: uint256) -> uint256:
    """
    @return Sum of the bonds of admitted submissions that were neither revealed nor declined, wei.
    """
    answered: uint256 = ((progress >> 56) | (progress >> 120)) & words.LOW_64
    silent: uint256 = tasks._admitted(task) & ~answered
    bonds: uint256 = 0
    if silent != 0:
        for index: uint256 in range(tasks.MAX_SUBMISSIONS):
            if (silent >> index) & 1 == 1:
                bonds += limits._bond(index)
    return bonds
