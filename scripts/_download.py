"""The files of a task that is on chain: `ape run task get`, and what scoring needs."""

from pathlib import Path
from typing import Any

import click

from scripts import _chain, _records, _state
from verifier.artifacts.policy import Policy
from verifier.cli.fetching import advice, fetching_options, policy
from verifier.cli.progress import progress_bar
from verifier.cli.solver import report
from verifier.protocol.state import TaskState
from verifier.tasks import Manifest
from verifier.tasks.download import TaskFile, TaskFolder, public_files


@click.command(cls=_chain.Command)
@click.argument("task", type=_records.TaskId())
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@fetching_options
def get(task: bytes, out: Path, **fetching: Any) -> None:
    """Download what a solver needs for TASK (an id or a record): manifest, program, practice set, rows to train on.

    Digests and the manifest's URI come from the chain, and verifiers' mirrors are tried after the sponsor's URIs. Run
    the command again to continue: files that are there are not fetched again, and no file is replaced.
    """
    state = _state.read().task(task)
    files = TaskFiles(state, out, policy(**fetching))
    wanted = public_files(files.manifest)
    report(files.manifest, out, wanted, files.require(wanted))


class TaskFiles:
    """The files of a task on chain in a folder, with the manifest checked against the terms on chain."""

    def __init__(self, state: TaskState, folder: Path, rules: Policy) -> None:
        """Fetch the manifest unless it is there. Errors: ArtifactError, ClickException for a contradiction."""
        self._folder = TaskFolder(folder, rules)
        members = (member for round_ in state.rounds for member in round_.members)
        self._mirrors = list(dict.fromkeys(member.endpoint for member in members if member.endpoint))
        with advice():
            self.manifest: Manifest = self._folder.manifest(
                state.history.manifest_uri, state.terms.manifest, self._mirrors
            )
        wrong = self.manifest.contradictions(state.terms)
        if wrong:
            raise click.ClickException(
                f"verifiers will not judge this task, because its manifest contradicts the chain: {', '.join(wrong)}"
            )

    def require(self, files: list[TaskFile]) -> list[TaskFile]:
        """Fetch the files that the folder lacks; returns them. Errors: ArtifactError, TaskError."""
        with advice(), progress_bar() as show:
            return self._folder.require([file.with_mirrors(self._mirrors) for file in files], show)
