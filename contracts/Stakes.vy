# pragma version ~=0.4.3
# pragma nonreentrancy on
"""
@title   Stakes
@license Apache-2.0
@notice  The registry of staked verifier seats. An owner deposits native coin for one seat, names the operator key that
         votes for it and the endpoint that mirrors artifacts, and enrols it at the panels that may draw it. One seat is
         one stake and one vote.
@dev     A seat never moves: `request_exit` stamps it, its slot is used again only after EXIT_DELAY with nothing
         reserved. Drawing reserves a quarter of a full seat for the panel that drew; slashing takes from that
         reservation and never more. There is no owner, no admin key, no pause.

         An account is packed by hand, because a draw of 63 seats reads and writes 63 of them:
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
# A draw gives up after this many candidates: 8 for each seat wanted, and some for small registries.
TRIES_PER_SEAT: constant(uint256) = 8
EXTRA_TRIES: constant(uint256) = 64
MAX_TRIES: constant(uint256) = MAX_DRAW * TRIES_PER_SEAT + EXTRA_TRIES
# A seat can sit on this many panels at once.
RESERVATIONS_PER_SEAT: constant(uint256) = 4

LOW_24: constant(uint256) = 2**24 - 1
LOW_40: constant(uint256) = 2**40 - 1
LOW_80: constant(uint256) = 2**80 - 1

# Price of a seat, wei.
SEAT: public(immutable(uint256))
# What one drawn panel holds of a seat, wei.
RESERVATION: public(immutable(uint256))
# Seconds between asking to leave and leaving: longer than all rounds of a panel and its challenge window.
EXIT_DELAY: public(immutable(uint256))

# Number of slots ever used; slots of seats that left are used again.
slots: public(uint256)
# Seats that have not asked to leave.
active_seats: public(uint256)
# How many seats an owner ever opened; part of the stake id.
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

# Slots a draw has already tried, by keccak256(calling panel, seed): nobody can spoil another panel's draw by calling `draw`
# with its seed first in the same transaction.
tried: transient(HashMap[bytes32, HashMap[uint256, bool]])


@deploy
def __init__(seat: uint256, exit_delay: uint256):
    """
    @param seat Price of a seat in wei, a multiple of 80 so that a quarter and its twentieth are whole.
    @param exit_delay Seconds from asking to leave to leaving.
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
    @notice Opens a seat for the caller. Reverts with `join: wrong stake`, `join: no operator`.
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
    @notice Lets `panel` draw, reserve and slash this seat, for tasks created from now on. There is no way back but to
            leave: a seat that could step aside after a draw is announced would choose its committees.
            Reverts with `stake: unknown`, `stake: not the owner`, `stake: leaving`, `enrol: no panel`,
            `enrol: already enrolled`, `enrol: too many panels`.
    """
    slot: uint256 = self._owned(stake)
    assert self._exit_at(self.account[slot]) == 0, "stake: leaving"
    assert panel != empty(address), "enrol: no panel"
    self._enrol(stake, slot, panel)


@external
@payable
def top_up(stake: bytes32):
    """
    @notice Refills a slashed seat, up to the price of a seat. Anyone may pay.
            Reverts with `stake: unknown`, `top_up: nothing sent`, `top_up: above a seat`.
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
    @notice Rotates the operator key. Votes bind the stake, not the key, so open duties pass to the new key.
            Reverts with `stake: unknown`, `stake: not the owner`, `stake: no operator`.
    """
    slot: uint256 = self._owned(stake)
    assert operator != empty(address), "stake: no operator"
    self.operator_of[slot] = operator
    log IStakes.OperatorSet(stake=stake, operator=operator)


@external
def set_endpoint(stake: bytes32, endpoint: String[200]):
    """
    @notice Changes the URL of the operator's mirror. Reverts with `stake: unknown`, `stake: not the owner`.
    """
    slot: uint256 = self._owned(stake)
    self.endpoint_of[slot] = endpoint
    log IStakes.EndpointSet(stake=stake, endpoint=endpoint)


@external
def request_exit(stake: bytes32):
    """
    @notice Announces that the seat leaves. It is not drawn for panels frozen from now on; what is reserved, and what
            panels frozen earlier still draw, stays slashable.
            Reverts with `stake: unknown`, `stake: not the owner`, `stake: leaving`.
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
    @notice Closes the seat and credits what is left of it to the owner, EXIT_DELAY seconds after `request_exit`.
            Reverts with `stake: unknown`, `stake: not the owner`, `exit: not requested`, `exit: too early`,
            `exit: reserved by a panel`.
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
    @notice Draws and reserves a committee for the calling panel. Candidate k is keccak256(seed, k) mod `slots`. Skipped
            are repeats, seats that did not enrol here before `created_at`, seats that asked to leave by `frozen_at`, and
            seats with less than a reservation free. A function of its arguments, the enrolments and the reservations.
            When more than one eligible seat was full for every two that were drawn, the draw fails: whoever fills other
            people's seats with tasks of its own can delay committees, but never own more than half again its share of
            one. Reverts with `draw: too many seats`, `draw: no seats`, `draw: too many seats are full`.
    @param seed Randomness nobody could choose.
    @param wanted Seats asked for, at most 63.
    @param created_at Seats enrolled at this second or later are not eligible.
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
    @notice Ends one reservation that the calling panel holds on a seat, burning `slash` of it.
            Reverts with `release: nothing reserved`, `release: above the reservation`.
    @param slot The seat's slot, as `draw` returned it.
    @param slash Wei to take, at most a reservation.
    @return The wei taken.
    """
    account: uint256 = self.account[slot]
    panel: uint256 = self.number_of[msg.sender]
    place: uint256 = self._find(account, panel)
    assert panel != 0 and place < RESERVATIONS_PER_SEAT, "release: nothing reserved"
    assert slash <= RESERVATION, "release: above the reservation"
    # The last reservation moves to the place of the one that ends.
    last: uint256 = self._find(account, 0) - 1
    account ^= (panel ^ self._holder(account, last)) << self._shift(place)
    account &= ~(LOW_24 << self._shift(last))
    # The balance covers every reservation in full, so it cannot run out.
    self.account[slot] = account - slash
    payments._burn(empty(address), slash)
    log IStakes.Released(slot=slot, panel=msg.sender, slashed=slash)
    return slash


@external
@view
@reentrant
def voter(slot: uint256) -> (bytes32, address):
    """
    @return Stake id of the seat in `slot` and the operator key that votes for it now; zeros when the slot is free.
    """
    return self.stake_of[slot], self.operator_of[slot]


@external
@view
def slot_of(stake: bytes32) -> uint256:
    """
    @notice The slot of a seat. Reverts with `stake: unknown`.
    """
    return self._slot(stake)


@external
@view
def seat(stake: bytes32) -> IStakes.Seat:
    """
    @notice Everything about one seat. Reverts with `stake: unknown`.
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
    @return Second at which the present occupant of `slot` enrolled at `panel` (0: it did not), and the wei that this
            panel holds of it.
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
    opted_at: uint256 = self.enrolment[panel][slot]
    # An enrolment older than the seat belongs to a former occupant of the slot.
    assert opted_at == 0 or opted_at < self._joined_at(self.account[slot]), "enrol: already enrolled"
    self.enrolment[panel][slot] = block.timestamp
    if self.number_of[panel] == 0:
        # Sixteen million enrolments at new panels are beyond anybody's gas; were they not, old panels would go on.
        assert self.panels < LOW_24, "enrol: too many panels"
        self.panels += 1
        self.number_of[panel] = self.panels
    log IStakes.Enrolled(stake=stake, panel=panel)


@internal
@view
def _slot(stake: bytes32) -> uint256:
    position: uint256 = self.position[stake]
    assert position != 0, "stake: unknown"
    return position - 1


@internal
@view
def _owned(stake: bytes32) -> uint256:
    slot: uint256 = self._slot(stake)
    assert self.owner_of[slot] == msg.sender, "stake: not the owner"
    return slot


@internal
@pure
def _joined_at(account: uint256) -> uint256:
    return (account >> 80) & LOW_40


@internal
@pure
def _exit_at(account: uint256) -> uint256:
    return (account >> 120) & LOW_40


@internal
@pure
def _shift(place: uint256) -> uint256:
    return 160 + 24 * place


@internal
@pure
def _holder(account: uint256, place: uint256) -> uint256:
    """
    @return Number of the panel that holds the reservation at `place`, 0 when there is none.
    """
    return (account >> self._shift(place)) & LOW_24


@internal
@pure
def _find(account: uint256, panel: uint256) -> uint256:
    """
    @return The first place held by the panel of that number; of 0 the number of reservations. The number of places when
            there is none.
    """
    for place: uint256 in range(RESERVATIONS_PER_SEAT):
        if self._holder(account, place) == panel:
            return place
    return RESERVATIONS_PER_SEAT
