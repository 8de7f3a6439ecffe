"""The machine of a wallet's user: ape with its own home folder, and a local node with Sepolia's chain id."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from tests.end_to_end.node import ROOT, free_port, wait_for

SEPOLIA = 11_155_111
PASSPHRASE = "correct horse"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Wallets:
    """Runs ape as a user would, with its own keystores and without the configuration of this machine's user."""

    folder: Path
    rpc_url: str

    @property
    def deployments(self) -> Path:
        return self.folder / "deployments"

    def add(self, role: str) -> LocalAccount:
        """Write a keystore named after its role. The weak key derivation saves a second; the key holds no value."""
        account: LocalAccount = Account.from_key(keccak(text=f"wallet of the {role}"))
        keystores = self.folder / "ape" / "accounts"
        keystores.mkdir(parents=True, exist_ok=True)
        keystore = Account.encrypt(account.key, PASSPHRASE, kdf="pbkdf2", iterations=1)
        (keystores / f"{role}.json").write_text(json.dumps(keystore))
        return account

    def run(
        self, *arguments: str | Path, account: str = "", network: str = "ethereum:sepolia", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `ape run ARGUMENTS --network …`, with --account and --yes if an account is named."""
        command: list[str] = [str(BIN / "ape"), "run", *map(str, arguments), "--network", network]
        if account:
            command += ["--account", account, "--yes"]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment() | environment, capture_output=True, text=True, timeout=300
        )

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("APE_", "TOUCHSTONE_"))}
        passphrases = {f"APE_ACCOUNTS_{role}_PASSPHRASE": PASSPHRASE for role in ("sponsor", "solver", "owner")}
        return {
            **kept,
            **passphrases,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "APE_DATA_FOLDER": str(self.folder / "ape"),
            "TOUCHSTONE_DEPLOYMENTS": str(self.deployments),
            "SEPOLIA_RPC_URL": self.rpc_url,
            "PYTHONPATH": str(self.folder / "packages"),
            "COLUMNS": "140",
        }

    def install_toy_kind(self) -> None:
        """Let ape find the package of the toy kind, as pip would install it."""
        packages = self.folder / "packages"
        shutil.copytree(ROOT / "tests" / "tasks" / "toy_kind" / "touchstone_toy", packages / "touchstone_toy")
        described = packages / "touchstone_toy-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: touchstone-toy\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text("[touchstone.kinds]\ntoy = touchstone_toy.kind:KIND\n")

    def ok(self, *arguments: str | Path, account: str = "") -> str:
        """Run a command that must succeed; returns its output."""
        done = self.run(*arguments, account=account)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str | Path, account: str = "") -> str:
        """Run a command that must fail without a traceback; returns its output as one line."""
        done = self.run(*arguments, account=account)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        return " ".join((done.stdout + done.stderr).split())


@dataclass(frozen=True)
class Node:
    """`touchstone devnet` as a process whose clock the tests advance."""

    url: str
    w3: Web3

    def advance_to(self, timestamp: int) -> None:
        """Advance the clock to that second, unless it is later already, and mine a block."""
        ahead = timestamp - int(self.w3.eth.get_block("latest")["timestamp"])
        if ahead > 0:
            self._request("evm_increaseTime", ahead)
        self._request("evm_mine")
        assert int(self.w3.eth.get_block("latest")["timestamp"]) >= timestamp

    def _request(self, method: str, *parameters: int) -> None:
        answer = self.w3.provider.make_request(RPCEndpoint(method), list(parameters))
        assert "error" not in answer, answer


@pytest.fixture(scope="session")
def people() -> dict[str, LocalAccount]:
    """The accounts by role."""
    return {role: Account.from_key(keccak(text=f"wallet of the {role}")) for role in ("sponsor", "solver", "owner")}


@pytest.fixture(scope="session")
def node(people: dict[str, LocalAccount]) -> Iterator[Node]:
    """A local chain with Sepolia's id and funded accounts."""
    port = free_port()
    funds = [f"--fund={account.address}" for account in people.values()]
    command = [sys.executable, "-m", "verifier", "devnet", "--port", str(port), "--chain-id", str(SEPOLIA), *funds]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    w3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}", request_kwargs={"timeout": 30}))
    try:
        wait_for(lambda: process.poll() is None and w3.is_connected(), "the chain answers", timeout_s=60)
        yield Node(f"http://127.0.0.1:{port}", w3)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def wallets(node: Node, people: dict[str, LocalAccount], tmp_path_factory: pytest.TempPathFactory) -> Wallets:
    machine = Wallets(tmp_path_factory.mktemp("wallets"), node.url)
    for role in people:
        assert machine.add(role).address == people[role].address
    machine.install_toy_kind()
    return machine


@pytest.fixture(scope="session")
def deployed(wallets: Wallets) -> str:
    """The output of `ape run deploy`."""
    return wallets.ok("deploy", "--profile", "demo", account="sponsor")
