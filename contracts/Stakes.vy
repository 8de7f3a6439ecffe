# pragma version ~=0.4.3
# pragma nonreentrancy on
"""
@title   Stakes
@license Apache-2.0
@notice  The registry of staked verifier seats. An owner deposits native coin for one seat, names the operator key that
         votes for it and the endpoint that mirrors artifacts, and enrols it at the panels that may draw it. One seat is
         one stake and one vote.
@dev     A seat never moves to another slot. `request_exit` stamps it, and its slot is used again only after `exit`,
         which requires EXIT_DELAY seconds and no reservation. A draw reserves a quarter of the price of a seat for the
         panel that drew; slashing takes from that reservation and never more. There is no owner, no admin key and no
         pause.

         An account is packed by hand, because a draw of 63 seats reads and writes 63 accounts:
           balance (80 bits) | joined_at (40) | exit_at (40) | four numbers of panels (24 each)

         Each reservation is the number of the panel that holds it; the lowest places are filled first.
"""

from .interfaces import IStakes
from .modules import commitments
from .modules import payments

implements: IStakes
initializes: payments
exports: (payments.withdraw, payments.credit, payments.burned)

MAX_DRAW: constant(uint256) = 63
# A draw tries at most this many candidates: 8 for each seat wanted, and 64 more for small registries.
TRIES_PER_SEAT: constant(uint256) = 8
EXTRA_TRIES: constant(uint256) = 64
MAX_TRIES: constant(uint256) = MAX_DRAW * TRIES_PER_SEAT + EXTRA_TRIES
# The number of committees that a seat can be on at once; each holds a quarter of the price of a seat.
RESERVATIONS_PER_SEAT: constant(uint256) = 4

LOW_24: constant(uint256) = 2**24 - 1
LOW_40: constant(uint256) = 2**40 - 1
LOW_80: constant(uint256) = 2**80 - 1

# Price of a seat, wei.
SEAT: public(immutable(uint256))
# What one committee reserves of a seat, wei.
RESERVATION: public(immutable(uint256))
# Seconds between `request_exit` and `exit`; it must exceed all rounds of a panel and its challenge window.
EXIT_DELAY: public(immutable(uint256))

# Number of slots ever used; the slots of seats that left are used again.
slots: public(uint256)
# Seats that have not asked to leave.
active_seats: public(uint256)
# owner -> number of seats ever opened; part of the stake id
nonce: public(HashMap[address, uint256])

stake_of: public(HashMap[uint256, bytes32])  # slot -> stake id, empty when free
owner_of: public(HashMap[uint256, address])  # slot -> owner
endpoint_of: public(HashMap[uint256, String[200]])  # slot -> base URL of the operator's mirror
operator_of: HashMap[uint256, address]
account: HashMap[uint256, uint256]
# panel -> slot -> second at which the seat enrolled
enrolment: HashMap[address, HashMap[uint256, uint256]]
# panel -> its number, from 1, given when the first seat enrols
number_of: HashMap[address, uint256]
panels: uint256
position: HashMap[bytes32, uint256]  # stake id -> slot + 1
free_slots: DynArray[uint256, 2**32]

# keccak256(calling panel, seed) -> slot -> whether this draw has already tried it. The panel is part of the key, so
# nobody can disturb another panel's draw by calling `draw` with its seed earlier in the same transaction.
tried: transient(HashMap[bytes32, HashMap[uint256, bool]])


@deploy
def __init__(seat: uint256, exit_delay: uint256):
    """
    @notice Fixes the price of a seat and the exit delay permanently. Reverts with `stakes: bad seat size`,
            `stakes: no exit delay`.
    @param seat Price of a seat in wei, a multiple of 80 so that a quarter of it and a twentieth of that quarter are
           whole numbers.
    @param exit_delay Seconds between `request_exit` and `exit`.
    """
    assert seat != 0 and seat % 80 == 0 and seat <= LOW_80, "stakes: bad seat size"
    assert exit_delay != 0, "stakes: no exit delay"
    SEAT = seat
    RESERVATION = seat // RESERVATIONS_PER_SEAT
    EXIT_DELAY = exit_delay


