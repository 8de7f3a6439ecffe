"""Shared by the scripts: the network, the caller's account, the deployed contracts, and sending transactions."""

import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ape
import click
from ape.api import AccountAPI, ProviderAPI, ReceiptAPI
from ape.cli import ConnectedProviderCommand
from ape.contracts import ContractInstance
from ape.exceptions import ApeException, ConfigError, ContractLogicError, ProviderError
from ape.logging import LogLevel, logger
from ape_ethereum.trace import Trace
from eth_utils.address import is_address, to_checksum_address
from ethpm_types import ContractType
from requests import RequestException
from web3.exceptions import Web3Exception

from scripts import _deployments, _units
from verifier.artifacts.digests import parse_hex
from verifier.artifacts.policy import printable
from verifier.chain.contracts import load_abi
from verifier.cli.progress import working
from verifier.errors import TouchstoneError

Decorated = Callable[..., Any]
CONTRACTS = ("Stakes", "Panel", "Bounties")
# How ape names a node's URL in ape-config.yaml when the variable that it consists of is not set.
_UNSET = re.compile(r"\$\{(\w+)\}")
# A URL: its scheme, its host without a user's name, and what follows.
_URL = re.compile(r"\b((?:https?|wss?)://)(?:[^\s/'\"@]*@)?([^\s/'\"?#]+)([^\s'\"]*)")
_PROBE = (b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)  # stands for two digests and a key

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


def without_keys(text: str) -> str:
    """Return a text with no more of each URL than its scheme and host: a node's URL can have a key behind them.

    The values of the variables *_RPC_URL are removed also where they are not well-formed URLs.
    """
    for name, value in os.environ.items():
        if name.endswith("_RPC_URL") and not _URL.fullmatch(value):
            text = text.replace(value or "\0", f"the value of {name}")
    return _URL.sub(lambda url: f"{url[1]}{url[2]}{'/…' if url[3].strip('/') else ''}", text)


