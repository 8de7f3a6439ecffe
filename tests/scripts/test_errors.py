"""Every script's command ends in one line that says what to do, whatever fails."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from ape.cli import ConnectedProviderCommand
from ape.exceptions import ApeException, ConfigError, ProviderError
from requests import ConnectionError as NodeLost
from web3.exceptions import Web3RPCError

from scripts import _chain, _deployments, deploy, stake, status, submission, task, verify, withdraw
from tests.scripts.conftest import Wallets
from verifier.protocol.constants import NATIVE

OWNER = "0x" + "ab" * 20
SCRIPTS: dict[str, click.Command] = {
    module.__name__: module.cli for module in (deploy, stake, status, submission, task, verify, withdraw)
}


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for inner, item in command.commands.items():
            yield from commands(f"{name} {inner}", item)
    else:
        yield name, command


ALL = dict(pair for name, command in SCRIPTS.items() for pair in commands(name, command))


@pytest.mark.parametrize("name", ALL)
def test_script__every_command__prints_expected_errors_as_one_line(name: str) -> None:
    assert isinstance(ALL[name], _chain.Command)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ConfigError("Invalid uri: ${SEPOLIA_RPC_URL}"),
            "the variable SEPOLIA_RPC_URL is not set: export SEPOLIA_RPC_URL=URL with the URL of a node of this "
            "network",
        ),
        (
            ProviderError("No node found."),
            "No node found. Check --network, export its node's URL (SEPOLIA_RPC_URL or DEVNET_RPC_URL), and check that "
            "the node runs.",
        ),
        (
            NodeLost("HTTPSConnectionPool(host='node.example', port=443): Max retries exceeded with url: /v3/KEY"),
            "the node does not answer as it should: ConnectionError. Check that it runs, and run this command again",
        ),
        (
            Web3RPCError("429 too many requests"),
            "the node does not answer as it should: 429 too many requests. Check that it runs, and run this command "
            "again",
        ),
        (
            ProviderError("No node found on 'https://me:KEY@node.example:8545/v3/KEY?key=KEY'."),
            "No node found on 'https://node.example:8545/…'. Check --network, export its node's URL (SEPOLIA_RPC_URL "
            "or DEVNET_RPC_URL), and check that the node runs.",
        ),
        (
            ApeException("http://127.0.0.1:8545/ answers slowly,\nhttps://docs.example?key=KEY too"),
            "http://127.0.0.1:8545 answers slowly,\nhttps://docs.example/… too",
        ),
        (TimeoutError("the read timed out"), "the read timed out"),
        (PermissionError(13, "Permission denied", "/out/task.json"), "Permission denied: /out/task.json"),
    ],
)
def test_script__whatever_fails__is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def fail(command: ConnectedProviderCommand, ctx: click.Context) -> Any:
        raise error

    monkeypatch.setattr(ConnectedProviderCommand, "invoke", fail)
    with pytest.raises(click.ClickException) as shown:
        _chain.Command("any").invoke(click.Context(click.Command("any")))
    assert shown.value.message == said


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"chain_id": 1}', '{"chain_id": 1, "contracts": {}, "parameters": {}}']
)
def test_record__that_is_damaged__is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv("TOUCHSTONE_DEPLOYMENTS", str(tmp_path))
    (tmp_path / "sepolia.json").write_text(text)
    with pytest.raises(click.UsageError, match="sepolia.json is not a deployment record that `ape run deploy` wrote: "):
        _deployments.load("sepolia")


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("Invalid uri: https//user:pass@node.example/v3/SECRET?key=HIDDEN"),
        NodeLost("HTTPSConnectionPool(host='node.example'): Max retries exceeded with url: /v3/SECRET?key=HIDDEN"),
        ProviderError("404 for url https://user:pass@node.example/v3/SECRET?key=HIDDEN"),
    ],
)
def test_script__whose_node_fails__does_not_print_its_key(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    scheme = "https//" if isinstance(error, ConfigError) else "https://"
    monkeypatch.setenv("SEPOLIA_RPC_URL", f"{scheme}user:pass@node.example/v3/SECRET?key=HIDDEN")

    def fail(command: ConnectedProviderCommand, ctx: click.Context) -> Any:
        raise error

    monkeypatch.setattr(ConnectedProviderCommand, "invoke", fail)
    with pytest.raises(click.ClickException) as shown:
        _chain.Command("any").invoke(click.Context(click.Command("any")))
    assert not any(word in shown.value.message for word in ("SECRET", "HIDDEN", "pass@"))


@pytest.mark.parametrize("answer", [b"<html>moved</html>", b'{"jsonrpc": "2.0", "id": 1, "result": null}'])
def test_script__at_something_that_is_not_a_node__says_so(wallets: Wallets, answer: bytes) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = wallets.run("status", SEPOLIA_RPC_URL=f"http://127.0.0.1:{server.server_port}/v3/SECRET")
        server.shutdown()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search("the node does not answer as it should|answers at the node's URL is not a node", done.stderr)
    assert "SECRET" not in done.stderr


def test_script__whose_call_reverts__prints_the_reason_and_no_trace(wallets: Wallets, deployed: str) -> None:
    said = wallets.refused("stake", "join", "--operator", NATIVE, account="owner")
    assert said.endswith("Error: the contract reverts: join: no operator")
    assert "Stakes.join(" not in said  # ape's trace, which has the arguments of a reveal, too
    said = wallets.refused("stake", "exit", "0x" + "12" * 32, account="owner")
    assert f"there is no seat 0x{'12' * 32} on sepolia, or it is closed" in said


def test_join__with_an_endpoint_that_is_no_url__is_refused(wallets: Wallets, deployed: str) -> None:
    said = wallets.refused("stake", "join", "--operator", OWNER, "--endpoint", "mirror.example", account="owner")
    assert "--endpoint: mirror.example is not the URL of a server, such as https://files.example" in said
    assert "to pay" not in said


def test_deploy__whose_record_cannot_be_written__sends_nothing(wallets: Wallets, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = wallets.run(
        "deploy", "--profile", "demo", account="sponsor", TOUCHSTONE_DEPLOYMENTS=str(tmp_path / "file" / "records")
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Stakes" not in done.stdout
    assert f"Not a directory: {tmp_path / 'file' / 'records'}" in done.stderr
