"""A scripted JSON-RPC node over HTTP: each method answers as a test says, with the HTTP status it says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

ADDRESS = "0x" + "11" * 20
TASK = b"\x05" * 32

Answer = tuple[int, dict[str, Any]]  # HTTP status, and the body without its version and id
Method = Callable[[list[Any]], Answer]  # from the parameters


def result(value: Any) -> Answer:
    """A successful answer."""
    return 200, {"result": value}


def error(code: int, message: str, status: int = 200) -> Answer:
    """An error of JSON-RPC, with any HTTP status."""
    return status, {"error": {"code": code, "message": message}}


class HttpNode:
    """A node on loopback. `methods` holds what it serves; every other method does not exist."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, fields = outer._answer(request["method"], request["params"])
                body = json.dumps({"jsonrpc": "2.0", "id": request["id"], **fields}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, method: str, parameters: list[Any]) -> Answer:
        self.asked.append(method)
        serve = self.methods.get(method)
        return error(-32601, f"the method {method} does not exist") if serve is None else serve(parameters)

    def serve(self, **results: Any) -> None:
        """Answer each of these methods with that result, whatever its parameters."""
        for method, value in results.items():
            self.methods[method] = lambda _, value=value: result(value)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def block(number: int, timestamp: int = 1_790_000_000) -> dict[str, str]:
    """A block as a node gives it."""
    return {
        "number": hex(number),
        "hash": "0x" + keccak(text=f"block {number}").hex(),
        "timestamp": hex(timestamp),
        "baseFeePerGas": "0x7",
    }


def submission_log(number: int) -> dict[str, str | list[str]]:
    """A log entry of block `number`: a submission to TASK."""
    signature = keccak(text="SubmissionCommitted(bytes32,address,uint256,bytes32,bytes32,string)")
    topics = [signature, TASK, bytes(12) + b"\x11" * 20]
    data = encode(["uint256", "bytes32", "bytes32", "string"], [0, b"\x01" * 32, b"\x02" * 32, "https://x"])
    return {
        "address": ADDRESS,
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + data.hex(),
        "blockNumber": hex(number),
        "logIndex": "0x0",
    }
