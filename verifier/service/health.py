"""/health and /metrics for the operator, and the background thread that serves them and the mirror."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from verifier.artifacts import serve
from verifier.service.metrics import Metrics


@dataclass
class Status:
    """What /health reports. The loop writes it, the servers' thread reads it. Times are in wall-clock seconds."""

    started_at: float
    stale_after_s: float  # without a complete tick for this long the service is not well
    last_tick: float | None = None  # when the last complete tick ended
    head: int | None = None  # newest block that the node reported
    confirmed: int | None = None  # block at which the last tick read the contracts
    problem: str | None = None  # why the last tick was not complete

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the service is well, and the details."""
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


def operator_app(status: Status, metrics: Metrics) -> web.Application:
    """The operator's web application.

    /health answers 200 while ticks complete and 503 when the last complete one is too old; /metrics is Prometheus text.
    """

    async def health(_: web.Request) -> web.Response:
        well, details = status.report()
        return web.json_response(details, status=200 if well else 503)

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/health", health), web.get("/metrics", page)])
    return app


class Servers:
    """Runs applications in a background thread until closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._runners: list[web.AppRunner] = []
        threading.Thread(target=self._loop.run_forever, name="servers", daemon=True).start()

    def listen(self, app: web.Application, host: str, port: int) -> int:
        """Serve `app`; returns the port. Errors: ListenError when the port is taken or not allowed."""
        runner, actual_port = asyncio.run_coroutine_threadsafe(serve.start(app, host, port), self._loop).result()
        self._runners.append(runner)
        return actual_port

    def close(self) -> None:
        """Stop listening, and end the thread."""

        async def stop() -> None:
            for runner in self._runners:
                await runner.cleanup()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
