"""The commands about a task: create, top-up, reveal-holdout, cancel for its sponsor, get for solvers.

ape run task create --network ethereum:sepolia --account NAME --manifest task/manifest.json --manifest-uri https://… …
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ape
import click

from scripts import _chain, _download, _other_tasks, _published, _records, _sealed, _state, _terms, _units, _wait
from verifier.artifacts import digests, sealing
from verifier.artifacts.policy import Policy
from verifier.cli.fetching import fetching_options
from verifier.protocol import commitments
from verifier.protocol.constants import MAX_URI_CHARACTERS, NATIVE, Ground, Phase
from verifier.tasks import Manifest, find_kind, load_manifest, read_settings


@click.group()
def cli() -> None:
    """Sponsor a task: escrow a reward for a submission that reaches a score. Solvers `get` its files."""


cli.add_command(_download.get)


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.option("--manifest", "manifest_file", type=_chain.FILE, required=True, help="The task's manifest.json.")
@click.option("--manifest-uri", required=True, help="Where verifiers and solvers fetch the manifest.")
@click.option(
    "--holdout",
    "holdout_file",
    type=_chain.FILE,
    help="JSON that `touchstone seal` printed for the holdout; leave it out if the practice set is evaluated.",
)
@_terms.options
@fetching_options
@click.option(
    "--out",
    type=_chain.NEW_FILE,
    required=True,
    help="Where to write the task's record, which `reveal-holdout` needs. It is written before anything is sent; to "
    "continue after an interruption, run the same command again.",
)
def create(
    alias: str,
    passphrase_file: Path | None,
    yes: bool,
    manifest_file: Path,
    manifest_uri: str,
    holdout_file: Path | None,
    out: Path,
    allow_hosts: Sequence[str],
    ipfs_gateway: str | None,
    **chosen: Any,
) -> None:
    """Create a task and escrow its reward.

    The manifest names the program, the sets and the costs; the options are everything else. You pay at once: the
    reward; with a sealed holdout a bond, which is lost if you do not reveal the holdout's key in time; and the reserve.
    The manifest, the program, the practice set and the sealed holdout must stay reachable from now on. Each is fetched
    from each of its URIs before anything is sent.
    """
    if len(manifest_uri) > MAX_URI_CHARACTERS or not manifest_uri.isascii():
        raise click.BadParameter(
            f"a URI has at most {MAX_URI_CHARACTERS} ASCII characters", param_hint="--manifest-uri"
        )
    manifest = load_manifest(manifest_file)
    kind = find_kind(manifest.kind)
    read_settings(kind.settings, kind.name, manifest)
    holdout = None if holdout_file is None else _sealed.load(holdout_file)
    _check_holdout(manifest, holdout)
    deployed = _chain.deployed()
    signer = _chain.Signer(alias, passphrase_file, yes)
    offer = _terms.choose(deployed, manifest, **chosen)

    bounties = deployed.bounties
    record = _recorded(out, manifest)
    if record is not None and bounties.phase(record["task"]):
        click.echo(f"the task {record['task']}, which {out} records, exists already")
        return
    _look(manifest, manifest_uri, holdout, offer, _published.policy(allow_hosts, ipfs_gateway))
    # Called by name, because an ape contract has an attribute `nonce` of its own.
    nonce = bounties.call_view_method("nonce", signer.address)
    chain_id = ape.chain.chain_id
    commitment = commitments.ZERO
    if holdout is not None:
        _chain.check_commitment(bounties, "holdout_commitment", commitments.holdout, signer.address, nonce)
        commitment = commitments.holdout(
            chain_id, bounties.address, signer.address, nonce, holdout.sealed, holdout.plain, holdout.key()
        )
    program, practice = digests.from_hex(manifest.program.digest), digests.from_hex(manifest.practice.digest)
    task = commitments.task(
        chain_id, bounties.address, signer.address, nonce, manifest.digest(), program, practice, commitment
    )
    bond = _terms.bond(deployed, offer) if holdout is not None else 0
    action = f"create task 0x{task.hex()}: {manifest.title}\n  {_terms.describe(offer, bond)}"
    signer.confirm(action, _terms.payments(offer, bond))
    _records.write(
        out,
        {
            "record": "task",
            "network": _chain.network(),
            "chain_id": chain_id,
            "bounties": bounties.address,
            "sponsor": signer.address,
            "nonce": nonce,
            "task": digests.to_hex(task),
            "manifest": digests.to_hex(manifest.digest()),
            "holdout": None
            if holdout is None
            else {
                "sealed": digests.to_hex(holdout.sealed),
                "plain": digests.to_hex(holdout.plain),
                "key_file": _records.beside(out, holdout.key_file),
            },
        },
    )
    if offer.token is not None:
        _terms.approve(signer, offer.token, bounties.address, offer.reward + bond)
    value = offer.reserve if offer.token is not None else offer.reward + bond + offer.reserve
    argument = offer.argument(manifest, commitment)
    receipt = signer.send(bounties.create_task, argument, manifest_uri, value=value)
    created = next(iter(receipt.decode_logs(bounties.TaskCreated)))
    if bytes(created.task) != task:
        # The holdout's commitment binds the sponsor's nonce, so it cannot be opened for a task with another nonce.
        raise click.ClickException(
            f"you created another task at the same time, so 0x{bytes(created.task).hex()} is not the task that {out} "
            "records, and a sealed holdout of it could not be revealed: run `ape run task cancel` for it now, before "
            "anybody commits, and create it again with another --out"
        )
    began = bounties.task(task).created_at
    closes = _units.moment(began + offer.windows.commit, began)
    click.echo(f"task 0x{task.hex()}\nsolvers can commit until {closes}; the record is {out}")


@cli.command("top-up", cls=_chain.Command)
@_chain.account_options
@click.argument("task", type=_records.TaskId())
@click.option("--amount", type=_units.Coins(), help="Coins to add.")
@click.option(
    "--amount-units",
    type=click.IntRange(1),
    help="Amount to add in the smallest unit of the token, if the reward is in a token.",
)
def top_up(
    alias: str, passphrase_file: Path | None, yes: bool, task: bytes, amount: int | None, amount_units: int | None
) -> None:
    """Add to the reward of TASK (an id or a record) while solvers can commit. Anyone may.

    If no submission passes, the sponsor gets it with the rest of the reward.
    """
    bounties = _chain.deployed().bounties
    token = _state.read().task(task).terms.asset
    native = token == NATIVE
    added = amount if native else amount_units
    if added is None or None not in (amount, amount_units):
        wanted = "coins: give --amount" if native else f"the token {token}: give --amount-units"
        raise click.UsageError(f"the reward of this task is in {wanted}")
    signer = _chain.Signer(alias, passphrase_file, yes)
    paid = [("reward", added, "the sponsor gets it if no submission passes")] if native else []
    shown = f"{_units.coins(added)} coins" if native else f"{added} of the smallest unit of the token"
    signer.confirm(f"add {shown} to the reward of task 0x{task.hex()}", paid)
    if not native:
        _terms.approve(signer, token, bounties.address, added)
    signer.send(bounties.top_up, task, added, value=added if native else 0)
    reward = bounties.task(task).reward
    click.echo(f"the reward is now {_units.coins(reward)} coins" if native else f"the reward is now {reward} units")


@cli.command("reveal-holdout", cls=_chain.Command)
@_chain.account_options
@click.option("--record", type=_chain.FILE, required=True, help="The record that `create` wrote.")
@_wait.WAIT
def reveal_holdout(alias: str, passphrase_file: Path | None, yes: bool, record: Path, wait: bool) -> None:
    """Publish the key of the sealed holdout, after the committee has attested. If you do not, you lose the bond.

    From then on anyone can read the holdout, and solvers decide whether to reveal their submissions.
    """
    fields = _records.read(record, "task")
    if fields["holdout"] is None:
        raise click.UsageError("this task has no sealed holdout: its practice set is evaluated")
    bounties = _chain.deployed().bounties
    task = digests.from_hex(fields["task"])
    snapshot = _wait.for_phase(task, Phase.HOLDOUT, wait, "the holdout can be revealed")
    state = snapshot.task(task)
    if state.view.holdout_revealed_at:
        click.echo("the holdout is already revealed")
        return
    # The simulation sends the key to the node, so everything else is checked first.
    closes = state.holdout_closes
    if state.view.phase != Phase.HOLDOUT or closes is None or not state.own_files_admitted:
        raise click.ClickException(f"the holdout cannot be revealed now: the task is {state.view.phase.text}")
    now = snapshot.block.timestamp
    if now >= closes:
        raise click.ClickException(f"the holdout was due {_units.moment(closes, now)}: it is too late")
    sealed, plain = (digests.from_hex(fields["holdout"][name]) for name in ("sealed", "plain"))
    key = sealing.read_key(_records.resolve(record, fields["holdout"]["key_file"]))
    opened = commitments.holdout(
        fields["chain_id"], bounties.address, fields["sponsor"], fields["nonce"], sealed, plain, key
    )
    if opened != state.terms.holdout:
        raise click.ClickException(
            "the key or the record does not belong to this task: they do not open its commitment"
        )
    signer = _chain.Signer(alias, passphrase_file, yes)
    signer.confirm(f"reveal the holdout of task 0x{task.hex()}, due {_units.moment(closes, now)}")
    signer.send(bounties.reveal_holdout, task, sealed, plain, key)
    due = now + state.terms.windows.reveal
    click.echo(f"revealed; solvers can reveal or decline until about {_units.moment(due, now)}")


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.argument("task", type=_records.TaskId())
def cancel(alias: str, passphrase_file: Path | None, yes: bool, task: bytes) -> None:
    """End TASK (an id or a record) that is not wanted any more or cannot go on.

    The sponsor may cancel until somebody commits, and gets everything back. Anyone may cancel when nobody submitted, no
    committee was drawn, the sponsor's files were not available, the sponsor kept the holdout's key, or the terminal
    rule applies because nothing was settled for too long.
    """
    bounties = _chain.deployed().bounties
    signer = _chain.Signer(alias, passphrase_file, yes)
    signer.confirm(f"cancel task 0x{task.hex()}")
    receipt = signer.send(bounties.cancel, task)
    ground = next(iter(receipt.decode_logs(bounties.Cancelled))).ground
    click.echo(f"cancelled: {Ground(ground).text}; `ape run withdraw` pays out what was returned")


def _look(
    manifest: Manifest,
    manifest_uri: str,
    holdout: _sealed.SealedRecord | None,
    offer: _terms.Offer,
    rules: Policy,
) -> None:
    """Look at the task as solvers and verifiers will, and print what the sponsor should know before paying.

    Errors: ClickException when a file cannot be fetched or a holdout is known already; BadParameter for the threshold.
    """
    with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
        store = Path(folder)
        remarks = _published.require(_published.files_of(manifest, manifest_uri), rules, store / "own")
        practice = store / "own" / digests.from_hex(manifest.practice.digest).hex()
        remarks += _terms.check_scores(manifest, offer, practice if holdout is None else holdout.opened())
        plain = None if holdout is None else holdout.plain
        remarks += _other_tasks.compare(_state.read(), manifest, plain, rules, store / "others")
    for remark in remarks:
        click.secho(f"warning: {remark}", fg="yellow")


def _check_holdout(manifest: Manifest, holdout: _sealed.SealedRecord | None) -> None:
    """Check that the sealed file is the one that the manifest names. Errors: BadParameter."""
    if (manifest.holdout is None) != (holdout is None):
        needs = "names a sealed holdout: give its JSON" if holdout is None else "has no holdout: leave this option out"
        raise click.BadParameter(f"the manifest {needs}", param_hint="--holdout")
    if (
        manifest.holdout is not None
        and holdout is not None
        and (found := digests.to_hex(holdout.sealed)) != (named := manifest.holdout.sealed_digest)
    ):
        raise click.BadParameter(f"the manifest names the sealed file {named}, this is {found}", param_hint="--holdout")


def _recorded(out: Path, manifest: Manifest) -> dict[str, Any] | None:
    """The record that already exists, if it belongs to this manifest. Errors: UsageError."""
    if not out.exists():
        return None
    record = _records.read(out, "task")
    if record["manifest"] != digests.to_hex(manifest.digest()):
        raise click.UsageError(f"{out} is the record of another task and is not overwritten: choose another --out")
    return record
