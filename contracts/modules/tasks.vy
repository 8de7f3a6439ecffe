# pragma version ~=0.4.3
"""
@title   Tasks
@license Apache-2.0
@notice  The state of every task, and the phase, windows and inputs that follow from it, from the panel's answers and
         from the time.
@dev     Storage words are packed by hand; a comment at each variable gives its layout. Every map is keyed by the task
         id, except `nonce`. What only people and services need (terms, URIs, openings) is in the events.

         Views are not guarded against re-entry, because the panel reads some of them while the escrow calls it. That is
         safe: the only untrusted contracts that the escrow calls are tokens and receivers, and it calls them before it
         writes anything or after it has written everything.
"""

from ..interfaces import IBounties
from ..interfaces import IPanel
from . import commitments
from . import limits
from . import words

uses: limits

MAX_SUBMISSIONS: constant(uint256) = 64
MAX_ROUND_SEATS: constant(uint256) = 63
# One part in this many of a fee pays attestations, the rest pays accepted verdicts.
ATTEST_PART: constant(uint256) = 5
# Amounts stay below this number, so that neither a product with a weight nor a packed word overflows.
MAX_AMOUNT: constant(uint256) = 2**120
# The number of tasks that one sponsor can create: the nonce has 24 bits in the word in `heads`.
MAX_TASKS: constant(uint256) = 2**24


# Indices of Terms.windows.
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

# sponsor -> number of tasks ever created; part of the task id
nonce: public(HashMap[address, uint256])
# sponsor (160 bits) | created at (48) | committee (8) | policy (4) | sealed (4) | largest number of submissions (8) |
# nonce (24)
heads: HashMap[bytes32, uint256]
# six windows of 32 bits
windows: HashMap[bytes32, uint256]
# the reward's token; zero for the native coin
assets: HashMap[bytes32, address]
# threshold (128) | baseline (128), two's complement
bars: HashMap[bytes32, uint256]
# reward (128) | sponsor bond (128); once settled: reward (128) | forfeited bonds (128)
pots: HashMap[bytes32, uint256]
# seat fee (64) | reserve (120); once ended: attest share (80) | verdict share (80) | owed to seats (96)
fees: HashMap[bytes32, uint256]
# the holdout's commitment and, once revealed, its plain digest; for a public task the practice set's digest
sets: HashMap[bytes32, bytes32]
# submissions (8) | holdout revealed at (48) | revealed (64) | declined (64) | claimed (64)
progress: HashMap[bytes32, uint256]
# rolling hash of the commitments in commit order; once settled: hash of the accepted scores
roots: HashMap[bytes32, bytes32]
# task -> index -> solver
solvers: HashMap[bytes32, HashMap[uint256, address]]
# task -> index -> keccak256(commitment, sealed digest)
entries: HashMap[bytes32, HashMap[uint256, bytes32]]
# fees paid for rounds after the free ones, wei
bought: HashMap[bytes32, uint256]
# phase (8) | outcome (8) | ground (8) | best (8) | total weight (128)
ends: HashMap[bytes32, uint256]
# for cancelled tasks: fee refund of a submission, wei (96) | compensation of a submission, in the asset (128)
refunds: HashMap[bytes32, uint256]


@external
@view
def brief(task: bytes32) -> IBounties.Brief:
    """
    @param task The task id.
    @return What the panel needs to know about the task; zeros for an unknown task. See IBounties.Brief.
    """
    head: uint256 = self.heads[task]
    windows: uint256 = self.windows[task]
    ended: bool = self.ends[task] != 0
    fees: uint256 = self.fees[task]
    attest_share: uint256 = 0
    verdict_share: uint256 = 0
    if ended:
        attest_share = fees & words.LOW_80
        verdict_share = (fees >> 80) & words.LOW_80
    return IBounties.Brief(
        created_at=self._created_at(head),
        commit_closes=self._created_at(head) + (windows & words.LOW_32),
        committee=(head >> 208) & words.LOW_8,
        submissions=self.progress[task] & words.LOW_8,
        attest_window=(windows >> (32 * ATTEST)) & words.LOW_32,
        verdict_commit_window=(windows >> (32 * VERDICT_COMMIT)) & words.LOW_32,
        verdict_reveal_window=(windows >> (32 * VERDICT_REVEAL)) & words.LOW_32,
        ended=ended,
        attest_share=attest_share,
        verdict_share=verdict_share,
    )


