"""The event index on a scripted chain that reorganises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import Web3

from verifier.chain.client import Block, Log
from verifier.chain.errors import Refused, Unreachable
from verifier.chain.events import EventIndex

ADDRESS = Web3.to_checksum_address("0x" + "11" * 20)
ABI: list[Any] = [
    {
        "type": "event",
        "name": "Happened",
        "anonymous": False,
        "inputs": [
            {"name": "what", "type": "bytes32", "indexed": True},
            {"name": "number", "type": "uint256", "indexed": False},
        ],
    }
]
TOPIC = keccak(text="Happened(bytes32,uint256)")


@dataclass
class ScriptedChain:
    """Blocks by number; every block's only log carries its number. `branch` is part of every hash above `fork`."""

    branch: int = 0
    fork: int = 0
    length: int = 10
    queries: list[tuple[int, int]] = field(default_factory=list)
    switches_while_read: bool = False
    max_logs: int = 1_000  # in one answer; the node refuses a query for more

    def block(self, number: int) -> Block:
        if number >= self.length:
            raise Unreachable(f"the node has no block {number}")
        branch = self.branch if number > self.fork else 0
        return Block(number, keccak(text=f"{branch}:{number}"), number, 0)

    def logs(self, addresses: list[str], first: int, last: int) -> list[Log]:
        self.queries.append((first, last))
        if last - first + 1 > self.max_logs:
            raise Refused("query returned more than 10000 results")
        if self.switches_while_read:
            self.branch += 1
        return [
            Log(
                ADDRESS,
                (TOPIC, bytes(32)),
                encode(["uint256"], [n * 1000 + (self.branch if n > self.fork else 0)]),
                n,
                0,
            )
            for n in range(first, last + 1)
        ]


@pytest.fixture
def chain() -> ScriptedChain:
    return ScriptedChain()


def new_index(chain: ScriptedChain, span: int = 100) -> EventIndex:
    contract = Web3().eth.contract(address=ADDRESS, abi=ABI)
    return EventIndex(chain, [contract], first_block=2, span=span)  # type: ignore[arg-type, list-item]


def numbers(index: EventIndex) -> list[int]:
    return [event.args["number"] for event in index.events]


def test_advance__first_time__reads_from_the_first_block_in_spans(chain: ScriptedChain) -> None:
    index = new_index(chain, span=3)
    assert not index.advance(chain.block(9))
    assert chain.queries == [(2, 4), (5, 7), (8, 9)]
    assert numbers(index) == [n * 1000 for n in range(2, 10)]
    assert index.events[0].name == "Happened"


def test_advance__too_many_logs_for_one_answer__asks_for_fewer_blocks(chain: ScriptedChain) -> None:
    chain.max_logs = 3
    index = new_index(chain)
    index.advance(chain.block(9))
    assert chain.queries == [(2, 9), (2, 5), (2, 3), (4, 9), (4, 6), (7, 9)]
    assert numbers(index) == [n * 1000 for n in range(2, 10)]


def test_advance__node_refuses_even_one_block__is_refused(chain: ScriptedChain) -> None:
    chain.max_logs = 0
    with pytest.raises(Refused, match="more than 10000"):
        new_index(chain).advance(chain.block(9))


def test_advance__later__reads_only_what_is_new(chain: ScriptedChain) -> None:
    index = new_index(chain)
    index.advance(chain.block(5))
    index.advance(chain.block(7))
    index.advance(chain.block(7))
    assert chain.queries == [(2, 5), (6, 7)]


def test_advance__reorganised__forgets_the_branch_and_reads_the_other(chain: ScriptedChain) -> None:
    index = new_index(chain)
    for number in (5, 7, 9):
        index.advance(chain.block(number))
    chain.branch, chain.fork = 1, 6
    assert index.advance(chain.block(9))
    assert numbers(index) == [2000, 3000, 4000, 5000, 6000, 7001, 8001, 9001]


def test_advance__shorter_branch__forgets_what_is_above_it(chain: ScriptedChain) -> None:
    index = new_index(chain)
    for number in (5, 9):
        index.advance(chain.block(number))
    chain.branch, chain.fork, chain.length = 1, 5, 7
    assert index.advance(chain.block(6))
    assert numbers(index) == [2000, 3000, 4000, 5000, 6001]


def test_advance__deeper_than_remembered__starts_over(chain: ScriptedChain) -> None:
    index = new_index(chain)
    index.advance(chain.block(9))
    chain.branch, chain.fork = 1, 0
    index.advance(chain.block(9))
    assert numbers(index) == [n * 1000 + 1 for n in range(2, 10)]


def test_advance__branch_switches_while_reading__trusts_nothing(chain: ScriptedChain) -> None:
    index = new_index(chain)
    chain.switches_while_read = True
    with pytest.raises(Unreachable, match="reorganised away"):
        index.advance(chain.block(9))
    assert index.events == []
    chain.fork, chain.switches_while_read = 7, False
    index.advance(chain.block(7))
    assert len(index.events) == 6
    chain.switches_while_read = True
    with pytest.raises(Unreachable, match="reorganised away"):
        index.advance(chain.block(9))
    assert len(index.events) == 6  # what was read before is kept
