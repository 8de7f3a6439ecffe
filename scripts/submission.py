"""The commands of a solver: commit, score, reveal, decline.

ape run submission commit --network ethereum:sepolia --account NAME --task 0x… --sealed sealed.json --uri https://… …
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ape
import click

from scripts import _chain, _published, _records, _scoring, _sealed, _state, _units, _wait
from verifier.artifacts import digests, sealing, tensors
from verifier.artifacts.errors import FetchError, Misfit
from verifier.artifacts.policy import Policy
from verifier.cli.fetching import fetching_options
from verifier.protocol import commitments
from verifier.protocol.constants import MAX_URI_CHARACTERS, Phase
from verifier.protocol.history import Submission
from verifier.protocol.state import TaskState
from verifier.tasks import Manifest
from verifier.tasks.judge import read_tensors

RECORD = click.option("--record", type=_chain.FILE, required=True, help="The record that `commit` wrote.")


@click.group()
def cli() -> None:
    """Submit to a task: commit to a sealed file, score it, and reveal or decline it after the holdout is revealed."""


cli.add_command(_scoring.score)


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.option("--task", type=_records.TaskId(), required=True, help="The task's id, or the path of its record.")
@click.option(
    "--sealed", "sealed_file", type=_chain.FILE, required=True, help="JSON that `touchstone seal` printed for it."
)
@click.option("--uri", required=True, help="Where verifiers can fetch the sealed file, from now until the task ends.")
@fetching_options
@click.option(
    "--out",
    type=_chain.NEW_FILE,
    required=True,
    help="Where to write the submission's record, which `reveal` and `decline` need. It is written before anything is "
    "sent; to continue after an interruption, run the same command again.",
)
def commit(
    alias: str,
    passphrase_file: Path | None,
    yes: bool,
    task: bytes,
    sealed_file: Path,
    uri: str,
    allow_hosts: Sequence[str],
    ipfs_gateway: str | None,
    out: Path,
) -> None:
    """Commit to a sealed submission; its content stays secret.

    You pay at once: a bond, which is returned if you reveal or decline in time or if verifiers could not fetch the
    file, and the committee's fee, which is not returned. Before anything is sent, the sealed file is fetched from its
    URI and compared with what the task takes.
    """
    if len(uri) > MAX_URI_CHARACTERS or not uri.isascii():
        raise click.BadParameter(f"a URI has at most {MAX_URI_CHARACTERS} ASCII characters", param_hint="--uri")
    sealed = _sealed.load(sealed_file)
    bounties = _chain.deployed().bounties
    signer = _chain.Signer(alias, passphrase_file, yes)
    snapshot = _state.read()
    state = snapshot.task(task)
    _chain.check_commitment(bounties, "submission_commitment", commitments.submission, task, signer.address)
    chain_id = ape.chain.chain_id
    commitment = commitments.submission(
        chain_id, bounties.address, task, signer.address, sealed.sealed, sealed.plain, sealed.key()
    )
    record = {
        "record": "submission",
        "network": _chain.network(),
        "chain_id": chain_id,
        "bounties": bounties.address,
        "task": digests.to_hex(task),
        "solver": signer.address,
        "commitment": digests.to_hex(commitment),
        "sealed": digests.to_hex(sealed.sealed),
        "plain": digests.to_hex(sealed.plain),
        "key_file": _records.beside(out, sealed.key_file),
    }
    there = next((item for item in state.history.submissions if item.commitment == commitment), None)
    if there is not None:
        _records.write(out, record)
        click.echo(f"already committed as submission {there.index}; the record is {out}")
        return
    now = snapshot.block.timestamp
    closes = state.commit_closes
    if state.view.phase != Phase.COMMITTING:
        raise click.ClickException(f"it is too late to commit: the task is {state.view.phase.text}")
    _look(state, sealed, uri, _published.policy(allow_hosts, ipfs_gateway))
    bond, fee = bounties.bond_of(state.view.submissions), bounties.fee(task)
    signer.confirm(
        f"commit to task 0x{task.hex()}\n  the window ends {_units.moment(closes, now)}",
        [("bond", bond, "returned if you reveal or decline"), ("fee", fee, "for the committee, not returned")],
    )
    _records.write(out, record)
    receipt = signer.send(bounties.commit_submission, task, commitment, sealed.sealed, uri, value=bond + fee)
    index = next(iter(receipt.decode_logs(bounties.SubmissionCommitted))).index
    click.echo(f"committed as submission {index}; the record is {out}")
    score = f"ape run submission score {_chain.network_option()} --record {out} --submission FILE --files DIR --wait"
    click.echo(f"next, when the holdout's key is on chain: {score}")


def _look(state: TaskState, sealed: _sealed.SealedRecord, uri: str, rules: Policy) -> None:
    """Check that the sealed file is a submission to the task, and that verifiers can fetch it.

    Errors: ClickException saying what is wrong, or which file cannot be fetched.
    """
    terms = state.terms
    manifest_file = _published.PublishedFile("manifest", terms.manifest, None, (state.history.manifest_uri,))
    with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
        store = Path(folder)
        try:
            manifest = Manifest.from_bytes(_published.fetched(manifest_file, rules, store), terms.manifest)
        except FetchError as error:
            raise click.ClickException(
                f"the task's manifest cannot be fetched, so verifiers may cancel the task: {error}. On a local "
                "network, name its host with --allow-host."
            ) from error
        wrong = manifest.contradictions(terms)
        if wrong:
            raise click.ClickException(
                f"verifiers will not judge this task: its manifest contradicts it on chain ({', '.join(wrong)})"
            )
        size = tensors.size(manifest.submission_schema)
        if sealed.file.stat().st_size != size:
            raise click.ClickException(
                f"{sealed.file} has {sealed.file.stat().st_size} bytes, and a submission to this task has {size}: seal "
                "what `touchstone pack` wrote for it"
            )
        try:
            read_tensors(sealed.opened(), manifest.submission_schema)
        except Misfit as error:
            raise click.ClickException(
                f"{sealed.file} does not contain a submission to this task: {error}. Seal what `touchstone pack` wrote "
                "for it"
            ) from error
        _published.require([_published.PublishedFile("sealed submission", sealed.sealed, size, (uri,))], rules, store)


@cli.command(cls=_chain.Command)
@_chain.account_options
@RECORD
@_wait.WAIT
def reveal(alias: str, passphrase_file: Path | None, yes: bool, record: Path, wait: bool) -> None:
    """Publish the submission's key, after the holdout is revealed. From then on anyone can read the submission.

    Score it on the holdout first (`ape run submission score`): a submission that does not pass can be declined and
    stays private.
    """
    fields = _records.read(record, "submission")
    snapshot, state, item = _due(fields, wait)
    if item is None:
        return
    bounties = _chain.deployed().bounties
    sealed, plain = (digests.from_hex(fields[name]) for name in ("sealed", "plain"))
    key = sealing.read_key(_records.resolve(record, fields["key_file"]))
    opened = commitments.submission(
        fields["chain_id"], bounties.address, state.id, fields["solver"], sealed, plain, key
    )
    if opened != item.commitment:
        raise click.ClickException(
            "the key or the record does not belong to this submission: they do not open its commitment"
        )
    signer = _chain.Signer(alias, passphrase_file, yes)
    signer.confirm(_action("reveal", state, item, snapshot.block.timestamp))
    signer.send(bounties.reveal_submission, state.id, item.index, sealed, plain, key)
    click.echo(f"revealed submission {item.index}; `ape run withdraw --wait` pays out when the task ends")


@cli.command(cls=_chain.Command)
@_chain.account_options
@RECORD
@_wait.WAIT
def decline(alias: str, passphrase_file: Path | None, yes: bool, record: Path, wait: bool) -> None:
    """Withdraw the submission instead of revealing it: it stays private, and the bond is returned."""
    fields = _records.read(record, "submission")
    snapshot, state, item = _due(fields, wait)
    if item is None:
        return
    signer = _chain.Signer(alias, passphrase_file, yes)
    signer.confirm(_action("decline", state, item, snapshot.block.timestamp))
    signer.send(_chain.deployed().bounties.decline, state.id, item.index)
    click.echo(f"declined submission {item.index}; `ape run withdraw --wait` pays out the bond when the task ends")


def _due(fields: dict[str, Any], wait: bool) -> tuple[_state.Snapshot, TaskState, Submission | None]:
    """The recorded submission, if it can be revealed or declined now; None if that is done.

    The simulation of a reveal sends the key to the node, so everything else is checked first. Errors: ClickException.
    """
    task = digests.from_hex(fields["task"])
    snapshot = _wait.for_phase(task, Phase.REVEALING, wait, "submissions can be revealed")
    state = snapshot.task(task)
    commitment = bytes.fromhex(fields["commitment"][2:])
    item = next((entry for entry in state.history.submissions if entry.commitment == commitment), None)
    if item is None:
        raise click.ClickException(
            "this submission was recorded but never committed: run `ape run submission commit` again"
        )
    for answer, bitmap in (("revealed", state.view.revealed), ("declined", state.view.declined)):
        if bitmap >> item.index & 1:
            click.echo(f"submission {item.index} is already {answer}")
            return snapshot, state, None
    if state.view.phase != Phase.REVEALING:
        closes, now = state.reveal_closes, snapshot.block.timestamp
        if closes is not None and now >= closes:
            raise click.ClickException(
                f"it is too late: the window to reveal or decline ended {_units.moment(closes, now)}"
            )
        raise click.ClickException(
            f"submissions cannot be revealed or declined now: the task is {state.view.phase.text}"
        )
    if not state.awaits_answer(item.index):
        raise click.ClickException(
            f"submission {item.index} was not admitted, because most of the committee could not fetch it; its bond is "
            "returned when the task ends"
        )
    return snapshot, state, item


def _action(verb: str, state: TaskState, item: Submission, now: int) -> str:
    closes = state.reveal_closes
    due = "" if closes is None else f", due {_units.moment(closes, now)}"
    return f"{verb} submission {item.index} of task 0x{state.id.hex()}{due}"
