"""Attempts to open one commitment in two ways, or to use it for another task, round, contract or chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eth_utils.crypto import keccak

from tests.attacks.weakened import Guard
from tests.contracts.conftest import SEATS
from tests.evm import reverts, word
from tests.harness import OUTSIDER, RIVAL, SOLVER, SPONSOR, Entry, World
from verifier.protocol import commitments

# Guards that reduce a commitment to the secret alone, as a naive protocol would have it.
COMMITMENTS_BIND_ALL = Guard(
    "Bounties",
    "abi_encode(SUBMISSION, chain.id, self, task, solver, sealed, plain, key)",
    "abi_encode(SUBMISSION, key)",
    "commitments",
    (
        (
            "abi_encode(HOLDOUT, chain.id, self, sponsor, nonce, sealed, plain, key)",
            "abi_encode(HOLDOUT, key)",
        ),
    ),
)
VOTE_BINDS_ALL = Guard(
    "Panel",
    "abi_encode(VOTE, chain.id, self, task, round, stake, verdict, salt)",
    "abi_encode(VOTE, salt)",
    "commitments",
)
OTHER = word("another")


def of_the_secret(kind: str, secret: bytes) -> bytes:
    """The commitment that the contracts without these guards accept."""
    return keccak(commitments.tag(kind) + secret)


# ------------------------------------------------------------------------------- ciphertext, digest and key


@pytest.mark.parametrize("exchanged", [0, 1, 2], ids=["ciphertext", "digest", "key"])
def test_solver__opens_with_another_part__is_refused(world: World, exchanged: int) -> None:
    task = world.to_revealing()
    entry = task.entries[0]
    opening = [entry.sealed, entry.plain, entry.key]
    opening[exchanged] = OTHER

    with reverts("reveal: wrong opening"):
        world.bounties.reveal_submission(task.id, 0, *opening, sender=SOLVER)


def test_solver__without_the_guard__chooses_the_adapter_after_the_holdout(
    without: Callable[[Guard], World],
) -> None:
    world = without(COMMITMENTS_BIND_ALL)
    task = world.create()
    entry = world.entry(task, SOLVER)
    world.submit(
        task, SOLVER, Entry(SOLVER, 0, entry.sealed, entry.plain, entry.key, of_the_secret("submission", entry.key))
    )
    world.seat_committee(task)
    world.attest(task)

    receipt = world.bounties.reveal_submission(task.id, 0, entry.sealed, OTHER, entry.key, sender=SOLVER)

    (revealed,) = receipt.events(world.bounties, "SubmissionRevealed")
    assert revealed["plain"] == OTHER


def announced_another(world: World) -> None:
    """Let a solver commit to one ciphertext and announce another, which the committee attests."""
    task = world.create()
    entry = world.entry(task, SOLVER)
    world.bounties.commit_submission(task.id, entry.commitment, OTHER, "", sender=SOLVER, value=world.due(task))
    task.entries.append(entry)
    world.seat_committee(task)
    world.attest(task)
    world.reveal(task, 0)


def test_solver__announces_another_ciphertext_than_committed__is_refused(world: World) -> None:
    with reverts("reveal: wrong opening"):
        announced_another(world)


@pytest.mark.parametrize("exchanged", [0, 1, 2], ids=["ciphertext", "digest", "key"])
def test_sponsor__opens_the_holdout_with_another_part__is_refused(world: World, exchanged: int) -> None:
    task = world.to_attested(sealed=True)
    assert task.holdout is not None
    opening = list(task.holdout)
    opening[exchanged] = OTHER

    with reverts("holdout: wrong opening"):
        world.bounties.reveal_holdout(task.id, *opening, sender=SPONSOR)


def test_sponsor__without_the_guard__replaces_the_holdout_after_commits(without: Callable[[Guard], World]) -> None:
    world = without(COMMITMENTS_BIND_ALL)
    key = word("key")
    task = world.to_drawn(holdout=of_the_secret("holdout", key))
    world.attest(task)

    world.bounties.reveal_holdout(task.id, word("sealed"), OTHER, key, sender=SPONSOR)

    assert world.bounties.task(task.id)["holdout_plain"] == OTHER


# ------------------------------------------------------------------------------------------------- replay


def test_submission__replayed_into_another_task__cannot_be_opened(world: World) -> None:
    first = world.to_judging()
    again = world.create()
    used = first.entries[0]
    world.submit(again, SOLVER, used)
    world.seat_committee(again)
    world.attest(again)

    with reverts("reveal: wrong opening"):
        world.reveal(again, 0)


def test_submission__without_the_guard__can_be_replayed_by_anyone(
    without: Callable[[Guard], World],
) -> None:
    world = without(COMMITMENTS_BIND_ALL)
    used = word("a key revealed in another task")
    task = world.create()
    entry = Entry(RIVAL, 0, word("sealed"), word("plain"), used, of_the_secret("submission", used))
    world.submit(task, RIVAL, entry)
    world.seat_committee(task)
    world.attest(task)

    world.reveal(task, 0)

    assert world.scored(task) == 0b1


def test_ids_and_commitments__same_content_on_another_deployment__differ(world: World) -> None:
    elsewhere = World(chain=world.chain)
    elsewhere.join(12)
    world.chain.at(world.chain.now + 1)
    here, there = world.create(), elsewhere.create()
    entry = world.entry(here, SOLVER, "the same adapter")
    opening = (SOLVER, entry.sealed, entry.plain, entry.key)

    assert here.nonce == there.nonce
    assert here.terms == there.terms
    assert here.id != there.id
    # the commitments differ even for the same task id
    assert world.bounties.submission_commitment(here.id, *opening) == entry.commitment
    assert elsewhere.bounties.submission_commitment(here.id, *opening) != entry.commitment
    arguments: list[Any] = [here.id, 1, word("stake"), word("verdict"), word("salt")]
    assert world.panel.vote_digest(*arguments) != elsewhere.panel.vote_digest(*arguments)
    scores: list[Any] = [here.id, word("inputs"), 1, [150], word("evidence")]
    assert world.panel.verdict_digest(*scores) != elsewhere.panel.verdict_digest(*scores)


@contextmanager
def on_another_chain(world: World) -> Iterator[None]:
    """Replay the same transactions on a fork that has another chain id."""
    home = world.chain.chain_id
    world.chain.chain_id = home + 1
    yield
    world.chain.chain_id = home


def test_holdout__on_another_chain__cannot_be_opened(world: World) -> None:
    task = world.to_attested(sealed=True)
    with on_another_chain(world), reverts("holdout: wrong opening"):
        world.reveal_holdout(task)


def test_submission__on_another_chain__cannot_be_opened(world: World) -> None:
    task = world.to_revealing()
    with on_another_chain(world), reverts("reveal: wrong opening"):
        world.reveal(task, 0)


def test_vote__on_another_chain__cannot_be_opened(world: World) -> None:
    task = world.to_judging()
    verdict = world.verdict(task, [150])
    world.commit(task, 0, verdict)
    world.chain.at(world.panel.round(task.id, 1)["commit_closes"])
    with on_another_chain(world), reverts("reveal: wrong vote"):
        world.disclose(task, 0, verdict)


def test_verdict__on_another_chain__settles_nothing(world: World) -> None:
    task = world.to_final()
    with on_another_chain(world), reverts("settle: not the final verdict"):
        world.settle(task, [150])


def failed_round(world: World) -> tuple[Any, bytes]:
    """Make a task whose first round failed, with all seats drawn for the second; also returns the revealed verdict."""
    task = world.to_judging(committee=SEATS // 2)
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict])
    world.next_round(task)
    return task, verdict


def test_vote__of_the_first_round_in_the_second__cannot_be_opened(world: World) -> None:
    task, verdict = failed_round(world)
    stake = world.stakes.stake_of(world.committee(task)[0])
    position = world.committee(task, 2).index(world.committee(task)[0])
    old = world.panel.vote_digest(task.id, 1, stake, verdict, world.salt(1, 0))
    operator = world.operator_of(world.committee(task, 2)[position])
    world.panel.commit_verdict(task.id, 2, position, old, sender=operator)
    world.chain.at(world.panel.round(task.id, 2)["commit_closes"])

    with reverts("reveal: wrong vote"):
        world.panel.reveal_verdict(task.id, 2, position, verdict, world.salt(1, 0), sender=OUTSIDER)


def test_vote__without_the_guard__reveals_any_verdict(without: Callable[[Guard], World]) -> None:
    world = without(VOTE_BINDS_ALL)
    task = world.to_judging()
    salt = world.salt(1, 0)
    operator = world.operator_of(world.committee(task)[0])
    world.panel.commit_verdict(task.id, 1, 0, of_the_secret("vote", salt), sender=operator)
    world.chain.at(world.panel.round(task.id, 1)["commit_closes"])

    world.panel.reveal_verdict(task.id, 1, 0, OTHER, salt, sender=OUTSIDER)

    assert world.panel.votes_for(task.id, OTHER, 1) == 1


def test_vote__delayed_until_the_next_round__does_not_bind_the_seat(world: World) -> None:
    task, verdict = failed_round(world)
    stuck = world.hidden(task, 1, verdict)
    operator = world.operator_of(world.committee(task)[1])

    with reverts("verdict: commits are closed"):
        world.panel.commit_verdict(task.id, 1, 1, stuck, sender=operator)

    assert world.panel.round(task.id, 2)["committed"] == 0


def test_verdict__of_another_task__settles_nothing(world: World) -> None:
    first = world.to_final((150,))
    second = world.to_judging(1)
    world.judge(second, [world.verdict(first, [150])] * 3)
    world.pass_challenge(second)

    with reverts("settle: not the final verdict"):
        world.settle(second, [150])
