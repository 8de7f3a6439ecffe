"""Copying the commitments of others: a submission, a vote, and a verdict that was revealed too early."""

from __future__ import annotations

from collections.abc import Callable

from tests.attacks.weakened import Guard
from tests.evm import ZERO, reverts
from tests.harness import ETHER, OUTSIDER, OWNER, RESERVATION, RIVAL, SOLVER, Entry, Task, World

SOLVER_INSIDE = Guard(
    "Bounties", "SUBMISSION, chain.id, self, task, solver,", "SUBMISSION, chain.id, self, task,", "commitments"
)
STAKE_INSIDE = Guard("Panel", "task, round, stake, verdict, salt)", "task, round, verdict, salt)", "commitments")
REVEALS_AFTER_COMMITS = Guard("Panel", " and block.timestamp >= commit_closes")
ANSWERS_AFTER_THE_HOLDOUT = Guard(
    "Bounties", "        opens = (self.progress[task] >> 8) & words.LOW_48\n", "        pass\n", "tasks"
)
COMMITS_BEFORE_THE_HOLDOUT = Guard("Bounties", '    assert tasks._committing(task, head), "commit: closed"\n')


def committed_by_both(world: World) -> Task:
    """Make a task in which the rival copied the solver's commitment from the mempool and committed it first."""
    task = world.create()
    entry = world.entry(task, SOLVER)
    commitment = world.bounties.submission_commitment(task.id, SOLVER, entry.sealed, entry.plain, entry.key)
    copied = Entry(RIVAL, 0, entry.sealed, entry.plain, entry.key, commitment)
    world.submit(task, RIVAL, copied)
    world.submit(task, SOLVER, Entry(SOLVER, 1, entry.sealed, entry.plain, entry.key, commitment))
    world.seat_committee(task)
    world.attest(task)
    world.reveal(task, 1)
    return task


def test_copied_commitment__opening_public__opens_only_for_its_solver(world: World) -> None:
    task = committed_by_both(world)

    with reverts("reveal: wrong opening"):
        world.reveal(task, 0, sender=RIVAL)

    scores = (0, 150)
    world.agree(task, scores)
    world.settle(task, scores)
    world.claim(task, 0, scores)
    world.claim(task, 1, scores)
    bond = world.bounties.bond_of(0)
    assert world.owed(RIVAL) == 0
    assert world.owed(SOLVER) == ETHER + 2 * bond  # the forfeited bond of the rival is added to the reward


def test_copied_commitment__without_the_guard__pays_the_copier(without: Callable[[Guard], World]) -> None:
    world = without(SOLVER_INSIDE)
    task = committed_by_both(world)

    world.reveal(task, 0, sender=RIVAL)

    scores = (150, 150)
    world.agree(task, scores)
    world.settle(task, scores)
    world.claim(task, 0, scores)
    assert world.owed(RIVAL) == ETHER + world.bounties.bond_of(0)


def copied_vote(world: World) -> tuple[Task, bytes]:
    """Make a round in which the seat at position 1 copied the vote of position 0, which is then revealed."""
    task = world.to_judging()
    verdict = world.verdict(task, [150])
    stake = world.stakes.stake_of(world.committee(task)[0])
    vote = world.panel.vote_digest(task.id, 1, stake, verdict, world.salt(1, 0))
    for position in (0, 1):
        operator = world.operator_of(world.committee(task)[position])
        world.panel.commit_verdict(task.id, 1, position, vote, sender=operator)
    world.chain.at(world.panel.round(task.id, 1)["commit_closes"])
    world.disclose(task, 0, verdict)
    return task, verdict


def test_copied_vote__salt_public__opens_only_for_its_seat(world: World) -> None:
    task, verdict = copied_vote(world)

    with reverts("reveal: wrong vote"):
        world.panel.reveal_verdict(task.id, 1, 1, verdict, world.salt(1, 0), sender=OUTSIDER)


def test_copied_vote__without_the_guard__earns_without_work(without: Callable[[Guard], World]) -> None:
    world = without(STAKE_INSIDE)
    task, verdict = copied_vote(world)

    world.panel.reveal_verdict(task.id, 1, 1, verdict, world.salt(1, 0), sender=OUTSIDER)

    assert world.panel.votes_for(task.id, verdict, 1) == 2


def shown_early(world: World) -> Task:
    """Let position 0 commit its verdict and reveal it at once, so that position 1 can copy it without evaluating."""
    task = world.to_judging()
    verdict = world.verdict(task, [150])
    world.commit(task, 0, verdict)
    world.disclose(task, 0, verdict)
    shown = world.panel.vote(task.id, 1, 0)
    world.commit(task, 1, shown)
    return task


def test_early_vote_reveal__while_others_commit__reverts(world: World) -> None:
    with reverts("reveal: not open"):
        shown_early(world)


def test_early_vote_reveal__last_second_of_commits__reverts_until_the_next(world: World) -> None:
    task = world.to_judging()
    verdict = world.verdict(task, [150])
    world.commit(task, 0, verdict)
    closes = world.panel.round(task.id, 1)["commit_closes"]

    world.chain.at(closes - 1)
    with reverts("reveal: not open"):
        world.disclose(task, 0, verdict)

    world.chain.at(closes)
    world.disclose(task, 0, verdict)


def test_early_vote_reveal__without_the_guard__lets_another_seat_copy_it(
    without: Callable[[Guard], World],
) -> None:
    world = without(REVEALS_AFTER_COMMITS)
    task = shown_early(world)
    assert world.panel.round(task.id, 1)["committed"] == 0b11


def early_submission(world: World) -> Task:
    """Let a solver reveal its submission before the sponsor reveals the holdout."""
    task = world.to_attested(sealed=True)
    world.reveal(task, 0)
    return task


def test_early_submission_reveal__holdout_still_sealed__reverts(world: World) -> None:
    with reverts("reveal: not open"):
        early_submission(world)


def test_early_submission_reveal__without_the_guard__shows_the_adapter_to_the_sponsor(
    without: Callable[[Guard], World],
) -> None:
    world = without(ANSWERS_AFTER_THE_HOLDOUT)
    task = early_submission(world)
    assert world.scored(task) == 0b1
    assert world.bounties.task(task.id)["holdout_plain"] == ZERO


def trained_on_the_holdout(world: World) -> None:
    """Let a solver commit a submission after the holdout's key is public."""
    task = world.to_revealing(sealed=True)
    world.submit(task, RIVAL)


def test_late_commitment__holdout_public__reverts(world: World) -> None:
    with reverts("commit: closed"):
        trained_on_the_holdout(world)


def test_late_commitment__without_the_guard__is_entered(without: Callable[[Guard], World]) -> None:
    trained_on_the_holdout(without(COMMITS_BEFORE_THE_HOLDOUT))


def test_copied_vote__never_opened__costs_the_whole_reservation(world: World) -> None:
    task, _ = copied_vote(world)
    world.next_round(task)
    world.agree(task, [150], round_=2)
    world.settle(task, [150])

    (closed,) = world.close(task, 1).events(world.panel, "VoteClosed")

    assert closed["slashed"] == RESERVATION
    # the copying seat earns its share for attesting, and nothing for the verdict
    attest_share = world.bounties.brief(task.id)["attest_share"]
    assert closed["earned"] == attest_share
    assert world.owed(OWNER) == attest_share
