"""Staked seats: join, set-operator, exit, withdraw.

ape run stake join --network ethereum:sepolia --account owner --operator 0x… --endpoint https://…
"""

from pathlib import Path

import click

from scripts import _chain, _units

MAX_ENDPOINT_BYTES = 200
STAKE = click.argument("stake", type=_chain.Word())


@click.group()
def cli() -> None:
    """Seats in the registry of verifiers: one seat is one stake and one vote."""


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.option("--operator", type=_chain.Address(), required=True, help="The key that the service votes with.")
@click.option("--endpoint", default="", help="Base URL where the service mirrors artifacts.")
@click.option("--seats", default=1, show_default=True, type=click.IntRange(1, 64), help="How many seats to open.")
def join(alias: str, passphrase_file: Path | None, yes: bool, operator: str, endpoint: str, seats: int) -> None:
    """Open seats and enrol them at the panel. The stake is locked until `exit`, and is slashed when the seat lies.

    The account is the owner, which can leave, rotate the operator and be paid; the operator key can only vote.
    """
    if len(endpoint.encode()) > MAX_ENDPOINT_BYTES:
        raise click.BadParameter(f"at most {MAX_ENDPOINT_BYTES} bytes", param_hint="--endpoint")
    stakes, panel, _ = _chain.deployed()
    owner = _chain.Signer(alias, passphrase_file, yes)
    price = stakes.SEAT()
    owner.confirm(
        f"open {seats} seat{'s' * (seats > 1)} for operator {operator}",
        [("stake", seats * price, f"locked; back {_units.span(stakes.EXIT_DELAY())} after `exit`, unless slashed")],
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
    """Let the key OPERATOR vote for the seat STAKE from now on; open duties pass to it."""
    stakes = _chain.deployed().stakes
    if stakes.seat(stake).operator == operator:
        click.echo(f"{operator} is its operator already")
        return
    owner = _chain.Signer(alias, passphrase_file, yes)
    owner.confirm(f"let {operator} vote for seat 0x{stake.hex()}")
    owner.send(stakes.set_operator, stake, operator)
    click.echo(f"{operator} now votes for 0x{stake.hex()}")


@cli.command(cls=_chain.Command)
@_chain.account_options
@STAKE
def exit(alias: str, passphrase_file: Path | None, yes: bool, stake: bytes) -> None:
    """Leave with the seat STAKE: run it once to announce it, and again, after the delay, to close the seat.

    In between the seat finishes what it was drawn for, and is slashed when it does not.
    """
    stakes = _chain.deployed().stakes
    owner = _chain.Signer(alias, passphrase_file, yes)
    seat, delay = stakes.seat(stake), stakes.EXIT_DELAY()
    if seat.exit_at == 0:
        owner.confirm(f"announce that seat 0x{stake.hex()} leaves in {_units.span(delay)}; there is no way back")
        owner.send(stakes.request_exit, stake)
        since = stakes.seat(stake).exit_at
        click.echo(f"leaving; run this again {_units.moment(since + delay, since)}")
    else:
        owner.confirm(f"close seat 0x{stake.hex()} and be credited {_units.coins(seat.balance)} coins")
        owner.send(stakes.exit, stake)
        click.echo("left; `ape run stake withdraw` pays it out")


@cli.command(cls=_chain.Command)
@_chain.account_options
@click.option("--asset", type=_chain.Address(), default=_chain.NATIVE, help="Token; the native coin unless said.")
@click.option("--to", type=_chain.Address(), help="Who is paid; the account itself unless said.")
def withdraw(alias: str, passphrase_file: Path | None, yes: bool, asset: str, to: str | None) -> None:
    """Pay out everything the account is owed: closed stakes, fees, rewards, bonds."""
    stakes, _, bounties = _chain.deployed()
    account = _chain.Signer(alias, passphrase_file, yes)
    receiver = to or account.address
    unit = "coins" if asset == _chain.NATIVE else f"units of {asset}"
    shown = _units.coins if asset == _chain.NATIVE else str
    owed = [(contract, contract.credit(asset, account.address)) for contract in (stakes, bounties)]
    total = sum(amount for _, amount in owed)
    if not total:
        click.echo("nothing is owed to this account")
        return
    account.confirm(f"pay out {shown(total)} {unit} to {receiver}")
    for contract, amount in owed:
        if amount:
            account.send(contract.withdraw, asset, receiver)
    click.echo(f"paid {shown(total)} {unit} to {receiver}")
