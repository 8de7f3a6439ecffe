"""Encodes a block header as the chain hashes it: an RLP list, rebuilt from a node's JSON answer.

The Panel's `draw` takes the bytes whose keccak256 is the block's hash. Each fork appended fields to the list, so the
fields of a block show to which fork it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from verifier.chain.errors import Unreachable

# Stands for the width of an RLP integer, which has as few bytes as its value needs.
NUMBER = 0

# Stands for the width of a byte string of any length.
BYTES = -1

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
    """The encoded header does not have the block's hash: the fork is unknown to this code, or the node is faulty."""


def encode_header(block: Mapping[str, Any]) -> bytes:
    """The RLP encoding of the header of a block from `eth_getBlockByNumber`, as raw JSON or as web3 returns it.

    Errors: UnknownHeader when a field is missing or the keccak256 of the bytes is not the block's hash.
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
