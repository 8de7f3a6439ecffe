"""Panel: committing hidden votes and revealing them."""

from __future__ import annotations

import pytest

from tests.evm import ZERO, reverts, word
from tests.harness import OPERATOR, OUTSIDER, OWNER, RIVAL, SOLVER, WINDOWS, Task, World

UNKNOWN = word("no such task")
VOTE = word("a hidden vote")
SALT = word("some salt")


@pytest.fixture
def task(world: World) -> Task:
    """A task with one revealed submission, in the first second in which its committee of three can vote."""
    return world.to_judging()


def stake_at(world: World, task: Task, position: int, round_: int = 1) -> bytes:
    return bytes(world.stakes.stake_of(world.committee(task, round_)[position]))


# -------------------------------------------------------------------------------------------------- commit


def test_commit_verdict__end_of_the_solvers_window__opens_to_the_second(world: World) -> None:
    task = world.to_revealing()
    world.reveal(task, 0)
    opens = world.panel.panel(task.id)["closed_at"] + WINDOWS.reveal
    assert world.panel.round(task.id, 1)["opens"] == opens
    world.chain.at(opens - 1)
    with reverts("verdict: not open"):
        world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=OPERATOR)
    world.chain.at(opens)
    receipt = world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=OPERATOR)
    assert receipt.events(world.panel, "VerdictCommitted") == [
        {"task": task.id, "stake": stake_at(world, task, 0), "round": 1, "vote": VOTE}
    ]
    assert world.panel.vote(task.id, 1, 0) == VOTE
    round_ = world.panel.round(task.id, 1)
    commit_closes = opens + WINDOWS.verdict_commit
    assert (round_["opens"], round_["commit_closes"]) == (opens, commit_closes)
    assert (round_["reveal_closes"], round_["committed"]) == (commit_closes + WINDOWS.verdict_reveal, 0b001)


def test_commit_verdict__nobody_revealed_a_submission__never_opens(world: World) -> None:
    task = world.to_revealing()
    world.chain.at(world.chain.now + 10_000)
    with reverts("verdict: not open"):
        world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=OPERATOR)
    assert world.panel.round(task.id, 1)["opens"] == 0


def test_commit_verdict__end_of_the_window__closes_to_the_second(world: World, task: Task) -> None:
    world.chain.at(world.panel.round(task.id, 1)["commit_closes"] - 1)
    world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=OPERATOR)
    world.chain.at(world.chain.now + 1)
    with reverts("verdict: commits are closed"):
        world.panel.commit_verdict(task.id, 1, 1, VOTE, sender=OPERATOR)


def test_commit_verdict__round_that_was_not_drawn__reverts(world: World, task: Task) -> None:
    for id_, round_ in ((UNKNOWN, 1), (task.id, 0), (task.id, 2)):
        with reverts("verdict: not drawn"):
            world.panel.commit_verdict(id_, round_, 0, VOTE, sender=OPERATOR)


def test_commit_verdict__twice__the_first_vote_stands(world: World, task: Task) -> None:
    world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=OPERATOR)
    for vote in (VOTE, word("a second thought")):
        with reverts("verdict: already committed"):
            world.panel.commit_verdict(task.id, 1, 0, vote, sender=OPERATOR)
    assert world.panel.vote(task.id, 1, 0) == VOTE


def test_commit_verdict__empty_wrong_seat_or_wrong_key__reverts(world: World, task: Task) -> None:
    with reverts("verdict: empty vote"):
        world.panel.commit_verdict(task.id, 1, 0, ZERO, sender=OPERATOR)
    for position in (3, 8, 2**255):
        with reverts("panel: not a seat"):
            world.panel.commit_verdict(task.id, 1, position, VOTE, sender=OPERATOR)
    for sender in (OWNER, OUTSIDER):
        with reverts("panel: not the operator"):
            world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=sender)


def test_commit_verdict__first_rounds_vote_sent_in_the_second__reverts(world: World, task: Task) -> None:
    world.next_round(task)
    with reverts("verdict: commits are closed"):
        world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=OPERATOR)
    world.panel.commit_verdict(task.id, 2, 0, VOTE, sender=OPERATOR)
    assert (world.panel.vote(task.id, 1, 0), world.panel.vote(task.id, 2, 0)) == (ZERO, VOTE)


def test_commit_verdict__second_round__opens_at_its_draw(world: World, task: Task) -> None:
    world.next_round(task)
    world.panel.commit_verdict(task.id, 2, 5, VOTE, sender=OPERATOR)
    world.chain.at(world.chain.now + WINDOWS.verdict_commit - 1)
    world.panel.commit_verdict(task.id, 2, 4, VOTE, sender=OPERATOR)
    world.chain.at(world.chain.now + 1)
    with reverts("verdict: commits are closed"):
        world.panel.commit_verdict(task.id, 2, 3, VOTE, sender=OPERATOR)
    assert world.panel.round(task.id, 2)["committed"] == 0b110000


