"""Staked seats: join, exit, withdraw, set-operator.

ape run stake join --network ethereum:sepolia --account owner --operator 0x… --endpoint https://…
"""

from pathlib import Path

import click
from ape.cli import ConnectedProviderCommand
from eth_utils.address import is_address, to_checksum_address

from scripts import _chain


@click.group()
def cli() -> None:
    """Seats in the registry of verifiers: one seat is one stake and one vote."""


@cli.command(cls=ConnectedProviderCommand)
@_chain.account_option
@click.option("--operator", required=True, help="Address of the key that the service votes with.")
@click.option("--endpoint", default="", help="Base URL where the service mirrors artifacts.")
@click.option("--seats", default=1, show_default=True, type=click.IntRange(1, 64), help="How many seats to open.")
def join(alias: str, passphrase_file: Path | None, operator: str, endpoint: str, seats: int) -> None:
    """Open seats and enrol them at the panel. The stake is locked until `exit`, and is slashed when the seat lies."""
    if len(endpoint.encode()) > 200:
        raise click.BadParameter("at most 200 bytes", param_hint="--endpoint")
    stakes, panel, _ = _chain.deployed()
    owner = _chain.signer(alias, passphrase_file)
    price = stakes.SEAT()
    for _number in range(seats):
        receipt = _chain.send(stakes.join, address(operator), endpoint, panel.address, sender=owner, value=price)
        stake = next(iter(receipt.decode_logs(stakes.Joined))).stake
        click.echo(f"seat 0x{bytes(stake).hex()} of {_chain.ether(price)} coins, operator {operator}")


@cli.command(cls=ConnectedProviderCommand)
@_chain.account_option
@click.argument("stake")
def exit(alias: str, passphrase_file: Path | None, stake: str) -> None:
    """Leave: the first call announces it, the second, after the delay and with nothing reserved, credits the stake."""
    stakes, _, _ = _chain.deployed()
    owner = _chain.signer(alias, passphrase_file)
    if stakes.seat(stake).exit_at == 0:
        _chain.send(stakes.request_exit, stake, sender=owner)
        click.echo(f"leaving; run this again in {stakes.EXIT_DELAY()} seconds")
    else:
        _chain.send(stakes.exit, stake, sender=owner)
        click.echo("left; `ape run stake withdraw` pays it out")


@cli.command(cls=ConnectedProviderCommand)
@_chain.account_option
@click.option("--asset", default="0x" + "00" * 20, help="Token address; the native coin unless said.")
@click.option("--to", default=None, help="Who is paid; the account itself unless said.")
def withdraw(alias: str, passphrase_file: Path | None, asset: str, to: str | None) -> None:
    """Pay out everything the account is owed: closed stakes, fees, rewards, bonds."""
    stakes, _, bounties = _chain.deployed()
    account = _chain.signer(alias, passphrase_file)
    paid = 0
    for contract in (stakes, bounties):
        owed = contract.credit(address(asset), account.address)
        if owed:
            _chain.send(contract.withdraw, address(asset), address(to or account.address), sender=account)
            paid += owed
    click.echo(f"paid {_chain.ether(paid)}" if paid else "nothing is owed to this account")


@cli.command("set-operator", cls=ConnectedProviderCommand)
@_chain.account_option
@click.argument("stake")
@click.argument("operator")
def set_operator(alias: str, passphrase_file: Path | None, stake: str, operator: str) -> None:
    """Rotate the key that votes for a seat; open duties pass to the new one."""
    stakes, _, _ = _chain.deployed()
    _chain.send(stakes.set_operator, stake, address(operator), sender=_chain.signer(alias, passphrase_file))
    click.echo(f"{operator} now votes for {stake}")


def address(text: str) -> str:
    """A checksummed address, or a usage error."""
    if not is_address(text):
        raise click.BadParameter(f"{text!r} is no address")
    return to_checksum_address(text)
