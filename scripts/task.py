"""A sponsor's side of a task: create, top-up, reveal-holdout, cancel.

ape run task create --network ethereum:sepolia --account NAME --manifest task/manifest.json --manifest-uri https://… …
"""

from pathlib import Path
from typing import Any

import ape
import click

from scripts import _chain, _records, _sealed, _state, _terms, _units
from verifier.artifacts import digests, sealing
from verifier.protocol import commitments
from verifier.protocol.constants import Ground, Phase
from verifier.tasks.manifest import MAX_MANIFEST_BYTES, MAX_URI_CHARACTERS, Manifest


@click.group()
def cli() -> None:
    """Sponsor a task: escrow a reward for a submission that reaches a score."""


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.option("--manifest", "manifest_file", type=_chain.FILE, required=True, help="The task's manifest.json.")
@click.option("--manifest-uri", required=True, help="Where verifiers and solvers fetch the manifest.")
@click.option(
    "--holdout",
    "holdout_file",
    type=_chain.FILE,
    help="JSON that `touchstone seal` printed of the holdout; left out when the practice set is what decides.",
)
@_terms.options
@click.option(
    "--out",
    type=_chain.NEW_FILE,
    required=True,
    help="The task's record, which `reveal-holdout` needs. It is written before anything is sent; run the same command "
    "again to go on after an interruption.",
)
def create(
    alias: str,
    passphrase_file: Path | None,
    yes: bool,
    manifest_file: Path,
    manifest_uri: str,
    holdout_file: Path | None,
    out: Path,
    **chosen: Any,
) -> None:
    """Escrow a reward. Program, sets and costs come from the manifest; everything else is an option.

    Paid at once: the reward, a bond of a fifth or so of it that is lost when the holdout's key is not revealed in time,
    and the reserve. The manifest, the program, the practice set and the sealed holdout must be reachable from now on.
    """
    if len(manifest_uri) > MAX_URI_CHARACTERS or not manifest_uri.isascii():
        raise click.BadParameter(f"at most {MAX_URI_CHARACTERS} plain characters", param_hint="--manifest-uri")
    with manifest_file.open("rb") as file:
        manifest = Manifest.from_bytes(file.read(MAX_MANIFEST_BYTES + 1))
    holdout = None if holdout_file is None else _sealed.load(holdout_file)
    _check_holdout(manifest, holdout)
    deployed = _chain.deployed()
    signer = _chain.Signer(alias, passphrase_file, yes)
    terms = _terms.choose(deployed, manifest, **chosen)

    bounties = deployed.bounties
    record = _recorded(out, manifest)
    if record is not None and bounties.phase(record["task"]):
        click.echo(f"{out} records task {record['task']}, which exists already")
        return
    # By name: an ape contract has an attribute `nonce` of its own.
    nonce = bounties.call_view_method("nonce", signer.address)
    chain_id = ape.chain.chain_id
    commitment = commitments.ZERO
    if holdout is not None:
        _check_twin(bounties, signer.address, nonce)
        commitment = commitments.holdout(
            chain_id, bounties.address, signer.address, nonce, holdout.sealed, holdout.plain, holdout.key()
        )
    program, practice = digests.from_hex(manifest.program.digest), digests.from_hex(manifest.practice.digest)
    task = commitments.task(
        chain_id, bounties.address, signer.address, nonce, manifest.digest(), program, practice, commitment
    )
    bond = _terms.bond(deployed, terms) if holdout is not None else 0
    action = f"create task 0x{task.hex()}: {manifest.title}\n  {_terms.describe(terms, bond)}"
    signer.confirm(action, _terms.payments(terms, bond))
    _records.write(
        out,
        {
            "record": "task",
            "network": _chain.network(),
            "chain_id": chain_id,
            "bounties": bounties.address,
            "sponsor": signer.address,
            "nonce": nonce,
            "task": "0x" + task.hex(),
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
    if terms.token is not None:
        _terms.approve(signer, terms.token, bounties.address, terms.reward + bond)
    value = terms.reserve if terms.token is not None else terms.reward + bond + terms.reserve
    argument = terms.argument(manifest, commitment)
    receipt = signer.send(bounties.create_task, argument, manifest_uri, value=value)
    created = next(iter(receipt.decode_logs(bounties.TaskCreated)))
    if bytes(created.task) != task:
        # Another task of this sponsor came first, so the holdout's commitment, which binds the nonce, cannot be opened.
        raise click.ClickException(
            f"another task of yours came between: cancel 0x{bytes(created.task).hex()} now, before anybody commits, "
            "and create it again with another --out"
        )
    began = bounties.task(task).created_at
    click.echo(
        f"task 0x{task.hex()}\ncommits close {_units.moment(began + terms.windows.commit, began)}; record in {out}"
    )


@cli.command("top-up", cls=_chain.Command)
@_chain.account_options
@click.argument("task", type=_records.TaskId())
@click.option("--amount", type=_units.Coins(), help="Coins to add.")
@click.option("--amount-units", type=click.IntRange(1), help="Smallest units to add, where the reward is a token.")
def top_up(
    alias: str, passphrase_file: Path | None, yes: bool, task: bytes, amount: int | None, amount_units: int | None
) -> None:
    """Add to the reward of TASK (an id or a record) while commits are open. Anyone may.

    It goes where the reward goes: to the sponsor, if nobody passes.
    """
    bounties = _chain.deployed().bounties
    token = _state.read().task(task).terms.asset
    native = token == _chain.NATIVE
    added = amount if native else amount_units
    if added is None or None not in (amount, amount_units):
        wanted = "coins: say --amount" if native else f"the token {token}: say --amount-units"
        raise click.UsageError(f"the reward of this task is in {wanted}")
    signer = _chain.Signer(alias, passphrase_file, yes)
    paid = [("reward", added, "to the sponsor when nobody passes")] if native else []
    signer.confirm(f"add {added} of the smallest units to the reward of task 0x{task.hex()}", paid)
    if not native:
        _terms.approve(signer, token, bounties.address, added)
    signer.send(bounties.top_up, task, added, value=added if native else 0)
    reward = bounties.task(task).reward
    click.echo(f"the reward is now {_units.coins(reward)} coins" if native else f"the reward is now {reward} units")


@cli.command("reveal-holdout", cls=_chain.Command)
@_chain.account_options
@click.option("--record", type=_chain.FILE, required=True, help="The record that `create` wrote.")
def reveal_holdout(alias: str, passphrase_file: Path | None, yes: bool, record: Path) -> None:
    """Publish the key of the sealed holdout, once the committee has attested. Silence costs the bond.

    From then on everybody can read the holdout, and the solvers decide whether to reveal their submissions.
    """
    fields = _records.read(record, "task")
    if fields["holdout"] is None:
        raise click.UsageError("this task has no sealed holdout: its practice set is what decides")
    bounties = _chain.deployed().bounties
    task = bytes.fromhex(fields["task"][2:])
    snapshot = _state.read()
    state = snapshot.task(task)
    if state.view.holdout_revealed_at:
        click.echo("the holdout is revealed already")
        return
    # The key leaves this machine with the first simulation, so everything else is looked at before.
    closes = state.holdout_closes
    if state.view.phase != Phase.HOLDOUT or closes is None or not state.own_files_admitted:
        raise click.ClickException(f"the holdout is not awaited: the task is {state.view.phase.text}")
    now = snapshot.block.timestamp
    if now >= closes:
        raise click.ClickException(f"too late: the holdout was due {_units.moment(closes, now)}")
    sealed, plain = (digests.from_hex(fields["holdout"][name]) for name in ("sealed", "plain"))
    key = sealing.read_key(_records.resolve(record, fields["holdout"]["key_file"]))
    opened = commitments.holdout(
        fields["chain_id"], bounties.address, fields["sponsor"], fields["nonce"], sealed, plain, key
    )
    if opened != state.terms.holdout:
        raise click.ClickException("the key, or the record, is not the one that the task's commitment binds")
    signer = _chain.Signer(alias, passphrase_file, yes)
    signer.confirm(f"reveal the holdout of task 0x{task.hex()}, due {_units.moment(closes, now)}")
    signer.send(bounties.reveal_holdout, task, sealed, plain, key)
    due = now + state.terms.windows.reveal
    click.echo(f"revealed; solvers reveal or decline until about {_units.moment(due, now)}")


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.argument("task", type=_records.TaskId())
def cancel(alias: str, passphrase_file: Path | None, yes: bool, task: bytes) -> None:
    """End TASK (an id or a record) where it cannot go on.

    By its sponsor, as long as nobody has committed: everything comes back. By anyone: when nobody submitted, no
    committee was drawn, the sponsor's files were not available, the sponsor kept the holdout's key, or nothing was
    settled for so long that the terminal rule applies.
    """
    bounties = _chain.deployed().bounties
    signer = _chain.Signer(alias, passphrase_file, yes)
    signer.confirm(f"cancel task 0x{task.hex()}")
    receipt = signer.send(bounties.cancel, task)
    ground = next(iter(receipt.decode_logs(bounties.Cancelled))).ground
    click.echo(f"cancelled: {Ground(ground).text}; `ape run stake withdraw` pays out what came back")


def _check_holdout(manifest: Manifest, holdout: _sealed.Sealed | None) -> None:
    """The sealed file must be the one the manifest announces. Errors: BadParameter."""
    if (manifest.holdout is None) != (holdout is None):
        needs = "announces a sealed holdout: name its JSON" if holdout is None else "has no holdout: leave it out"
        raise click.BadParameter(f"the manifest {needs}", param_hint="--holdout")
    if (
        manifest.holdout is not None
        and holdout is not None
        and digests.to_hex(holdout.sealed) != (announced := manifest.holdout.sealed_digest)
    ):
        raise click.BadParameter(f"the manifest announces the sealed file {announced}", param_hint="--holdout")


def _check_twin(bounties: Any, sponsor: str, nonce: int) -> None:
    """See that this program and the contract mean the same commitment, without telling the node the real key."""
    probe = (bytes([1] * 32), bytes([2] * 32), bytes([3] * 32))
    ours = commitments.holdout(ape.chain.chain_id, bounties.address, sponsor, nonce, *probe)
    if bytes(bounties.holdout_commitment(sponsor, nonce, *probe)) != ours:
        raise click.ClickException("the contract computes other commitments than this version: do not use it")


def _recorded(out: Path, manifest: Manifest) -> dict[str, Any] | None:
    """The record that is there already, if it is of this manifest. Errors: UsageError."""
    if not out.exists():
        return None
    record = _records.read(out, "task")
    if record["manifest"] != digests.to_hex(manifest.digest()):
        raise click.UsageError(f"{out} is the record of another task and is not overwritten")
    return record
