"""The two ports over real HTTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from verifier.service.errors import Stop
from verifier.service.health import RateLimit, Servers, Status, mirror_app, operator_app
from verifier.service.metrics import Metrics

DIGEST = bytes(range(32))


@pytest.fixture
def servers() -> Iterator[Servers]:
    running = Servers()
    yield running
    running.close()


@pytest.fixture
def mirror(servers: Servers, tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(b"ciphertext")
    app = mirror_app(lambda digest: tmp_path / "file" if digest == DIGEST else None, RateLimit(per_minute=5), Metrics())
    return f"http://127.0.0.1:{servers.listen(app, '127.0.0.1', 0)}/artifacts"


def test_health__recent_tick__is_well(servers: Servers) -> None:
    status = Status(started_at=0, stale_after_s=60, last_tick=time.time(), head=7, confirmed=5)
    port = servers.listen(operator_app(status, Metrics()), "127.0.0.1", 0)
    answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
    assert answer.status_code == 200
    assert answer.json()["head"] == 7


def test_health__old_tick__is_unwell_and_says_why(servers: Servers) -> None:
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


@pytest.mark.parametrize("prefix", ["", "0x"])
def test_mirror__file_of_a_live_task__is_served(mirror: str, prefix: str) -> None:
    answer = requests.get(f"{mirror}/{prefix}{DIGEST.hex()}", timeout=5)
    assert (answer.status_code, answer.content) == (200, b"ciphertext")


@pytest.mark.parametrize("name", ["ff" * 32, "file", "..%2Ffile", "0x12"])
def test_mirror__anything_else__is_not_found(mirror: str, name: str) -> None:
    assert requests.get(f"{mirror}/{name}", timeout=5).status_code == 404


def test_mirror__too_many_requests__are_refused(mirror: str) -> None:
    answers = [requests.get(f"{mirror}/{DIGEST.hex()}", timeout=5).status_code for _ in range(7)]
    assert answers == [200] * 5 + [429] * 2


def test_listen__port_taken__stops(servers: Servers) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Stop, match="cannot listen"):
            servers.listen(operator_app(Status(0, 60), Metrics()), "127.0.0.1", taken.getsockname()[1])
