"""The two ports: /health and /metrics for the operator, /artifacts/<digest> for everybody.

Both run in one background thread with its own event loop. The mirror serves only files of live tasks, by digest, and
only so many requests per minute and address.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from verifier.service.errors import Stop
from verifier.service.metrics import Metrics

DIGEST = re.compile(r"(?:0x)?([0-9a-f]{64})")
REMEMBERED_ADDRESSES = 10_000  # a flood from many addresses must not fill the memory


@dataclass
class Status:
    """What /health reports; written by the loop, read by the server."""

    started_at: float
    stale_after_s: float
    last_tick: float | None = None
    head: int | None = None
    confirmed: int | None = None
    problem: str | None = None

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether the service is well, and the details."""
        age = time.time() - (self.last_tick or self.started_at)
        well = age <= self.stale_after_s
        details = {
            "status": "ok" if well else "stale",
            "last_tick_age_s": round(age, 1),
            "head": self.head,
            "confirmed": self.confirmed,
            "problem": self.problem,
        }
        return well, details


class RateLimit:
    """A token bucket per remote address."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}  # address -> (tokens, when)

    def allows(self, address: str) -> bool:
        """Take one token if there is one."""
        now = time.monotonic()
        if len(self._buckets) > REMEMBERED_ADDRESSES:
            self._buckets = {a: b for a, b in self._buckets.items() if now - b[1] < 60}
        tokens, when = self._buckets.get(address, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - when) * self._per_minute / 60)
        if tokens < 1:
            return False
        self._buckets[address] = (tokens - 1, now)
        return True


def operator_app(status: Status, metrics: Metrics) -> web.Application:
    """/health: 200 while ticks complete, 503 when the last is too old. /metrics: Prometheus text."""

    async def health(_: web.Request) -> web.Response:
        well, details = status.report()
        return web.json_response(details, status=200 if well else 503)

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/health", health), web.get("/metrics", page)])
    return app


def mirror_app(find: Callable[[bytes], Path | None], limit: RateLimit, metrics: Metrics) -> web.Application:
    """/artifacts/<digest in hex>: the file `find` names for it, or 404; 429 beyond the rate."""

    async def artifact(request: web.Request) -> web.StreamResponse:
        match = DIGEST.fullmatch(request.match_info["digest"].lower())
        path = find(bytes.fromhex(match.group(1))) if match else None
        response: web.StreamResponse
        if not limit.allows(request.remote or ""):
            response = web.Response(status=429, text="too many requests\n")
        elif path is None:
            response = web.Response(status=404, text="not an artifact of a live task\n")
        else:
            response = web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})
        metrics.served.labels(str(response.status)).inc()
        return response

    app = web.Application()
    app.add_routes([web.get("/artifacts/{digest}", artifact)])
    return app


class Servers:
    """Runs applications in a background thread until closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._runners: list[web.AppRunner] = []
        threading.Thread(target=self._loop.run_forever, name="servers", daemon=True).start()

    def listen(self, app: web.Application, host: str, port: int) -> int:
        """Serve `app`; returns the port. Errors: Stop when it is taken or not allowed."""

        async def start() -> int:
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, host, port).start()
            return int(runner.addresses[0][1])

        try:
            return asyncio.run_coroutine_threadsafe(start(), self._loop).result()
        except OSError as error:
            raise Stop(f"cannot listen on {host}:{port}: {error.strerror}") from error

    def close(self) -> None:
        """Stop listening and end the thread."""

        async def stop() -> None:
            for runner in self._runners:
                await runner.cleanup()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
