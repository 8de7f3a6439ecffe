"""A node with malformed answers, and untrusted text that is not valid UTF-8: an error or escaped text, no crash."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from verifier.chain.client import Block, Client
from verifier.chain.contracts import Contracts, contract_at
from verifier.chain.errors import ChainError, Unreachable
from verifier.chain.events import EventIndex

ADDRESS = "0x" + "11" * 20
TASK = b"\x05" * 32


class FakeNode:
    """An HTTP server that answers every request with `body`, or with what `results` has for the method."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.results: dict[str, Any] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                result = outer.results.get(request["method"])
                body = outer.body or json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def node() -> Iterator[FakeNode]:
    fake = FakeNode()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def contracts(client: Client) -> Contracts:
    return Contracts(client, *(contract_at(client, name, ADDRESS) for name in ("Stakes", "Panel", "Bounties")))


QUESTIONS: dict[str, Callable[[Client], Any]] = {
    "chain_id": lambda client: client.chain_id(),
    "block": lambda client: client.block(),
    "code": lambda client: client.code(ADDRESS),  # type: ignore[arg-type]
    "balance": lambda client: client.balance(ADDRESS),  # type: ignore[arg-type]
    "nonce": lambda client: client.nonce(ADDRESS),  # type: ignore[arg-type]
    "logs": lambda client: client.logs([ADDRESS], 0, 1),  # type: ignore[list-item]
    "simulate": lambda client: client.simulate({"to": ADDRESS, "data": "0x"}),  # type: ignore[typeddict-item]
    "estimate_gas": lambda client: client.estimate_gas({"to": ADDRESS, "data": "0x"}),  # type: ignore[typeddict-item]
    "priority_fee": lambda client: client.priority_fee(),
    "broadcast": lambda client: client.broadcast(b"\x02"),
    "receipt": lambda client: client.receipt(b"\x01" * 32),
    "seat": lambda client: contracts(client).seat(TASK, 1),
    "task": lambda client: contracts(client).task(TASK, 1),
}
MALFORMED = [
    b"",
    b"<html>502 Bad Gateway</html>",
    b"[]",
    b"null",
    b'"text"',
    b'{"jsonrpc":"2.0","id":1}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"header not found"}}',
    b'{"jsonrpc":"2.0","id":1,"error":"busy"}',
    b'{"jsonrpc":"2.0","id":1,"result":"zz"}',
    b'{"jsonrpc":"2.0","id":1,"result":{"number":"x","blockNumber":"y"}}',
    b'{"jsonrpc":"2.0","id":1,"result":[[1]]}',
    b'{"jsonrpc":"2.0","id":1,"result":[{"address":5}]}',
    b'{"jsonrpc":"2.0","id":1,"result":{"number":"0x1","hash":7,"timestamp":"0x1"}}',
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_client__node_answers_malformed_json__is_an_error_of_the_node(node: FakeNode, question: str) -> None:
    client = Client(node.url, timeout_s=5.0)
    for body in MALFORMED:
        node.body = body or b"\0"
        # Some of the answers are valid for some questions (no receipt yet, a text for a hash): they raise no error.
        with suppress(ChainError):
            QUESTIONS[question](client)


def test_client__nobody_listens__is_unreachable() -> None:
    with pytest.raises(Unreachable, match="the node does not answer: ConnectionError"):
        Client("http://127.0.0.1:1", timeout_s=1.0).chain_id()


def test_event_index__uri_that_is_not_utf8__is_read_with_its_bytes_escaped(node: FakeNode) -> None:
    """Anyone can put any bytes on chain; one event must not prevent a verifier from reading the others."""
    signature = "SubmissionCommitted(bytes32,address,uint256,bytes32,bytes32,string)"
    data = encode(["uint256", "bytes32", "bytes32", "bytes"], [0, b"\x01" * 32, b"\x02" * 32, b"http://\xff\xfe"])
    topics = [keccak(text=signature), TASK, bytes(12) + b"\x11" * 20]
    node.results = {
        "eth_getLogs": [
            {
                "address": ADDRESS,
                "topics": ["0x" + topic.hex() for topic in topics],
                "data": "0x" + data.hex(),
                "blockNumber": "0x1",
                "logIndex": "0x0",
            }
        ],
        "eth_getBlockByNumber": {"number": "0x1", "hash": "0x" + "07" * 32, "timestamp": "0x1"},
    }
    client = Client(node.url)
    index = EventIndex(client, [contracts(client).bounties])
    index.advance(Block(1, b"\x07" * 32, 1, 0))
    (event,) = index.events
    assert event.name == "SubmissionCommitted"
    assert event.args["uri"] == "http://\\xff\\xfe"


def test_contracts__endpoint_that_is_not_utf8__is_read_with_its_bytes_escaped(node: FakeNode) -> None:
    types = "(bytes32,uint256,address,address,uint256,uint256,uint256,uint256,bytes)"
    values = (TASK, 3, ADDRESS, ADDRESS, 1, 0, 5, 2, b"\xff")
    node.results = {"eth_call": "0x" + encode([types], [values]).hex(), "eth_chainId": "0x1"}
    seat = contracts(Client(node.url)).seat(TASK, 1)
    assert (seat.endpoint, seat.slot, seat.balance) == ("\\xff", 3, 5)
