"""Misbehaving tokens and receivers, which may harm only their own tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.weakened import Guard
from tests.evm import NATIVE, Contract, compiled, reverts
from tests.harness import DEPLOYER, ETHER, OUTSIDER, SEAT, SOLVER, SPONSOR, Task, World

# Without this guard, a credit is reduced only after the call and without a lock, the requested amount is credited
# instead of the received one, and the result of a transfer is ignored.
CAREFUL_PAYMENTS = Guard(
    "Bounties",
    "@nonreentrant\ndef withdraw",
    "def withdraw",
    "payments",
    (
        ("    self.credit[asset][msg.sender] = 0\n", ""),
        (
            '        raw_call(to, b"", value=amount)\n',
            '        raw_call(to, b"", value=amount)\n        self.credit[asset][msg.sender] = 0\n',
        ),
        ("    return staticcall IERC20(token).balanceOf(self) - before\n", "    return amount\n"),
        (
            "        assert extcall IERC20(asset).transfer(to, amount, default_return_value=True),"
            ' "token: transfer failed"\n',
            "        extcall IERC20(asset).transfer(to, amount, default_return_value=True)\n"
            "        self.credit[asset][msg.sender] = 0\n",
        ),
    ),
)
NO_CALL_WITHIN_A_CALL = Guard("Bounties", "# pragma nonreentrancy on\n")

REWARD = 1_000 * ETHER


def token(world: World, kind: str, *arguments: Any) -> Contract:
    """Deploy a token that the sponsor holds and has approved for the escrow."""
    contract = world.chain.deploy(compiled(f"contracts/mocks/{kind}.vy"), *arguments, sender=DEPLOYER)
    contract.mint(SPONSOR, 100 * REWARD, sender=DEPLOYER)
    contract.approve(world.bounties.address, 2**256 - 1, sender=SPONSOR)
    return contract


def call(contract: Contract, name: str, *arguments: Any) -> bytes:
    return contract.functions[name].calldata(arguments)


# ------------------------------------------------------------------------------------------------ re-entry


def creditor(world: World) -> Contract:
    """Deploy a contract that can call back whenever it is paid, and to which the escrow owes one coin."""
    receiver = world.chain.deploy(compiled("contracts/mocks/HookReceiver.vy"), sender=DEPLOYER)
    task = world.create()
    entry = world.entry(task, receiver.address)
    enter = call(world.bounties, "commit_submission", task.id, entry.commitment, entry.sealed, "")
    receiver.act(world.bounties.address, enter, sender=OUTSIDER, value=world.due(task) + ETHER)
    assert world.owed(receiver.address) == ETHER
    return receiver


def withdraw_within_a_withdrawal(world: World) -> Contract:
    receiver = creditor(world)
    withdraw = call(world.bounties, "withdraw", NATIVE, receiver.address)
    receiver.set_hook(world.bounties.address, withdraw, sender=OUTSIDER)
    receiver.act(world.bounties.address, withdraw, sender=OUTSIDER)
    return receiver


def test_receiver__withdraws_again_while_it_is_paid__is_paid_once(world: World) -> None:
    receiver = withdraw_within_a_withdrawal(world)

    assert world.chain.balance(receiver.address) == ETHER
    assert (receiver.succeeded(), receiver.refused()) == (0, 1)
    assert world.owed(receiver.address) == 0


def test_receiver__without_the_guard__empties_the_escrow(without: Callable[[Guard], World]) -> None:
    world = without(CAREFUL_PAYMENTS)
    world.create()
    receiver = withdraw_within_a_withdrawal(world)
    # The receiver was owed one coin, and the escrow held the rewards of two tasks.
    assert world.chain.balance(receiver.address) >= 2 * ETHER


@pytest.mark.parametrize("function", ["claim_submission", "settle", "cancel", "top_up", "decline", "reconvene"])
def test_receiver__calls_another_function_while_it_is_paid__reverts(world: World, function: str) -> None:
    receiver = creditor(world)
    task = world.create()
    arguments: dict[str, tuple[Any, ...]] = {
        "claim_submission": (task.id, 0, []),
        "settle": (task.id, 0, [], bytes(32)),
        "cancel": (task.id,),
        "top_up": (task.id, 0),
        "decline": (task.id, 0),
        "reconvene": (task.id,),
    }
    receiver.set_hook(world.bounties.address, call(world.bounties, function, *arguments[function]), sender=OUTSIDER)
    receiver.act(world.bounties.address, call(world.bounties, "withdraw", NATIVE, receiver.address), sender=OUTSIDER)
    assert (receiver.succeeded(), receiver.refused()) == (0, 1)
    assert world.chain.balance(receiver.address) == ETHER


def test_receiver__refuses_coin__keeps_its_credit(world: World) -> None:
    receiver = creditor(world)
    unpayable = token(world, "PlainToken").address

    with reverts(""):
        receiver.act(world.bounties.address, call(world.bounties, "withdraw", NATIVE, unpayable), sender=OUTSIDER)

    assert world.owed(receiver.address) == ETHER
    receiver.act(world.bounties.address, call(world.bounties, "withdraw", NATIVE, OUTSIDER), sender=OUTSIDER)
    assert world.owed(receiver.address) == 0


def test_receiver__withdraws_its_stake_again_while_it_is_paid__is_paid_once(world: World) -> None:
    receiver = world.chain.deploy(compiled("contracts/mocks/HookReceiver.vy"), sender=DEPLOYER)
    registry = world.stakes
    join = call(registry, "join", receiver.address, "", NATIVE)
    receiver.act(registry.address, join, sender=OUTSIDER, value=SEAT)
    stake = registry.stake_of(registry.slots() - 1)
    receiver.act(registry.address, call(registry, "request_exit", stake), sender=OUTSIDER)
    world.chain.at(world.chain.now + registry.EXIT_DELAY())
    receiver.act(registry.address, call(registry, "exit", stake), sender=OUTSIDER)
    withdraw = call(registry, "withdraw", NATIVE, receiver.address)
    receiver.set_hook(registry.address, withdraw, sender=OUTSIDER)

    receiver.act(registry.address, withdraw, sender=OUTSIDER)

    assert world.chain.balance(receiver.address) == SEAT
    assert (receiver.succeeded(), receiver.refused()) == (0, 1)


def topped_up_within_a_top_up(world: World) -> tuple[Contract, Task]:
    """Let a token add 10 to the reward from its own balance while the sponsor's 5 are being pulled."""
    hook = token(world, "HookToken")
    task = world.create(asset=hook.address, reward=REWARD)
    hook.mint(hook.address, 10, sender=DEPLOYER)
    hook.set_hook(hook.address, call(hook, "approve", world.bounties.address, 10), sender=OUTSIDER)
    hook.transfer(OUTSIDER, 0, sender=OUTSIDER)
    hook.set_hook(world.bounties.address, call(world.bounties, "top_up", task.id, 10), sender=OUTSIDER)
    world.bounties.top_up(task.id, 5, sender=SPONSOR)
    return hook, task


