"""One bounty with a sealed holdout, from the first stake to the last withdrawal, step by step."""

from __future__ import annotations

from tests.evm import NATIVE
from tests.harness import ETHER, OUTSIDER, OWNER, RIVAL, SOLVER, SPONSOR, WINDOWS, World


def test_bounty__from_join_to_withdraw__pays_the_best_adapter(world: World) -> None:
    stakes, panel, bounties, chain = world.stakes, world.panel, world.bounties, world.chain

    # An owner stakes a seat and names the key that will vote for it.
    (stake,) = world.join()
    assert stakes.seat(stake)["owner"] == OWNER
    chain.at(chain.now + 1)

    # A sponsor escrows one coin and, because the holdout is sealed, a bond of a fifth of it.
    task = world.create(sealed=True)
    assert chain.balance(bounties.address) == ETHER * 12 // 10

    # Two solvers commit to adapters that nobody else can open yet. Each pays a bond and the committee's fee.
    bond, fee = ETHER // 100, 3 * 10**15
    for solver in (SOLVER, RIVAL):
        before = chain.balance(bounties.address)
        world.submit(task, solver)
        assert chain.balance(bounties.address) - before == bond + fee

    # Commits close. The randomness of a future block draws three seats.
    chain.at(task.commit_closes)
    assert world.convene(task).events(panel, "Convened")[0]["round"] == 1
    (drawn,) = world.draw(task).events(panel, "Drawn")
    assert len(drawn["slots"]) == 3

    # The seats attest that they have every file.
    world.attest(task)
    assert panel.panel(task.id)["admitted"] == 0b111

    # The sponsor reveals the holdout. The solvers, who can now compute their scores, reveal their adapters.
    assert len(world.reveal_holdout(task).events(bounties, "HoldoutRevealed")) == 1
    opened = chain.now
    for index in range(2):
        assert len(world.reveal(task, index).events(bounties, "SubmissionRevealed")) == 1

    # Each seat commits to the verdict that it computed, and then reveals it. Three of three exceed two thirds.
    chain.at(opened + WINDOWS.reveal)
    scores = [120, 180]
    verdict = world.verdict(task, scores)
    for position in range(3):
        assert len(world.commit(task, position, verdict).events(panel, "VerdictCommitted")) == 1
    chain.at(panel.round(task.id, 1)["commit_closes"])
    accepted = [world.disclose(task, position, verdict).events(panel, "Accepted") for position in range(3)]
    assert accepted == [[], [], [{"task": task.id, "round": 1, "verdict": verdict}]]

    # When the challenge window is over, anyone settles with the verdict.
    world.pass_challenge(task)
    (settled,) = world.settle(task, scores).events(bounties, "Settled")
    assert (settled["best"], settled["scores"]) == (1, scores)

    # Anyone can turn each party's part into a credit.
    for index in range(2):
        world.claim(task, index, scores)
    for position in range(3):
        (closed,) = world.close(task, position).events(panel, "VoteClosed")
        assert (closed["slashed"], closed["earned"]) == (0, 2 * fee // 3)
    owed = {SPONSOR: ETHER // 5, SOLVER: bond, RIVAL: ETHER + bond, OWNER: 2 * fee}
    assert {account: world.owed(account) for account in owed} == owed

    # Each party withdraws its credit, and nothing is left.
    for account, amount in owed.items():
        before = chain.balance(account)
        bounties.withdraw(NATIVE, account, sender=account)
        assert chain.balance(account) - before == amount
    assert chain.balance(bounties.address) == 0
    assert world.owed(OUTSIDER) == 0