@external
@view
def judging_from(task: bytes32) -> uint256:
    """
    @param task The task id.
    @return When the first round's verdicts can be committed, which is the end of the solvers' reveal window; 0 while
            that time is unknown, or while no submission is revealed.
    """
    if (self.progress[task] >> 56) & words.LOW_64 == 0:
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
    @param task The task id.
    @return 0 none, 1 committing, 2 convening, 3 attesting, 4 holdout awaited, 5 revealing, 6 judging, 7 settled, 8
            cancelled.
    """
    return self._phase(task)


@external
@view
def task(task: bytes32) -> IBounties.TaskView:
    """
    @notice Returns the state of a task; its terms are in the TaskCreated event. Reverts with `task: unknown`.
    @param task The task id.
    @return The state; the reward includes top-ups and is zero after it was returned. See IBounties.TaskView.
    """
    head: uint256 = self._head(task)
    end: uint256 = self.ends[task]
    progress: uint256 = self.progress[task]
    holdout_revealed_at: uint256 = (progress >> 8) & words.LOW_48
    holdout_plain: bytes32 = empty(bytes32)
    if holdout_revealed_at != 0:
        holdout_plain = self.sets[task]
    return IBounties.TaskView(
        sponsor=self._sponsor(head),
        created_at=self._created_at(head),
        reward=self.pots[task] & words.LOW_128,
        phase=self._phase(task),
        submissions=progress & words.LOW_8,
        revealed=(progress >> 56) & words.LOW_64,
        declined=(progress >> 120) & words.LOW_64,
        claimed=progress >> 184,
        holdout_plain=holdout_plain,
        holdout_revealed_at=holdout_revealed_at,
        outcome=(end >> 8) & words.LOW_8,
        ground=(end >> 16) & words.LOW_8,
        best=(end >> 24) & words.LOW_8,
        total_weight=(end >> 32) & words.LOW_128,
    )


@external
@view
def submission(task: bytes32, index: uint256) -> IBounties.SubmissionView:
    """
    @notice Returns the state of one submission. Reverts with `submission: unknown`.
    @param task The task id.
    @param index The submission's index in commit order.
    @return The state; see IBounties.SubmissionView.
    """
    progress: uint256 = self.progress[task]
    assert index < progress & words.LOW_8, "submission: unknown"
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
    @param task The task id.
    @return What a verdict on this task is about. It is fixed once the reveal window is over, and has no meaning after
            settlement.
    """
    return self._inputs(task, (self.progress[task] >> 56) & words.LOW_64)


@external
@view
def root(task: bytes32) -> bytes32:
    """
    @param task The task id.
    @return The rolling hash of all commitments in commit order; after settlement the hash of the accepted scores.
    """
    return self.roots[task]


@external
@view
def fee(task: bytes32) -> uint256:
    """
    @param task The task id.
    @return The committee's fee for one submission, wei; zero once the task has ended.
    """
    if self.ends[task] != 0:
        return 0
    return self._fee(self.fees[task], self.heads[task])


@external
@view
def reconvene_fee(task: bytes32) -> uint256:
    """
    @param task The task id.
    @return The price of `reconvene`, wei; zero once the task has ended.
    """
    if self.ends[task] != 0:
        return 0
    return self._reconvene_fee(task, self.heads[task])


@external
@view
def max_submissions(task: bytes32) -> uint256:
    """
    @param task The task id.
    @return The largest number of submissions that the task accepts.
    """
    return (self.heads[task] >> 224) & words.LOW_8


