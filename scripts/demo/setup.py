"""Sets the demo up: a new folder, wallets, a local chain, a deployment, and three verifier services."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from scripts.demo.market import Market
from scripts.demo.shell import ROOT, DemoError, DemoService, Shell, command, shown
from verifier.artifacts.new_files import write_new
from verifier.chain.client import Client
from verifier.chain.errors import ChainError
from verifier.protocol.constants import ETHER

FOLDER = ROOT / "build" / "demo"
NETWORK = ("--network", "ethereum:devnet:node")
CHAIN_ID = 31_337
VERIFIERS = 3
# Coins that each wallet and each operator's key gets: more than all deposits and gas of the demo.
FUNDS = 1_000
# Maximum seconds until a server answers for the first time, also on a busy machine.
START_S = 60.0

CONFIG = """\
data = "data"

[chain]
rpc_url = "{rpc_url}"
chain_id = {chain_id}
bounties = "{bounties}"
confirmations = 0  # this chain is never reorganised
poll_s = 0.5

[operator]
seed_file = "seed"
keystore = "operator.json"
password_file = "password"

[store]
allow_hosts = {hosts}  # on this machine, which untrusted URIs may otherwise not name

[mirror]
port = {mirror_port}

[sandbox]
retry_pause_s = 2.0

[duties]  # windows here are seconds, not hours
stagger_s = 2.0
attest_margin_s = 5.0
fetch_pause_s = 1.0

[log]
format = "json"
"""


@dataclass(frozen=True)
class DemoOperator:
    """The machine of one operator: the owner of its seat, the key that votes, its port and its folder."""

    number: int
    key: LocalAccount
    mirror_port: int

    @property
    def folder(self) -> Path:
        """The folder of the operator's configuration, keys and data."""
        return FOLDER / "verifiers" / str(self.number)

    @property
    def owner(self) -> str:
        """Alias of the owner's wallet."""
        return f"owner{self.number}"

    @property
    def endpoint(self) -> str:
        """The URL of the operator's mirror."""
        return f"http://127.0.0.1:{self.mirror_port}"


@dataclass(frozen=True)
class People:
    """The wallets by alias, and the operators' machines."""

    wallets: dict[str, LocalAccount]
    operators: list[DemoOperator]
    passphrase: str

    def funded(self) -> list[str]:
        """Return the addresses that pay gas."""
        return [account.address for account in (*self.wallets.values(), *(item.key for item in self.operators))]


