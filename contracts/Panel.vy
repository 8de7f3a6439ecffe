# pragma version ~=0.4.3
# pragma nonreentrancy on
"""
@title   Panel
@license Apache-2.0
@notice  Draws a committee of staked seats for a task, collects its attestations of which files are available, and
         collects its votes on the verdict, which are committed first and revealed later. A verdict is accepted when
         more than two thirds of the drawn seats reveal the same digest, and it is final when the challenge window has
         passed. The contract holds no money.
@dev     The steps of a task are `convene` -> `draw` -> `attest`* -> `close_attestation`; then, once per round,
           `commit_verdict`* -> `reveal_verdict`*; and after the task has ended `close_vote`*.

         Anyone may take a step that no particular party owes.

         Storage words are packed by hand; a comment at each variable gives its layout.
"""

from .interfaces import IBounties
from .interfaces import IPanel
from .interfaces import IStakes
from .modules import commitments
from .modules import rlp_header

implements: IPanel

MAX_SEATS: constant(uint256) = 63
MAX_FIRST_SEATS: constant(uint256) = 31
MAX_SUBMISSIONS: constant(uint256) = 64
# Rounds that a task gets without a new fee, and the largest number that it can ever have: a tally has 8 bits for each
# of 32 rounds.
FREE_ROUNDS: constant(uint256) = 3
MAX_ROUNDS: constant(uint256) = 32
MAX_REARMS: constant(uint256) = 2
# The EVM gives access to this many block hashes.
HASH_REACH: constant(uint256) = 256
# A seat that was drawn and never voted loses its reservation divided by this number.
SILENCE_FRACTION: constant(uint256) = 20

STATUS_NONE: constant(uint256) = 0
STATUS_ACCEPTED: constant(uint256) = 1
STATUS_FINAL: constant(uint256) = 3

LOW_8: constant(uint256) = 2**8 - 1
LOW_32: constant(uint256) = 2**32 - 1
LOW_48: constant(uint256) = 2**48 - 1
LOW_64: constant(uint256) = 2**64 - 1
LOW_65: constant(uint256) = 2**65 - 1
ATTESTED: constant(uint256) = 2**255

STAKES: public(immutable(address))
BOUNTIES: public(immutable(address))
# Blocks between `convene` and the block whose randomness draws the committee.
DRAW_DELAY: public(immutable(uint256))
# Seconds between the end of an accepting round's reveals and finality.
CHALLENGE_WINDOW: public(immutable(uint256))
RESERVATION: immutable(uint256)

# task -> round (8 bits) | re-arms (8) | rounds bought by reconvening (8) | target block (64) | frozen at (48) |
# slots (48)
draws: HashMap[bytes32, uint256]
# task -> drawn at (48) | attestation closes (48) | closed at (48) | admitted (65) | attesters (8) | submissions (8) |
# seats (8)
admissions: HashMap[bytes32, uint256]
# task -> round -> seats (8) | drawn at (48) | opens (48) | commit window (32) | reveal window (32)
timings: HashMap[bytes32, HashMap[uint256, uint256]]
# task -> round -> revealed (64) | closed (64)
ballots: HashMap[bytes32, HashMap[uint256, uint256]]
# task -> round -> index of a word -> eight slots of 32 bits each
committees: HashMap[bytes32, HashMap[uint256, HashMap[uint256, uint256]]]
# task -> position -> ATTESTED | bitmap
attestations: HashMap[bytes32, HashMap[uint256, uint256]]
# task -> round -> position -> the hidden vote, which the reveal replaces by the verdict digest
votes: HashMap[bytes32, HashMap[uint256, HashMap[uint256, bytes32]]]
# task -> verdict -> how many seats revealed it, 8 bits for each round
tallies: HashMap[bytes32, HashMap[bytes32, uint256]]
# task -> the accepted verdict
accepted: HashMap[bytes32, bytes32]


