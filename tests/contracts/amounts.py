"""Amounts as the rules state them, computed apart from the contracts, and the emptying of an escrow of ended tasks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import boa
from eth_utils.crypto import keccak

from tests.evm import NATIVE, ROOT, Contract, compiled
from tests.harness import DEPLOYER, ETHER, LIMITS, OWNER, RIVAL, SOLVER, SPONSOR, STRANGER, Task, World

EVERYBODY = (SPONSOR, SOLVER, RIVAL, STRANGER, OWNER)


def bond(index: int) -> int:
    """Bond of a submission, wei: doubles every eighth."""
    return int(LIMITS.submission_bond * 2 ** (index // 8))


def sponsor_bond(reward: int) -> int:
    """What a sealed holdout costs if its key is kept, in the reward's asset."""
    return int(reward * LIMITS.sponsor_bond_bps // 10_000)


def fee(task: Task) -> int:
    """What one submission pays the committee, wei."""
    return int(task.terms["seat_fee"] * task.terms["committee"])


def attest_part(task: Task) -> int:
    """Part of a fee that attesting earns."""
    return fee(task) // 5


def verdict_part(task: Task) -> int:
    """Part of a fee that accepted verdicts earn."""
    return fee(task) - attest_part(task)


def credits(world: World, asset: str = NATIVE) -> dict[str, int]:
    """What the escrow owes, by account; those it owes nothing left out."""
    return {account: owed for account in EVERYBODY if (owed := world.owed(account, asset))}


def claimed(world: World, task: Task, index: int, scores: Sequence[int] = ()) -> tuple[int, int]:
    """Claim a submission: the reward and the wei that it brought. Checks the event, the credits and that it is once."""
    entry, asset = task.entries[index], task.terms["asset"]
    before = world.owed(entry.solver, asset), world.owed(entry.solver)
    (event,) = world.claim(task, index, scores).events(world.bounties, "SubmissionClaimed")
    reward, native = event["reward"], event["native"]
    assert event == {"task": task.id, "solver": entry.solver, "index": index, "reward": reward, "native": native}
    of_asset, of_native = world.owed(entry.solver, asset) - before[0], world.owed(entry.solver) - before[1]
    assert (of_asset, of_native) == ((reward + native,) * 2 if asset == NATIVE else (reward, native))
    assert world.bounties.submission(task.id, index)["claimed"]
    return int(reward), int(native)


def paid(world: World, task: Task) -> int:
    """Close every vote of every round; what the seats' owner was credited, wei."""
    before = world.owed(OWNER)
    world.close_all(task)
    return world.owed(OWNER) - before


def empty(world: World, *tokens: Contract) -> None:
    """Let everybody withdraw: the escrow is left with what was burned, to the wei."""
    for asset in [NATIVE, *(token.address for token in tokens)]:
        for account in credits(world, asset):
            world.bounties.withdraw(asset, account, sender=account)
    assert world.chain.balance(world.bounties.address) == world.bounties.burned(NATIVE)
    for token in tokens:
        assert token.balanceOf(world.bounties.address) == world.bounties.burned(token.address)


def finish(
    world: World, task: Task, scores: Sequence[int] = (), tokens: Collection[Contract] = (), done: Collection[int] = ()
) -> None:
    """Claim what is not `done` and close everything of an ended task, then empty the escrow."""
    for index in range(len(task.entries)):
        if index not in done:
            claimed(world, task, index, scores)
    paid(world, task)
    empty(world, *tokens)


def token(world: World, kind: str = "PlainToken", *arguments: Any) -> Contract:
    """A token of which the sponsor and the stranger have plenty, and have approved it."""
    contract = world.chain.deploy(compiled(f"contracts/mocks/{kind}.vy"), *arguments, sender=DEPLOYER)
    for account in (SPONSOR, STRANGER):
        contract.mint(account, 1_000 * ETHER, sender=DEPLOYER)
        contract.approve(world.bounties.address, 2**256 - 1, sender=account)
    return contract


def slot_of(variable: str, key: bytes) -> int:
    """Storage slot of an entry of one of the tasks module's maps, for states that no test can afford to reach."""
    layout = boa.load_partial(str(ROOT / "contracts/Bounties.vy")).compiler_data.storage_layout
    slot = layout["storage_layout"]["tasks"][variable]["slot"]
    return int.from_bytes(keccak(slot.to_bytes(32, "big") + key), "big")
