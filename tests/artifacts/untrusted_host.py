"""A web server on loopback that acts as an untrusted host whose URIs a verifier follows."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class UntrustedHost:
    """A web server in a thread of its own: `answers` has the handler of each path, `asked` the requested paths."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Handler] = {}
        self.asked: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = asyncio.run_coroutine_threadsafe(self._start(host, port, context), self._loop).result()
        self.host = f"{host}:{self.port}"

    async def _start(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        """End the server, and the handlers that still keep a client waiting."""
        await self._runner.cleanup()
        busy = asyncio.all_tasks() - {asyncio.current_task()}
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return await self.answers[request.path](request)

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def has(self, path: str, body: bytes, **headers: str) -> str:
        """Answer `path` with that body; returns its URL."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body, headers=headers)

        self.answers[path] = answer
        return self.url(path)

    def redirects(self, path: str, location: str, status: int = 302) -> str:
        """Answer `path` with a redirect; returns its URL."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": location})

        self.answers[path] = answer
        return self.url(path)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