def test_commit_verdict__key_rotated_before_the_reveal__vote_stays_the_seats(world: World, task: Task) -> None:
    verdict = world.verdict(task, [150])
    world.commit(task, 0, verdict)
    world.stakes.set_operator(stake_at(world, task, 0), RIVAL, sender=OWNER)
    world.stakes.set_operator(stake_at(world, task, 1), RIVAL, sender=OWNER)
    with reverts("verdict: already committed"):
        world.panel.commit_verdict(task.id, 1, 0, VOTE, sender=RIVAL)
    hidden = world.hidden(task, 1, verdict)
    with reverts("panel: not the operator"):
        world.panel.commit_verdict(task.id, 1, 1, hidden, sender=OPERATOR)
    world.panel.commit_verdict(task.id, 1, 1, hidden, sender=RIVAL)
    world.chain.at(world.panel.round(task.id, 1)["commit_closes"])
    world.disclose(task, 0, verdict)
    world.disclose(task, 1, verdict)
    assert world.panel.votes_for(task.id, verdict, 1) == 2


# -------------------------------------------------------------------------------------------------- reveal


def test_reveal_verdict__start_of_the_window__is_counted_and_readable(world: World, task: Task) -> None:
    verdict = world.verdict(task, [150])
    world.commit(task, 1, verdict)
    commit_closes = world.panel.round(task.id, 1)["commit_closes"]
    world.chain.at(commit_closes - 1)
    with reverts("reveal: not open"):
        world.disclose(task, 1, verdict)
    world.chain.at(commit_closes)
    receipt = world.panel.reveal_verdict(task.id, 1, 1, verdict, world.salt(1, 1), sender=SOLVER)
    assert receipt.events(world.panel, "VerdictRevealed") == [
        {"task": task.id, "stake": stake_at(world, task, 1), "round": 1, "verdict": verdict}
    ]
    assert receipt.events(world.panel, "Accepted") == []
    assert world.panel.vote(task.id, 1, 1) == verdict
    assert world.panel.round(task.id, 1)["revealed"] == 0b010
    assert world.panel.votes_for(task.id, verdict, 1) == 1
    assert world.panel.votes_for(task.id, verdict, 2) == 0


def test_reveal_verdict__end_of_the_window__closes_to_the_second(world: World, task: Task) -> None:
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict] * 3, revealed=[False] * 3)
    world.chain.at(world.panel.round(task.id, 1)["reveal_closes"] - 1)
    world.disclose(task, 0, verdict)
    world.chain.at(world.chain.now + 1)
    with reverts("reveal: closed"):
        world.disclose(task, 1, verdict)


def test_reveal_verdict__other_than_what_was_committed__reverts(world: World, task: Task) -> None:
    verdict, other = world.verdict(task, [150]), world.verdict(task, [151])
    world.judge(task, [verdict, verdict, None], revealed=[False] * 3)
    for position, said, salt in (
        (0, other, world.salt(1, 0)),
        (0, verdict, SALT),
        (0, verdict, world.salt(1, 1)),  # another seat's opening
        (2, verdict, world.salt(1, 2)),  # it committed nothing
    ):
        with reverts("reveal: wrong vote"):
            world.panel.reveal_verdict(task.id, 1, position, said, salt, sender=OPERATOR)


def test_reveal_verdict__vote_for_nothing__cannot_be_opened(world: World, task: Task) -> None:
    world.judge(task, [ZERO, None, None], revealed=[False] * 3)
    with reverts("reveal: empty verdict"):
        world.disclose(task, 0, ZERO)


def test_reveal_verdict__twice_or_outside_the_committee__reverts(world: World, task: Task) -> None:
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict, None, None])
    with reverts("reveal: already revealed"):
        world.disclose(task, 0, verdict)
    for position in (3, 8, 2**255):
        with reverts("panel: not a seat"):
            world.panel.reveal_verdict(task.id, 1, position, verdict, SALT, sender=OPERATOR)


def test_reveal_verdict__round_not_drawn_or_without_votes__reverts(world: World, task: Task) -> None:
    for id_, round_ in ((UNKNOWN, 1), (task.id, 2)):
        with reverts("verdict: not drawn"):
            world.panel.reveal_verdict(id_, round_, 0, VOTE, SALT, sender=OPERATOR)
    world.chain.at(world.panel.round(task.id, 1)["commit_closes"])
    with reverts("reveal: not open"):
        world.panel.reveal_verdict(task.id, 1, 0, VOTE, SALT, sender=OPERATOR)
