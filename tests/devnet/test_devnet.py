"""The local chain, used by a client in another process."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from eth_account import Account
from eth_account.signers.local import LocalAccount
from vyper import compile_code
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError, Web3RPCError
from web3.types import RPCEndpoint

from tests.end_to_end.node import free_port
from verifier.chain.header import encode_header
from verifier.cli.devnet import devnet

SOURCE = """
# pragma version ~=0.4.3
event Kept:
    number: indexed(uint256)

@external
def keep(number: uint256):
    assert number > 3, "keep: too small"
    log Kept(number=number)

@external
@view
def hash_of(number: uint256) -> bytes32:
    return blockhash(number)

@external
@view
def now() -> uint256:
    return block.timestamp
"""


@pytest.fixture(scope="module")
def user() -> LocalAccount:
    account: LocalAccount = Account.create()
    return account


@pytest.fixture(scope="module")
def w3(user: LocalAccount) -> Iterator[Web3]:
    port = free_port()
    command = [sys.executable, "-m", "verifier", "devnet", "--port", str(port), "--fund", f"{user.address}=7"]
    process = subprocess.Popen(command)
    client = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
    try:
        give_up = time.monotonic() + 20
        while not client.is_connected():
            assert process.poll() is None, "the chain stopped"
            assert time.monotonic() < give_up, "the chain does not answer"
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()
        assert process.wait(10) == 0, "SIGTERM is a clean stop"


def send(w3: Web3, user: LocalAccount, call: Any, **fields: Any) -> bytes:
    nonce = w3.eth.get_transaction_count(user.address, "pending")
    transaction = call.build_transaction({"from": user.address, "nonce": nonce, **fields})
    return bytes(w3.eth.send_raw_transaction(user.sign_transaction(transaction).raw_transaction))


@pytest.fixture(scope="module")
def keeper(w3: Web3, user: LocalAccount) -> Contract:
    compiled = compile_code(SOURCE, output_formats=["abi", "bytecode"])
    factory = w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
    receipt = w3.eth.wait_for_transaction_receipt(send(w3, user, factory.constructor()), poll_latency=0.1)
    assert receipt["status"] == 1
    return w3.eth.contract(address=receipt["contractAddress"], abi=compiled["abi"])


def test_funding__at_genesis__gives_the_coins_asked_for(w3: Web3, user: LocalAccount) -> None:
    assert w3.eth.get_balance(user.address, block_identifier=1) == 7 * 10**18
    assert w3.eth.get_balance(Account.create().address) == 0
    assert w3.eth.chain_id == 31337


def test_block__header__hashes_to_the_block_hash_and_has_randomness(w3: Web3) -> None:
    block = w3.provider.make_request(RPCEndpoint("eth_getBlockByNumber"), ["latest", False])["result"]
    assert len(encode_header(block)) > 500
    assert int(block["mixHash"], 16) != 0


def test_blockhash__of_the_parent__is_what_the_node_says(w3: Web3, keeper: Contract) -> None:
    number = w3.eth.block_number - 1
    assert keeper.functions.hash_of(number).call() == bytes(w3.eth.get_block(number)["hash"])


def test_timestamp__in_a_transaction__is_the_clock(w3: Web3, keeper: Contract) -> None:
    assert abs(keeper.functions.now().call() - time.time()) < 4
    assert abs(w3.eth.get_block("latest")["timestamp"] - time.time()) < 4


def test_call__that_reverts__says_why(keeper: Contract) -> None:
    with pytest.raises(ContractLogicError, match="execution reverted: keep: too small"):
        keeper.functions.keep(1).call()


def test_transactions__sent_in_a_row__land_in_order_with_their_logs(
    w3: Web3, user: LocalAccount, keeper: Contract
) -> None:
    hashes = [send(w3, user, keeper.functions.keep(10 + i), gas=100_000) for i in range(4)]
    receipts = [w3.eth.wait_for_transaction_receipt(item, poll_latency=0.1) for item in hashes]
    assert [receipt["status"] for receipt in receipts] == [1, 1, 1, 1]
    kept = [entry["args"]["number"] for entry in keeper.events.Kept.get_logs(from_block=0)]
    assert kept[-4:] == [10, 11, 12, 13]
    only = keeper.events.Kept.get_logs(from_block=0, argument_filters={"number": 12})
    assert [bytes(entry["transactionHash"]) for entry in only] == [hashes[2]]


def test_transaction__that_reverts__is_included_and_failed(w3: Web3, user: LocalAccount, keeper: Contract) -> None:
    sent = send(w3, user, keeper.functions.keep(1), gas=100_000)
    assert w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.1)["status"] == 0


def test_replacement__with_higher_fees__takes_the_place_and_with_lower_is_refused(w3: Web3, user: LocalAccount) -> None:
    nonce = w3.eth.get_transaction_count(user.address) + 1  # a gap in the nonces keeps it in the pool
    base = {"to": user.address, "value": 0, "gas": 21_000, "nonce": nonce, "chainId": 31337, "type": 2}
    fees = {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
    w3.eth.send_raw_transaction(user.sign_transaction({**base, **fees}).raw_transaction)
    cheap = {"maxFeePerGas": 10**11 + 1, "maxPriorityFeePerGas": 10**9 + 1}
    with pytest.raises(Web3RPCError, match="replacement transaction underpriced"):
        w3.eth.send_raw_transaction(user.sign_transaction({**base, **cheap}).raw_transaction)
    dear = {name: fee * 1125 // 1000 for name, fee in fees.items()}
    replacing = w3.eth.send_raw_transaction(user.sign_transaction({**base, **dear}).raw_transaction)
    filler = {**base, **fees, "nonce": nonce - 1}
    w3.eth.send_raw_transaction(user.sign_transaction(filler).raw_transaction)
    assert w3.eth.wait_for_transaction_receipt(replacing, poll_latency=0.1)["status"] == 1


def test_nonce__already_used__is_refused(w3: Web3, user: LocalAccount, keeper: Contract) -> None:
    old = {"to": user.address, "value": 0, "gas": 21_000, "nonce": 0, "chainId": 31337, "type": 2}
    signed = user.sign_transaction({**old, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9})
    with pytest.raises(Web3RPCError, match="nonce too low"):
        w3.eth.send_raw_transaction(signed.raw_transaction)


def test_method__that_is_unknown__is_an_error_and_the_chain_goes_on(w3: Web3) -> None:
    answer = w3.provider.make_request(RPCEndpoint("eth_nonsense"), [])
    assert answer["error"]["code"] == -32601
    assert w3.is_connected()


def test_clock__put_forward__moves_the_blocks_to_come_and_never_back(w3: Web3) -> None:
    for _ in range(5):  # faster than one a second, so that the blocks are ahead of the clock
        w3.provider.make_request(RPCEndpoint("evm_mine"), [])
    before = w3.eth.get_block("latest")["timestamp"]
    assert w3.provider.make_request(RPCEndpoint("evm_increaseTime"), [3_600])["result"] >= 3_600
    w3.provider.make_request(RPCEndpoint("evm_mine"), [])
    assert w3.eth.get_block("latest")["timestamp"] >= before + 3_600
    refused = w3.provider.make_request(RPCEndpoint("evm_increaseTime"), [-1])
    assert refused["error"]["message"] == "time can only be increased"


def test_devnet__help__shows_the_lines_that_lead_to_it() -> None:
    said = CliRunner().invoke(devnet, ["--help"]).output
    assert "export DEVNET_RPC_URL=http://127.0.0.1:8545\n" in said
    assert "--network ethereum:devnet:node --account NAME --profile demo\n" in said
    assert 'rpc_url = "http://127.0.0.1:8545"\n' in said
