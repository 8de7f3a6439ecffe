"""`ape run submission score`: what a submission scores, and what follows from it, before its key is revealed."""

from pathlib import Path
from typing import Any

import click

from scripts import _chain, _download, _records, _units, _wait
from verifier.artifacts import digests
from verifier.cli.fetching import fetching_options, policy
from verifier.cli.progress import progress_bar
from verifier.cli.solver import installed_kind
from verifier.protocol.constants import Phase, RewardPolicy
from verifier.protocol.history import Submission
from verifier.protocol.state import TaskState
from verifier.tasks import EvaluationLimits
from verifier.tasks.case import SealedFile
from verifier.tasks.download import public_files, sealed_holdout
from verifier.tasks.errors import TaskError
from verifier.tasks.judge import Score
from verifier.tasks.judge import score as score_file
from verifier.tasks.manifest import PRACTICE_FILE, PROGRAM_FILE, SEALED_FILE, Manifest
from verifier.tasks.thresholds import on_the_other_set, threshold_on_practice


@click.command(cls=_chain.Command)
@click.option("--task", type=_records.TaskId(), help="The task's id, or the path of its record.")
@click.option("--record", type=_chain.FILE, help="Instead of --task: the record that `commit` wrote.")
@click.option("--submission", type=_chain.FILE, required=True, help="What `touchstone pack` wrote.")
@click.option(
    "--files",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The folder of the task's files, as `ape run task get` makes it. What it lacks is downloaded.",
)
@_wait.WAIT
@fetching_options
def score(task: bytes | None, record: Path | None, submission: Path, files: Path, wait: bool, **fetching: Any) -> None:
    """Score a submission as the verifiers will: on the holdout when its key is on chain, before that on practice.

    Nothing is sent, and nothing about the submission leaves this machine. With --wait it waits for the holdout's key.
    """
    if (task is None) == (record is None):
        raise click.UsageError("give --task or --record")
    if record is not None:
        fields = _records.read(record, "submission")
        task = digests.from_hex(fields["task"])
        _check_committed(submission, fields)
    assert task is not None
    snapshot = _wait.for_phase(task, Phase.REVEALING, wait, "the holdout's key is on chain")
    state, now = snapshot.task(task), snapshot.block.timestamp
    there = _download.TaskFiles(state, files, policy(**fetching))
    manifest = there.manifest
    opening = state.history.holdout
    wanted = [file for file in public_files(manifest) if file.name in (PROGRAM_FILE, PRACTICE_FILE)]
    there.require(wanted if opening is None else [*wanted, sealed_holdout(manifest)])
    examples: Path | SealedFile = files / PRACTICE_FILE
    if opening is not None:
        examples = SealedFile(files / SEALED_FILE, opening.sealed, opening.plain, opening.key)
    found = _score(manifest, submission, files / PROGRAM_FILE, examples)
    _print(manifest, state, found, opening is not None)
    _print_next(state, _own(state, record), record, now)


def _score(manifest: Manifest, submission: Path, program: Path, examples: Path | SealedFile) -> Score:
    """Errors: TaskError, which names the holdout when the revealed key does not open it."""
    sealed = isinstance(examples, SealedFile)
    try:
        with progress_bar() as show:
            return score_file(
                manifest,
                submission,
                program,
                examples,
                sealed=sealed,
                limits=EvaluationLimits.of_this_machine(),
                on_batch=lambda done, total: show("evaluate", done, total),
            )
    except TaskError as error:
        if sealed and SEALED_FILE in str(error):
            raise TaskError(
                f"the sponsor revealed a holdout that is not valid, and the committee will cancel the task: {error}"
            ) from error
        raise


def _check_committed(submission: Path, fields: dict[str, Any]) -> None:
    """Check that the file is the one that the record's commitment is about. Errors: ClickException."""
    found = digests.to_hex(digests.digest_file(submission))
    if found != fields["plain"]:
        raise click.ClickException(
            f"{submission} is not the file that was committed: its digest is {found}, the record says {fields['plain']}"
        )


def _own(state: TaskState, record: Path | None) -> Submission | None:
    if record is None:
        return None
    commitment = digests.from_hex(_records.read(record, "submission")["commitment"])
    return next((item for item in state.history.submissions if item.commitment == commitment), None)


def _print(manifest: Manifest, state: TaskState, found: Score, sealed: bool) -> None:
    terms = state.terms
    decides = sealed or manifest.holdout is None
    kind = installed_kind(manifest)
    reads = f"{found.score:,} {manifest.metric.unit}, {found.count:,} examples"
    if kind is not None:
        reads = kind.describe(found.score, found.count, manifest)
    click.echo(f"score      {reads}, on {'the holdout' if sealed else 'the practice set'}")
    if decides:
        over = found.score - terms.threshold
        verdict = f"passes by {over:,}" if over >= 0 else f"fails by {-over:,}"
        click.echo(f"threshold  {terms.threshold:,}: this submission {verdict}")
    else:
        click.echo(f"threshold  {threshold_on_practice(manifest, terms.threshold)}")
    if terms.policy is RewardPolicy.LADDER:
        over = found.score - terms.baseline
        remark = f": this submission is {over:,} above it" if decides else ""
        click.echo(
            f"baseline   {terms.baseline:,}{remark}; the ladder pays what a score adds to it and to earlier ones"
        )
    if state.history.scores:
        best = state.view.best
        click.echo(f"best       submission {best} with {state.history.scores[best]:,}")
    elif decides:
        click.echo("best       not known before the committee's verdict")
    click.echo(f"scale      {on_the_other_set(manifest, found.score, sealed=sealed)}")


def _print_next(state: TaskState, own: Submission | None, record: Path | None, now: int) -> None:
    """Print what to type next, as far as the state of the task says."""
    base = f"{_chain.network_option()} --account NAME"
    closes = state.reveal_closes
    if own is None and state.view.phase == Phase.COMMITTING:
        until = _units.moment(state.commit_closes, now)
        click.echo(f"next       seal it and commit until {until}: touchstone seal, touchstone publish, then")
        click.echo(f"           ape run submission commit {base} --task 0x{state.id.hex()} …")
    elif own is not None and state.view.phase < Phase.REVEALING:
        click.echo("next       wait for the holdout's key: run this command again with --wait")
    elif own is not None and state.view.phase == Phase.REVEALING and state.awaits_answer(own.index):
        assert closes is not None
        click.echo(f"next       until {_units.moment(closes, now)}, either publish it or keep it private:")
        click.echo(f"           ape run submission reveal {base} --record {record}")
        click.echo(f"           ape run submission decline {base} --record {record}")
    elif own is not None:
        click.echo(f"next       ape run withdraw {base} --wait")