class Command(ConnectedProviderCommand):
    """A command on the chain that --network names. It prints an expected error, ape's included, as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        self._connected = False
        try:
            # Hides ape's messages about connecting and signing, its traces of calls that revert, and a warning about
            # the definition of its settings.
            with logger.at_level(LogLevel.ERROR), _without_traces(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Field 'import_remapping' has an incomplete definition")
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            reason = _reason(error)
            if reason is None and not self._connected:  # ape takes what answers for a node
                reason = (
                    f"what answers at the node's URL is not a node ({type(error).__name__}). Check --network and its "
                    "node's URL (SEPOLIA_RPC_URL or DEVNET_RPC_URL)"
                )
            if reason is None:
                raise
            raise click.ClickException(reason) from error

    def _invoke(self, ctx: click.Context, provider: ProviderAPI | None = None) -> Any:
        self._connected = True
        return super()._invoke(ctx, provider=provider)


def _reason(error: Exception) -> str | None:
    """Say what is wrong and what to do, in one line; None for an error that is not expected."""
    reason = None
    match error:
        case ConfigError() | ProviderError() if unset := _UNSET.search(str(error)):
            reason = f"the variable {unset[1]} is not set: export {unset[1]}=URL with the URL of a node of this network"
        case ConfigError() | ProviderError():
            reason = (
                f"{without_keys(str(error)).rstrip('.')}. Check --network, export its node's URL (SEPOLIA_RPC_URL or "
                "DEVNET_RPC_URL), and check that the node runs."
            )
        case ContractLogicError():
            reason = f"the contract reverts: {error.revert_message}"
        case TouchstoneError():
            reason = str(error)
        case ApeException():
            reason = without_keys(str(error))
        # The node was lost or refuses, after ape had connected, or something that is not a node answers.
        case RequestException() | Web3Exception() | json.JSONDecodeError():
            # The text of a lost connection has the path of the node's URL, and with it a key that the URL may have.
            lost = isinstance(error, RequestException)
            text = type(error).__name__ if lost else printable(without_keys(str(error)))
            reason = f"the node does not answer as it should: {text}. Check that it runs, and run this command again"
        case OSError():
            text = error.strerror or str(error) or type(error).__name__
            reason = f"{text}: {error.filename}" if error.filename else text
    return reason


@contextmanager
def _without_traces() -> Iterator[None]:
    """Keep ape from printing the trace of each call that reverts: its arguments can contain the key of a reveal."""
    show = Trace.show
    Trace.show = lambda *_args, **_kwargs: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Trace.show = show  # type: ignore[method-assign]


class Deployed(NamedTuple):
    """The three contracts, for calls at the newest block and for transactions."""

    stakes: ContractInstance
    panel: ContractInstance
    bounties: ContractInstance


class Address(click.ParamType):
    """An address, checksummed."""

    name = "ADDRESS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_address(value):
            self.fail(f"{value!r} is not an address, which is 0x and 40 hexadecimal digits", param, ctx)
        return to_checksum_address(str(value))


class Word(click.ParamType):
    """A task id, stake id or digest: 32 bytes."""

    name = "ID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        word = parse_hex(str(value))
        if word is None:
            self.fail(f"{value!r} is not an id, which is 0x and 64 hexadecimal digits", param, ctx)
        return word


def account_options(command: Decorated) -> Decorated:
    """Add --account, --passphrase-file and --yes: who signs, and whether to ask first."""
    for option in (
        click.option("--yes", is_flag=True, help="Send without asking for confirmation."),
        click.option(
            "--passphrase-file",
            type=FILE,
            help="File whose first line is the passphrase of the account.",
        ),
        click.option(
            "--account",
            "alias",
            required=True,
            help="Ape account that signs; `ape accounts list` shows them. Its passphrase comes from --passphrase-file, "
            "from the variable APE_ACCOUNTS_<ALIAS>_PASSPHRASE (the alias as you write it), or from a prompt.",
        ),
    ):
        command = option(command)
    return command


class Signer:
    """The caller's account. It is unlocked for the first transaction, so that reading needs no passphrase."""

    def __init__(self, alias: str, passphrase_file: Path | None, yes: bool) -> None:
        """Errors: BadParameter when the account does not exist."""
        if alias not in ape.accounts.aliases:
            raise click.BadParameter(
                f"there is no Ape account {alias!r}: `ape accounts list` shows the accounts, "
                "`ape accounts import` adds one",
                param_hint="--account",
            )
        self._account: AccountAPI = ape.accounts.load(alias)
        self._passphrase_file = passphrase_file
        self._yes = yes
        self._unlocked = False
        self.address: str = self._account.address

    def confirm(self, action: str, payments: Sequence[tuple[str, int, str]] = (), at_least: int = 0) -> None:
        """Print the action and the payments (label, wei, remark) and ask for confirmation, unless --yes.

        `at_least` is the gas in wei that the account needs, where it is known beforehand.

        Errors: ClickException when the balance is too small, Abort when the user declines.
        """
        click.echo(f"{action}\n  as {self.address} on {network()} (chain {ape.chain.chain_id})")
        width = max(len("to pay"), *(len(label) for label, _, _ in payments), 0)
        for label, wei, remark in payments:
            click.echo(f"  {label:<{width}}  {_units.coins(wei)}" + (f"  ({remark})" if remark else ""))
        total = sum(wei for _, wei, _ in payments)
        if payments:
            click.echo(f"  {'to pay':<{width}}  {_units.coins(total)} coins, and gas")
        balance = self._account.balance
        if balance < total + at_least:
            needed = f"{_units.coins(total)} and gas" if not at_least else f"about {_units.coins(total + at_least)}"
            raise click.ClickException(f"{self.address} has {_units.coins(balance)} coins, and {needed} are needed")
        if not self._yes:
            try:
                click.confirm("Send the transaction?", abort=True)
            except click.Abort:
                if not sys.stdin.isatty():
                    click.echo(
                        "\nthere is no terminal on which you could confirm: --yes sends without asking", err=True
                    )
                raise

    def unlocked(self) -> AccountAPI:
        """The account, unlocked. Errors: ClickException when the passphrase is wrong."""
        if not self._unlocked:
            passphrase = None
            variable = f"APE_ACCOUNTS_{self._account.alias}_PASSPHRASE"
            if self._passphrase_file is not None:
                passphrase = (self._passphrase_file.read_text("utf-8").splitlines() or [""])[0]
            elif variable not in os.environ and not sys.stdin.isatty():
                raise click.ClickException(
                    "there is no terminal on which you could enter the passphrase: give --passphrase-file, or set "
                    f"{variable}"
                )
            try:
                self._account.set_autosign(True, passphrase=passphrase)
            except ApeException as error:
                raise click.ClickException(f"cannot unlock the account: {error}") from error
            self._unlocked = True
        return self._account

    def send(self, call: Any, *arguments: Any, value: int = 0) -> ReceiptAPI:
        """Simulate a call, send it and wait for its receipt.

        Errors: ClickException with the reason of a revert; nothing is sent if the simulation reverts.
        """
        account = self.unlocked()
        try:
            call.estimate_gas_cost(*arguments, sender=account, value=value)
            with working("waiting for the transaction"):
                receipt: ReceiptAPI = call(*arguments, sender=account, value=value)
        except ContractLogicError as error:
            raise click.ClickException(f"the contract reverts: {error.revert_message}") from error
        except ApeException as error:
            raise click.ClickException(without_keys(str(error))) from error
        click.echo(f"  sent {receipt.txn_hash}, gas {receipt.gas_used:,}")
        return receipt


