"""Panel: how many votes accept a verdict, and when an accepted verdict is final."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evm import ZERO, reverts, word
from tests.harness import CHALLENGE_WINDOW, PARAMETERS, Task, World
from verifier.protocol import commitments
from verifier.protocol.constants import Outcome, VerdictStatus

SEATS = 12
SALT = word("some salt")


@pytest.fixture
def task(world: World) -> Task:
    """A task with one revealed submission, in the first second in which its committee of three can vote."""
    return world.to_judging()


# -------------------------------------------------------------------------------------------------- quorum

QUORUMS = {3: 3, 4: 3, 5: 4, 6: 5, 7: 5, 8: 6, 9: 7, 10: 7, 11: 8, 12: 9, 15: 11, 31: 21}


@pytest.mark.parametrize(("seats", "quorum"), QUORUMS.items())
def test_reveal_verdict__at_the_quorum__accepts(world: World, seats: int, quorum: int) -> None:
    world.join_early(max(0, seats - SEATS))
    task = world.to_judging(committee=seats)
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict] * seats, revealed=[position < quorum - 1 for position in range(seats)])
    assert world.panel.final_verdict(task.id) == (VerdictStatus.NONE, ZERO)
    receipt = world.disclose(task, quorum - 1, verdict)
    assert receipt.events(world.panel, "Accepted") == [{"task": task.id, "round": 1, "verdict": verdict}]
    assert world.panel.final_verdict(task.id) == (VerdictStatus.ACCEPTED, verdict)


def test_reveal_verdict__two_digests_below_the_quorum__nothing_is_accepted(world: World) -> None:
    task = world.to_judging(committee=6)
    one, other = world.verdict(task, [150]), world.verdict(task, outcome=Outcome.HOLDOUT_INVALID)
    world.judge(task, [one, one, one, one, other, other])
    assert (world.panel.votes_for(task.id, one, 1), world.panel.votes_for(task.id, other, 1)) == (4, 2)
    assert world.panel.final_verdict(task.id) == (VerdictStatus.NONE, ZERO)


def test_reveal_verdict__after_acceptance__counts_without_a_second_acceptance(world: World) -> None:
    task = world.to_judging(committee=4)
    verdict, other = world.verdict(task, [150]), world.verdict(task, [151])
    world.judge(task, [verdict, verdict, verdict, verdict], revealed=[True, True, True, False])
    assert world.disclose(task, 3, verdict).events(world.panel, "Accepted") == []
    assert world.panel.votes_for(task.id, verdict, 1) == 4
    assert world.panel.votes_for(task.id, other, 1) == 0
    assert world.panel.tally(task.id)["accepted_seats"] == 4


def test_commit_verdict__after_acceptance__reverts(world: World, task: Task) -> None:
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict] * 3)
    with reverts("verdict: commits are closed"):
        world.commit(task, 0, verdict)


def test_tally__same_digest_in_two_rounds__counts_each_round_for_its_quorum(world: World, task: Task) -> None:
    verdict, other = world.verdict(task, [150]), world.verdict(task, [151])
    world.judge(task, [verdict, verdict, other])
    world.next_round(task)
    world.judge(task, [verdict] * 5 + [None], revealed=[True] * 4 + [False] * 2, round_=2)
    assert world.panel.tally(task.id)["accepted_seats"] == 0
    # Six seats revealed this digest, but only four of the six seats of this round.
    assert world.panel.final_verdict(task.id) == (VerdictStatus.NONE, ZERO)
    world.disclose(task, 4, verdict, round_=2)
    assert (world.panel.votes_for(task.id, verdict, 1), world.panel.votes_for(task.id, verdict, 2)) == (2, 5)
    assert world.panel.tally(task.id) == {
        "accepted_seats": 7,
        "attesters": 3,
        "later_seats": 6,
        "rounds": 2,
        "judged_until": world.panel.round(task.id, 2)["reveal_closes"],
    }


# ------------------------------------------------------------------------------------------------ finality


def test_final_verdict__end_of_the_challenge_window__is_final_to_the_second(world: World, task: Task) -> None:
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict] * 3)
    final_at = world.panel.round(task.id, 1)["reveal_closes"] + CHALLENGE_WINDOW
    world.chain.at(final_at - 1)
    assert world.panel.final_verdict(task.id) == (VerdictStatus.ACCEPTED, verdict)
    with reverts("settle: no final verdict"):
        world.settle(task, [150])
    world.chain.at(final_at)
    assert world.panel.final_verdict(task.id) == (VerdictStatus.FINAL, verdict)
    panel = world.panel.panel(task.id)
    assert (panel["status"], panel["verdict"]) == (VerdictStatus.FINAL, verdict)
    world.settle(task, [150])


def test_final_verdict__second_round__counts_from_the_end_of_its_reveals(world: World, task: Task) -> None:
    verdict = world.verdict(task, [150])
    world.next_round(task)
    world.judge(task, [verdict] * 6, round_=2)
    world.chain.at(world.panel.round(task.id, 2)["reveal_closes"] + CHALLENGE_WINDOW - 1)
    assert world.panel.final_verdict(task.id) == (VerdictStatus.ACCEPTED, verdict)
    world.chain.at(world.chain.now + 1)
    assert world.panel.final_verdict(task.id) == (VerdictStatus.FINAL, verdict)


def test_final_verdict__no_challenge_window__still_waits_for_every_reveal() -> None:
    world = World.with_seats(3, parameters=replace(PARAMETERS, challenge_window=0))
    task = world.to_judging()
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict] * 3)
    world.chain.at(world.panel.round(task.id, 1)["reveal_closes"] - 1)
    assert world.panel.final_verdict(task.id) == (VerdictStatus.ACCEPTED, verdict)
    world.chain.at(world.chain.now + 1)
    assert world.panel.final_verdict(task.id) == (VerdictStatus.FINAL, verdict)


# -------------------------------------------------------------------------------------------------- digests


def test_digests__views__equal_what_the_verifier_computes(world: World, task: Task) -> None:
    chain, panel, stake = world.chain.chain_id, world.panel.address, world.stakes.stake_of(0)
    scores = [150, -(2**127), 2**96 - 1, 0]
    inputs, evidence = word("inputs"), word("evidence")
    verdict = commitments.verdict(chain, panel, task.id, inputs, 1, scores, evidence)
    assert world.panel.verdict_digest(task.id, inputs, 1, scores, evidence) == verdict
    vote = commitments.vote(chain, panel, task.id, 2, stake, verdict, SALT)
    assert world.panel.vote_digest(task.id, 2, stake, verdict, SALT) == vote
