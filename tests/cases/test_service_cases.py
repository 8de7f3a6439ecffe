"""Configurations, nodes and files that the service accepted without a message, and one failed read that cost a tick.

Each test asserts the right behaviour. It is marked xfail until the fault is mended, and then stays as a plain test.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cases.nodes import ADDRESS, HttpNode, block
from tests.cases.services import ConveningTasks, RecordedDuties, StillChain, service_on
from verifier.chain.errors import Refused
from verifier.service.config import Config, load_config
from verifier.service.errors import Stop
from verifier.service.health import Status
from verifier.service.preflight import preflight
from verifier.service.votes import load_seed

NOT_RAISED = pytest.fail.Exception  # what `pytest.raises` fails with when nothing is raised
DAY_S = 86_400
TASKS = (b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)


def configuration(folder: Path, rpc_url: str) -> Config:
    """A dry run's configuration whose node is at `rpc_url`. Errors: Stop."""
    seed = folder / "seed"
    seed.write_text("ab" * 32)
    seed.chmod(0o600)
    file = folder / "service.toml"
    file.write_text(
        f"""
data = "data"
[chain]
rpc_url = "{rpc_url}"
chain_id = 1
bounties = "{ADDRESS}"
[operator]
seed_file = "seed"
address = "{ADDRESS}"
"""
    )
    return load_config(file, {})


def contract_call(_: list[Any]) -> tuple[int, dict[str, Any]]:
    """Any contract names ADDRESS, whatever it is asked for."""
    return 200, {"result": "0x" + ADDRESS.removeprefix("0x").rjust(64, "0")}


@pytest.mark.parametrize(
    "rpc_url", ["wss://node.example/ws", "127.0.0.1:8545", "localhost:8545", "/var/run/geth.ipc", "${RPC}"]
)
@pytest.mark.xfail(
    strict=True,
    raises=NOT_RAISED,
    reason="A node's URL that requests cannot use is accepted, and the service waits for that node for ever.",
)
def test_load_config__rpc_url_that_is_not_http__is_refused(tmp_path: Path, rpc_url: str) -> None:
    with pytest.raises(Stop, match=r"chain\.rpc_url: .*https?://"):
        configuration(tmp_path, rpc_url)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="A space after the node's URL is kept, and the service waits for ever because no request can be sent to it.",
)
def test_load_config__rpc_url_with_a_space_at_its_end__is_trimmed_or_refused(tmp_path: Path) -> None:
    with suppress(Stop):
        assert configuration(tmp_path, "http://127.0.0.1:8545 ").chain.rpc_url == "http://127.0.0.1:8545"


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="Only that the node answers is checked, not how old its newest block is.",
)
def test_preflight__node_is_a_day_behind__a_check_fails(node: HttpNode, tmp_path: Path) -> None:
    node.serve(eth_chainId="0x1", eth_getCode="0x60", eth_getBalance="0x1", eth_getLogs=[])
    node.methods["eth_call"] = contract_call

    def failing(head_age_s: int) -> set[str]:
        node.serve(eth_getBlockByNumber=block(100, int(time.time()) - head_age_s))
        return {check.name for check in preflight(configuration(tmp_path, node.url)) if not check.ok}

    assert failing(DAY_S) > failing(0)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="/health knows when a tick was complete, not how old the block was that it saw: reveals are missed unseen.",
)
def test_health__node_is_a_day_behind__is_not_well() -> None:
    def well(head_age_s: int) -> bool:
        status = Status(started_at=time.time(), stale_after_s=60.0)
        service_on(StillChain(int(time.time()) - head_age_s), ConveningTasks(), TASKS, status).tick()
        return status.report()[0]

    assert well(0)
    assert not well(DAY_S)


@pytest.mark.xfail(
    strict=True,
    raises=Refused,
    reason="One read that one replica of the node cannot serve ends the tick before any task's duties are done.",
)
def test_tick__one_read_fails__duties_of_other_tasks_are_done() -> None:
    contracts = ConveningTasks(fail_once={TASKS[1]})
    service = service_on(StillChain(int(time.time())), contracts, TASKS, Status(time.time(), 60.0))
    service.tick()
    assert isinstance(service.actions, RecordedDuties)
    assert {TASKS[0], TASKS[2]} <= set(service.actions.tasks)
    assert not contracts.fail_once


@pytest.mark.xfail(
    strict=True,
    raises=Stop,
    reason="A seed file with a byte order mark, which Windows editors write, is refused, and a new seed is advised.",
)
def test_load_seed__file_with_a_byte_order_mark__is_read(tmp_path: Path) -> None:
    file = tmp_path / "seed"
    file.write_text("ab" * 32, "utf-8-sig")
    file.chmod(0o600)
    assert load_seed(file) == b"\xab" * 32
