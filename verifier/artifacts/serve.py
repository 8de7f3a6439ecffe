"""Serves artifacts over HTTP at /artifacts/<digest>, and nothing else: no listing, no paths, no other methods.

The verifier service mirrors the files of live tasks with it; `touchstone serve` publishes a folder. Whoever downloads
checks the digest, so a server needs to be reachable, not trusted.
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
from verifier.artifacts.errors import ArtifactError

Find = Callable[[bytes], Path | None]  # digest -> the file, or None when it is not there or not to be served now
OnAnswer = Callable[[int], None]  # gets the status of every answer; for metrics

_REMEMBERED_CLIENTS = 10_000  # a flood from many addresses must not fill the memory
_HEADERS = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",  # strangers wrote these files: no browser is to show one as a page
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "public, max-age=31536000, immutable",  # a digest never names other bytes
}


class ListenError(ArtifactError):
    """An address that cannot be listened on."""


class RateLimit:
    """A token bucket per client: `per_minute` requests, all at once if need be. A client is an IPv4 address or /64."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # client -> (tokens, when in seconds)

    def allows(self, address: str) -> bool:
        """Take a token of that client's, if it has one left."""
        now = self._clock()
        if len(self._buckets) >= _REMEMBERED_CLIENTS:
            self._forget_idle(now)
        client = _client(address)
        tokens, when = self._buckets.get(client, (float(self._per_minute), now))
        tokens = min(float(self._per_minute), tokens + (now - when) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        return allowed

    def _forget_idle(self, now: float) -> None:
        """Drop full buckets, which say nothing; if none is full, all: a flood this wide is not stopped by counting."""
        self._buckets = {client: bucket for client, bucket in self._buckets.items() if now - bucket[1] < 60}
        if len(self._buckets) >= _REMEMBERED_CLIENTS:
            self._buckets.clear()


def artifacts_app(find: Find, limit: RateLimit, on_answer: OnAnswer | None = None) -> web.Application:
    """GET and HEAD /artifacts/<digest in hex, with or without 0x>: 200 with the file `find` names, 404, or 429."""

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
    """Listen in the running loop; returns what to `cleanup()` and the port (0 picks one). Errors: ListenError."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return runner, int(runner.addresses[0][1])


def run(app: web.Application, host: str, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` gets the port. Errors: ListenError."""

    async def until_told() -> None:
        told = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        runner, actual_port = await start(app, host, port)
        try:
            on_ready(actual_port)
            await told.wait()
        finally:
            await runner.cleanup()

    asyncio.run(until_told())


def _client(address: str) -> str:
    """Whom a limit counts for: an IPv6 host has a whole /64 of addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return address
