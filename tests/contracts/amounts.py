"""The amounts that the rules give, computed independently of the contracts, and helpers that empty an escrow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import boa
from eth_utils.crypto import keccak

from tests.evm import NATIVE, ROOT, Contract, compiled
from tests.harness import DEPLOYER, ETHER, LIMITS, OUTSIDER, OWNER, RIVAL, SOLVER, SPONSOR, Task, World

EVERYBODY = (SPONSOR, SOLVER, RIVAL, OUTSIDER, OWNER)


def bond(index: int) -> int:
    """The bond of a submission, wei; it doubles after every eight submissions."""
    return int(LIMITS.submission_bond * 2 ** (index // 8))


def sponsor_bond(reward: int) -> int:
    """The bond for a sealed holdout, in the reward's asset."""
    return int(reward * LIMITS.sponsor_bond_bps // 10_000)


def fee(task: Task) -> int:
    """The committee's fee for one submission, wei."""
    return int(task.terms["seat_fee"] * task.terms["committee"])


def attest_part(task: Task) -> int:
    """The part of a fee that pays attestations, wei."""
    return fee(task) // 5


def verdict_part(task: Task) -> int:
    """The part of a fee that pays accepted verdicts, wei."""
    return fee(task) - attest_part(task)


def credits(world: World, asset: str = NATIVE) -> dict[str, int]:
    """What the escrow owes, by account; accounts without a credit are left out."""
    return {account: owed for account in EVERYBODY if (owed := world.owed(account, asset))}


def claimed(world: World, task: Task, index: int, scores: Sequence[int] = ()) -> tuple[int, int]:
    """Claim a submission and check the event and the credits; returns the reward and the wei that were credited."""
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
    """Close every vote of every round; returns what the seats' owner was credited, wei."""
    before = world.owed(OWNER)
    world.close_all(task)
    return world.owed(OWNER) - before


def empty(world: World, *tokens: Contract) -> None:
    """Let everybody withdraw, and check that the escrow keeps exactly what was burned."""
    for asset in [NATIVE, *(token.address for token in tokens)]:
        for account in credits(world, asset):
            world.bounties.withdraw(asset, account, sender=account)
    assert world.chain.balance(world.bounties.address) == world.bounties.burned(NATIVE)
    for token in tokens:
        assert token.balanceOf(world.bounties.address) == world.bounties.burned(token.address)


def finish(
    world: World, task: Task, scores: Sequence[int] = (), tokens: Collection[Contract] = (), done: Collection[int] = ()
) -> None:
    """Claim every submission that is not in `done`, close every vote of an ended task, and empty the escrow."""
    for index in range(len(task.entries)):
        if index not in done:
            claimed(world, task, index, scores)
    paid(world, task)
    empty(world, *tokens)


def token(world: World, kind: str = "PlainToken", *arguments: Any) -> Contract:
    """Deploy a token that the sponsor and the outsider hold, and have approved for the escrow."""
    contract = world.chain.deploy(compiled(f"contracts/mocks/{kind}.vy"), *arguments, sender=DEPLOYER)
    for account in (SPONSOR, OUTSIDER):
        contract.mint(account, 1_000 * ETHER, sender=DEPLOYER)
        contract.approve(world.bounties.address, 2**256 - 1, sender=account)
    return contract


def slot_of(variable: str, key: bytes) -> int:
    """The storage slot of an entry in a map of the tasks module, for states that no test can reach by transactions."""
    layout = boa.load_partial(str(ROOT / "contracts/Bounties.vy")).compiler_data.storage_layout
    slot = layout["storage_layout"]["tasks"][variable]["slot"]
    return int.from_bytes(keccak(slot.to_bytes(32, "big") + key), "big")
