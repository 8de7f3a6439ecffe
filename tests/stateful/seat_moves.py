"""The calls to the registry by owners and a second panel, each made on the model and on the contract."""

from __future__ import annotations

from tests.evm import NATIVE, Contract
from tests.harness import SEAT
from tests.stateful.ledger import Ledger
from tests.stateful.seats import Seat
from tests.stateful.stage import JURY, Stage
from verifier.protocol import commitments


def join(stage: Stage, owner: str, operator: str, value: int = SEAT) -> Seat | None:
    number = stage.stakes.nonce(owner)
    stake = commitments.stake(stage.chain.chain_id, stage.stakes.address, owner, number)
    seat = Seat(stake, stage.registry.next_slot(), owner, operator, stage.now)
    panel = stage.panel.address
    done = stage.attempt(
        "Stakes.join",
        lambda: stage.registry.join(seat, value),
        lambda: stage.stakes.join(operator, "", panel, sender=owner, value=value),
    )
    if done is None:
        return None
    assert done[1].result == stake
    assert stage.fields(done[1], stage.stakes, "Joined")["slot"] == seat.slot
    seat.enrolled[panel] = stage.now
    return seat


def enrol(stage: Stage, seat: Seat, sender: str, panel: str = JURY) -> None:
    stage.attempt(
        "Stakes.enrol",
        lambda: stage.registry.enrol(seat, sender, panel, stage.now),
        lambda: stage.stakes.enrol(seat.stake, panel, sender=sender),
    )


def top_up(stage: Stage, seat: Seat, sender: str, value: int) -> None:
    stage.attempt(
        "Stakes.top_up",
        lambda: stage.registry.top_up(seat, value),
        lambda: stage.stakes.top_up(seat.stake, sender=sender, value=value),
    )


def set_operator(stage: Stage, seat: Seat, sender: str, operator: str) -> None:
    stage.attempt(
        "Stakes.set_operator",
        lambda: stage.registry.set_operator(seat, sender, operator),
        lambda: stage.stakes.set_operator(seat.stake, operator, sender=sender),
    )


def set_endpoint(stage: Stage, seat: Seat, sender: str, endpoint: str) -> None:
    stage.attempt(
        "Stakes.set_endpoint",
        lambda: stage.registry.assert_owned(seat, sender),
        lambda: stage.stakes.set_endpoint(seat.stake, endpoint, sender=sender),
    )


def request_exit(stage: Stage, seat: Seat, sender: str) -> None:
    stage.attempt(
        "Stakes.request_exit",
        lambda: stage.registry.request_exit(seat, sender, stage.now),
        lambda: stage.stakes.request_exit(seat.stake, sender=sender),
    )


def leave(stage: Stage, seat: Seat, sender: str) -> None:
    done = stage.attempt(
        "Stakes.exit",
        lambda: stage.registry.exit(seat, sender, stage.now),
        lambda: stage.stakes.exit(seat.stake, sender=sender),
    )
    if done:
        assert stage.fields(done[1], stage.stakes, "Exited") == {"stake": seat.stake, "amount": seat.balance}


def jury_draw(stage: Stage, seed: bytes, wanted: int) -> None:
    now, slots = stage.now, len(stage.registry.slots)
    done = stage.attempt(
        "Stakes.draw",
        lambda: stage.registry.draw(JURY, seed, wanted, now, now, slots),
        lambda: stage.stakes.draw(seed, wanted, now, now, slots, sender=JURY),
    )
    if done:
        assert done[1].result == [seat.slot for seat in done[0]]
        stage.registry.reserve(JURY, done[0])
        stage.jury_holds += done[0]


def jury_release(stage: Stage, seat: Seat, slash: int, sender: str = JURY) -> None:
    done = stage.attempt(
        "Stakes.release",
        lambda: stage.registry.release(sender, seat, slash),
        lambda: stage.stakes.release(seat.slot, slash, sender=sender),
    )
    if done:
        stage.jury_holds.remove(seat)


def withdraw(stage: Stage, contract: Contract, ledger: Ledger, account: str, to: str, asset: str = NATIVE) -> None:
    """Withdraw an account's credit at the escrow or at the registry."""
    before = stage.chain.balance(to) if asset == NATIVE else stage.tokens[asset].balanceOf(to)
    done = stage.attempt(
        "Bounties.withdraw" if contract == stage.bounties else "Stakes.withdraw",
        lambda: ledger.withdraw(asset, account),
        lambda: contract.withdraw(asset, to, sender=account),
    )
    if done:
        after = stage.chain.balance(to) if asset == NATIVE else stage.tokens[asset].balanceOf(to)
        assert after - before == stage.arrives(asset, done[0])
        assert done[1].result == done[0]
