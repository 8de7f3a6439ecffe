"""Every script's command ends in one line that says what to do, whatever fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ape.cli import ConnectedProviderCommand
from ape.exceptions import ApeException, ConfigError, ProviderError
from requests import ConnectionError as NodeLost
from web3.exceptions import Web3RPCError

from scripts import _chain, _deployments, deploy, stake, status, submission, task, verify, withdraw

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


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"chain_id": 1}'])
def test_record__that_is_damaged__is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv("TOUCHSTONE_DEPLOYMENTS", str(tmp_path))
    (tmp_path / "sepolia.json").write_text(text)
    with pytest.raises(click.UsageError, match="sepolia.json is not a deployment record that `ape run deploy` wrote: "):
        _deployments.load("sepolia")
