"""The demo follows its task to the end on every path: another round, a cancellation, no verdict at all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from scripts.demo.follow import ending, follow
from scripts.demo.market import Market
from scripts.demo.shell import DemoError, Shell
from tests.end_to_end.world import CHALLENGE_S, WINDOW_S, Committed, World
from verifier.chain.client import Client
from verifier.chain.contracts import Contracts
from verifier.chain.header import encode_header
from verifier.protocol.constants import Phase
from verifier.protocol.state import TaskState

# The last stages that are seen: a service that does the rest within one look at the chain leaves only the first.
ENDS = {"the services settle the task", "the services claim and close the votes"}


class Watched:
    """A demo that follows the current task of a world in a thread of its own."""

    def __init__(self, world: World, folder: Path, act: Callable[[TaskState], None] = lambda state: None) -> None:
        self.console = Console(file=StringIO(), width=200)
        contracts = Contracts.connect(Client(world.node.url), world.bounties.address)
        market = Market(contracts, Shell(self.console, folder, {}), world.task)
        self.ended: Future[TaskState] = ThreadPoolExecutor(1).submit(follow, market, act)

    def stages(self) -> list[str]:
        """The stages that are over, without the seconds that they took."""
        assert isinstance(self.console.file, StringIO)
        return [line.strip().rpartition(": done after")[0] for line in self.console.file.getvalue().splitlines()]


def draw_again(world: World) -> None:
    """Convene and draw the next round, as anyone may."""
    panel, client = world.panel.functions, Client(world.node.url)
    world.send(world.sponsor, panel.convene(world.task))
    target = world.panel_view().target_block
    world.node.mine(3)
    world.send(world.sponsor, panel.draw(world.task, encode_header(client.block(target).header)))


def seen(watched: Watched, world: World, stage: str) -> None:
    world.wait_for(lambda: watched.ended.done() or any(stage in each for each in watched.stages()), f"seen: {stage}")


def test_follow__verifier_misses_round_1__ends_with_the_verdict_of_round_2(
    committed_world: Committed, tmp_path: Path
) -> None:
    world, verifier, entry = committed_world.world, committed_world.verifier, committed_world.entry
    acted: list[Phase] = []

    def act(state: TaskState) -> None:
        if state.view.phase is Phase.HOLDOUT and Phase.HOLDOUT not in acted:
            world.reveal_holdout()
        elif state.view.phase is Phase.REVEALING and Phase.REVEALING not in acted:
            world.reveal(entry)
        acted.append(state.view.phase)

    watched = Watched(world, tmp_path, act)
    world.to_drawn()
    world.to_attested(1)
    verifier.kill()  # as a machine that is too slow to evaluate before the window ends
    world.wait_for(lambda: world.view().revealed, "the submission is revealed")
    world.node.advance_to(world.round(1).reveal_closes)
    seen(watched, world, "reveal window")
    verifier.start()
    world.wait_for(lambda: world.panel_view().round == 2, "round 2 is convened")
    world.node.mine(3)
    world.wait_for(lambda: world.round(2).committed, "a vote in round 2")
    world.node.advance_to(world.round(2).commit_closes)
    world.wait_for(lambda: world.round(2).revealed, "a reveal in round 2")
    world.node.advance_to(world.round(2).reveal_closes + CHALLENGE_S)
    state = watched.ended.result(timeout=120)
    assert ending(state) == "the task was settled in round 2: submission 0 is the best"
    assert "round 1 ends without a verdict (0 of 1 seats revealed one), and round 2 is drawn" in watched.stages()
    assert watched.stages()[-1] in ENDS


def test_follow__sponsor_keeps_the_key__ends_with_the_cancellation(committed_world: Committed, tmp_path: Path) -> None:
    world = committed_world.world
    phases: list[Phase] = []
    watched = Watched(world, tmp_path, lambda state: phases.append(state.view.phase))
    world.to_drawn()
    world.to_attested(1)
    world.wait_for(lambda: Phase.HOLDOUT in phases, "the demo waits for the holdout's key")
    world.node.advance_to(world.panel_view().closed_at + WINDOW_S)
    state = watched.ended.result(timeout=120)
    assert ending(state) == "the task was cancelled: the sponsor kept the holdout's key"
    assert "the sponsor reveals the holdout" in watched.stages()
    assert watched.stages()[-1] in {"the sponsor reveals the holdout", *ENDS}


def test_follow__three_rounds_without_a_vote__says_that_the_machine_is_too_slow(
    committed_world: Committed, tmp_path: Path
) -> None:
    world, verifier, entry = committed_world.world, committed_world.verifier, committed_world.entry
    world.to_drawn()
    world.to_attested(1)
    world.to_judging(entry)
    verifier.kill()
    for number in (1, 2, 3):
        if number > 1:
            draw_again(world)
        world.node.advance_to(world.round(number).reveal_closes)
    watched = Watched(world, tmp_path)
    with pytest.raises(
        DemoError, match="^none of 3 rounds reached a verdict: 0 of 1 seats revealed one. The verifiers"
    ):
        watched.ended.result(timeout=60)


def test_follow__nobody_commits__ends_with_the_cancellation(world: World, tmp_path: Path) -> None:
    verifier = world.add_verifier("only")
    world.create_task(committee=1)
    verifier.start()

    def act(state: TaskState) -> None:
        if state.view.phase is Phase.CONVENING:  # the services leave it to the sponsor, who alone gets something back
            world.send(world.sponsor, world.bounties.functions.cancel(world.task))

    watched = Watched(world, tmp_path, act)
    world.node.advance_to(world.view().created_at + WINDOW_S)
    assert ending(watched.ended.result(timeout=120)) == "the task was cancelled: nobody submitted"
    assert "nobody committed in time, and the sponsor cancels the task" in watched.stages()
