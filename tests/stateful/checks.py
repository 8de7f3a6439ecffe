"""The eight invariants of the design, checked on the contracts after every step or at the end of an example."""

from __future__ import annotations

from collections import defaultdict

from tests.evm import NATIVE
from tests.harness import EXIT_DELAY, RESERVATION
from tests.stateful import endings, progress, seat_moves
from tests.stateful.case import Case
from tests.stateful.stage import JURY, OUTSIDER, PEOPLE, Stage
from verifier.protocol.constants import Ground, Outcome, Phase, VerdictStatus

# Upper bound of the steps that end a task: convening, drawing and timing out three rounds takes fewer.
MAX_STEPS = 60


def after_every_step(stage: Stage) -> None:
    money(stage)
    seats(stage)
    verdicts(stage)


def money(stage: Stage) -> None:
    """Invariant 1: in every asset, a contract holds exactly what it owes, has burned, and holds in escrow or stakes."""
    for asset, name in stage.asset_names.items():
        kept = sum(case.escrow(asset) for case in stage.cases)
        held = stage.balance(stage.bounties, asset)
        assert held == stage.ledger.held[asset] == stage.ledger.owed(asset) + kept, name
        assert stage.bounties.burned(asset) == stage.ledger.burned[asset], name
    for asset, account in stage.ledger.touched:
        assert stage.bounties.credit(asset, account) == stage.ledger.credits[asset, account]
    stage.ledger.touched.clear()

    books = stage.registry.ledger
    held = stage.balance(stage.stakes, NATIVE)
    assert held == books.held[NATIVE] == books.owed(NATIVE) + stage.registry.staked()
    assert stage.stakes.burned(NATIVE) == books.burned[NATIVE]
    for asset, account in books.touched:
        assert stage.stakes.credit(asset, account) == books.credits[asset, account]
    books.touched.clear()


def seats(stage: Stage) -> None:
    """Invariant 2: a stake is its free part plus its reservations, and a slash takes at most one reservation."""
    for seat in stage.registry.touched:
        if not seat.gone:
            view = stage.stakes.seat(seat.stake)
            assert (view["balance"], view["reserved"]) == (seat.balance, seat.reserved)
            assert (view["slot"], view["operator"], view["exit_at"]) == (seat.slot, seat.operator, seat.exit_at)
            assert view["balance"] >= view["reserved"]
    stage.registry.touched.clear()


def verdicts(stage: Stage) -> None:
    """Invariant 6: an accepted verdict was revealed by more than two thirds of the drawn seats, and stays accepted."""
    for case in stage.live():
        assert stage.bounties.phase(case.task.id) == case.phase(stage.now)
        if case.accepted is not None:
            round_ = case.rounds[-1]
            assert 3 * len(round_.shown(case.accepted)) > 2 * len(round_.seats)
            status, verdict = stage.panel.final_verdict(case.task.id)
            expected = VerdictStatus.FINAL if case.is_final(stage.now) else VerdictStatus.ACCEPTED
            assert (status, verdict) == (expected, case.accepted)
        elif case.rounds:
            assert stage.panel.final_verdict(case.task.id) == (VerdictStatus.NONE, bytes(32))


def at_the_end(stage: Stage) -> None:
    """Invariants 4, 5, 7 and 8: open calls and time end every task, and then every amount can be withdrawn."""
    for case in stage.cases:
        for _ in range(MAX_STEPS):
            if progress.is_over(case):
                break
            progress.step(stage, case, None)
        assert progress.is_over(case), f"{case} does not end"
        money(stage)
        reward(stage, case)
        copies(stage, case)
        assert not case.escrow(NATIVE)
        assert not case.escrow(case.asset)
    for seat in list(stage.jury_holds):
        seat_moves.jury_release(stage, seat, RESERVATION // 3)
    staying = stage.registry.active()
    for seat in staying:
        seat_moves.request_exit(stage, seat, seat.owner)
    stage.chain.at(stage.now + EXIT_DELAY - 1)
    seat_moves.leave(stage, staying[0], staying[0].owner)  # the contract refuses it
    stage.chain.at(stage.now + 1)
    for seat in stage.registry.present():
        seat_moves.leave(stage, seat, seat.owner)
    for account in [*PEOPLE, JURY]:
        for asset in stage.asset_names:
            if stage.ledger.credits[asset, account]:
                seat_moves.withdraw(stage, stage.bounties, stage.ledger, account, account, asset)
            assert stage.bounties.credit(asset, account) == 0
        if stage.registry.ledger.credits[NATIVE, account]:
            seat_moves.withdraw(stage, stage.stakes, stage.registry.ledger, account, OUTSIDER)
    after_every_step(stage)
    for asset in stage.asset_names:
        assert stage.balance(stage.bounties, asset) == stage.bounties.burned(asset)
    assert stage.balance(stage.stakes, NATIVE) == stage.stakes.burned(NATIVE)
    assert stage.stakes.active_seats() == 0


def reward(stage: Stage, case: Case) -> None:
    """Invariant 4, and payouts + remainders + burns = reward, according to the end that the contract reports."""
    view = stage.bounties.task(case.task.id)
    if not view["revealed"]:
        return
    if view["phase"] == Phase.SETTLED:
        assert case.ending is not None
        won = sum(amount for amount, _ in case.ending.claims)
        passing = [endings.passes(case, i, score) for i, score in enumerate(case.ending.scores)]
        assert won == (case.reward if any(passing) else 0)
    else:
        assert view["ground"] in (Ground.HOLDOUT_INVALID, Ground.PROGRAM_INVALID, Ground.TERMINAL)


def copies(stage: Stage, case: Case) -> None:
    """Invariant 8: without the copies of earlier passing adapters, the settlement would pay no solver less."""
    ending = case.ending
    if ending is None or (ending.phase, ending.outcome) != (Phase.SETTLED, Outcome.SCORED):
        return
    scores = ending.scores
    copied = [
        i
        for i, entry in enumerate(case.submissions)
        if any(
            earlier.entry.plain == entry.entry.plain and scores[j] == scores[i] and endings.passes(case, j, scores[j])
            for j, earlier in enumerate(case.submissions[:i])
        )
    ]
    if not copied:
        return
    stage.counts.seen["settle: copies"] += 1
    lost = endings.forfeited(case)
    with_copies: dict[str, int] = defaultdict(int)
    without: dict[str, int] = defaultdict(int)
    shares = endings.weights(case, scores, without=copied)
    rewards = endings.divide(case.reward, shares, scores)
    bonds = endings.divide(sum(bond for i, bond in enumerate(lost) if i not in copied), shares, scores)
    own = endings.divide(sum(lost), endings.weights(case, scores), scores)
    for i, entry in enumerate(case.submissions):
        # Wei and the asset are compared separately; the bond that a copy forfeited is its own loss.
        with_copies[entry.solver] += ending.claims[i][0]
        without[entry.solver] += rewards[i]
        assert own[i] >= bonds[i]
        if i in copied:
            assert ending.claims[i][0] == 0
            assert ending.claims[i][1] <= entry.bond
    for solver, amount in with_copies.items():
        assert amount <= without[solver]
