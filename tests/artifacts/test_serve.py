"""The server of artifacts, requested over real sockets."""

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from verifier.artifacts import serve
from verifier.artifacts.digests import digest, to_hex
from verifier.artifacts.errors import ListenError
from verifier.artifacts.fetch import Policy, artifact_uri, fetch
from verifier.artifacts.store import Store

DATA = bytes(range(256)) * 500
D = digest(DATA)
ENDED = digest(b"a file of a task that has ended")


class Mirror:
    """An artifact server in a thread of its own; `live` has the digests that it serves."""

    def __init__(self, store: Store, per_minute: int = 1000) -> None:
        self.live = {D}
        self.answered: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        def find(digest: bytes) -> Path | None:
            return store.path(digest) if digest in self.live and store.has(digest) else None

        app = serve.artifacts_app(find, serve.RateLimit(per_minute), self.answered.append)
        starting = asyncio.run_coroutine_threadsafe(serve.start(app, "127.0.0.1", 0), self._loop)
        self._runner, self.port = starting.result()

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        """Send the path unchanged, without the normalisation that a client library would do."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.putrequest(method, path)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.read(), dict(response.getheaders())
        finally:
            connection.close()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def mirror(store: Store) -> Iterator[Mirror]:
    store.put(DATA)
    store.put(b"a file of a task that has ended")
    server = Mirror(store)
    yield server
    server.close()


@pytest.mark.parametrize("name", [to_hex(D), D.hex(), "0x" + D.hex().upper()])
def test_get__artifact__is_served_as_bytes(mirror: Mirror, name: str) -> None:
    status, body, headers = mirror.ask(f"/artifacts/{name}")
    assert (status, body) == (200, DATA)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in headers["Cache-Control"]
    assert mirror.answered == [200]


def test_head__artifact__tells_the_size(mirror: Mirror) -> None:
    status, body, headers = mirror.ask(f"/artifacts/{to_hex(D)}", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(DATA)))


def test_get__artifact__is_what_fetch_expects(mirror: Mirror, tmp_path: Path) -> None:
    policy = Policy(allow_hosts=(f"127.0.0.1:{mirror.port}",))
    uri = artifact_uri(f"http://127.0.0.1:{mirror.port}", D)
    assert fetch([uri], D, len(DATA), policy, Store(tmp_path / "other")).read_bytes() == DATA


def test_get__file_of_no_live_task__is_not_served(mirror: Mirror) -> None:
    assert mirror.ask(f"/artifacts/{to_hex(ENDED)}")[0] == 404
    mirror.live.add(ENDED)
    assert mirror.ask(f"/artifacts/{to_hex(ENDED)}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/artifacts",
        "/artifacts/",
        "/artifacts/" + "ab" * 32,
        "/artifacts/" + D.hex()[:-1],
        "/artifacts/" + D.hex() + "00",
        "/artifacts/" + D.hex() + "/",
        "/artifacts/../artifacts/secret",
        "/artifacts/..%2fsecret",
        "/artifacts/%2e%2e/secret",
        "/artifacts/..",
        "/artifacts/secret",
        "/artifacts//etc/passwd",
        "/artifacts/%00",
        "/secret",
        "//artifacts/" + D.hex(),
    ],
)
def test_get__anything_else__is_not_found(mirror: Mirror, store: Store, path: str) -> None:
    (store.folder / "secret").write_text("secret")
    (store.folder.parent / "secret").write_text("secret")
    status, body, _ = mirror.ask(path)
    assert status == 404
    assert b"secret" not in body


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_other_methods__artifact__are_not_allowed(mirror: Mirror, method: str) -> None:
    assert mirror.ask(f"/artifacts/{to_hex(D)}", method)[0] == 405


def test_get__too_often__is_refused(store: Store) -> None:
    store.put(DATA)
    server = Mirror(store, per_minute=3)
    try:
        statuses = [server.ask(f"/artifacts/{to_hex(D)}")[0] for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert server.answered == statuses
    finally:
        server.close()


def test_rate_limit__time_passes__allows_again() -> None:
    now = 0.0
    limit = serve.RateLimit(60, clock=lambda: now)
    assert [limit.allows("192.0.2.1") for _ in range(61)] == [True] * 60 + [False]
    now = 2.0
    assert [limit.allows("192.0.2.1") for _ in range(3)] == [True, True, False]


def test_rate_limit__two_clients__have_a_bucket_each() -> None:
    limit = serve.RateLimit(1, clock=lambda: 0.0)
    assert limit.allows("192.0.2.1")
    assert limit.allows("192.0.2.2")
    assert not limit.allows("192.0.2.1")


@pytest.mark.parametrize(
    ("first", "second"), [("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), ("192.0.2.1", "::ffff:192.0.2.1")]
)
def test_rate_limit__addresses_of_one_client__share_a_bucket(first: str, second: str) -> None:
    limit = serve.RateLimit(1, clock=lambda: 0.0)
    assert limit.allows(first)
    assert not limit.allows(second)


def test_rate_limit__flood_of_addresses__does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_MAX_CLIENTS", 10)
    limit = serve.RateLimit(1, clock=lambda: 0.0)
    for number in range(100):
        limit.allows(f"192.0.2.{number}")
        assert len(limit._buckets) <= 10


def test_start__port_taken__is_an_error(mirror: Mirror, store: Store) -> None:
    app = serve.artifacts_app(lambda _: None, serve.RateLimit(1))
    with pytest.raises(ListenError, match=f"^cannot listen on 127.0.0.1:{mirror.port}: "):
        asyncio.run(serve.start(app, "127.0.0.1", mirror.port))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_command__told_to_stop__ends_cleanly(store: Store, number: signal.Signals, tmp_path: Path) -> None:
    store.put(DATA)
    command = [
        sys.executable,
        "-c",
        "from verifier.cli.main import main; main()",
        "serve",
        str(store.folder),
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.getcwd())
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert ready.startswith(f"serving 1 artifacts of {store.folder} at http://127.0.0.1:")
    host = ready.split("//")[1].split("/")[0]
    fetched = fetch(
        [artifact_uri(f"http://{host}", D)], D, len(DATA), Policy(allow_hosts=(host,)), Store(tmp_path / "other")
    )
    assert fetched.read_bytes() == DATA
    process.send_signal(number)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0
