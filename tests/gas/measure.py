"""Measure the gas of the protocol's transactions.

`python -m tests.gas.measure --check` compares with the snapshot, `--write` renews it. A figure is the gas of a whole
transaction: 21,000, calldata and execution, minus refunds. All parties have used the contracts before, so the sponsor's
nonce and the credits of solvers and seats are not written for the first time. The committee has the default fifteen
seats, and URIs have realistic lengths. For the transactions of one kind in a task there are three figures: the first,
the median and the most expensive; the first differs because it writes storage that the others share.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median_low
from typing import Any

import vyper

from tests.evm import NATIVE, compiled
from tests.harness import DEPLOYER, ETHER, OWNER, SEAT, SOLVER, SPONSOR, Task, World
from verifier.protocol.constants import FREE_ROUNDS, MAX_SUBMISSIONS, RewardPolicy

SNAPSHOT = Path(__file__).with_name("snapshot.json")

COMMITTEE = 15
LARGEST_COMMITTEE = 31

ONE = "sealed holdout, native reward, one submission"
EIGHT = "sealed holdout, native reward, ladder of eight"
# The gas that the median transaction must not exceed, by scenario and function.
LIMITS = {
    (ONE, "create_task"): 250_000,
    (EIGHT, "commit_submission"): 100_000,
    (ONE, "attest"): 60_000,
    (ONE, "reveal_submission"): 60_000,
    (ONE, "commit_verdict"): 60_000,
    (ONE, "reveal_verdict"): 80_000,
    (ONE, "settle"): 120_000,
    (ONE, "claim_submission"): 60_000,
}
# The gas that every transaction of the protocol must stay below, for the largest tasks as well.
MAX_GAS = 1_000_000

Figures = dict[str, dict[str, int]]


def measure() -> dict[str, Any]:
    """Measure every scenario: the compiler, and by scenario and function the first, the median and the largest gas."""
    world = World.with_seats(3 * LARGEST_COMMITTEE)
    token = world.chain.deploy(compiled("contracts/mocks/PlainToken.vy"), sender=DEPLOYER)
    token.mint(SPONSOR, 10**6 * ETHER, sender=SPONSOR)
    token.approve(world.bounties.address, 2**256 - 1, sender=SPONSOR)
    for asset in (NATIVE, token.address):  # the first transactions of every party, which are not measured
        _whole(world, asset=asset)
    scenarios = {
        ONE: lambda: _whole(world),
        "public set, native reward, one submission": lambda: _whole(world, sealed=False),
        "sealed holdout, token reward, one submission": lambda: _whole(world, asset=token.address),
        EIGHT: lambda: _whole(world, range(100, 108), policy=RewardPolicy.LADDER),
        "64 submissions, three rounds of 31, 62 and 63 seats": lambda: _largest(world),
        "seats and withdrawals": lambda: _seats(world),
    }
    return {
        "compiler": f"vyper {vyper.__version__}",
        "gas": {name: _figures(world, scenario) for name, scenario in scenarios.items()},
    }


def _figures(world: World, scenario: Callable[[], None]) -> Figures:
    seen: dict[str, list[int]] = {}
    world.chain.on_send = lambda name, receipt: seen.setdefault(name, []).append(receipt.gas)
    scenario()
    world.chain.on_send = lambda name, receipt: None
    return {name: {"first": gas[0], "median": median_low(gas), "max": max(gas)} for name, gas in seen.items()}


def _whole(world: World, scores: Any = (150,), **changes: Any) -> None:
    """Play one task from escrow to the last claim."""
    scores = list(scores)
    task = world.to_settled(scores, **{"committee": COMMITTEE, "sealed": True, "reserve": ETHER // 10} | changes)
    _close(world, task, scores)


def _largest(world: World) -> None:
    """Play the largest possible task: two rounds in which no two seats agree, and a third that accepts."""
    task = world.to_judging(MAX_SUBMISSIONS, committee=LARGEST_COMMITTEE, policy=RewardPolicy.LADDER, reserve=ETHER)
    scores = list(range(100, 100 + MAX_SUBMISSIONS))
    for number in range(1, FREE_ROUNDS + 1):
        if number > 1:
            world.next_round(task, number - 1)
        seats = len(world.committee(task, number))
        lies = [world.verdict(task, [seat] * MAX_SUBMISSIONS) for seat in range(seats)]
        world.judge(task, [world.verdict(task, scores)] * seats if number == FREE_ROUNDS else lies, round_=number)
    world.pass_challenge(task, FREE_ROUNDS)
    world.settle(task, scores)
    _close(world, task, scores)


def _close(world: World, task: Task, scores: list[int]) -> None:
    for index in range(len(task.entries)):
        world.claim(task, index, scores)
    world.close_all(task)


def _seats(world: World) -> None:
    (stake,) = world.join()
    world.stakes.set_operator(stake, SOLVER, sender=OWNER)
    world.stakes.request_exit(stake, sender=OWNER)
    world.chain.at(world.chain.now + world.stakes.EXIT_DELAY())
    world.stakes.exit(stake, sender=OWNER)
    assert world.owed(OWNER, contract=world.stakes) == SEAT
    world.stakes.withdraw(NATIVE, OWNER, sender=OWNER)
    world.bounties.withdraw(NATIVE, SOLVER, sender=SOLVER)


def differences(measured: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """List each figure that differs from the snapshot, one line each; the compiler is one of them."""
    new, old = _flat(measured), _flat(kept)
    return [
        f"{name}: {old.get(name)} in the snapshot, {new.get(name)} now"
        for name in [*new, *(name for name in old if name not in new)]
        if new.get(name) != old.get(name)
    ]


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{path}{name} / ") if isinstance(value, dict) else {path + name: value}
    return leaves


def _table(figures: dict[str, Any]) -> str:
    lines = []
    for scenario, functions in figures["gas"].items():
        lines.append(f"\n{scenario:52}{'first':>10}{'median':>10}{'max':>11}")
        lines += [f"  {name:50}" + "".join(f"{gas:10,}" for gas in kinds.values()) for name, kinds in functions.items()]
    return "\n".join([figures["compiler"], *lines])


def main() -> None:
    """Measure and print the figures; compare them with the snapshot or write it."""
    if sys.argv[1:] not in ([], ["--check"], ["--write"]):
        sys.exit("usage: python -m tests.gas.measure [--check | --write]")
    measured = measure()
    print(_table(measured))
    if "--write" in sys.argv:
        SNAPSHOT.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    elif "--check" in sys.argv:
        changed = differences(measured, json.loads(SNAPSHOT.read_text("utf-8")))
        if changed:
            sys.exit("\n".join(["", *changed, "renew it with `python -m tests.gas.measure --write`"]))


if __name__ == "__main__":
    main()
