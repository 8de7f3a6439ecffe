"""Bounties: committing submissions."""

from __future__ import annotations

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.contracts import amounts
from tests.evm import ZERO, reverts, word
from tests.harness import LIMITS, OUTSIDER, RIVAL, SOLVER, SPONSOR, WINDOWS, World
from verifier.protocol import commitments

WORK = WINDOWS.verdict_commit * LIMITS.reference_rate


def entry_hash(commitment: bytes, sealed: bytes) -> bytes:
    return bytes(keccak(encode(["bytes32", "bytes32"], [commitment, sealed])))


def test_commit_submission__while_commits_are_open__is_entered_and_logged(world: World) -> None:
    task = world.create()
    entry = world.entry(task, SOLVER)
    due = amounts.bond(0) + amounts.fee(task)
    assert world.due(task) == due
    receipt = world.bounties.commit_submission(
        task.id, entry.commitment, entry.sealed, "https://a.example/c", sender=SOLVER, value=due
    )
    assert receipt.result == 0
    assert receipt.events(world.bounties, "SubmissionCommitted") == [
        {
            "task": task.id,
            "solver": SOLVER,
            "index": 0,
            "commitment": entry.commitment,
            "sealed": entry.sealed,
            "uri": "https://a.example/c",
        }
    ]
    assert world.bounties.submission(task.id, 0) == {
        "solver": SOLVER,
        "entry": entry_hash(entry.commitment, entry.sealed),
        "admitted": False,
        "revealed": False,
        "declined": False,
        "claimed": False,
    }
    assert world.bounties.task(task.id)["submissions"] == world.bounties.brief(task.id)["submissions"] == 1
    assert amounts.credits(world) == {}
    with reverts("submission: unknown"):
        world.bounties.submission(task.id, 1)


def test_commit_submission__last_second_and_the_next__closes(world: World) -> None:
    task = world.create()
    world.chain.at(task.commit_closes - 1)
    world.submit(task)
    world.chain.at(task.commit_closes)
    with reverts("commit: closed"):
        world.submit(task)


def test_commit_submission__cancelled_task__reverts(world: World) -> None:
    task = world.create()
    world.bounties.cancel(task.id, sender=SPONSOR)
    with reverts("commit: closed"):
        world.bounties.commit_submission(task.id, word("c"), word("s"), "", sender=SOLVER, value=10**18)


def test_commit_submission__empty_commitment__reverts(world: World) -> None:
    task = world.create()
    with reverts("commit: empty commitment"):
        world.bounties.commit_submission(task.id, ZERO, word("s"), "", sender=SOLVER, value=world.due(task))


def test_commit_submission__one_wei_off__reverts_or_credits_it_back(world: World) -> None:
    task = world.create()
    due = world.due(task)
    with reverts("commit: too little sent"):
        world.bounties.commit_submission(task.id, word("c"), word("s"), "", sender=SOLVER, value=due - 1)
    world.bounties.commit_submission(task.id, word("c"), word("s"), "", sender=SOLVER, value=due + 1)
    assert amounts.credits(world) == {SOLVER: 1}


def test_commit_submission__more_than_the_macs_allow__task_is_full(world: World) -> None:
    task = world.create(macs=WORK // 2)
    world.submit(task)
    world.submit(task)
    with reverts("commit: task is full"):
        world.submit(task)


def test_commit_submission__64_submissions__each_pays_its_bond_and_the_65th_reverts(world: World) -> None:
    task = world.create()
    for index in range(64):
        entry = world.entry(task, (SOLVER, RIVAL)[index % 2])
        due = amounts.bond(index) + amounts.fee(task)
        with reverts("commit: too little sent"):
            world.bounties.commit_submission(
                task.id, entry.commitment, entry.sealed, "", sender=entry.solver, value=due - 1
            )
        world.submit(task, entry.solver, entry)
        assert world.bounties.submission(task.id, index)["solver"] == entry.solver
    with reverts("commit: task is full"):
        world.submit(task)
    escrowed = 10**18 + sum(amounts.bond(index) for index in range(64)) + 64 * amounts.fee(task)
    assert world.chain.balance(world.bounties.address) == escrowed


def test_root__every_submission__is_rolled_in_commit_order(world: World) -> None:
    task = world.create()
    entries = [world.submit(task, solver).commitment for solver in (SOLVER, RIVAL, SOLVER)]
    assert world.bounties.root(task.id) == commitments.root(entries) != commitments.root(entries[::-1])


def test_inputs__submissions_revealed__bind_set_root_and_scored(world: World) -> None:
    for sealed in (False, True):
        task = world.to_revealing(2, sealed=sealed)
        world.reveal(task, 1)
        set_ = task.holdout[1] if task.holdout else task.terms["practice"]
        root = commitments.root(entry.commitment for entry in task.entries)
        assert world.bounties.inputs(task.id) == commitments.inputs(task.id, set_, root, 0b10)


def test_submission_commitment__of_contract_and_package__are_equal(world: World) -> None:
    task = world.create()
    parts = (word("sealed"), word("plain"), word("key"))
    ours = commitments.submission(world.chain.chain_id, world.bounties.address, task.id, SOLVER, *parts)
    assert world.bounties.submission_commitment(task.id, SOLVER, *parts) == ours
    assert world.bounties.submission_commitment(task.id, OUTSIDER, *parts) != ours
