"""/health and /metrics over real HTTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import requests

from verifier.artifacts.errors import ListenError
from verifier.service.health import Servers, Status, operator_app
from verifier.service.metrics import Metrics


@pytest.fixture
def servers() -> Iterator[Servers]:
    running = Servers()
    yield running
    running.close()


def test_health__recent_tick__is_well(servers: Servers) -> None:
    status = Status(started_at=0, stale_after_s=60, last_tick=time.time(), head=7, confirmed=5)
    port = servers.listen(operator_app(status, Metrics()), "127.0.0.1", 0)
    answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
    assert answer.status_code == 200
    assert answer.json()["head"] == 7


def test_health__old_tick__is_not_well_and_says_why(servers: Servers) -> None:
    status = Status(started_at=0, stale_after_s=60, last_tick=time.time() - 61, problem="the node does not answer")
    port = servers.listen(operator_app(status, Metrics()), "127.0.0.1", 0)
    answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
    assert answer.status_code == 503
    assert answer.json()["problem"] == "the node does not answer"


def test_metrics__counted__are_exposed(servers: Servers) -> None:
    metrics = Metrics()
    metrics.transactions.labels("commit", "sent").inc()
    port = servers.listen(operator_app(Status(0, 60), metrics), "127.0.0.1", 0)
    page = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    assert 'touchstone_transactions_total{kind="commit",outcome="sent"} 1.0' in page


def test_listen__port_taken__is_an_error(servers: Servers) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ListenError, match="cannot listen"):
            servers.listen(operator_app(Status(0, 60), Metrics()), "127.0.0.1", taken.getsockname()[1])