@internal
@view
def _phase(task: bytes32) -> uint256:
    """
    @return The task's phase now; see `phase`.
    """
    head: uint256 = self.heads[task]
    if head == 0:
        return PHASE_NONE
    end: uint256 = self.ends[task]
    if end != 0:
        return end & words.LOW_8
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
    @return Start and end of the solvers' reveal window (0 while it has no start) and the admitted bitmap. The window
            starts when the holdout is revealed, or for a public task when attestation is closed. It never starts when
            the sponsor's files were not admitted.
    """
    drawn_at: uint256 = 0
    opens: uint256 = 0
    admitted: uint256 = 0
    drawn_at, opens, admitted = self._admission(task)
    if self._sealed(head):
        opens = (self.progress[task] >> 8) & words.LOW_48
    if opens == 0 or admitted & 1 == 0:
        return 0, 0, admitted
    return opens, opens + self._window(task, REVEAL), admitted


@internal
@view
def _answerable(task: bytes32, index: uint256) -> uint256:
    """
    @notice Requires that the submission can be revealed or declined now.
    @return The task's progress word.
    """
    head: uint256 = self._head(task)
    opens: uint256 = 0
    closes: uint256 = 0
    admitted: uint256 = 0
    opens, closes, admitted = self._reveal_window(task, head)
    assert opens != 0, "reveal: not open"
    assert block.timestamp < closes, "reveal: too late"
    progress: uint256 = self.progress[task]
    assert index < progress & words.LOW_8, "submission: unknown"
    assert (admitted >> (index + 1)) & 1 == 1, "reveal: not admitted"
    assert ((progress >> (56 + index)) | (progress >> (120 + index))) & 1 == 0, "reveal: already answered"
    return progress


@internal
@view
def _admission(task: bytes32) -> (uint256, uint256, uint256):
    """
    @return When the committee was drawn, when attestation was closed (0 while it is not), and the panel's admitted
            bitmap.
    """
    return staticcall IPanel(limits.PANEL).admission(task)


@internal
@view
def _tally(task: bytes32) -> IPanel.Tally:
    """
    @return The panel's counts; see IPanel.Tally.
    """
    return staticcall IPanel(limits.PANEL).tally(task)


@internal
@view
def _admitted(task: bytes32) -> uint256:
    """
    @return Bitmap of the admitted submissions.
    """
    drawn_at: uint256 = 0
    closed_at: uint256 = 0
    admitted: uint256 = 0
    drawn_at, closed_at, admitted = self._admission(task)
    return admitted >> 1


@internal
@view
def _inputs(task: bytes32, scored: uint256) -> bytes32:
    """
    @return What a verdict is about when the submissions of the bitmap `scored` are evaluated.
    """
    return commitments._inputs(task, self.sets[task], self.roots[task], scored)


@internal
@view
def _head(task: bytes32) -> uint256:
    """
    @return The task's packed terms, the word in `heads`. Reverts with `task: unknown`.
    """
    head: uint256 = self.heads[task]
    assert head != 0, "task: unknown"
    return head


@internal
@pure
def _sponsor(head: uint256) -> address:
    """
    @return The sponsor in packed terms.
    """
    return convert(head & words.LOW_160, address)


@internal
@pure
def _created_at(head: uint256) -> uint256:
    """
    @return The second in packed terms at which the task was created.
    """
    return (head >> 160) & words.LOW_48


@internal
@pure
def _sealed(head: uint256) -> bool:
    """
    @return Whether packed terms are those of a task with a sealed holdout.
    """
    return (head >> 220) & words.LOW_4 == 1


@internal
@view
def _window(task: bytes32, which: uint256) -> uint256:
    """
    @return Length of the window at an index of Terms.windows, seconds.
    """
    return (self.windows[task] >> (32 * which)) & words.LOW_32


@internal
@view
def _commit_closes(task: bytes32, head: uint256) -> uint256:
    """
    @return The first second at which no submission can be committed.
    """
    return self._created_at(head) + self._window(task, COMMIT)


@internal
@view
def _committing(task: bytes32, head: uint256) -> bool:
    """
    @return Whether submissions can be committed now.
    """
    return self.ends[task] == 0 and block.timestamp < self._commit_closes(task, head)


@internal
@pure
def _fee(fees: uint256, head: uint256) -> uint256:
    """
    @return The committee's fee for one submission, wei, from the packed fees and terms of a task that has not ended.
    """
    return (fees & words.LOW_64) * ((head >> 208) & words.LOW_8)


@internal
@view
def _reconvene_fee(task: bytes32, head: uint256) -> uint256:
    """
    @return The verdict part of the fees of a round as large as the third, wei.
    """
    seat_fee: uint256 = self.fees[task] & words.LOW_64
    seats: uint256 = min(4 * ((head >> 208) & words.LOW_8), MAX_ROUND_SEATS)
    return (self.progress[task] & words.LOW_8) * seats * (seat_fee - seat_fee // ATTEST_PART)