def network() -> str:
    """Name of the connected network, which is also the name of its deployment record."""
    name: str = ape.networks.provider.network.name
    return name


def network_option() -> str:
    """The option --network with the connected network, for commands that are shown to be typed."""
    # Not ape's `network_choice`, which contains the node's URL and with it a key that the URL may have.
    provider = ape.networks.provider
    return f"--network {provider.network.choice}:{provider.name}"


def record() -> dict[str, Any]:
    """The connected network's deployment record. Errors: UsageError, also when the node serves another chain."""
    found = _deployments.load(network())
    if found["chain_id"] != ape.chain.chain_id:
        raise click.UsageError(
            f"{_deployments.path(network())} is the record of chain {found['chain_id']}, but the node serves chain "
            f"{ape.chain.chain_id}: check --network and the node's URL"
        )
    return found


def deployed() -> Deployed:
    """The contracts on the connected network, with the ABIs of the verifier package. Errors: UsageError."""
    contracts = record()["contracts"]
    return Deployed(*(instance(name, contracts[name]["address"]) for name in CONTRACTS))


def compiled() -> ape.Project:
    """The project with freshly compiled contracts; ape's cache ignores changes of imported modules."""
    with working("compiling the contracts"):
        ape.project.load_contracts(*(f"contracts/{name}.vy" for name in CONTRACTS), use_cache=False)
    return ape.project


def check_commitment(
    bounties: ContractInstance, view: str, commitment: Callable[..., bytes], *binding: str | bytes | int
) -> None:
    """Check that this program and the contract compute the same commitment, without sending the key to the node.

    `view` is the contract's function and `commitment` this program's; `binding` are their arguments before the digests
    and the key. Errors: ClickException.
    """
    expected = commitment(ape.chain.chain_id, bounties.address, *binding, *_PROBE)
    if bytes(getattr(bounties, view)(*binding, *_PROBE)) != expected:
        raise click.ClickException(
            f"the contract {bounties.address} computes other commitments than this version of Touchstone: "
            "use the version that the contract was deployed with"
        )


def instance(name: str, address: str) -> ContractInstance:
    """The contract `name` at that address. Errors: UsageError when no contract is there."""
    if not ape.networks.provider.get_code(address):
        raise click.UsageError(
            f"there is no contract at {address}: the record of {network()} belongs to another chain or to a chain that "
            "was reset; remove the record and deploy again, or check --network"
        )
    return ContractInstance(address, ContractType.model_validate({"contractName": name, "abi": load_abi(name)}))