@external
@payable
def join(operator: address, endpoint: String[200], panel: address) -> bytes32:
    """
    @notice Opens a seat for the caller; the value sent is the price of a seat. Reverts with `join: wrong stake`,
            `join: no operator`.
    @param operator Hot key that attests and votes for the seat; the owner can change it.
    @param endpoint Base URL where the operator mirrors artifacts; may be empty.
    @param panel Panel at which the seat enrols at once; the zero address for none.
    @return The stake id.
    """
    assert msg.value == SEAT, "join: wrong stake"
    assert operator != empty(address), "join: no operator"

    stake: bytes32 = commitments._stake(msg.sender, self.nonce[msg.sender])
    self.nonce[msg.sender] += 1
    slot: uint256 = 0
    if len(self.free_slots) != 0:
        slot = self.free_slots.pop()
    else:
        slot = self.slots
        self.slots = slot + 1

    self.position[stake] = slot + 1
    self.stake_of[slot] = stake
    self.owner_of[slot] = msg.sender
    self.endpoint_of[slot] = endpoint
    self.operator_of[slot] = operator
    self.account[slot] = msg.value | (block.timestamp << 80)
    self.active_seats += 1
    log IStakes.Joined(stake=stake, owner=msg.sender, operator=operator, slot=slot, endpoint=endpoint)
    if panel != empty(address):
        self._enrol(stake, slot, panel)
    return stake


@external
def enrol(stake: bytes32, panel: address):
    """
    @notice Permits `panel` to draw, reserve and slash this seat, for tasks created from now on. Only leaving ends an
            enrolment: a seat that could withdraw after a draw is announced could choose its committees.
            Reverts with `stake: unknown`, `stake: not the owner`, `stake: leaving`, `enrol: no panel`,
            `enrol: already enrolled`, `enrol: too many panels`.
    @param stake The stake id of the seat.
    @param panel The panel contract.
    """
    slot: uint256 = self._owned(stake)
    assert self._exit_at(self.account[slot]) == 0, "stake: leaving"
    assert panel != empty(address), "enrol: no panel"
    self._enrol(stake, slot, panel)


@external
@payable
def top_up(stake: bytes32):
    """
    @notice Refills a slashed seat, at most to the price of a seat. Anyone may pay.
            Reverts with `stake: unknown`, `top_up: nothing sent`, `top_up: above a seat`.
    @param stake The stake id of the seat.
    """
    slot: uint256 = self._slot(stake)
    assert msg.value != 0, "top_up: nothing sent"
    account: uint256 = self.account[slot]
    assert (account & LOW_80) + msg.value <= SEAT, "top_up: above a seat"
    self.account[slot] = account + msg.value
    log IStakes.ToppedUp(stake=stake, amount=msg.value)


@external
def set_operator(stake: bytes32, operator: address):
    """
    @notice Replaces the operator key. Votes bind the stake and not the key, so open duties pass to the new key.
            Reverts with `stake: unknown`, `stake: not the owner`, `stake: no operator`.
    @param stake The stake id of the seat.
    @param operator The new hot key.
    """
    slot: uint256 = self._owned(stake)
    assert operator != empty(address), "stake: no operator"
    self.operator_of[slot] = operator
    log IStakes.OperatorSet(stake=stake, operator=operator)


@external
def set_endpoint(stake: bytes32, endpoint: String[200]):
    """
    @notice Changes the URL of the operator's mirror. Reverts with `stake: unknown`, `stake: not the owner`.
    @param stake The stake id of the seat.
    @param endpoint Base URL where the operator mirrors artifacts; may be empty.
    """
    slot: uint256 = self._owned(stake)
    self.endpoint_of[slot] = endpoint
    log IStakes.EndpointSet(stake=stake, endpoint=endpoint)


@external
def request_exit(stake: bytes32):
    """
    @notice Announces that the seat leaves. Panels that freeze eligibility from now on do not draw it. Existing
            reservations, and those of panels that froze eligibility earlier and still draw, can be slashed.
            Reverts with `stake: unknown`, `stake: not the owner`, `stake: leaving`.
    @param stake The stake id of the seat.
    """
    slot: uint256 = self._owned(stake)
    account: uint256 = self.account[slot]
    assert self._exit_at(account) == 0, "stake: leaving"
    self.account[slot] = account | (block.timestamp << 120)
    self.active_seats -= 1
    log IStakes.ExitRequested(stake=stake, exit_at=block.timestamp)


@external
def exit(stake: bytes32):
    """
    @notice Closes the seat and credits its remaining balance to the owner, at least EXIT_DELAY seconds after
            `request_exit`.
            Reverts with `stake: unknown`, `stake: not the owner`, `exit: not requested`, `exit: too early`,
            `exit: reserved by a panel`.
    @param stake The stake id of the seat.
    """
    slot: uint256 = self._owned(stake)
    account: uint256 = self.account[slot]
    exit_at: uint256 = self._exit_at(account)
    assert exit_at != 0, "exit: not requested"
    assert block.timestamp >= exit_at + EXIT_DELAY, "exit: too early"
    assert account >> 160 == 0, "exit: reserved by a panel"

    self.position[stake] = 0
    self.stake_of[slot] = empty(bytes32)
    self.owner_of[slot] = empty(address)
    self.endpoint_of[slot] = ""
    self.operator_of[slot] = empty(address)
    self.account[slot] = 0
    self.free_slots.append(slot)
    amount: uint256 = account & LOW_80
    payments._credit(empty(address), msg.sender, amount)
    log IStakes.Exited(stake=stake, amount=amount)


