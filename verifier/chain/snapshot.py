"""Reads the state of one task at one block, from its events and from calls of the contracts' views."""

from __future__ import annotations

from verifier.chain.client import Block
from verifier.chain.contracts import Contracts
from verifier.protocol.constants import Phase
from verifier.protocol.history import History
from verifier.protocol.state import Round, TaskState


def read_task(contracts: Contracts, history: History, task: bytes, block: Block) -> TaskState:
    """The state of a task at that block; `history` must hold the events up to it. Errors: Unreachable, Reverted."""
    at = block.number
    known = history.tasks[task]
    view = contracts.task(task, at)
    rounds = tuple(
        Round(number, contracts.round(task, number, at), history.members(task, number))
        for number in sorted(known.committees)
    )
    return TaskState(
        history=known,
        view=view,
        panel=contracts.panel_of(task, at),
        rounds=rounds,
        inputs=contracts.inputs(task, at) if view.phase == Phase.JUDGING else bytes(32),
        delays=contracts.delays,
    )
