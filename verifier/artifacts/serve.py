"""Serves artifacts over HTTP at /artifacts/<digest> and nothing else: no listing, no paths, only GET and HEAD.

The verifier service mirrors the files of live tasks with it, and `touchstone serve` publishes a folder. Clients check
the digest of what they download, so they do not have to trust a server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from verifier.artifacts.digests import from_hex
from verifier.artifacts.errors import ListenError

Find = Callable[[bytes], Path | None]  # digest -> the file; None when it is missing or must not be served now
OnAnswer = Callable[[int], None]  # called with the status of every response; for metrics

_MAX_CLIENTS = 10_000  # clients whose requests are counted; bounds the memory when many addresses send requests
_HEADERS = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",  # the files are untrusted: a browser must not show one as a page
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "public, max-age=31536000, immutable",  # a digest always names the same bytes
}


class RateLimit:
    """Limits each client to `per_minute` requests by a token bucket, which also allows that many at once.

    A client is an IPv4 address or an IPv6 /64 network.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # client -> (tokens, time of the last request in s)

    def allows(self, address: str) -> bool:
        """Take a token from the bucket of the client at `address`, and return whether it had one."""
        now = self._clock()
        if len(self._buckets) >= _MAX_CLIENTS:
            self._forget_idle(now)
        client = _client(address)
        tokens, when = self._buckets.get(client, (float(self._per_minute), now))
        tokens = min(float(self._per_minute), tokens + (now - when) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        return allowed

    def _forget_idle(self, now: float) -> None:
        """Drop the buckets that are full again; drop all when that is not enough.

        A limit for each client does not stop requests from that many addresses at once.
        """
        self._buckets = {client: bucket for client, bucket in self._buckets.items() if now - bucket[1] < 60}
        if len(self._buckets) >= _MAX_CLIENTS:
            self._buckets.clear()


def artifacts_app(find: Find, limit: RateLimit, on_answer: OnAnswer | None = None) -> web.Application:
    """Return the web application that answers GET and HEAD /artifacts/<digest>.

    The digest is 64 hexadecimal digits, with or without 0x. The status is 200 with the file that `find` returns, 404
    when it returns None, or 429 above the `limit`.
    """

    async def artifact(request: web.Request) -> web.StreamResponse:
        response = _answer(request, find, limit)
        if on_answer is not None:
            on_answer(response.status)
        return response

    app = web.Application()
    app.add_routes([web.get("/artifacts/{digest}", artifact)])
    return app


def _answer(request: web.Request, find: Find, limit: RateLimit) -> web.StreamResponse:
    if not limit.allows(request.remote or ""):
        return web.Response(status=429, text="too many requests\n", headers={"Retry-After": "60"})
    try:
        path = find(from_hex(request.match_info["digest"]))
    except ValueError:
        path = None
    if path is None:
        return web.Response(status=404, text="no such artifact\n")
    return web.FileResponse(path, headers=_HEADERS)


async def start(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Listen in the running event loop; port 0 chooses a free one.

    Returns the runner, whose `cleanup()` ends the server, and the port. Errors: ListenError.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return runner, int(runner.addresses[0][1])


def run(app: web.Application, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the port. Errors: ListenError."""

    async def until_interrupted() -> None:
        interrupted = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
        runner, actual_port = await start(app, host, port)
        try:
            on_ready(actual_port)
            await interrupted.wait()
        finally:
            await runner.cleanup()

    asyncio.run(until_interrupted())


def _client(address: str) -> str:
    """Return the client that an address belongs to; an IPv6 host has a whole /64 network of addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return address
