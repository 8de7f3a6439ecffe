"""What the scripts share: the caller's account, the deployed contracts, and sending one transaction with care."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ape
import click
from ape.api import AccountAPI, ReceiptAPI
from ape.contracts import ContractInstance
from ape.exceptions import ApeException, ContractLogicError

from scripts import _deployments

Command = Callable[..., Any]


def account_option(command: Command) -> Command:
    """--account ALIAS and --passphrase-file FILE: who signs."""
    alias = click.option(
        "--account",
        "alias",
        required=True,
        help="Ape account that signs. Its passphrase is asked for, read from --passphrase-file, or taken from "
        "APE_ACCOUNTS_<ALIAS>_PASSPHRASE.",
    )
    file = click.option(
        "--passphrase-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File whose first line is the account's passphrase.",
    )
    return alias(file(command))


def signer(alias: str, passphrase_file: Path | None) -> AccountAPI:
    """The account of that alias, unlocked. On the in-process chain `test:N` names a test account."""
    if alias.startswith("test:"):
        return ape.accounts.test_accounts[int(alias.removeprefix("test:"))]
    if alias not in ape.accounts.aliases:
        raise click.BadParameter(
            f"no Ape account {alias!r}; `ape accounts list` shows those there are", param_hint="--account"
        )
    account = ape.accounts.load(alias)
    passphrase = None
    if passphrase_file is not None:
        passphrase = passphrase_file.read_text(encoding="utf-8").splitlines()[0]
    account.set_autosign(True, passphrase=passphrase)
    return account


def network() -> str:
    """Name of the connected network, as deployments are filed."""
    name: str = ape.networks.provider.network.name
    return name


def deployed() -> tuple[ContractInstance, ContractInstance, ContractInstance]:
    """Stakes, Panel and Bounties on the connected network."""
    record = _deployments.load(network())
    if record["chain_id"] != ape.chain.chain_id:
        raise click.UsageError(f"the record is of chain {record['chain_id']}, the node of chain {ape.chain.chain_id}")
    contracts = record["contracts"]
    return (
        ape.project.Stakes.at(contracts["Stakes"]["address"]),
        ape.project.Panel.at(contracts["Panel"]["address"]),
        ape.project.Bounties.at(contracts["Bounties"]["address"]),
    )


def send(call: Any, *arguments: Any, sender: AccountAPI, **options: Any) -> ReceiptAPI:
    """Simulate, then send, then wait. A revert is reported with its reason and nothing is sent."""
    try:
        call.estimate_gas_cost(*arguments, sender=sender, **{k: v for k, v in options.items() if k == "value"})
        receipt: ReceiptAPI = call(*arguments, sender=sender, **options)
    except ContractLogicError as error:
        raise click.ClickException(f"the contract refuses: {error.revert_message}") from error
    except ApeException as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"  sent {receipt.txn_hash}, gas {receipt.gas_used:,}")
    return receipt


def ether(wei: int) -> str:
    """An amount for people."""
    return f"{wei / 10**18:.6f}".rstrip("0").rstrip(".")
