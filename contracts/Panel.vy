# pragma version ~=0.4.3
# pragma nonreentrancy on
"""
@title   Panel
@license Apache-2.0
@notice  Draws a committee of staked seats for a task, takes its attestation of which files are really there, and its
         votes on the verdict, each committed first and revealed later. A verdict is accepted with more than two thirds
         of the drawn seats on one digest, and final when the challenge window has passed. Holds no money.
@dev     A task goes through `convene` -> `draw` -> `attest`* -> `close_attestation`, then, once per round,
         `commit_verdict`* -> `reveal_verdict`*, and after the task has ended `close_vote`*. Every step that nobody in
         particular owes can be taken by anyone.

         Storage is packed by hand; each word's layout stands beside it.
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
# Rounds a task gets without a new fee, and the most it can ever have.
FREE_ROUNDS: constant(uint256) = 3
MAX_ROUNDS: constant(uint256) = 32
MAX_REARMS: constant(uint256) = 2
# The EVM remembers this many block hashes.
HASH_REACH: constant(uint256) = 256
# A seat that was drawn and never voted loses this fraction of its reservation.
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
# Blocks between `convene` and the block whose randomness draws.
DRAW_DELAY: public(immutable(uint256))
# Seconds between the end of an accepting round's reveals and finality.
CHALLENGE_WINDOW: public(immutable(uint256))
RESERVATION: immutable(uint256)

# round (8 bits) | re-arms (8) | rounds bought by reconvening (8) | target block (64) | frozen at (48) | slots (48)
draws: HashMap[bytes32, uint256]
# drawn at (48) | attestation closes (48) | closed at (48) | admitted (65) | attesters (8) | submissions (8) | seats (8)
admissions: HashMap[bytes32, uint256]
# task -> round -> seats (8) | drawn at (48) | opens (48) | commit window (32) | reveal window (32)
timings: HashMap[bytes32, HashMap[uint256, uint256]]
# task -> round -> revealed (64) | closed (64)
ballots: HashMap[bytes32, HashMap[uint256, uint256]]
# task -> round -> eight slots of 32 bits to a word
committees: HashMap[bytes32, HashMap[uint256, HashMap[uint256, uint256]]]
# task -> position -> ATTESTED | bitmap
attestations: HashMap[bytes32, HashMap[uint256, uint256]]
# task -> round -> position -> the hidden vote, and after the reveal the verdict digest
votes: HashMap[bytes32, HashMap[uint256, HashMap[uint256, bytes32]]]
# task -> verdict -> seats that revealed it, 8 bits a round
tallies: HashMap[bytes32, HashMap[bytes32, uint256]]
# task -> the accepted verdict
accepted: HashMap[bytes32, bytes32]


@deploy
def __init__(stakes: address, bounties: address, draw_delay: uint256, challenge_window: uint256):
    """
    @param stakes The registry whose seats are drawn.
    @param bounties The escrow whose tasks are judged; it may be deployed later, at this address.
    @param draw_delay Blocks between `convene` and the block that draws, 1 to 128.
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
    @notice Freezes who is eligible and fixes the future block that draws: for the first round once commits are closed,
            for a later one once a round has ended without acceptance, and again, at most twice a round, when nobody drew
            while the block's hash could be read.
            Reverts with `panel: unknown task`, `panel: task ended`, `convene: commits are open`, `convene: no submissions`,
            `convene: draw is open`, `convene: re-arms used up`, `convene: round is open`, `convene: verdict accepted`,
            `convene: rounds used up`.
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
    @notice Starts one more round after the free ones failed, or renews the re-arms of one that was never drawn. Called by
            the escrow, which has taken the fee for it.
            Reverts with `reopen: not the escrow`, `reopen: not failed`, `reopen: no more rounds`, `convene: ...`.
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
    @notice Draws the committee with the target block's prevRandao: a builder can grind a block hash offline, prevRandao it
            can only withhold. The first round needs the whole committee; later ones want twice and four times as many
            seats, 63 at most, and are content with as many as the first.
            Reverts with `draw: not convened`, `draw: too early`, `draw: too late`, `draw: wrong header`,
            `header: malformed`, `panel: task ended`, `draw: too few seats`, `draw: no seats`,
            `draw: too many seats are full`.
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

    # Neither the target nor a later call may draw this round again.
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
        # The first round votes when the solvers' reveal window ends; `_timing` learns when from the escrow.
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
    @notice Says which files the seat's operator has: bit 0 the manifest, the program and the sealed holdout, bit i+1 the
            ciphertext of submission i. Once per seat of the first round's committee.
            Reverts with `attest: not drawn`, `attest: closed`, `attest: no such item`, `panel: not a seat`,
            `panel: not the operator`, `attest: already attested`.
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
    @notice Admits what more than half of the drawn seats have, once the attestation window is over.
            Reverts with `attest: not drawn`, `attest: open`, `attest: already closed`.
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
    @notice Commits the seat's hidden vote in a round. It can never be changed.
            Reverts with `verdict: not drawn`, `verdict: not open`, `verdict: commits are closed`, `panel: not a seat`,
            `panel: not the operator`, `verdict: empty vote`, `verdict: already committed`.
    @param round The round that the vote binds: a transaction that arrives late must not land in the next one, where
           nobody could open its vote.
    @param position Position of the seat in the round's committee.
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
    @notice Opens a hidden vote of a round; anyone who knows the salt may. The digest that more than two thirds
            of the drawn seats reveal is accepted; the others can still reveal until the window ends.
            Reverts with `verdict: not drawn`, `reveal: not open`, `reveal: closed`, `reveal: empty verdict`,
            `panel: not a seat`, `reveal: already revealed`, `reveal: wrong vote`.
    """
    timing: uint256 = self.timings[task][round]
    assert timing != 0, "verdict: not drawn"
    # A vote exists only if `commit_verdict` has written when the round opens.
    commit_closes: uint256 = ((timing >> 56) & LOW_48) + ((timing >> 104) & LOW_32)
    assert timing >> 56 & LOW_48 != 0 and block.timestamp >= commit_closes, "reveal: not open"
    assert block.timestamp < commit_closes + ((timing >> 136) & LOW_32), "reveal: closed"
    # Empty means "nothing accepted"; a vote for it stays unrevealed and is slashed.
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
        # Two digests cannot both get there in one round, and no round is drawn after one that accepted.
        self.accepted[task] = verdict
        log IPanel.Accepted(task=task, round=round, verdict=verdict)


@external
def close_vote(task: bytes32, round: uint256, position: uint256):
    """
    @notice Settles one drawn seat after its task has ended: ends its reservation, slashes it or not, pays it or not.
            Revealed the accepted verdict: its share of the verdict fees. Attested every admitted item: its share of the
            attestation fees. Revealed another verdict than the accepted one, or committed and did not reveal: the whole
            reservation. Drawn, not excused, and never committed though votes were asked for: a twentieth of it.
            Excused is a seat that attested and lacked an admitted item.
            Reverts with `close: task not ended`, `panel: not a seat`, `close: already closed`.
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
# Those that the escrow reads while this contract calls it are marked reentrant; no call leaves for a stranger's code
# while this contract's state is unfinished.