@external
def draw(
    seed: bytes32, wanted: uint256, created_at: uint256, frozen_at: uint256, slots: uint256
) -> DynArray[uint256, MAX_DRAW]:
    """
    @notice Draws and reserves a committee for the calling panel. Candidate k is keccak256(seed, k) mod `slots`. The
            draw skips repeated candidates, seats that did not enrol at this panel before `created_at`, seats that asked
            to leave by `frozen_at`, and seats with less than one reservation free. The result depends only on the
            arguments, the enrolments and the reservations.
            The draw fails when more than one eligible seat was full for every two seats drawn. An attacker that fills
            other owners' seats with its own tasks can therefore delay committees, but its part of a committee can never
            exceed its share of the seats by more than half.
            Reverts with `draw: too many seats`, `draw: no seats`, `draw: too many seats are full`.
    @param seed Randomness that nobody could choose.
    @param wanted Number of seats to draw, at most 63.
    @param created_at Seats that enrolled at this second or later are not eligible.
    @param frozen_at Seats that asked to leave at this second or earlier are not eligible.
    @param slots Number of slots when the panel froze eligibility.
    @return Slots of the drawn seats, in the order drawn; fewer than `wanted` when no more were found.
    """
    assert wanted <= MAX_DRAW, "draw: too many seats"
    assert slots != 0, "draw: no seats"
    drawn: DynArray[uint256, MAX_DRAW] = []
    full: uint256 = 0
    tries: uint256 = wanted * TRIES_PER_SEAT + EXTRA_TRIES
    this_draw: bytes32 = keccak256(abi_encode(msg.sender, seed))
    panel: uint256 = self.number_of[msg.sender]
    for k: uint256 in range(tries, bound=MAX_TRIES):
        if len(drawn) == wanted:
            break
        slot: uint256 = convert(keccak256(abi_encode(seed, k)), uint256) % slots
        if self.tried[this_draw][slot]:
            continue
        self.tried[this_draw][slot] = True

        opted_at: uint256 = self.enrolment[msg.sender][slot]
        if opted_at == 0 or opted_at >= created_at:
            continue
        account: uint256 = self.account[slot]
        exit_at: uint256 = self._exit_at(account)
        # An enrolment older than the seat belongs to a former occupant of the slot.
        if account == 0 or opted_at < self._joined_at(account) or (exit_at != 0 and exit_at <= frozen_at):
            continue
        balance: uint256 = account & LOW_80
        reserved: uint256 = self._find(account, 0)
        if balance < (reserved + 1) * RESERVATION:
            # A seat that was slashed to less than one reservation is spent, not full.
            if balance >= RESERVATION:
                full += 1
            continue

        self.account[slot] = account | (panel << self._shift(reserved))
        drawn.append(slot)
    assert 2 * full <= len(drawn), "draw: too many seats are full"
    log IStakes.Reserved(panel=msg.sender, slots=drawn)
    return drawn


@external
def release(slot: uint256, slash: uint256) -> uint256:
    """
    @notice Ends one reservation that the calling panel holds on a seat, and burns `slash` of it.
            Reverts with `release: nothing reserved`, `release: above the reservation`.
    @param slot The seat's slot, as `draw` returned it.
    @param slash Wei to take, at most a reservation.
    @return The amount taken, wei.
    """
    account: uint256 = self.account[slot]
    panel: uint256 = self.number_of[msg.sender]
    place: uint256 = self._find(account, panel)
    assert panel != 0 and place < RESERVATIONS_PER_SEAT, "release: nothing reserved"
    assert slash <= RESERVATION, "release: above the reservation"
    # The last reservation moves to the place of the reservation that ends.
    last: uint256 = self._find(account, 0) - 1
    account ^= (panel ^ self._holder(account, last)) << self._shift(place)
    account &= ~(LOW_24 << self._shift(last))
    # The balance covers every reservation in full, so the subtraction cannot underflow.
    self.account[slot] = account - slash
    payments._burn(empty(address), slash)
    log IStakes.Released(slot=slot, panel=msg.sender, slashed=slash)
    return slash