def test_token__tops_up_while_a_top_up_is_pulled__counts_it_once(world: World) -> None:
    hook, task = topped_up_within_a_top_up(world)

    assert hook.balanceOf(world.bounties.address) == REWARD + 5
    assert world.bounties.task(task.id)["reward"] == REWARD + 5
    assert hook.refused() == 1


def test_token__re_entry_without_the_guard__is_credited_twice(without: Callable[[Guard], World]) -> None:
    world = without(NO_CALL_WITHIN_A_CALL)
    hook, task = topped_up_within_a_top_up(world)

    assert hook.balanceOf(world.bounties.address) == REWARD + 15
    assert world.bounties.task(task.id)["reward"] == REWARD + 25


# -------------------------------------------------------------------------- fees, lies, silence, refusal


def cancelled_with_a_fee(world: World) -> tuple[Contract, Task]:
    """Cancel a task whose token keeps a hundredth of every transfer, and withdraw its reward."""
    fee = token(world, "FeeToken", 100)
    task = world.create(asset=fee.address, reward=REWARD)
    world.bounties.cancel(task.id, sender=SPONSOR)
    world.bounties.withdraw(fee.address, SPONSOR, sender=SPONSOR)
    return fee, task


def test_fee_token__sponsor_withdraws__gets_only_the_received_amount(world: World) -> None:
    fee, _ = cancelled_with_a_fee(world)
    assert fee.balanceOf(world.bounties.address) == 0
    assert fee.balanceOf(SPONSOR) == 99 * REWARD + REWARD * 99 // 100 * 99 // 100