@external
@view
@reentrant
def admission(task: bytes32) -> (uint256, uint256, uint256):
    """
    @return When the first committee was drawn, when attestation was closed (0: not yet), and the admitted bitmap.
    """
    admission: uint256 = self.admissions[task]
    return admission & LOW_48, (admission >> 96) & LOW_48, (admission >> 144) & LOW_65


@external
@view
@reentrant
def final_verdict(task: bytes32) -> (uint256, bytes32):
    """
    @return Status of the verdict (0 none, 1 accepted, 2 overturned, 3 final) and its digest. Final is an accepted one
            whose round's reveals ended at least CHALLENGE_WINDOW seconds ago.
    """
    return self._status(task), self.accepted[task]


@external
@view
@reentrant
def tally(task: bytes32) -> IPanel.Tally:
    """
    @return What fees and time limits depend on; see IPanel.Tally.
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
    @return Where the panel of a task stands.
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
    @return Times and bitmaps of one round, the first being 1; zeros when it was not drawn.
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
    @return Slots of the seats drawn in a round, by position.
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
    @return Whether the seat at `position` of the first committee attested, and its bitmap.
    """
    word: uint256 = self.attestations[task][position]
    return word != 0, word & LOW_65


@external
@view
def vote(task: bytes32, number: uint256, position: uint256) -> bytes32:
    """
    @return The seat's hidden vote in a round, after its reveal the verdict digest; empty before it voted.
    """
    return self.votes[task][number][position]


@external
@view
def votes_for(task: bytes32, verdict: bytes32, number: uint256) -> uint256:
    """
    @return Seats that revealed `verdict` in a round.
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
    @return The digest a seat votes for.
    """
    return commitments._verdict(self, task, inputs, outcome, scores, evidence)


@external
@view
def vote_digest(task: bytes32, number: uint256, stake: bytes32, verdict: bytes32, salt: bytes32) -> bytes32:
    """
    @return The hidden vote of a stake.
    """
    return commitments._vote(task, number, stake, verdict, salt)


# ------------------------------------------------------------------------------------------------ helpers


@internal
def _freeze(task: bytes32, round: uint256, rearms: uint256, bought: uint256):
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
    @notice The round was drawn, its reveals are over, and nothing was accepted.
    """
    reveal_closes: uint256 = self._reveal_closes(self._timing(task, round))
    assert reveal_closes != 0 and block.timestamp >= reveal_closes, "convene: round is open"
    assert self.accepted[task] == empty(bytes32), "convene: verdict accepted"


@internal
@view
def _assert_operator(task: bytes32, round: uint256, position: uint256, seats: uint256) -> bytes32:
    """
    @return The stake id of the seat, whose present operator sent this call.
    """
    stake: bytes32 = empty(bytes32)
    operator: address = empty(address)
    stake, operator = staticcall IStakes(STAKES).voter(self._slot(task, round, position, seats))
    assert operator == msg.sender, "panel: not the operator"
    return stake


@internal
@view
def _slot(task: bytes32, round: uint256, position: uint256, seats: uint256) -> uint256:
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
    opens: uint256 = (timing >> 56) & LOW_48
    return opens != 0 and block.timestamp >= opens + ((timing >> 104) & LOW_32)


@internal
@pure
def _reveal_closes(timing: uint256) -> uint256:
    opens: uint256 = (timing >> 56) & LOW_48
    if opens == 0:
        return 0
    return opens + ((timing >> 104) & LOW_32) + ((timing >> 136) & LOW_32)


@internal
@view
def _drawn_rounds(task: bytes32) -> uint256:
    """
    @return How many rounds were drawn; one that is convened and awaits its draw does not count.
    """
    state: uint256 = self.draws[task]
    rounds: uint256 = state & LOW_8
    if (state >> 24) & LOW_64 != 0:
        rounds -= 1
    return rounds


@internal
@view
def _status(task: bytes32) -> uint256:
    if self.accepted[task] == empty(bytes32):
        return STATUS_NONE
    # No round is drawn after the one that accepted, so the last drawn round is the accepting one.
    if block.timestamp >= self._reveal_closes(self.timings[task][self._drawn_rounds(task)]) + CHALLENGE_WINDOW:
        return STATUS_FINAL
    return STATUS_ACCEPTED