@external
@view
@reentrant
def voter(slot: uint256) -> (bytes32, address):
    """
    @param slot The seat's slot.
    @return Stake id of the seat; empty when the slot is free.
    @return The operator key that votes for the seat now; the zero address when the slot is free.
    """
    return self.stake_of[slot], self.operator_of[slot]


@external
@view
def slot_of(stake: bytes32) -> uint256:
    """
    @notice Returns the slot of a seat. Reverts with `stake: unknown`.
    @param stake The stake id of the seat.
    @return The seat's slot.
    """
    return self._slot(stake)


@external
@view
def seat(stake: bytes32) -> IStakes.Seat:
    """
    @notice Returns everything about one seat. Reverts with `stake: unknown`.
    @param stake The stake id of the seat.
    @return The seat; see IStakes.Seat.
    """
    slot: uint256 = self._slot(stake)
    account: uint256 = self.account[slot]
    return IStakes.Seat(
        stake=stake,
        slot=slot,
        owner=self.owner_of[slot],
        operator=self.operator_of[slot],
        joined_at=self._joined_at(account),
        exit_at=self._exit_at(account),
        balance=account & LOW_80,
        reserved=self._find(account, 0) * RESERVATION,
        endpoint=self.endpoint_of[slot],
    )


@external
@view
def enrolled(panel: address, slot: uint256) -> (uint256, uint256):
    """
    @param panel The panel contract.
    @param slot The seat's slot.
    @return Second at which the seat now in `slot` enrolled at `panel`, or 0 when it did not.
    @return Wei of the seat that `panel` has reserved.
    """
    opted_at: uint256 = self.enrolment[panel][slot]
    account: uint256 = self.account[slot]
    if account == 0 or opted_at < self._joined_at(account):
        return 0, 0
    held: uint256 = 0
    for place: uint256 in range(RESERVATIONS_PER_SEAT):
        if self._holder(account, place) == self.number_of[panel]:
            held += RESERVATION
    return opted_at, held


@internal
def _enrol(stake: bytes32, slot: uint256, panel: address):
    """
    @notice Enrols the seat at a panel, which gets a number when its first seat enrols. Reverts with
            `enrol: already enrolled`, `enrol: too many panels`.
    """
    opted_at: uint256 = self.enrolment[panel][slot]
    # An enrolment older than the seat belongs to a former occupant of the slot.
    assert opted_at == 0 or opted_at < self._joined_at(self.account[slot]), "enrol: already enrolled"
    self.enrolment[panel][slot] = block.timestamp
    if self.number_of[panel] == 0:
        # Nobody can pay the gas of sixteen million enrolments at new panels. If it happened, existing panels would
        # still work.
        assert self.panels < LOW_24, "enrol: too many panels"
        self.panels += 1
        self.number_of[panel] = self.panels
    log IStakes.Enrolled(stake=stake, panel=panel)


@internal
@view
def _slot(stake: bytes32) -> uint256:
    """
    @return The slot of a seat. Reverts with `stake: unknown`.
    """
    position: uint256 = self.position[stake]
    assert position != 0, "stake: unknown"
    return position - 1


@internal
@view
def _owned(stake: bytes32) -> uint256:
    """
    @return The slot of a seat that belongs to the caller. Reverts with `stake: unknown`, `stake: not the owner`.
    """
    slot: uint256 = self._slot(stake)
    assert self.owner_of[slot] == msg.sender, "stake: not the owner"
    return slot


@internal
@pure
def _joined_at(account: uint256) -> uint256:
    """
    @return Second at which the seat was opened.
    """
    return (account >> 80) & LOW_40


@internal
@pure
def _exit_at(account: uint256) -> uint256:
    """
    @return Second at which the owner asked to leave, or 0.
    """
    return (account >> 120) & LOW_40


@internal
@pure
def _shift(place: uint256) -> uint256:
    """
    @return Position of the lowest bit of a reservation in an account word.
    """
    return 160 + 24 * place


@internal
@pure
def _holder(account: uint256, place: uint256) -> uint256:
    """
    @return Number of the panel that holds the reservation at `place`, or 0 when the place is free.
    """
    return (account >> self._shift(place)) & LOW_24


@internal
@pure
def _find(account: uint256, panel: uint256) -> uint256:
    """
    @return The first place that the panel of that number holds, or the number of places when it holds none. For number
            0 this is the number of reservations.
    """
    for place: uint256 in range(RESERVATIONS_PER_SEAT):
        if self._holder(account, place) == panel:
            return place
    return RESERVATIONS_PER_SEAT
