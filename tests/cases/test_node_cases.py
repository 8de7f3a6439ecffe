"""Nodes that answer as real ones do, and transactions that the service sends through them.

Each test asserts the right behaviour. It is marked xfail until the fault is mended, and then stays as a plain test.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cases.nodes import ADDRESS, Answer, HttpNode, block, error, result, submission_log
from tests.service.test_transactions import CALL, OPERATOR, Memory, ScriptedNode, confirmed, new_sender
from verifier.chain.client import Client
from verifier.chain.contracts import contract_at
from verifier.chain.errors import Refused, Unreachable
from verifier.chain.events import EventIndex
from verifier.chain.transactions import FeePolicy, Sender, TransactionState

GWEI = 10**9
PROXIES = ("http_proxy", "all_proxy", "no_proxy")


def sender_through(node: HttpNode) -> Sender:
    """A sender whose node serves all that a transaction needs but a suggestion of the tip."""
    node.serve(
        eth_chainId="0x1",
        eth_call="0x",
        eth_estimateGas="0x30000",
        eth_getTransactionCount="0x5",
        eth_getBlockByNumber=block(100),
        eth_getTransactionReceipt=None,
        eth_sendRawTransaction="0x" + "ab" * 32,
    )
    client = Client(node.url, timeout_s=5.0)
    return Sender(client, OPERATOR, 1, Memory(), FeePolicy(max_fee=500 * GWEI, stuck_s=90.0))


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.xfail(
    strict=True,
    raises=Unreachable,
    reason="A JSON-RPC error that comes with an HTTP status of its own is not read, so the span is never halved.",
)
def test_advance__span_refused_with_an_http_status__is_halved(node: HttpNode, status: int) -> None:
    def logs(parameters: list[Any]) -> Answer:
        first, last = (int(parameters[0][key], 16) for key in ("fromBlock", "toBlock"))
        if last - first + 1 > 500:
            return error(-32614, "only ranges of 500 blocks are served", status)
        return result([submission_log(150)] if first <= 150 <= last else [])

    node.methods = {
        "eth_getLogs": logs,
        "eth_getBlockByNumber": lambda parameters: result(block(int(parameters[0], 16))),
    }
    client = Client(node.url, timeout_s=5.0)
    index = EventIndex(client, [contract_at(client, "Bounties", ADDRESS)], span=2_000)
    index.advance(client.block(2_500))
    assert [event.block for event in index.events] == [150]


@pytest.mark.parametrize("status", [401, 403, 429, 502, 503])
@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="A refused key, a rate limit and an outage all read `the node does not answer: HTTPError`.",
)
def test_request__node_answers_with_an_http_status__the_error_names_it(node: HttpNode, status: int) -> None:
    node.methods["eth_chainId"] = lambda _: (status, {})
    with pytest.raises(Unreachable) as caught:
        Client(f"{node.url}/v2/secret-key", timeout_s=5.0).chain_id()
    assert str(status) in str(caught.value)
    assert "secret-key" not in str(caught.value), "a URL can hold a key"


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="A proxy that the environment names takes requests to a local node, and the error does not mention it.",
)
def test_request__environment_names_a_proxy__is_bypassed_or_named(
    node: HttpNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    node.serve(eth_chainId="0x1")
    try:
        chain_id = Client(node.url, timeout_s=5.0).chain_id()
    except Unreachable as unreachable:
        problem = str(unreachable).lower()
    else:
        assert chain_id == 1
        return
    assert "http_proxy" in problem


@pytest.mark.xfail(
    strict=True,
    raises=Refused,
    reason="While a node indexes it answers a question for a receipt with an error, and the whole tick ends.",
)
def test_poll__node_indexes_transactions__counts_as_no_receipt_yet(node: HttpNode) -> None:
    sender = sender_through(node)
    node.serve(eth_maxPriorityFeePerGas="0x1")
    sender.submit("reveal:x", CALL)
    node.methods["eth_getTransactionReceipt"] = lambda _: error(-32000, "transaction indexing is in progress")
    assert sender.poll(confirmed(100)) == []
    assert sender.busy("reveal:x")


@pytest.mark.xfail(
    strict=True,
    raises=Refused,
    reason="A node that has no eth_maxPriorityFeePerGas keeps every transaction from being sent.",
)
def test_submit__node_suggests_no_tip__takes_one_from_the_fee_history(node: HttpNode) -> None:
    sender = sender_through(node)
    node.serve(
        eth_gasPrice="0x8",
        eth_feeHistory={
            "oldestBlock": "0x63",
            "reward": [["0x1"]],
            "baseFeePerGas": ["0x7", "0x7"],
            "gasUsedRatio": [0.5],
        },
    )
    assert sender.submit("reveal:x", CALL).state == TransactionState.SENT
    assert "eth_sendRawTransaction" in node.asked


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="A transaction sent while the clock was two hours fast does not count as stuck for two hours.",
)
def test_poll__clock_was_fast_at_the_send__is_stuck_no_later_than_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = new_sender(ScriptedNode(), Memory(), stuck_s=90.0)
    start = 1_790_000_000.0
    seconds = start + 7_200
    monkeypatch.setattr("time.time", lambda: seconds)
    sender.submit("reveal:x", CALL)
    found = []
    for after in (600, 700):  # the clock is right again; the first poll may be what the time is counted from
        seconds = start + after
        found += [change.state for change in sender.poll(confirmed(90))]
    assert TransactionState.REPLACED in found
