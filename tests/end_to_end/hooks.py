"""Services that misbehave on purpose: `python -m tests.end_to_end.hooks HOOK run --config FILE`.

The package itself has no such code: a hook replaces one function in its own process and then runs the ordinary command.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from verifier.chain.transactions import Sender
from verifier.cli.main import main
from verifier.execution import sandbox
from verifier.execution.sandbox import Sandbox
from verifier.service.actions import Actions
from verifier.service.evaluations import Evaluations
from verifier.service.journal import Journal


def die(*_: Any) -> Any:
    """End this process as a power failure would."""
    os.kill(os.getpid(), signal.SIGKILL)


def lie() -> None:
    """Report scores that are one higher than the computed ones."""
    honest = Sandbox.execute

    def dishonest(*arguments: Any) -> Any:
        judgement = honest(*arguments)
        return dataclasses.replace(judgement, scores=tuple(score + 1 for score in judgement.scores))

    Sandbox.execute = dishonest  # type: ignore[method-assign]


def die_after_evaluation() -> None:
    """Die when the verdict is computed and not yet stored."""
    Evaluations._record = die  # type: ignore[method-assign]


def die_after_journal() -> None:
    """Die when the vote is in the journal and not yet sent."""
    recorded = Journal.record_vote

    def record_and_die(*arguments: Any) -> Any:
        recorded(*arguments)
        die()

    Journal.record_vote = record_and_die  # type: ignore[method-assign]


def die_after_commit_sent() -> None:
    """Die when the commitment is sent and its result is unknown."""
    submit = Sender.submit

    def submit_and_die(self: Sender, key: str, call: Any) -> Any:
        change = submit(self, key, call)
        if key.startswith("commit:"):
            die()
        return change

    Sender.submit = submit_and_die  # type: ignore[method-assign]


def die_before_reveal() -> None:
    """Die when the commitment is confirmed, before the reveal is sent."""
    Actions._reveal = die  # type: ignore[method-assign]


def crash_in_the_child() -> None:
    """Kill the child process of every evaluation."""
    sandbox._watch = lambda child, on_batch: os.killpg(child.pid, signal.SIGKILL)


HOOKS: dict[str, Callable[[], None]] = {
    hook.__name__: hook
    for hook in (
        lie,
        die_after_evaluation,
        die_after_journal,
        die_after_commit_sent,
        die_before_reveal,
        crash_in_the_child,
    )
}

if __name__ == "__main__":
    HOOKS[sys.argv.pop(1)]()
    main()
