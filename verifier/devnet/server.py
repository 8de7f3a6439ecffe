"""Serves the chain as JSON-RPC over HTTP. Requests and mining share one event loop, so they never run at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from aiohttp import web

from verifier.devnet.chain import DevChain, RequestError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 2 * 1024 * 1024  # of a request; the deployment of a contract has about 50 KB
MAX_BATCH = 200  # requests in one body


def application(chain: DevChain, block_time_s: float) -> web.Application:
    """Return the web application of a chain that mines a block every `block_time_s` seconds."""

    async def handle(request: web.Request) -> web.Response:
        try:
            body = json.loads(await request.text())
        except ValueError:
            return _json({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "the body is not JSON"}})
        if isinstance(body, list):
            if len(body) > MAX_BATCH:
                error = {"code": -32600, "message": f"a batch may have at most {MAX_BATCH} requests"}
                return _json({"jsonrpc": "2.0", "id": None, "error": error})
            return _json([_answer(chain, item) for item in body])
        return _json(_answer(chain, body))

    async def mining(app: web.Application) -> Any:
        task = asyncio.create_task(_mine_repeatedly(chain, block_time_s))
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/", handle)
    app.cleanup_ctx.append(mining)
    return app


async def _mine_repeatedly(chain: DevChain, block_time_s: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + block_time_s
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        chain.mine()
        # After a block that took long, the next ones still have their full interval.
        due = max(due + block_time_s, loop.time())


def _json(answer: Any) -> web.Response:
    return web.Response(text=json.dumps(answer), content_type="application/json")


def _answer(chain: DevChain, request: Any) -> dict[str, Any]:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "not a JSON-RPC request"}}
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
    params = request.get("params") or []
    if not isinstance(params, list):
        answer["error"] = {"code": -32602, "message": "parameters must be a list"}
        return answer
    try:
        answer["result"] = chain.request(request["method"], params)
    except RequestError as error:
        answer["error"] = {"code": error.code, "message": error.message}
        if error.data is not None:
            answer["error"]["data"] = error.data
    except Exception as error:
        logger.exception("%s failed", request["method"])
        answer["error"] = {"code": -32603, "message": f"internal error: {error}"}
    return answer
