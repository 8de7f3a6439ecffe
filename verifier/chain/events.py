"""An index of the contracts' events that follows the chain across reorganisations.

The contracts store only what they enforce; URIs, keys and committees are in events. The index holds every event up to
the block it was last advanced to, so that the events and the state calls of one tick belong to one block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3.contract import Contract
from web3.contract.contract import ContractEvent
from web3.types import LogReceipt

from verifier.chain.client import Block, Client, Log, translated
from verifier.chain.errors import Refused, Unreachable
from verifier.protocol.history import Event

# Checkpoints that the index keeps. After a reorganisation below the oldest one it reads everything again.
REMEMBERED_BLOCKS = 512


class EventIndex:
    """All events of some contracts from `first_block` to the block it was last advanced to, in chain order."""

    def __init__(self, client: Client, contracts: Sequence[Contract], first_block: int = 0, span: int = 2_000) -> None:
        """`span` is the number of blocks that one log query covers; nodes limit it."""
        self._client = client
        self._first_block = first_block
        self._span = span
        self._decoders: dict[tuple[ChecksumAddress, bytes], ContractEvent] = {}
        for contract in contracts:
            for entry in contract.abi:
                if entry["type"] == "event":
                    event = contract.events[entry["name"]]()
                    self._decoders[contract.address, bytes.fromhex(event.topic.removeprefix("0x"))] = event
        self._addresses = [contract.address for contract in contracts]
        self._checkpoints: list[tuple[int, bytes]] = []  # (block number, hash) the index was advanced to, oldest first
        self.events: list[Event] = []
        self.retractions = 0  # counts removals of events: a history of them has to be built anew after each

    def advance(self, to: Block) -> bool:
        """Follow the chain up to the block `to`; returns whether events were removed. Errors: Unreachable, Refused."""
        forgotten = self._forget_orphans(to)
        trusted = len(self._checkpoints), len(self.events)
        first = self._checkpoints[-1][0] + 1 if self._checkpoints else self._first_block
        while first <= to.number:
            logs, last = self._logs(first, min(first + self._span - 1, to.number))
            reached = to if last == to.number else self._client.block(last)
            self.events.extend(list(self._decode(logs)))  # list() first: a span whose decoding fails adds nothing
            self._checkpoints.append((reached.number, reached.hash))
            first = last + 1
        # If the node switched branches between the block and its logs, nothing that was read now can be trusted.
        if self._client.block(to.number).hash != to.hash:
            del self._checkpoints[trusted[0] :]
            del self.events[trusted[1] :]
            raise Unreachable(f"block {to.number} was reorganised away while it was read")
        del self._checkpoints[:-REMEMBERED_BLOCKS]
        return forgotten

    def _logs(self, first: int, last: int) -> tuple[list[Log], int]:
        """The logs from `first` to `last` or to an earlier block, and the number of that block.

        Nodes refuse queries with too many results, so the range is halved until one is answered.
        Errors: Refused when even the logs of a single block are refused.
        """
        while True:
            try:
                return self._client.logs(self._addresses, first, last), last
            except Refused:
                if last == first:
                    raise
                last = (first + last) // 2

    def _forget_orphans(self, to: Block) -> bool:
        before = len(self.events)
        kept = len(self._checkpoints)
        while kept:
            number, known = self._checkpoints[kept - 1]
            if number == to.number and known == to.hash:
                break
            if number < to.number and self._client.block(number).hash == known:
                break
            kept -= 1
        del self._checkpoints[kept:]
        reached = self._checkpoints[-1][0] if self._checkpoints else -1
        while self.events and self.events[-1].block > reached:
            self.events.pop()
        if len(self.events) == before:
            return False
        self.retractions += 1
        return True

    def _decode(self, logs: Iterable[Log]) -> Iterable[Event]:
        for log in logs:
            decoder = self._decoders.get((log.address, log.topics[0])) if log.topics else None
            if decoder is None:  # an event that the ABI does not have
                continue
            entry = LogReceipt(
                address=log.address,
                topics=[HexBytes(topic) for topic in log.topics],
                data=HexBytes(log.data),
                blockNumber=log.block,  # type: ignore[typeddict-item]
                logIndex=log.index,
                transactionIndex=0,
                transactionHash=HexBytes(bytes(32)),
                blockHash=HexBytes(bytes(32)),
                payload=HexBytes(b""),
                removed=False,
                topic=HexBytes(b""),
                name="",
                result="",
            )
            with translated():
                decoded = decoder.process_log(entry)
            yield Event(log.address, str(decoded["event"]), dict(decoded["args"]), log.block, log.index)
