"""Payments: only withdrawals pay out what is owed."""

from __future__ import annotations

from tests.contracts import amounts
from tests.evm import NATIVE, reverts
from tests.harness import ETHER, OUTSIDER, SPONSOR, World


def owing(world: World, asset: str = NATIVE) -> None:
    world.bounties.cancel(world.create(asset=asset).id, sender=SPONSOR)


def test_withdraw__native__pays_whom_the_creditor_names_once(world: World) -> None:
    owing(world)
    receiver = amounts.EVERYBODY[1]
    before = world.chain.balance(receiver)
    receipt = world.bounties.withdraw(NATIVE, receiver, sender=SPONSOR)
    assert receipt.result == ETHER
    assert receipt.events(world.bounties, "Withdrawn") == [
        {"asset": NATIVE, "account": SPONSOR, "to": receiver, "amount": ETHER}
    ]
    assert world.chain.balance(receiver) - before == ETHER
    with reverts("withdraw: nothing owed"):
        world.bounties.withdraw(NATIVE, receiver, sender=SPONSOR)


def test_withdraw__token__pays_the_token_and_no_coin(world: World) -> None:
    token = amounts.token(world)
    owing(world, token.address)
    with reverts("withdraw: nothing owed"):
        world.bounties.withdraw(NATIVE, SPONSOR, sender=SPONSOR)
    receipt = world.bounties.withdraw(token.address, SPONSOR, sender=SPONSOR)
    assert receipt.events(world.bounties, "Withdrawn")[0]["asset"] == token.address
    assert token.balanceOf(SPONSOR) == 1_000 * ETHER


def test_withdraw__token_that_answers_false__reverts_and_still_owes(world: World) -> None:
    token = amounts.token(world, "FalseToken")
    owing(world, token.address)
    token.set_refuses(True, sender=OUTSIDER)
    with reverts("token: transfer failed"):
        world.bounties.withdraw(token.address, SPONSOR, sender=SPONSOR)
    assert world.owed(SPONSOR, token.address) == ETHER


def test_withdraw__to_nobody_or_owed_nothing__reverts(world: World) -> None:
    owing(world)
    with reverts("withdraw: no receiver"):
        world.bounties.withdraw(NATIVE, NATIVE, sender=SPONSOR)
    with reverts("withdraw: nothing owed"):
        world.bounties.withdraw(NATIVE, OUTSIDER, sender=OUTSIDER)
