"""A chain in memory: alysis (py-evm), with a transaction pool, block times, and the JSON-RPC methods clients expect.

alysis alone applies a transaction when it is sent, to a block whose timestamp is set later. Here transactions wait in a
pool and are applied when their block is mined, so that block.timestamp inside a contract is the one of the header.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import rlp  # type: ignore[import-untyped]
from alysis import EVMVersion, Node, RPCNode
from eth.abc import BlockAPI, BlockHeaderAPI, SignedTransactionAPI
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.exceptions import ValidationError
from ethereum_rpc import RPCError

logger = logging.getLogger(__name__)

MIN_PRIORITY_FEE = 1_000_000_000  # wei per gas; eth_maxPriorityFeePerGas suggests it
REPLACEMENT_BUMP_PERCENT = 10  # how much higher both fees of a replacement must be, as in geth
ERROR_SELECTOR = bytes.fromhex("08c379a0")  # Error(string), the encoding of a revert with a reason
MAX_LOG_BLOCKS = 100_000  # the largest block range of one eth_getLogs request

Json = Any


class RequestError(Exception):
    """A JSON-RPC error: its code, its message and, for a revert, the returned data in hexadecimal."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class DevChain:
    """A chain on which the account of private key 1 and the accounts in `funded` have ether.

    It is not thread-safe: only one caller at a time may use it.
    """

    def __init__(self, chain_id: int, funded: Mapping[str, int]) -> None:
        """Start a chain whose genesis block has the current time.

        `funded` maps addresses to wei, which a first block of transfers gives them.
        """
        total = sum(funded.values())
        self._node = Node(
            root_balance_wei=total + 10**24,
            evm_version=EVMVersion.CANCUN,
            chain_id=chain_id,
            auto_mine_transactions=False,
        )
        self._rpc = RPCNode(self._node)
        self._chain: Any = self._node._backend.chain  # Any, because py-evm's annotations are too narrow
        self._pool: dict[tuple[bytes, int], SignedTransactionAPI] = {}
        self._included: dict[str, int] = {}  # transaction hash -> block number
        self._logs: list[list[dict[str, Json]]] = [[]]  # by block number
        self._ahead_s = 0  # seconds that evm_increaseTime has put the chain ahead of the clock
        self._own: dict[str, Any] = {
            "eth_sendRawTransaction": self._send_raw,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getLogs": self._get_logs,
            "eth_feeHistory": self._fee_history,
            "eth_maxPriorityFeePerGas": lambda: hex(MIN_PRIORITY_FEE),
            "eth_gasPrice": lambda: hex(2 * self._base_fee() + MIN_PRIORITY_FEE),
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "web3_clientVersion": lambda: "touchstone-devnet",
            "evm_increaseTime": self._increase_time,
            "evm_mine": self._mine_now,
        }
        if funded:
            self._fund(funded)

    # Mining

    def mine(self, now: int | None = None) -> int:
        """Mine the transactions of the pool and return the block's number.

        The block's timestamp is `now` (by default the clock's), in seconds, and at least one more than the parent's.
        """
        parent: BlockHeaderAPI = self._chain.get_canonical_head()
        timestamp = max(int(time.time()) + self._ahead_s if now is None else now, parent.timestamp + 1)
        randao = os.urandom(32)
        self._chain.header = self._chain.header.copy(timestamp=timestamp, mix_hash=randao)
        for key in sorted(self._pool, key=lambda entry: entry[1]):
            self._apply(key)
        block: BlockAPI = self._chain.mine_block(coinbase=bytes(20), mix_hash=randao)
        number = int(block.number)
        logs: list[dict[str, Json]] = []
        for transaction in block.transactions:
            self._included["0x" + transaction.hash.hex()] = number
        if block.transactions:
            logs = self._call_alysis("eth_getLogs", {"fromBlock": hex(number), "toBlock": hex(number)})
            for index, entry in enumerate(logs):
                entry["logIndex"] = hex(index)
        self._logs.append(logs)
        return number

    def _apply(self, key: tuple[bytes, int]) -> None:
        """Try to apply one pooled transaction to the pending block; drop it when it can never be included."""
        sender, nonce = key
        transaction = self._pool[key]
        expected = self._chain.get_vm(self._chain.header).state.get_nonce(sender)
        if nonce > expected or transaction.max_fee_per_gas < self._chain.header.base_fee_per_gas:
            return
        if self._chain.header.gas_used + transaction.gas > self._chain.header.gas_limit:
            return
        del self._pool[key]
        try:
            self._chain.apply_transaction(transaction)
        except ValidationError as error:
            logger.warning("dropped transaction 0x%s: %s", transaction.hash.hex(), error)

    def _increase_time(self, seconds: int | str) -> int:
        """Make the next block's time at least `seconds` later than the newest block's.

        Returns by how many seconds the chain is now ahead of the clock.
        """
        more = int(seconds, 16) if isinstance(seconds, str) else seconds
        if more < 0:
            raise RequestError(-32602, "time can only be increased")
        # When several blocks were mined within a second, the newest block is ahead of the clock already.
        lead = self._chain.get_canonical_head().timestamp - int(time.time()) - self._ahead_s
        self._ahead_s += more + max(0, lead)
        return self._ahead_s

    def _mine_now(self) -> str:
        self.mine()
        return "0x0"

    def _fund(self, funded: Mapping[str, int]) -> None:
        from eth_account import Account

        root = Account.from_key("0x" + "0" * 63 + "1")
        for nonce, (address, wei) in enumerate(funded.items()):
            signed = root.sign_transaction(
                {
                    "to": address,
                    "value": wei,
                    "nonce": nonce,
                    "gas": 21_000,
                    "maxFeePerGas": 10 * self._base_fee() + MIN_PRIORITY_FEE,
                    "maxPriorityFeePerGas": MIN_PRIORITY_FEE,
                    "chainId": self._chain.chain_id,
                    "type": 2,
                }
            )
            self._send_raw("0x" + signed.raw_transaction.hex())
        self.mine()

    # Requests

    def request(self, method: str, params: Sequence[Json]) -> Json:
        """Answer one JSON-RPC request. Errors: RequestError, with the code and message that a node would give."""
        own = self._own.get(method)
        try:
            if own is not None:
                return own(*params)
            return self._call_alysis(method, *_with_block(method, params))
        except RPCError as error:
            raise _as_request_error(error) from error
        except TypeError as error:
            raise RequestError(-32602, f"{method}: {error}") from error

    def _call_alysis(self, method: str, *params: Json) -> Any:
        return self._rpc.rpc(method, *params)

    def _base_fee(self) -> int:
        return int(self._chain.get_canonical_head().base_fee_per_gas)

    def _send_raw(self, raw: str) -> str:
        try:
            transaction = self._node._backend.decode_transaction(bytes.fromhex(raw.removeprefix("0x")))
            transaction.validate()
            sender = bytes(transaction.sender)
        except Exception as error:  # py-evm raises many types for bytes that are not a transaction
            raise RequestError(-32602, f"invalid transaction: {error}") from error
        chain_id = getattr(transaction, "chain_id", None)
        if chain_id is not None and chain_id != self._chain.chain_id:
            raise RequestError(-32000, f"invalid chain id: have {chain_id}, want {self._chain.chain_id}")
        state = self._chain.get_vm(self._chain.get_canonical_head()).state
        if transaction.nonce < state.get_nonce(sender):
            raise RequestError(-32000, f"nonce too low: have {transaction.nonce}, next is {state.get_nonce(sender)}")
        cost = transaction.value + transaction.gas * transaction.max_fee_per_gas
        if state.get_balance(sender) < cost:
            raise RequestError(-32000, "insufficient funds for gas * price + value")
        if transaction.gas > self._chain.header.gas_limit:
            raise RequestError(-32000, "exceeds block gas limit")
        known = self._pool.get((sender, transaction.nonce))
        if known is not None and known.hash != transaction.hash:
            factor = 100 + REPLACEMENT_BUMP_PERCENT
            if (
                transaction.max_fee_per_gas * 100 < known.max_fee_per_gas * factor
                or transaction.max_priority_fee_per_gas * 100 < known.max_priority_fee_per_gas * factor
            ):
                raise RequestError(-32000, "replacement transaction underpriced")
        self._pool[sender, transaction.nonce] = transaction
        return "0x" + transaction.hash.hex()

    def _transaction_count(self, address: str, block: str = "latest") -> str:
        if block != "pending":
            count: str = self._call_alysis("eth_getTransactionCount", address, block)
            return count
        next_nonce = int(self._call_alysis("eth_getTransactionCount", address, "latest"), 16)
        sender = bytes.fromhex(address.removeprefix("0x"))
        while (sender, next_nonce) in self._pool:
            next_nonce += 1
        return hex(next_nonce)

    def _receipt(self, transaction_hash: str) -> Json:
        number = self._included.get(transaction_hash.lower())
        if number is None:
            return None
        # alysis would search from the newest block down and decode every block in between.
        block = self._chain.get_canonical_block_by_number(number)
        receipts = block.get_receipts(self._chain.chaindb)
        index = next(
            i for i, item in enumerate(block.transactions) if "0x" + item.hash.hex() == transaction_hash.lower()
        )
        before = receipts[index - 1].gas_used if index else 0
        transaction = block.transactions[index]
        base_fee = block.header.base_fee_per_gas
        price = min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + base_fee)
        created = None
        if not transaction.to:
            from eth_utils.address import to_checksum_address
            from eth_utils.crypto import keccak

            created = to_checksum_address(keccak(rlp.encode([transaction.sender, transaction.nonce]))[12:])
        return {
            "transactionHash": transaction_hash.lower(),
            "transactionIndex": hex(index),
            "blockHash": "0x" + block.hash.hex(),
            "blockNumber": hex(number),
            "from": "0x" + transaction.sender.hex(),
            "to": "0x" + transaction.to.hex() if transaction.to else None,
            "contractAddress": created,
            "cumulativeGasUsed": hex(receipts[index].gas_used),
            "gasUsed": hex(receipts[index].gas_used - before),
            "effectiveGasPrice": hex(price),
            "logs": [entry for entry in self._logs[number] if int(entry["transactionIndex"], 16) == index],
            "logsBloom": "0x" + receipts[index].bloom.to_bytes(256, "big").hex(),
            "status": "0x1" if receipts[index].state_root == b"\x01" else "0x0",
            "type": hex(getattr(transaction, "type_id", None) or 0),
        }

    def _block_by_number(self, block: str, full: bool = False) -> Json:
        if block == "pending":
            block = "latest"
        return self._completed(self._call_alysis("eth_getBlockByNumber", block, full))

    def _block_by_hash(self, block_hash: str, full: bool = False) -> Json:
        return self._completed(self._call_alysis("eth_getBlockByHash", block_hash, full))

    def _completed(self, answer: Json) -> Json:
        """Add the header fields that alysis omits, so that a client can compute the header's hash."""
        if answer is None:
            return None
        header = self._chain.get_canonical_block_by_number(int(answer["number"], 16)).header
        answer["mixHash"] = "0x" + header.mix_hash.hex()
        answer["extraData"] = "0x" + header.extra_data.hex()
        answer["withdrawalsRoot"] = "0x" + header.withdrawals_root.hex()
        answer["withdrawals"] = []
        answer["blobGasUsed"] = hex(header.blob_gas_used)
        answer["excessBlobGas"] = hex(header.excess_blob_gas)
        answer["parentBeaconBlockRoot"] = "0x" + header.parent_beacon_block_root.hex()
        return answer

    def _get_logs(self, criteria: Mapping[str, Json]) -> list[Json]:
        newest = len(self._logs) - 1
        if "blockHash" in criteria:
            block = self._call_alysis("eth_getBlockByHash", criteria["blockHash"], False)
            first = last = int(block["number"], 16)
        else:
            first = _block_number(criteria.get("fromBlock", "latest"), newest)
            last = min(_block_number(criteria.get("toBlock", "latest"), newest), newest)
        if last - first > MAX_LOG_BLOCKS:
            raise RequestError(-32005, f"the block range is larger than {MAX_LOG_BLOCKS}")
        addresses = criteria.get("address")
        wanted = None
        if addresses is not None:
            wanted = {item.lower() for item in ([addresses] if isinstance(addresses, str) else addresses)}
        topics = criteria.get("topics") or []
        return [
            entry
            for number in range(first, last + 1)
            for entry in self._logs[number]
            if (wanted is None or entry["address"].lower() in wanted) and _topics_match(topics, entry["topics"])
        ]

    def _fee_history(self, count: str | int, newest: str, percentiles: Sequence[float] | None = None) -> Json:
        blocks = int(count, 16) if isinstance(count, str) else count
        head = len(self._logs) - 1
        last = _block_number(newest, head)
        first = max(0, last - blocks + 1)
        headers = [self._chain.get_canonical_block_by_number(n).header for n in range(first, last + 1)]
        following = self._chain.header if last == head else self._chain.get_canonical_block_by_number(last + 1).header
        fees = [hex(header.base_fee_per_gas) for header in [*headers, following]]
        answer: dict[str, Json] = {
            "oldestBlock": hex(first),
            "baseFeePerGas": fees,
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        }
        if percentiles is not None:
            answer["reward"] = [[hex(MIN_PRIORITY_FEE) for _ in percentiles] for _ in headers]
        return answer


