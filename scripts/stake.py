"""The commands of a seat's owner: join, set-operator, exit.

ape run stake join --network ethereum:sepolia --account owner --operator 0x… --endpoint https://…
"""

from pathlib import Path
from typing import Any

import click
from ape.contracts import ContractInstance
from ape.exceptions import ContractLogicError

from scripts import _chain, _state, _units, _wait
from verifier.artifacts.errors import UriRefused
from verifier.artifacts.policy import check_server_url
from verifier.protocol.constants import MAX_ENDPOINT_BYTES

STAKE = click.argument("stake", type=_chain.Word())


@click.group()
def cli() -> None:
    """Manage seats in the registry of verifiers: one seat is one stake and one vote."""


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.option(
    "--operator", type=_chain.Address(), required=True, help="Address of the key with which the service votes."
)
@click.option("--endpoint", default="", help="Base URL at which the service mirrors files.")
@click.option("--seats", default=1, show_default=True, type=click.IntRange(1, 64), help="How many seats to open.")
def join(alias: str, passphrase_file: Path | None, yes: bool, operator: str, endpoint: str, seats: int) -> None:
    """Open seats and enrol them at the panel.

    The stake is locked until you exit. It is slashed if the seat votes wrongly or stays silent. Your account is the
    owner: it can exit, change the operator and be paid. The operator's key can only vote.
    """
    if len(endpoint.encode()) > MAX_ENDPOINT_BYTES:
        raise click.BadParameter(f"an endpoint has at most {MAX_ENDPOINT_BYTES} bytes", param_hint="--endpoint")
    if endpoint:
        try:
            check_server_url(endpoint)
        except UriRefused as error:
            raise click.BadParameter(str(error), param_hint="--endpoint") from error
    stakes, panel, _ = _chain.deployed()
    owner = _chain.Signer(alias, passphrase_file, yes)
    price = stakes.SEAT()
    mirror = f"mirror {endpoint}" if endpoint else "no mirror"
    owner.confirm(
        f"open {seats} seat{'s' * (seats > 1)} for operator {operator}, {mirror}",
        [("stake", seats * price, f"locked; returned {_units.span(stakes.EXIT_DELAY())} after `exit`, unless slashed")],
    )
    for _number in range(seats):
        receipt = owner.send(stakes.join, operator, endpoint, panel.address, value=price)
        stake = next(iter(receipt.decode_logs(stakes.Joined))).stake
        click.echo(f"seat 0x{bytes(stake).hex()} of {_units.coins(price)} coins, operator {operator}")


@cli.command("set-operator", cls=_chain.Command)
@_chain.account_options
@STAKE
@click.argument("operator", type=_chain.Address())
def set_operator(alias: str, passphrase_file: Path | None, yes: bool, stake: bytes, operator: str) -> None:
    """Let the key OPERATOR vote for the seat STAKE from now on, also in tasks that are under way."""
    stakes = _chain.deployed().stakes
    if _seat(stakes, stake).operator == operator:
        click.echo(f"{operator} is already the operator of this seat")
        return
    owner = _chain.Signer(alias, passphrase_file, yes)
    owner.confirm(f"let {operator} vote for seat 0x{stake.hex()}")
    owner.send(stakes.set_operator, stake, operator)
    click.echo(f"{operator} now votes for 0x{stake.hex()}")


@cli.command(cls=_chain.Command)
@_chain.account_options
@STAKE
@_wait.WAIT
def exit(alias: str, passphrase_file: Path | None, yes: bool, stake: bytes, wait: bool) -> None:
    """Close the seat STAKE: run this once to request the exit, and again after the delay to close the seat.

    Until then the seat still owes the duties for which it was drawn, and is slashed if it misses them. With --wait the
    command requests the exit, waits for the delay and for the panels that reserve the seat, and closes it.
    """
    stakes = _chain.deployed().stakes
    owner = _chain.Signer(alias, passphrase_file, yes)
    delay = stakes.EXIT_DELAY()
    since = _seat(stakes, stake).exit_at
    if since == 0:
        owner.confirm(f"request the exit of seat 0x{stake.hex()} in {_units.span(delay)}, which cannot be undone")
        owner.send(stakes.request_exit, stake)
        since = stakes.seat(stake).exit_at
        if not wait:
            click.echo(f"exit requested; run this command again {_units.moment(since + delay, since)}")
            return
        click.echo("exit requested")
    if wait:
        _until_free(stake, since + delay)
    balance = stakes.seat(stake).balance
    owner.confirm(f"close seat 0x{stake.hex()} and credit {_units.coins(balance)} coins to its owner")
    owner.send(stakes.exit, stake)
    click.echo("the seat is closed; `ape run withdraw` pays out the credit")


def _seat(stakes: ContractInstance, stake: bytes) -> Any:
    """The seat as the contract reports it. Errors: UsageError when there is none."""
    try:
        return stakes.seat(stake)
    except ContractLogicError as error:
        raise click.UsageError(
            f"there is no seat 0x{stake.hex()} on {_chain.network()}, or it is closed: check the id, which `join` "
            "printed, and --network"
        ) from error


def _until_free(stake: bytes, closes: int) -> None:
    """Wait until the exit's delay is over, which is at `closes`, and no panel reserves the seat."""

    def reserved(snapshot: _state.Snapshot) -> int:
        return snapshot.contracts.seat(stake, snapshot.block.number).reserved

    def waiting(snapshot: _state.Snapshot) -> str:
        now = snapshot.block.timestamp
        if now < closes:
            return f"waiting until seat 0x{stake.hex()} can be closed, {_units.moment(closes, now)}"
        return f"waiting until panels release {_units.coins(reserved(snapshot))} coins of seat 0x{stake.hex()}"

    _wait.until(lambda snapshot: snapshot.block.timestamp >= closes and not reserved(snapshot), waiting)
