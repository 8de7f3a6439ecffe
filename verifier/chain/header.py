"""Block headers as the chain hashes them: an RLP list, rebuilt from a node's JSON answer.

A node hands out a block as JSON, and the Panel's `draw` wants the bytes whose keccak256 is the block's hash. Each fork
appended fields to the list, so the fields a block has say which fork it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from verifier.chain.errors import Unreachable

NUMBER = 0  # width of an RLP integer: as few bytes as it takes
BYTES = -1  # width of a byte string that is as long as it is

# JSON name and width in bytes, in the order of the list.
FRONTIER = (
    ("parentHash", 32),
    ("sha3Uncles", 32),
    ("miner", 20),
    ("stateRoot", 32),
    ("transactionsRoot", 32),
    ("receiptsRoot", 32),
    ("logsBloom", 256),
    ("difficulty", NUMBER),
    ("number", NUMBER),
    ("gasLimit", NUMBER),
    ("gasUsed", NUMBER),
    ("timestamp", NUMBER),
    ("extraData", BYTES),
    ("mixHash", 32),
    ("nonce", 8),
)
LATER_FORKS = (
    (("baseFeePerGas", NUMBER),),  # London
    (("withdrawalsRoot", 32),),  # Shanghai
    (("blobGasUsed", NUMBER), ("excessBlobGas", NUMBER), ("parentBeaconBlockRoot", 32)),  # Cancun
    (("requestsHash", 32),),  # Prague
)


class UnknownHeader(Unreachable):
    """The node's block does not hash to the hash the node gives: a fork this code does not know, or a faulty node."""


def encode_header(block: Mapping[str, Any]) -> bytes:
    """RLP of the header of a block as `eth_getBlockByNumber` answers it, raw JSON or what web3 makes of it.

    Errors: UnknownHeader when a field is missing or the bytes' keccak256 is not the block's hash.
    """
    try:
        fields = list(FRONTIER)
        for fork in LATER_FORKS:
            if block.get(fork[0][0]) is None:
                break
            fields += fork
        header = rlp.encode([_field(block[name], width) for name, width in fields])
        expected = _bytes(block["hash"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownHeader(f"the block's header cannot be read: {type(error).__name__}: {error}") from error
    if keccak(header) != expected:
        raise UnknownHeader(f"the header of block {_number(block['number'])} does not hash to 0x{expected.hex()}")
    return bytes(header)


def _field(value: Any, width: int) -> bytes:
    if width == NUMBER:
        number = _number(value)
        return number.to_bytes((number.bit_length() + 7) // 8, "big")
    data = _bytes(value)
    # Some nodes drop the leading zeros of an empty bloom filter.
    return data if width == BYTES else data.rjust(width, b"\0")


def _bytes(value: Any) -> bytes:
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)


def _number(value: Any) -> int:
    return int(value, 16) if isinstance(value, str) else int(value)
