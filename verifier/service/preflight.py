"""What `touchstone preflight` examines before an operator trusts a machine with a stake.

All checks are made even when some fail, so that one run names everything that is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from verifier.chain.client import Client
from verifier.chain.contracts import Contracts
from verifier.chain.events import EventIndex
from verifier.errors import TouchstoneError
from verifier.protocol.constants import ETHER
from verifier.protocol.history import History
from verifier.service import votes
from verifier.service.config import Config
from verifier.service.errors import Stop
from verifier.service.run import connect, open_account


@dataclass(frozen=True)
class Check:
    """One finding: what was examined, whether it is in order, and the detail or the reason."""

    name: str
    ok: bool
    detail: str


def preflight(config: Config) -> list[Check]:
    """Make all checks, in the order in which the service would meet a problem."""
    checks: list[Check] = []

    def check(name: str, look: Callable[[], str]) -> None:
        try:
            checks.append(Check(name, True, look()))
        except TouchstoneError as error:
            checks.append(Check(name, False, str(error)))

    check("seed", lambda: _seed(config))
    check("key", lambda: _key(config))
    check("store", lambda: _store(config))
    check("self-test", _self_test)
    connected: list[tuple[Client, Contracts]] = []

    def connection() -> str:
        connected.append(connect(config))
        client, contracts = connected[0]
        return f"chain {config.chain.chain_id}, block {client.block().number}, panel {contracts.panel.address}"

    check("chain", connection)
    if connected:
        client, contracts = connected[0]
        check("balance", lambda: _balance(config, contracts))
        check("stake", lambda: _stake(config, client, contracts))
    return checks


def _seed(config: Config) -> str:
    votes.load_seed(config.operator.seed_file)
    return f"{config.operator.seed_file} (keep a backup of it)"


def _key(config: Config) -> str:
    account = open_account(config)
    return "none: the service would be a dry run" if account is None else account.address


def _store(config: Config) -> str:
    try:
        config.data.mkdir(parents=True, exist_ok=True)
        probe = config.data / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0")
        probe.unlink()
        free = shutil.disk_usage(config.data).free
    except OSError as error:
        raise Stop(f"cannot write in {config.data}: {error.strerror}") from error
    if free < config.store.max_file_bytes:
        raise Stop(
            f"{config.data} has {free >> 20} MiB free, one file may take {config.store.max_file_bytes >> 20} MiB "
            "(store.max_file_bytes): free some space, or lower that limit"
        )
    return f"{config.data}, {free >> 20} MiB free"


def _self_test() -> str:
    from verifier.exact import self_test  # imported late because it loads onnxruntime
    from verifier.exact.runtime.session import ort

    self_test()
    return f"onnxruntime {ort.__version__} computes the literal vectors exactly"


def _operator(config: Config) -> str:
    account = open_account(config)
    operator = account.address if account else config.operator.address
    if operator is None:
        raise Stop("neither operator.keystore nor operator.address is set: the service would have no seat to act for")
    return operator


def _balance(config: Config, contracts: Contracts) -> str:
    operator = _operator(config)
    balance = contracts.balance(operator)
    if balance == 0:
        raise Stop(f"{operator} has no native coin to pay gas with: send it some")
    return f"{balance / ETHER:.6f} native coin for gas"


def _stake(config: Config, client: Client, contracts: Contracts) -> str:
    operator = _operator(config)
    index = EventIndex(client, [contracts.stakes], config.chain.from_block, config.chain.log_span)
    block = client.block()
    index.advance(block)
    stakes = History.of(index.events).stakes_of(operator)
    if not stakes:
        raise Stop(f"no stake names {operator} as its operator: join with `ape run stake join`")
    panel = contracts.panel.address
    enrolled = {
        event.args["stake"] for event in index.events if event.name == "Enrolled" and event.args["panel"] == panel
    }
    drawable = len(enrolled & set(stakes))
    if not drawable:
        raise Stop(
            f"none of the {len(stakes)} seat(s) is enrolled at the panel {panel}, so none will be drawn: "
            "call Stakes.enrol with each of them, or correct chain.bounties"
        )
    seats = [contracts.seat(stake, block.number) for stake in stakes]
    total = sum(seat.balance for seat in seats)
    leaving = sum(seat.exit_at > 0 for seat in seats)
    return f"{len(seats)} seat(s), {total / ETHER:.6f} native coin, {drawable} at this panel, {leaving} leaving"