@deploy
def __init__(stakes: address, bounties: address, draw_delay: uint256, challenge_window: uint256):
    """
    @notice Fixes the contracts and the delays of this panel permanently.
            Reverts with `panel: no stakes`, `panel: no bounties`, `panel: bad draw delay`.
    @param stakes The registry whose seats are drawn.
    @param bounties The address of the escrow whose tasks are judged; the escrow may be deployed there later.
    @param draw_delay Blocks between `convene` and the block whose randomness draws the committee, 1 to 128.
    @param challenge_window Seconds between the end of reveals and finality.
    """
    assert stakes.is_contract, "panel: no stakes"
    assert bounties != empty(address), "panel: no bounties"
    assert draw_delay != 0 and draw_delay <= 128, "panel: bad draw delay"
    STAKES = stakes
    BOUNTIES = bounties
    DRAW_DELAY = draw_delay
    CHALLENGE_WINDOW = challenge_window
    RESERVATION = staticcall IStakes(stakes).RESERVATION()


# ---------------------------------------------------------------------------------------------- committee


@external
def convene(task: bytes32):
    """
    @notice Freezes which seats are eligible and fixes the future block whose randomness draws the committee. Anyone may
            call: for the first round once commits are closed; for a later round once a round has ended without
            acceptance; and again, at most twice in each round, when nobody drew while the block's hash was available.
            Reverts with `panel: unknown task`, `panel: task ended`, `convene: commits are open`,
            `convene: no submissions`, `convene: draw is open`, `convene: re-arms used up`, `convene: round is open`,
            `convene: verdict accepted`, `convene: rounds used up`.
    @param task The task id.
    """
    brief: IBounties.Brief = staticcall IBounties(BOUNTIES).brief(task)
    assert brief.committee != 0, "panel: unknown task"
    assert not brief.ended, "panel: task ended"
    state: uint256 = self.draws[task]
    round: uint256 = state & LOW_8
    rearms: uint256 = (state >> 8) & LOW_8
    bought: uint256 = (state >> 16) & LOW_8
    target: uint256 = (state >> 24) & LOW_64
    if round == 0:
        assert block.timestamp >= brief.commit_closes, "convene: commits are open"
        assert brief.submissions != 0, "convene: no submissions"
        round = 1
    elif target != 0:
        assert block.number > target + HASH_REACH, "convene: draw is open"
        assert rearms < MAX_REARMS, "convene: re-arms used up"
        rearms += 1
    else:
        self._assert_failed(task, round)
        assert round < FREE_ROUNDS + bought, "convene: rounds used up"
        round += 1
        rearms = 0
    self._freeze(task, round, rearms, bought)


@external
def reopen(task: bytes32):
    """
    @notice Starts one more round after the free rounds failed, or renews the re-arms of a later round that was never
            drawn. Only the escrow may call, which has taken the fee for the round.
            Reverts with `reopen: not the escrow`, `reopen: not failed`, `reopen: no more rounds`, `convene: ...`.
    @param task The task id.
    """
    assert msg.sender == BOUNTIES, "reopen: not the escrow"
    state: uint256 = self.draws[task]
    round: uint256 = state & LOW_8
    bought: uint256 = (state >> 16) & LOW_8
    target: uint256 = (state >> 24) & LOW_64
    if target != 0:
        assert (
            round > 1 and (state >> 8) & LOW_8 == MAX_REARMS and block.number > target + HASH_REACH
        ), "reopen: not failed"
    else:
        assert round != 0 and round == FREE_ROUNDS + bought, "reopen: not failed"
        self._assert_failed(task, round)
        assert round < MAX_ROUNDS, "reopen: no more rounds"
        round += 1
        bought += 1
    self._freeze(task, round, 0, bought)


