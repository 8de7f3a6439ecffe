"""The wallet scripts, run as commands on a local node with Sepolia's chain id."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from vyper.cli.vyper_compile import compile_files

from scripts.deploy import GAS
from tests.artifacts.untrusted_host import UntrustedHost
from tests.end_to_end.node import ROOT
from tests.end_to_end.program import Program
from tests.scripts.conftest import SEPOLIA, Node, Wallets
from verifier.artifacts import digests, sealing
from verifier.chain.client import Client
from verifier.chain.contracts import Contracts
from verifier.chain.header import encode_header
from verifier.protocol.constants import ETHER, NATIVE, Outcome

HOUR = 3600
TERMS = (
    "--reward=1",
    "--threshold=10",
    "--committee=3",
    "--seat-fee=0.01",
    *(f"--{name}-window=1h" for name in ("commit", "attest", "holdout", "reveal", "verdict-commit", "verdict-reveal")),
)
SEALED = bytes(range(32))
# Seeds of holdouts: each task has one of its own, because `create` refuses a holdout that was revealed before.
SEEDS = count(100)


class Files:
    """The files of a task and of its solver in one folder, as the touchstone commands write them, and their host."""

    def __init__(self, folder: Path, host: UntrustedHost) -> None:
        self.folder = folder
        self.host = host
        self.program = Program()
        self.seed = next(SEEDS)
        ciphertext, self.holdout = self.seal("holdout", self.program.examples_file(self.seed))
        practice = self.program.examples_file(seed=2)
        self.manifest = folder / "manifest.json"
        self.manifest.write_bytes(
            self.program.manifest(self.publish, practice, ciphertext, kind="toy", settings={"features": 4})
        )
        for data in (self.program.data, practice, ciphertext):
            self.publish(data)
        self.manifest_uri = self.publish(self.manifest.read_bytes())

    def publish(self, data: bytes) -> str:
        """Serve a file; returns its URI."""
        return self.host.has(f"/{digests.digest(data).hex()}", data)

    def seal(self, name: str, plain: bytes) -> tuple[bytes, Path]:
        """Write a sealed file; returns its bytes and the path of the JSON that describes it."""
        key = sealing.new_key()
        ciphertext = sealing.seal(key, plain)
        (self.folder / f"{name}.sealed").write_bytes(ciphertext)
        (self.folder / f"{name}.key").write_text("0x" + key.hex() + "\n")
        description = self.folder / f"{name}.json"
        described = {
            "plain": digests.to_hex(digests.digest(plain)),
            "sealed": digests.to_hex(digests.digest(ciphertext)),
            "size": len(plain),
            "file": f"{name}.sealed",
            "key_file": f"{name}.key",
        }
        description.write_text(json.dumps(described))
        return ciphertext, description

    def submission(self, name: str, weights: list[int]) -> Path:
        return self.seal(name, self.program.submission_file(weights))[1]

    def create(self, record: str, *terms: str) -> tuple[str | Path, ...]:
        """The arguments of `ape run task create`."""
        return (
            *("task", "create", f"--manifest={self.manifest}", f"--manifest-uri={self.manifest_uri}"),
            *(f"--holdout={self.holdout}", f"--out={self.folder / record}", f"--allow-host={self.host.host}", *terms),
        )

    def commit(self, task: str | Path, name: str, record: str = "") -> tuple[str | Path, ...]:
        """The arguments of `ape run submission commit`."""
        out = self.folder / (record or f"{name}-record.json")
        uri = self.publish((self.folder / f"{name}.sealed").read_bytes())
        return (
            *("submission", "commit", f"--task={task}", f"--sealed={self.folder / name}.json"),
            *(f"--uri={uri}", f"--out={out}", f"--allow-host={self.host.host}"),
        )


def send(node: Node, sender: LocalAccount, function: Any) -> Any:
    """Sign and send a transaction without the scripts; returns its receipt."""
    nonce = node.w3.eth.get_transaction_count(sender.address)
    signed = sender.sign_transaction(function.build_transaction({"from": sender.address, "nonce": nonce}))
    sent = node.w3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = node.w3.eth.wait_for_transaction_receipt(sent, timeout=120, poll_latency=0.1)
    assert receipt["status"] == 1
    return receipt


def deploy_token(node: Node, deployer: LocalAccount) -> Any:
    """Deploy an ERC-20 token that anyone may mint."""
    ((_, compiled),) = compile_files(
        [ROOT / "contracts/mocks/PlainToken.vy"], ["abi", "bytecode"], paths=[ROOT]
    ).items()
    factory = node.w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
    address = send(node, deployer, factory.constructor())["contractAddress"]
    return node.w3.eth.contract(address=address, abi=compiled["abi"])


class Committee:
    """An operator of three seats that calls the panel directly, as the service does."""

    def __init__(self, node: Node, contracts: Contracts, operator: LocalAccount) -> None:
        self.node, self.contracts, self.operator = node, contracts, operator
        self.w3 = node.w3

    def send(self, function: Any) -> None:
        send(self.node, self.operator, function)

    def draw(self, task: bytes) -> None:
        panel = self.contracts.panel.functions
        self.node.advance_to(self.contracts.bounties.functions.brief(task).call().commit_closes)
        self.send(panel.convene(task))
        target = panel.panel(task).call().target_block
        while self.w3.eth.block_number <= target:
            self.node.advance_to(0)
        self.send(panel.draw(task, encode_header(self.contracts.client.block(target).header)))

    def attest(self, task: bytes, bitmap: int) -> None:
        panel = self.contracts.panel.functions
        for position in range(3):
            self.send(panel.attest(task, position, bitmap))
        self.node.advance_to(panel.panel(task).call().attest_closes)
        self.send(panel.close_attestation(task))

    def judge(self, task: bytes, scores: list[int]) -> None:
        """Settle as `settle` does, close the votes and claim."""
        self.settle(task, scores)
        for position in range(3):
            self.send(self.contracts.panel.functions.close_vote(task, 1, position))
        for index in range(len(scores)):
            self.send(self.contracts.bounties.functions.claim_submission(task, index, scores))

    def settle(self, task: bytes, scores: list[int]) -> None:
        """Commit and reveal one verdict from every seat, wait until it is final, and settle."""
        panel, bounties = self.contracts.panel.functions, self.contracts.bounties.functions
        self.node.advance_to(panel.round(task, 1).call().opens)
        inputs = bounties.inputs(task).call()
        verdict = panel.verdict_digest(task, inputs, Outcome.SCORED, scores, SEALED).call()
        stakes = [self.contracts.stakes.functions.stake_of(slot).call() for slot in panel.committee(task, 1).call()]
        for position, stake in enumerate(stakes):
            vote = panel.vote_digest(task, 1, stake, verdict, SEALED).call()
            self.send(panel.commit_verdict(task, 1, position, vote))
        self.node.advance_to(panel.round(task, 1).call().commit_closes)
        for position in range(3):
            self.send(panel.reveal_verdict(task, 1, position, verdict, SEALED))
        self.node.advance_to(panel.round(task, 1).call().reveal_closes + panel.CHALLENGE_WINDOW().call())
        self.send(bounties.settle(task, Outcome.SCORED, scores, SEALED))


@pytest.fixture(scope="module")
def contracts(deployed: str, wallets: Wallets, node: Node) -> Contracts:
    record = json.loads((wallets.deployments / "sepolia.json").read_text())
    return Contracts.connect(Client(node.url), record["contracts"]["Bounties"]["address"])


@pytest.fixture(scope="module")
def seats(deployed: str, wallets: Wallets, people: dict[str, LocalAccount], node: Node) -> list[str]:
    """The stakes of three seats that a script joined."""
    out = wallets.ok(
        "stake",
        "join",
        "--operator",
        people["owner"].address,
        "--endpoint=https://m.example",
        "--seats=3",
        account="owner",
    )
    node.advance_to(0)
    return [line.split()[1] for line in out.splitlines() if line.startswith("seat 0x")]


@pytest.fixture(scope="module")
def host() -> Iterator[UntrustedHost]:
    opened = UntrustedHost()
    yield opened
    opened.close()


@pytest.fixture
def files(tmp_path: Path, host: UntrustedHost) -> Files:
    return Files(tmp_path, host)


# Deployment


def test_deploy__with_sepolias_chain_id__writes_a_record_that_verify_confirms(deployed: str, wallets: Wallets) -> None:
    record = json.loads((wallets.deployments / "sepolia.json").read_text())
    assert record["chain_id"] == SEPOLIA
    assert all(contract["address"] in deployed for contract in record["contracts"].values())
    confirmed = wallets.ok("verify")
    assert "DIFF" not in confirmed
    assert confirmed.count("  ok   ") == 2 + 16 + 6 + 6  # chain and compiler, parameters, windows, two of each code
    assert "the chain agrees with the record and with this source" in confirmed


def test_deploy__before_it_sends__says_what_the_parameters_imply(deployed: str, wallets: Wallets, node: Node) -> None:
    assert GAS == 10_800_000  # the README's figure for the coins that a deployment needs
    said = " ".join(deployed.split())
    assert "a seat costs 16 coins; leaving takes 1 min" in said
    assert "the first task needs 3 staked seats, 48 coins together" in said
    assert f"about {GAS / 10**6:.1f} million gas, which is " in said
    record = json.loads((wallets.deployments / "sepolia.json").read_text())
    blocks = {contract["block"] for contract in record["contracts"].values()}
    sent = [hash_ for block in blocks for hash_ in node.w3.eth.get_block(block)["transactions"]]
    used = sum(node.w3.eth.get_transaction_receipt(hash_)["gasUsed"] for hash_ in sent)
    assert 0.9 * GAS < used <= GAS


def test_verify__record_differs__names_each_difference(deployed: str, wallets: Wallets, tmp_path: Path) -> None:
    record = json.loads((wallets.deployments / "sepolia.json").read_text())
    record["parameters"]["exit_delay"] += 1
    record["contracts"]["Panel"]["code_hash"] = "0x" + "00" * 32
    (tmp_path / "sepolia.json").write_text(json.dumps(record))
    done = wallets.run("verify", TOUCHSTONE_DEPLOYMENTS=str(tmp_path))
    assert done.returncode == 1
    different = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("  DIFF")]
    assert different == ["  DIFF Stakes.EXIT_DELAY", "  DIFF Panel"]
    assert "the chain differs from the record or this source in 2 places, marked DIFF" in done.stderr


def test_deploy__record_exists__refuses(deployed: str, wallets: Wallets) -> None:
    assert "already records a deployment on sepolia" in wallets.refused("deploy", account="sponsor")


def test_scripts__no_record__say_how_to_get_one(wallets: Wallets, tmp_path: Path) -> None:
    done = wallets.run("status", TOUCHSTONE_DEPLOYMENTS=str(tmp_path))
    assert done.returncode != 0
    assert "run `ape run deploy --network …` to make a deployment of your own" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "No (supported) node found on 'http://127.0.0.1:1'"),
        ("", "Missing URI for network 'sepolia' on 'ethereum'"),
    ],
)
def test_scripts__no_node__say_in_one_line_what_to_check(tmp_path: Path, url: str, reason: str) -> None:
    said = Wallets(tmp_path, url).refused("status")
    assert said == (
        f"Error: {reason}. Check --network, export its node's URL (SEPOLIA_RPC_URL or DEVNET_RPC_URL), and check that "
        "the node runs."
    )


def test_sending__without_yes__asks_and_sends_nothing(deployed: str, wallets: Wallets, people: dict[str, Any]) -> None:
    operator = people["owner"].address
    done = wallets.run("stake", "join", f"--operator={operator}", "--account=owner", "--passphrase-file=/dev/null")
    assert done.returncode != 0
    assert "to pay  16 coins, and gas" in done.stdout
    assert "Send the transaction?" in done.stdout
    assert "there is no terminal on which you could confirm: --yes sends without asking" in done.stderr
    assert "Aborted!" in done.stderr


def test_sending__without_terminal_or_passphrase__says_how_to_give_it(
    deployed: str, wallets: Wallets, people: dict[str, Any]
) -> None:
    wallets.add("stranger")
    done = wallets.refused("stake", "join", f"--operator={people['owner'].address}", account="stranger")
    assert "has 0 coins, and 16 and gas are needed" in done
    wallets.add("owner2")
    (wallets.folder / "ape/accounts/owner2.json").write_text((wallets.folder / "ape/accounts/owner.json").read_text())
    done = wallets.refused("stake", "join", f"--operator={people['owner'].address}", account="owner2")
    assert "give --passphrase-file, or set APE_ACCOUNTS_owner2_PASSPHRASE" in done


def test_account__does_not_exist__is_named(deployed: str, wallets: Wallets) -> None:
    assert "there is no Ape account 'nobody': `ape accounts list` shows the accounts" in wallets.refused(
        "withdraw", account="nobody"
    )


# Stakes


def test_stake__operator_rotated_then_exit_announced__is_on_chain(
    seats: list[str], wallets: Wallets, contracts: Contracts, people: dict[str, LocalAccount]
) -> None:
    assert len(seats) == 3
    out = wallets.ok("stake", "join", f"--operator={people['owner'].address}", account="owner")
    extra = next(line.split()[1] for line in out.splitlines() if line.startswith("seat 0x"))
    stake = bytes.fromhex(extra[2:])
    wallets.ok("stake", "set-operator", extra, people["solver"].address, account="owner")
    assert contracts.stakes.functions.seat(stake).call().operator == people["solver"].address
    assert "stake: not the owner" in wallets.refused(
        "stake", "set-operator", extra, people["sponsor"].address, account="solver"
    )
    assert "exit requested; run this command again" in wallets.ok("stake", "exit", extra, account="owner")
    assert "exit: too early" in wallets.refused("stake", "exit", extra, account="owner")


# Tasks


def test_bounty__from_create_to_withdraw__goes_through_the_scripts(
    seats: list[str], wallets: Wallets, files: Files, contracts: Contracts, node: Node, people: dict[str, LocalAccount]
) -> None:
    bounties = contracts.bounties.functions
    committee = Committee(node, contracts, people["owner"])
    # The sponsor escrows a reward and sees what it costs.
    out = wallets.ok(*files.create("task.json", *TERMS), account="sponsor")
    assert "reward   1  (returned if no submission passes)" in out
    assert "bond     0.2  (returned unless you keep the holdout's key)" in out
    assert "to pay   1.2 coins, and gas" in out
    record = files.folder / "task.json"
    task = bytes.fromhex(json.loads(record.read_text())["task"][2:])
    assert bounties.task(task).call().reward == ETHER
    # The same command again changes nothing.
    assert "exists already" in wallets.ok(*files.create("task.json", *TERMS), account="sponsor")
    wallets.ok("task", "top-up", str(record), "--amount=0.5", account="solver")
    assert bounties.task(task).call().reward == 3 * ETHER // 2
    # A solver commits to a submission that will pass and to one that will not: with the column sums as weights the
    # score is the sum of their squares.
    good, bad = [int(column) for column in files.program.examples(files.seed).sum(axis=0)], [0, 0, 0, 0]
    for name, weights in (("good", good), ("bad", bad)):
        files.submission(name, weights)
    out = wallets.ok(*files.commit(record, "good"), account="solver")
    assert "bond    0.01  (returned if you reveal or decline)" in out
    assert "fee     0.03  (for the committee, not returned)" in out
    assert "committed as submission 0" in out
    assert "already committed as submission 0" in wallets.ok(*files.commit(record, "good"), account="solver")
    wallets.ok(*files.commit("0x" + task.hex(), "bad"), account="solver")
    shown = wallets.ok("status")
    assert f"task 0x{task.hex()}" in shown
    assert "solvers  commit a submission" in shown
    # Nothing is revealed before its time, and no key is sent to the node.
    assert "the holdout cannot be revealed now: the task is committing" in wallets.refused(
        "task", "reveal-holdout", f"--record={record}", account="sponsor"
    )
    reveal_good = ("submission", "reveal", f"--record={files.folder / 'good-record.json'}")
    decline_bad = ("submission", "decline", f"--record={files.folder / 'bad-record.json'}")
    assert "submissions cannot be revealed or declined now: the task is committing" in wallets.refused(
        *reveal_good, account="solver"
    )
    # The committee is drawn and attests; the sponsor opens the holdout.
    committee.draw(task)
    assert wallets.ok("status", "--task", record).count("attest which files are there") == 3
    committee.attest(task, bitmap=0b111)
    assert "reveal the holdout" in wallets.ok("status")
    wallets.ok("task", "reveal-holdout", f"--record={record}", account="sponsor")
    assert "the holdout is already revealed" in wallets.ok(
        "task", "reveal-holdout", f"--record={record}", account="sponsor"
    )
    # The solver reveals what passes and declines what does not.
    wallets.ok(*reveal_good, account="solver")
    assert "submission 0 is already revealed" in wallets.ok(*reveal_good, account="solver")
    wallets.ok(*decline_bad, account="solver")
    view = bounties.task(task).call()
    assert (view.revealed, view.declined) == (0b01, 0b10)
    # The committee agrees, and everybody is paid.
    node.advance_to(view.holdout_revealed_at + HOUR)
    assert wallets.ok("status").count("commit a verdict in round 1") == 3
    committee.judge(task, [files.program.score(good, files.seed), 0])
    shown = wallets.ok("status", "--task", record)
    assert "settled: submission 0 is the best" in shown
    assert f"{files.program.score(good, files.seed)} passed" in shown
    assert "nothing is left to do" in shown
    before = node.w3.eth.get_balance(people["sponsor"].address)
    out = wallets.ok("withdraw", f"--to={people['sponsor'].address}", account="solver")
    assert "paid 1.52 coins" in out  # the reward and two bonds
    assert node.w3.eth.get_balance(people["sponsor"].address) == before + 152 * ETHER // 100
    assert "nothing is credited to this account" in wallets.ok("withdraw", account="solver")


def test_create__terms_out_of_range__names_them_and_sends_nothing(
    seats: list[str], wallets: Wallets, files: Files
) -> None:
    def refused(*changes: str) -> str:
        return wallets.refused(*files.create("refused.json", *TERMS, *changes), account="sponsor")

    assert "--reward: the maximum for a committee of 3 is 6 coins" in refused("--reward=6.000000000000000001")
    assert "--attest-window: this deployment allows 5 s to 1 h" in refused("--attest-window=2h")
    assert "--committee: this deployment allows 3 to 5 seats" in refused("--committee=2")
    assert "'1.5 ETH' is not an amount of coins such as 1.5, with at most 18 decimals" in refused("--reward=1.5 ETH")
    assert "--reward-units" in refused("--token=0x" + "11" * 20)
    assert not (files.folder / "refused.json").exists()


def test_create__file_out_of_reach_or_unknown_kind__sends_nothing(
    seats: list[str], wallets: Wallets, files: Files
) -> None:
    untold = [word for word in files.create("task.json", *TERMS) if not str(word).startswith("--allow-host")]
    said = wallets.refused(*untold, account="sponsor")
    assert "verifiers could not fetch these files, so nothing is sent" in said
    assert said.count("http is followed only to hosts that the configuration names") == 4
    files.host.has(f"/{digests.digest(files.program.data).hex()}", b"another program")
    said = wallets.refused(*files.create("task.json", *TERMS), account="sponsor")
    assert f"announces 15 bytes, {len(files.program.data)} are expected" in said
    files.publish(files.program.data)
    files.manifest.write_bytes(files.manifest.read_bytes().replace(b'"kind":"toy"', b'"kind":"linear"'))
    assert "no installed kind is called 'linear'" in wallets.refused(
        *files.create("task.json", *TERMS), account="sponsor"
    )
    assert not (files.folder / "task.json").exists()


def test_commit__what_verifiers_would_exclude__is_refused_before_it_is_paid(
    seats: list[str], wallets: Wallets, files: Files, contracts: Contracts
) -> None:
    out = wallets.ok(*files.create("task.json", *TERMS, "--threshold=0"), account="sponsor")
    assert "warning: a submission that ignores its input can score 0 points" in out
    record = files.folder / "task.json"
    files.seal("random", bytes(9_000))
    size = len(files.program.submission_file([1, 2, 3, 4]))
    assert f"random.sealed has 9000 bytes, and a submission to this task has {size}" in wallets.refused(
        *files.commit(record, "random"), account="solver"
    )
    files.seal("header", bytes(size))
    assert "header.sealed does not contain a submission to this task" in wallets.refused(
        *files.commit(record, "header"), account="solver"
    )
    files.submission("good", [1, 2, 3, 4])
    *commit, _ = files.commit(record, "good")
    commit[-2] = f"--uri={files.host.url('/nowhere')}"
    said = wallets.refused(*commit, f"--allow-host={files.host.host}", account="solver")
    assert "sealed submission: " in said
    assert "/nowhere answers with status 500" in said
    task = bytes.fromhex(json.loads(record.read_text())["task"][2:])
    assert contracts.bounties.functions.task(task).call().submissions == 0
    assert not (files.folder / "good-record.json").exists()


def test_create__holdout_of_another_manifest__refuses(seats: list[str], wallets: Wallets, files: Files) -> None:
    files.seal("holdout", files.program.examples_file(seed=3))
    said = wallets.refused(*files.create("task.json", *TERMS), account="sponsor")
    assert "--holdout: the manifest names the sealed file" in said


def test_create__reward_in_a_token__lets_the_escrow_take_exactly_that(
    seats: list[str], wallets: Wallets, files: Files, contracts: Contracts, node: Node, people: dict[str, LocalAccount]
) -> None:
    token = deploy_token(node, people["sponsor"])
    in_token = [term for term in TERMS if not term.startswith("--reward")]
    create = files.create("task.json", *in_token, f"--token={token.address}", "--reward-units=1000")
    assert f"has 0 units of the token {token.address}, and 1200 are needed" in wallets.refused(
        *create, account="sponsor"
    )
    send(node, people["sponsor"], token.functions.mint(people["sponsor"].address, 1_500))
    out = wallets.ok(*create, account="sponsor")
    assert "reward 1000 and bond 200 units of" in out
    assert "allow the escrow to take 1200 of the smallest unit of the token" in out
    assert token.functions.balanceOf(contracts.bounties.address).call() == 1_200
    record = files.folder / "task.json"
    assert "is in the token" in wallets.refused("task", "top-up", record, "--amount=1", account="sponsor")
    wallets.ok("task", "top-up", record, "--amount-units=300", account="sponsor")
    task = bytes.fromhex(json.loads(record.read_text())["task"][2:])
    assert contracts.bounties.functions.task(task).call().reward == 1_300
    assert token.functions.allowance(people["sponsor"].address, contracts.bounties.address).call() == 0


def test_cancel__before_anybody_commits__gives_everything_back(
    seats: list[str], wallets: Wallets, files: Files, contracts: Contracts, people: dict[str, LocalAccount]
) -> None:
    credit = contracts.bounties.functions.credit(NATIVE, people["sponsor"].address)
    before = credit.call()
    wallets.ok(*files.create("task.json", *TERMS), account="sponsor")
    out = wallets.ok("task", "cancel", files.folder / "task.json", account="sponsor")
    assert "cancelled: withdrawn by the sponsor" in out
    assert credit.call() == before + 12 * ETHER // 10
    assert "cancel: already ended" in wallets.refused("task", "cancel", files.folder / "task.json", account="sponsor")