def test_fee_token__without_the_guard__cannot_be_paid(without: Callable[[Guard], World]) -> None:
    with reverts(""):
        cancelled_with_a_fee(without(CAREFUL_PAYMENTS))


def test_fee_token__whole_bounty__pays_the_received_reward_to_the_unit(world: World) -> None:
    fee = token(world, "FeeToken", 100)
    task = world.to_settled(asset=fee.address, reward=REWARD, sealed=True)
    world.claim(task, 0, (150,))
    bond = REWARD * world.limits.sponsor_bond_bps // 10_000
    arrived = (REWARD + bond) * 99 // 100

    assert world.owed(SOLVER, fee.address) == arrived - bond
    assert world.owed(SPONSOR, fee.address) == bond
    assert fee.balanceOf(world.bounties.address) == arrived


def test_false_token__refuses_the_deposit__creates_nothing(world: World) -> None:
    false = token(world, "FalseToken")
    false.set_refuses(True, sender=DEPLOYER)
    with reverts("token: transfer failed"):
        world.create(asset=false.address, reward=REWARD)
    assert world.bounties.nonce(SPONSOR) == 0


def refusing(world: World) -> Contract:
    """Deploy a token whose transfers fail after the solver was credited with a reward in it."""
    false = token(world, "FalseToken")
    task = world.to_settled(asset=false.address, reward=REWARD)
    world.claim(task, 0, (150,))
    false.set_refuses(True, sender=DEPLOYER)
    return false


def test_false_token__refuses_the_payout__keeps_the_credit_and_pays_coin(world: World) -> None:
    false = refusing(world)

    with reverts("token: transfer failed"):
        world.bounties.withdraw(false.address, SOLVER, sender=SOLVER)

    assert world.owed(SOLVER, false.address) == REWARD
    assert world.bounties.withdraw(NATIVE, SOLVER, sender=SOLVER).result == world.bounties.bond_of(0)
    false.set_refuses(False, sender=DEPLOYER)
    assert world.bounties.withdraw(false.address, SOLVER, sender=SOLVER).result == REWARD
    assert false.balanceOf(SOLVER) == REWARD


def test_false_token__result_ignored_without_the_guard__loses_the_reward(without: Callable[[Guard], World]) -> None:
    world = without(CAREFUL_PAYMENTS)
    false = refusing(world)

    world.bounties.withdraw(false.address, SOLVER, sender=SOLVER)

    assert world.owed(SOLVER, false.address) == 0
    assert false.balanceOf(SOLVER) == 0


def test_false_token__refuses_for_ever__other_tasks_are_paid(world: World) -> None:
    refusing(world)
    other = world.to_settled()
    world.claim(other, 0, (150,))
    assert world.bounties.withdraw(NATIVE, SOLVER, sender=SOLVER).result == ETHER + 2 * world.bounties.bond_of(0)


def test_silent_token__whole_bounty__pays(world: World) -> None:
    silent = token(world, "SilentToken")
    task = world.to_settled(asset=silent.address, reward=REWARD)
    world.claim(task, 0, (150,))
    world.bounties.withdraw(silent.address, SOLVER, sender=SOLVER)
    assert silent.balanceOf(SOLVER) == REWARD


def test_no_token__an_account_without_code__creates_nothing(world: World) -> None:
    with reverts(""):
        world.create(asset=OUTSIDER, reward=REWARD)