def _with_block(method: str, params: Sequence[Json]) -> list[Json]:
    """Complete a request's parameters: a missing block and "pending" become "latest"."""
    position = {"eth_call": 1, "eth_estimateGas": 1, "eth_getBalance": 1, "eth_getCode": 1, "eth_getStorageAt": 2}
    filled = list(params)
    if method in position:
        at = position[method]
        if len(filled) == at:
            filled.append("latest")
        if len(filled) > at and filled[at] == "pending":
            filled[at] = "latest"
    if method in ("eth_call", "eth_estimateGas") and filled and isinstance(filled[0], dict):
        call = {key: value for key, value in filled[0].items() if value is not None}
        if "input" in call:
            call["data"] = call.pop("input")
        # A simulated call spends nothing, so its fees are ignored.
        known = {"from", "to", "gas", "value", "data", "nonce"}
        filled[0] = {key: value for key, value in call.items() if key in known}
        if method == "eth_estimateGas":
            filled[0].setdefault("from", "0x" + "00" * 20)
    return filled


def _block_number(block: str | int, newest: int) -> int:
    if isinstance(block, int):
        return block
    if block in ("latest", "pending", "safe", "finalized"):
        return newest
    return 0 if block == "earliest" else int(block, 16)


def _topics_match(wanted: Sequence[Json], topics: Sequence[str]) -> bool:
    """Compare topics by position: None matches every topic, a list matches each of its members."""
    if len(wanted) > len(topics):
        return False
    for asked, topic in zip(wanted, topics, strict=False):
        if asked is None:
            continue
        options = [asked] if isinstance(asked, str) else asked
        if options and topic.lower() not in {option.lower() for option in options}:
            return False
    return True


def _as_request_error(error: RPCError) -> RequestError:
    """Put a revert's reason into the message, as geth does; alysis gives it only in the data."""
    data = error.data
    if data is None:
        return RequestError(int(error.code), error.message)
    raw = bytes(data)
    message = error.message
    if raw[:4] == ERROR_SELECTOR:
        try:
            message = f"execution reverted: {decode(['string'], raw[4:])[0]}"
        except DecodingError:
            logger.debug("the revert data is not a valid Error(string): %s", raw.hex())
    return RequestError(3, message, "0x" + raw.hex())