def fresh_folder() -> None:
    """Delete build/demo and create its folders again."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("logs", "public", "ape/accounts", "verifiers"):
        (FOLDER / name).mkdir(parents=True)


def environment() -> dict[str, str]:
    """Return variables that give ape its own folder, so that the user's accounts and deployments are not touched."""
    return {
        "APE_DATA_FOLDER": str(FOLDER / "ape"),
        "TOUCHSTONE_DEPLOYMENTS": str(FOLDER / "deployments"),
        # Waiting threads do not spin, because a chain and three services share this machine's cores.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def make_people() -> People:
    """Create a key for each participant, in keystores like those that `ape accounts generate` writes."""
    aliases = ["sponsor", "solver1", "solver2", *(f"owner{number + 1}" for number in range(VERIFIERS))]
    people = People(
        {alias: Account.create() for alias in aliases},
        [DemoOperator(number + 1, Account.create(), free_port()) for number in range(VERIFIERS)],
        secrets.token_hex(16),
    )
    for alias, account in people.wallets.items():
        _write_keystore(FOLDER / "ape" / "accounts" / f"{alias}.json", account, people.passphrase)
    for operator in people.operators:
        operator.folder.mkdir()
        _write_keystore(operator.folder / "operator.json", operator.key, people.passphrase)
        _write_secret(operator.folder / "password", people.passphrase)
        _write_secret(operator.folder / "seed", secrets.token_hex(32))
    return people


def announce(shell: Shell, people: People) -> None:
    """Name the wallets, and give ape the passphrases that unlock them."""
    shell.set({f"APE_ACCOUNTS_{alias}_PASSPHRASE": people.passphrase for alias in people.wallets})
    shell.note(
        f"wallets in {shown(FOLDER / 'ape')}, passphrases in APE_ACCOUNTS_…_PASSPHRASE: {', '.join(people.wallets)}"
    )


def start_chain(shell: Shell, chain: str, people: People) -> str:
    """Start a local chain on which each participant has coins; returns its URL. Errors: DemoError."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if chain == "anvil":
        if shutil.which("anvil") is None:
            raise DemoError(
                "anvil is not on PATH: `make anvil` installs it from npm, or run `make demo` without CHAIN=anvil"
            )
        service = shell.serve("chain", "anvil", "--port", str(port), "--chain-id", str(CHAIN_ID), "--block-time", "1")
    else:
        funds = [f"--fund={address}={FUNDS}" for address in people.funded()]
        service = shell.serve("chain", command("touchstone"), "devnet", "--port", str(port), *funds)
    client = Client(url)
    _until_it_answers(service, client.chain_id)
    if chain == "anvil":
        for address in people.funded():
            client.request("anvil_setBalance", [address, hex(FUNDS * ETHER)])
    shell.export("DEVNET_RPC_URL", url)
    return url


def deploy(shell: Shell, rpc_url: str) -> Market:
    """Deploy the three contracts with limits that allow windows of seconds. Errors: DemoError."""
    shell.run(*script("sponsor", "deploy", "--profile", "demo"))
    record = json.loads((FOLDER / "deployments" / "devnet.json").read_text("utf-8"))
    return Market.connect(rpc_url, record["contracts"]["Bounties"]["address"], shell)


def script(alias: str, *words: str) -> list[str]:
    """Return the command that runs an ape script with the wallet of that alias."""
    return [command("ape"), "run", *words, *NETWORK, "--account", alias, "--yes"]


def start_file_host(shell: Shell) -> str:
    """Start a server of public files; returns its URL. Errors: DemoError."""
    port = free_port()
    folder = shown(FOLDER / "public")
    service = shell.serve("files", command("touchstone"), "serve", folder, "--port", str(port))

    def connect() -> None:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()

    _until_it_answers(service, connect)
    return f"http://127.0.0.1:{port}"


def stake(shell: Shell, people: People) -> float:
    """Stake one seat for each of three owners; returns the seconds it took, which measure this machine's speed."""
    began = time.monotonic()
    shell.together(
        *(
            script(item.owner, "stake", "join", "--operator", item.key.address, "--endpoint", item.endpoint)
            for item in people.operators
        )
    )
    return time.monotonic() - began


def start_verifiers(shell: Shell, people: People, market: Market, rpc_url: str, file_host: str) -> None:
    """Write each operator's configuration and start the service. Errors: DemoError."""
    hosts = [url.removeprefix("http://") for url in (file_host, *(item.endpoint for item in people.operators))]
    for item in people.operators:
        text = CONFIG.format(
            rpc_url=rpc_url,
            chain_id=CHAIN_ID,
            bounties=market.contracts.bounties.address,
            hosts=json.dumps(hosts),
            mirror_port=item.mirror_port,
        )
        (item.folder / "service.toml").write_text(text, encoding="utf-8")
        config = shown(item.folder / "service.toml")
        shell.serve(f"verifier{item.number}", command("touchstone"), "run", "--config", config)


def free_port() -> int:
    """Return a port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_it_answers(service: DemoService, ask: object) -> None:
    assert callable(ask)
    deadline = time.monotonic() + START_S
    while True:
        service.check()
        try:
            ask()
            return
        except (OSError, ChainError) as error:
            if time.monotonic() > deadline:
                raise DemoError(f"{service.name} does not answer: {error}") from error
            time.sleep(0.2)


def _write_keystore(path: Path, account: LocalAccount, passphrase: str) -> None:
    # A weak key derivation: these keys protect nothing of value, and a strong one takes a second each time.
    keystore = Account.encrypt(account.key, passphrase, kdf="pbkdf2", iterations=1_000)
    _write_secret(path, json.dumps(keystore))


def _write_secret(path: Path, text: str) -> None:
    write_new(path, text.encode(), secret=True)