@external
def draw(task: bytes32, header: Bytes[rlp_header.MAX_HEADER]):
    """
    @notice Draws the committee with the target block's prevRandao. A builder can grind a block hash offline, but can
            only withhold prevRandao. The first round needs the whole committee. Later rounds ask for twice and four
            times as many seats, at most 63, and are drawn if at least as many seats as in the first round are found.
            Reverts with `draw: not convened`, `draw: too early`, `draw: too late`, `draw: wrong header`,
            `header: malformed`, `panel: task ended`, `draw: too few seats`, `draw: no seats`,
            `draw: too many seats are full`.
    @param task The task id.
    @param header The target block's RLP-encoded header.
    """
    state: uint256 = self.draws[task]
    round: uint256 = state & LOW_8
    target: uint256 = (state >> 24) & LOW_64
    assert target != 0, "draw: not convened"
    assert block.number > target, "draw: too early"
    assert block.number <= target + HASH_REACH, "draw: too late"
    assert keccak256(header) == blockhash(target), "draw: wrong header"
    randomness: bytes32 = rlp_header._prev_randao(header)
    brief: IBounties.Brief = staticcall IBounties(BOUNTIES).brief(task)
    assert not brief.ended, "panel: task ended"

    # Without a target block, no later call can draw this round again.
    self.draws[task] = state & ~(LOW_64 << 24)
    slots: DynArray[uint256, MAX_SEATS] = extcall IStakes(STAKES).draw(
        keccak256(abi_encode(randomness, task, round)),
        min(brief.committee << (min(round, FREE_ROUNDS) - 1), MAX_SEATS),
        brief.created_at,
        (state >> 88) & LOW_48,
        (state >> 136) & LOW_48,
    )
    seats: uint256 = len(slots)
    assert seats >= brief.committee, "draw: too few seats"

    word: uint256 = 0
    for position: uint256 in range(seats, bound=MAX_SEATS):
        word |= slots[position] << (32 * (position % 8))
        if position % 8 == 7 or position == seats - 1:
            self.committees[task][round][position // 8] = word
            word = 0
    opens: uint256 = 0
    if round == 1:
        # The first round opens when the solvers' reveal window ends; `_timing` asks the escrow for that time.
        closes: uint256 = block.timestamp + brief.attest_window
        self.admissions[task] = (
            block.timestamp | (closes << 48) | (brief.submissions << 217) | (seats << 225)
        )
    else:
        opens = block.timestamp
    self.timings[task][round] = (
        seats
        | (block.timestamp << 8)
        | (opens << 56)
        | (brief.verdict_commit_window << 104)
        | (brief.verdict_reveal_window << 136)
    )
    log IPanel.Drawn(task=task, round=round, randomness=randomness, slots=slots)


# ------------------------------------------------------------------------------------------- availability


@external
def attest(task: bytes32, position: uint256, bitmap: uint256):
    """
    @notice States which files the seat's operator has: bit 0 the manifest, the program and the sealed holdout, bit i+1
            the ciphertext of submission i. Each seat of the first round's committee can attest once.
            Reverts with `attest: not drawn`, `attest: closed`, `attest: no such item`, `panel: not a seat`,
            `panel: not the operator`, `attest: already attested`.
    @param task The task id.
    @param position The seat's position in the first round's committee.
    @param bitmap The files that the operator has.
    """
    admission: uint256 = self.admissions[task]
    assert admission != 0, "attest: not drawn"
    assert block.timestamp < (admission >> 48) & LOW_48, "attest: closed"
    assert bitmap >> (((admission >> 217) & LOW_8) + 1) == 0, "attest: no such item"
    stake: bytes32 = self._assert_operator(task, 1, position, (admission >> 225) & LOW_8)
    assert self.attestations[task][position] == 0, "attest: already attested"
    self.attestations[task][position] = ATTESTED | bitmap
    log IPanel.Attested(task=task, stake=stake, bitmap=bitmap)


@external
def close_attestation(task: bytes32):
    """
    @notice Admits the items that more than half of the drawn seats attested, once the attestation window is over.
            Anyone may call. Reverts with `attest: not drawn`, `attest: open`, `attest: already closed`.
    @param task The task id.
    """
    admission: uint256 = self.admissions[task]
    assert admission != 0, "attest: not drawn"
    assert block.timestamp >= (admission >> 48) & LOW_48, "attest: open"
    assert (admission >> 96) & LOW_48 == 0, "attest: already closed"
    seats: uint256 = (admission >> 225) & LOW_8

    # Count all 65 items at once: plane j holds bit j of every item's counter.
    planes: uint256[5] = [0, 0, 0, 0, 0]
    for position: uint256 in range(seats, bound=MAX_FIRST_SEATS):
        carry: uint256 = self.attestations[task][position] & LOW_65
        for j: uint256 in range(5):
            both: uint256 = planes[j] & carry
            planes[j] ^= carry
            carry = both
    # Compare every counter with the majority, from the highest bit down.
    majority: uint256 = seats // 2 + 1
    above: uint256 = 0
    equal: uint256 = LOW_65
    for k: uint256 in range(5):
        j: uint256 = 4 - k
        if (majority >> j) & 1 == 1:
            equal &= planes[j]
        else:
            above |= equal & planes[j]
            equal &= ~planes[j]
    admitted: uint256 = above | equal

    attesters: uint256 = 0
    for position: uint256 in range(seats, bound=MAX_FIRST_SEATS):
        attestation: uint256 = self.attestations[task][position]
        if attestation != 0 and attestation & admitted == admitted:
            attesters += 1
    self.admissions[task] = admission | (block.timestamp << 96) | (admitted << 144) | (attesters << 209)
    log IPanel.AttestationClosed(task=task, admitted=admitted, attesters=attesters)


# ------------------------------------------------------------------------------------------------- voting


@external
def commit_verdict(task: bytes32, round: uint256, position: uint256, vote: bytes32):
    """
    @notice Commits the seat's hidden vote in a round. The vote can never be changed.
            Reverts with `verdict: not drawn`, `verdict: not open`, `verdict: commits are closed`, `panel: not a seat`,
            `panel: not the operator`, `verdict: empty vote`, `verdict: already committed`.
    @param task The task id.
    @param round The round that the vote binds. A transaction that is delayed into the next round must fail, because
           nobody could open its vote there.
    @param position The seat's position in the round's committee.
    @param vote keccak256(VOTE, chain, this contract, task, round, stake id, verdict digest, salt).
    """
    timing: uint256 = self.timings[task][round]
    assert timing != 0, "verdict: not drawn"
    if (timing >> 56) & LOW_48 == 0:
        timing = self._timing(task, round)
        self.timings[task][round] = timing
    opens: uint256 = (timing >> 56) & LOW_48
    assert opens != 0 and block.timestamp >= opens, "verdict: not open"
    assert block.timestamp < opens + ((timing >> 104) & LOW_32), "verdict: commits are closed"
    assert vote != empty(bytes32), "verdict: empty vote"
    stake: bytes32 = self._assert_operator(task, round, position, timing & LOW_8)
    assert self.votes[task][round][position] == empty(bytes32), "verdict: already committed"
    self.votes[task][round][position] = vote
    log IPanel.VerdictCommitted(task=task, stake=stake, round=round, vote=vote)


@external
def reveal_verdict(task: bytes32, round: uint256, position: uint256, verdict: bytes32, salt: bytes32):
    """
    @notice Opens a hidden vote of a round. Anyone who knows the salt may call. The digest that more than two thirds of
            the drawn seats reveal is accepted; the other seats can still reveal until the window ends.
            Reverts with `verdict: not drawn`, `reveal: not open`, `reveal: closed`, `reveal: empty verdict`,
            `panel: not a seat`, `reveal: already revealed`, `reveal: wrong vote`.
    @param task The task id.
    @param round The round of the vote.
    @param position The seat's position in the round's committee.
    @param verdict The verdict digest that the vote binds.
    @param salt The salt that the vote binds.
    """
    timing: uint256 = self.timings[task][round]
    assert timing != 0, "verdict: not drawn"
    # The time at which the round opens is stored as soon as a vote exists, because `commit_verdict` stores it.
    commit_closes: uint256 = ((timing >> 56) & LOW_48) + ((timing >> 104) & LOW_32)
    assert timing >> 56 & LOW_48 != 0 and block.timestamp >= commit_closes, "reveal: not open"
    assert block.timestamp < commit_closes + ((timing >> 136) & LOW_32), "reveal: closed"
    # The empty digest means that nothing is accepted. A vote for it cannot be revealed and is slashed.
    assert verdict != empty(bytes32), "reveal: empty verdict"
    seats: uint256 = timing & LOW_8
    stake: bytes32 = staticcall IStakes(STAKES).stake_of(self._slot(task, round, position, seats))
    ballot: uint256 = self.ballots[task][round]
    assert (ballot >> position) & 1 == 0, "reveal: already revealed"
    assert self.votes[task][round][position] == commitments._vote(
        task, round, stake, verdict, salt
    ), "reveal: wrong vote"

    self.votes[task][round][position] = verdict
    self.ballots[task][round] = ballot | (1 << position)
    counts: uint256 = self.tallies[task][verdict] + (1 << (8 * (round - 1)))
    self.tallies[task][verdict] = counts
    log IPanel.VerdictRevealed(task=task, stake=stake, round=round, verdict=verdict)
    if (counts >> (8 * (round - 1))) & LOW_8 == 2 * seats // 3 + 1:
        # Two digests cannot both reach this count in one round, and no round is drawn after one that accepted.
        self.accepted[task] = verdict
        log IPanel.Accepted(task=task, round=round, verdict=verdict)


@external
def close_vote(task: bytes32, round: uint256, position: uint256):
    """
    @notice Releases one drawn seat after its task has ended: ends its reservation, and slashes and pays it as follows.
            Anyone may call.
            A seat that revealed the accepted verdict earns its share of the verdict fees. A seat that attested every
            admitted item earns its share of the attestation fees. A seat that revealed another verdict than the
            accepted one, or that committed and did not reveal, loses the whole reservation. A seat that never committed
            although votes were due loses a twentieth of it, unless it is excused. A seat of the first round is excused
            if it attested and lacked an admitted item.
            Reverts with `close: task not ended`, `panel: not a seat`, `close: already closed`.
    @param task The task id.
    @param round The round in which the seat was drawn.
    @param position The seat's position in the round's committee.
    """
    brief: IBounties.Brief = staticcall IBounties(BOUNTIES).brief(task)
    assert brief.ended, "close: task not ended"
    timing: uint256 = self._timing(task, round)
    slot: uint256 = self._slot(task, round, position, timing & LOW_8)
    ballot: uint256 = self.ballots[task][round]
    assert (ballot >> (64 + position)) & 1 == 0, "close: already closed"
    self.ballots[task][round] = ballot | (1 << (64 + position))

    slash: uint256 = 0
    pay: uint256 = 0
    excused: bool = False
    if round == 1:
        admitted: uint256 = (self.admissions[task] >> 144) & LOW_65
        attestation: uint256 = self.attestations[task][position]
        if attestation != 0:
            excused = attestation & admitted != admitted
            if not excused:
                pay = brief.attest_share
    vote: bytes32 = self.votes[task][round][position]
    verdict: bytes32 = self.accepted[task]
    if (ballot >> position) & 1 == 1:
        if vote == verdict:
            pay += brief.verdict_share
        elif verdict != empty(bytes32):
            slash = RESERVATION
    elif vote != empty(bytes32):
        slash = RESERVATION
    elif not excused and self._commits_closed(timing):
        slash = RESERVATION // SILENCE_FRACTION

    stake: bytes32 = staticcall IStakes(STAKES).stake_of(slot)
    log IPanel.VoteClosed(task=task, stake=stake, round=round, slashed=slash, earned=pay)
    extcall IStakes(STAKES).release(slot, slash)
    if pay != 0:
        extcall IBounties(BOUNTIES).pay_seat(task, staticcall IStakes(STAKES).owner_of(slot), pay)


# -------------------------------------------------------------------------------------------------- views
# The views that the escrow reads while this contract calls it are marked reentrant. That is safe, because this contract
# never calls untrusted code while its own state is incomplete.


@external
@view
@reentrant
def admission(task: bytes32) -> (uint256, uint256, uint256):
    """
    @param task The task id.
    @return When the first committee was drawn.
    @return When attestation was closed, or 0 while it is not.
    @return The admitted bitmap; see `attest`.
    """
    admission: uint256 = self.admissions[task]
    return admission & LOW_48, (admission >> 96) & LOW_48, (admission >> 144) & LOW_65


@external
@view
@reentrant
def final_verdict(task: bytes32) -> (uint256, bytes32):
    """
    @notice Returns the state of the verdict. An accepted verdict is final once the reveals of its round ended at least
            CHALLENGE_WINDOW seconds ago.
    @param task The task id.
    @return Status of the verdict: 0 none, 1 accepted, 3 final. 2 (overturned) is reserved; this contract never returns
            it.
    @return The verdict's digest; empty while none is accepted.
    """
    return self._status(task), self.accepted[task]


@external
@view
@reentrant
def tally(task: bytes32) -> IPanel.Tally:
    """
    @param task The task id.
    @return The counts and times on which fees and deadlines depend; see IPanel.Tally.
    """
    rounds: uint256 = self._drawn_rounds(task)
    later_seats: uint256 = 0
    for round: uint256 in range(2, max(rounds, 1) + 1, bound=MAX_ROUNDS):
        later_seats += self.timings[task][round] & LOW_8
    accepted_seats: uint256 = 0
    verdict: bytes32 = self.accepted[task]
    if verdict != empty(bytes32):
        counts: uint256 = self.tallies[task][verdict]
        for round: uint256 in range(rounds, bound=MAX_ROUNDS):
            accepted_seats += (counts >> (8 * round)) & LOW_8
    return IPanel.Tally(
        accepted_seats=accepted_seats,
        attesters=(self.admissions[task] >> 209) & LOW_8,
        later_seats=later_seats,
        rounds=rounds,
        judged_until=self._reveal_closes(self._timing(task, rounds)),
    )


@external
@view
def panel(task: bytes32) -> IPanel.PanelView:
    """
    @param task The task id.
    @return The state of the task's panel; zeros for an unknown task.
    """
    state: uint256 = self.draws[task]
    admission: uint256 = self.admissions[task]
    return IPanel.PanelView(
        round=state & LOW_8,
        status=self._status(task),
        verdict=self.accepted[task],
        target_block=(state >> 24) & LOW_64,
        frozen_at=(state >> 88) & LOW_48,
        rearms=(state >> 8) & LOW_8,
        attest_closes=(admission >> 48) & LOW_48,
        closed_at=(admission >> 96) & LOW_48,
        admitted=(admission >> 144) & LOW_65,
        attesters=(admission >> 209) & LOW_8,
    )


@external
@view
def round(task: bytes32, number: uint256) -> IPanel.RoundView:
    """
    @param task The task id.
    @param number The round, from 1.
    @return Times and bitmaps of the round; zeros when it was not drawn.
    """
    timing: uint256 = self._timing(task, number)
    ballot: uint256 = self.ballots[task][number]
    opens: uint256 = (timing >> 56) & LOW_48
    committed: uint256 = 0
    for position: uint256 in range(timing & LOW_8, bound=MAX_SEATS):
        if self.votes[task][number][position] != empty(bytes32):
            committed |= 1 << position
    commit_closes: uint256 = 0
    if opens != 0:
        commit_closes = opens + ((timing >> 104) & LOW_32)
    return IPanel.RoundView(
        seats=timing & LOW_8,
        drawn_at=(timing >> 8) & LOW_48,
        opens=opens,
        commit_closes=commit_closes,
        reveal_closes=self._reveal_closes(timing),
        committed=committed,
        revealed=ballot & LOW_64,
        closed=ballot >> 64,
    )


@external
@view
def committee(task: bytes32, number: uint256) -> DynArray[uint256, MAX_SEATS]:
    """
    @param task The task id.
    @param number The round, from 1.
    @return Slots of the seats drawn in the round, by position; empty when it was not drawn.
    """
    slots: DynArray[uint256, MAX_SEATS] = []
    seats: uint256 = self.timings[task][number] & LOW_8
    for position: uint256 in range(seats, bound=MAX_SEATS):
        slots.append(self._slot(task, number, position, seats))
    return slots


@external
@view
def attestation(task: bytes32, position: uint256) -> (bool, uint256):
    """
    @param task The task id.
    @param position The seat's position in the first round's committee.
    @return Whether the seat attested.
    @return The bitmap that it attested.
    """
    word: uint256 = self.attestations[task][position]
    return word != 0, word & LOW_65


@external
@view
def vote(task: bytes32, number: uint256, position: uint256) -> bytes32:
    """
    @param task The task id.
    @param number The round, from 1.
    @param position The seat's position in the round's committee.
    @return The seat's hidden vote, and after its reveal the verdict digest; empty before it voted.
    """
    return self.votes[task][number][position]


@external
@view
def votes_for(task: bytes32, verdict: bytes32, number: uint256) -> uint256:
    """
    @param task The task id.
    @param verdict The verdict digest.
    @param number The round, from 1.
    @return How many seats revealed `verdict` in the round.
    """
    return (self.tallies[task][verdict] >> (8 * (number - 1))) & LOW_8


@external
@view
def verdict_digest(
    task: bytes32,
    inputs: bytes32,
    outcome: uint256,
    scores: DynArray[int128, MAX_SUBMISSIONS],
    evidence: bytes32,
) -> bytes32:
    """
    @param task The task id.
    @param inputs What the verdict is about; see Bounties.inputs.
    @param outcome 1 scored, 2 holdout invalid, 3 program invalid.
    @param scores A score for each submission in commit order; none unless the outcome is 1.
    @param evidence Digest of the evidence file; empty unless the outcome is 1.
    @return The digest that a seat votes for.
    """
    return commitments._verdict(self, task, inputs, outcome, scores, evidence)


@external
@view
def vote_digest(task: bytes32, number: uint256, stake: bytes32, verdict: bytes32, salt: bytes32) -> bytes32:
    """
    @param task The task id.
    @param number The round, from 1.
    @param stake The stake id of the seat.
    @param verdict The verdict digest.
    @param salt A secret of the seat's operator.
    @return The hidden vote of the seat.
    """
    return commitments._vote(task, number, stake, verdict, salt)


# ------------------------------------------------------------------------------------------------ helpers


@internal
def _freeze(task: bytes32, round: uint256, rearms: uint256, bought: uint256):
    """
    @notice Stores the state of the draw: eligibility is frozen now, and the target block is DRAW_DELAY blocks ahead.
    """
    slots: uint256 = staticcall IStakes(STAKES).slots()
    target: uint256 = block.number + DRAW_DELAY
    self.draws[task] = (
        round | (rearms << 8) | (bought << 16) | (target << 24) | (block.timestamp << 88) | (slots << 136)
    )
    log IPanel.Convened(task=task, round=round, target_block=target, rearms=rearms)


@internal
@view
def _assert_failed(task: bytes32, round: uint256):
    """
    @notice Requires that the round was drawn, that its reveals are over, and that nothing was accepted.
    """
    reveal_closes: uint256 = self._reveal_closes(self._timing(task, round))
    assert reveal_closes != 0 and block.timestamp >= reveal_closes, "convene: round is open"
    assert self.accepted[task] == empty(bytes32), "convene: verdict accepted"


@internal
@view
def _assert_operator(task: bytes32, round: uint256, position: uint256, seats: uint256) -> bytes32:
    """
    @notice Requires that the caller is the current operator of the seat.
    @return The seat's stake id.
    """
    stake: bytes32 = empty(bytes32)
    operator: address = empty(address)
    stake, operator = staticcall IStakes(STAKES).voter(self._slot(task, round, position, seats))
    assert operator == msg.sender, "panel: not the operator"
    return stake


@internal
@view
def _slot(task: bytes32, round: uint256, position: uint256, seats: uint256) -> uint256:
    """
    @return The slot of the seat at a position. Reverts with `panel: not a seat`.
    """
    assert position < seats, "panel: not a seat"
    return (self.committees[task][round][position // 8] >> (32 * (position % 8))) & LOW_32


@internal
@view
def _timing(task: bytes32, round: uint256) -> uint256:
    """
    @return The round's timing word, with the opening of the first round filled in as soon as the escrow knows it.
    """
    timing: uint256 = self.timings[task][round]
    if timing != 0 and (timing >> 56) & LOW_48 == 0:
        timing |= staticcall IBounties(BOUNTIES).judging_from(task) << 56
    return timing


@internal
@view
def _commits_closed(timing: uint256) -> bool:
    """
    @return Whether the commit window of a round's timing word is over.
    """
    opens: uint256 = (timing >> 56) & LOW_48
    return opens != 0 and block.timestamp >= opens + ((timing >> 104) & LOW_32)


@internal
@pure
def _reveal_closes(timing: uint256) -> uint256:
    """
    @return The end of the reveal window of a round's timing word, or 0 while it is unknown.
    """
    opens: uint256 = (timing >> 56) & LOW_48
    if opens == 0:
        return 0
    return opens + ((timing >> 104) & LOW_32) + ((timing >> 136) & LOW_32)


@internal
@view
def _drawn_rounds(task: bytes32) -> uint256:
    """
    @return How many rounds were drawn; a round that is convened and not yet drawn does not count.
    """
    state: uint256 = self.draws[task]
    rounds: uint256 = state & LOW_8
    if (state >> 24) & LOW_64 != 0:
        rounds -= 1
    return rounds


@internal
@view
def _status(task: bytes32) -> uint256:
    """
    @return The status of the verdict; see `final_verdict`.
    """
    if self.accepted[task] == empty(bytes32):
        return STATUS_NONE
    # No round is drawn after the one that accepted, so the last drawn round is the accepting one.
    if block.timestamp >= self._reveal_closes(self.timings[task][self._drawn_rounds(task)]) + CHALLENGE_WINDOW:
        return STATUS_FINAL
    return STATUS_ACCEPTED
