"""A deployment on a local chain, and the actions of sponsors, solvers and stake owners."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from vyper.cli.vyper_compile import compile_files
from web3.contract import Contract
from web3.logs import DISCARD

from scripts._parameters import Limits, Parameters, deploy
from tests.end_to_end.hosts import FileHost
from tests.end_to_end.node import ROOT, Anvil, wait_for
from tests.end_to_end.program import Program
from tests.end_to_end.services import Verifier
from verifier.artifacts import digests, sealing
from verifier.protocol import commitments
from verifier.protocol.constants import ETHER, NATIVE, Phase, RewardPolicy, Windows

SEAT = 8 * ETHER
RESERVATION = SEAT // 4
SEAT_FEE = ETHER // 100
SUBMISSION_BOND = ETHER // 50
REWARD = ETHER // 10
WINDOW_S = 3_600
CHALLENGE_S = 600
MONTH_S = 30 * 24 * 3_600
PARAMETERS = Parameters(
    seat=SEAT,
    exit_delay=MONTH_S,
    draw_delay=2,
    challenge_window=CHALLENGE_S,
    limits=Limits(
        min_committee=1,
        max_committee=31,
        seat_factor=1,
        min_windows=Windows(*[1] * 6),
        max_windows=Windows(*[MONTH_S] * 6),
        submission_bond=SUBMISSION_BOND,
        sponsor_bond_bps=2_000,
        reference_rate=10**10,
        min_seat_fee=SEAT_FEE,
        void_delay=WINDOW_S,
        terminal_delay=3 * MONTH_S,
    ),
)


def compile_contracts() -> dict[str, Any]:
    """Compile the three contracts; returns ABI and bytecode by name."""
    sources = [ROOT / "contracts" / f"{name}.vy" for name in ("Stakes", "Panel", "Bounties")]
    compiled = compile_files(sources, ["abi", "bytecode"], paths=[ROOT])
    return {Path(path).stem: outputs for path, outputs in compiled.items()}


@dataclass
class Sealed:
    """A sealed file with its key, which the owner keeps until the reveal."""

    plain: bytes
    key: bytes = field(default_factory=sealing.new_key)
    claimed: bytes | None = None  # the plaintext that the owner claims, when it lies

    @property
    def ciphertext(self) -> bytes:
        return sealing.seal(self.key, self.plain)

    @property
    def opening(self) -> tuple[bytes, bytes, bytes]:
        """The arguments of a reveal: sealed digest, plain digest and key."""
        return digests.digest(self.ciphertext), digests.digest(self.claimed or self.plain), self.key


@dataclass
class Entry:
    """A submission: its task, its solver, its file and its index in commit order."""

    task: bytes
    solver: LocalAccount
    file: Sealed
    index: int


class World:
    """Contracts on a node, and the actions of each party. `task` is the task that the methods act on."""

    def __init__(self, node: Anvil, compiled: dict[str, Any], folder: Path) -> None:
        self.node = node
        self.w3 = node.w3
        self.folder = folder
        self.host = FileHost()
        self.program = Program()
        self.verifiers: list[Verifier] = []
        self.sponsor = self.person("sponsor")
        deployer = self.person("deployer")
        nonce = self.w3.eth.get_transaction_count(deployer.address)

        def create(name: str, *arguments: Any) -> Contract:
            return self._deploy(deployer, compiled[name], *arguments)

        self.stakes, self.panel, self.bounties = deploy(PARAMETERS, deployer.address, nonce, create)
        self.holdouts: dict[bytes, Sealed] = {}
        self.manifests: dict[bytes, bytes] = {}
        self.task = b""  # the current task
        self.watched: list[bytes] = []  # the tasks that the methods `to_…` act on

    def close(self) -> None:
        for verifier in self.verifiers:
            verifier.kill()
        self.host.close()

    # People

    def person(self, role: str) -> LocalAccount:
        """A funded account, which is the same in every test."""
        account: LocalAccount = Account.from_key(keccak(text=role))
        self.node.fund(account.address, 1_000 * ETHER)
        return account

    def send(self, sender: LocalAccount, function: Any, value: int = 0) -> Any:
        """Sign and send a call and wait for its receipt; fails the test when it reverts."""
        return self.send_transaction(sender, function.build_transaction({"from": sender.address, "value": value}))

    def send_transaction(self, sender: LocalAccount, transaction: Any) -> Any:
        """As `send`, for a transaction that lacks only its nonce."""
        transaction = {**transaction, "nonce": self.w3.eth.get_transaction_count(sender.address)}
        signed = sender.sign_transaction(transaction)
        sent = self.w3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = self.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
        assert receipt["status"] == 1
        return receipt

    def _deploy(self, deployer: LocalAccount, compiled: Any, *arguments: Any) -> Contract:
        factory = self.w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
        receipt = self.send(deployer, factory.constructor(*arguments))
        return self.w3.eth.contract(address=receipt["contractAddress"], abi=compiled["abi"], decode_tuples=True)

    # Verifiers

    def add_verifier(self, name: str, seats: int = 1, confirmations: int = 0, reaches_host: bool = True) -> Verifier:
        """Stake `seats` for an operator of that name and prepare its machine, without starting it."""
        operator, owner = self.person(f"{name} operator"), self.person(f"{name} owner")
        verifier = Verifier(name, self.folder / name, operator)
        verifier.owner = owner
        for _ in range(seats):
            self.send(
                owner, self.stakes.functions.join(operator.address, verifier.endpoint, self.panel.address), value=SEAT
            )
        verifier.reaches_host = reaches_host
        verifier.confirmations = confirmations
        self.verifiers.append(verifier)
        return verifier

    def configure(self) -> None:
        """Write every verifier's configuration; it permits the other mirrors and, if `reaches_host`, the file host."""
        mirrors = [verifier.endpoint.removeprefix("http://") for verifier in self.verifiers]
        for verifier in self.verifiers:
            hosts = [*mirrors, self.host.authority] if verifier.reaches_host else mirrors
            chain_id = self.w3.eth.chain_id
            verifier.configure(self.node.url, chain_id, self.bounties.address, hosts, verifier.confirmations)

    # Sponsor

    def create_task(
        self,
        committee: int,
        threshold: int = 10,
        program: Program | None = None,
        holdout: Sealed | None = None,
        manifest: bytes | None = None,
        manifest_uri: str | None = None,
        **changes: Any,
    ) -> bytes:
        """Publish a task's files, escrow its reward and make it the current task; returns the task id.

        `holdout` is the file that the sponsor commits to and will reveal. `changes` replace fields of the manifest,
        `manifest` replaces the whole file, and `manifest_uri` the URI that is committed on chain.
        """
        program = program or self.program
        self.configure()
        self.node.mine(2)  # seats must be older than the task
        self.node.advance_to(self.node.now() + 2)
        announced = Sealed(self.program.examples_file(seed=1))
        holdout = holdout or announced
        practice = self.program.examples_file(seed=2)
        for data in (announced.ciphertext, program.data, practice):
            self.host.publish(data)
        manifest = manifest or program.manifest(self.host.uri, practice, announced.ciphertext, **changes)
        uri = self.host.publish(manifest)
        nonce = self.bounties.functions.nonce(self.sponsor.address).call()
        commitment = self.bounties.functions.holdout_commitment(self.sponsor.address, nonce, *holdout.opening).call()
        terms = {
            "asset": NATIVE,
            "reward": REWARD,
            "policy": RewardPolicy.BEST,
            "threshold": threshold,
            "baseline": 0,
            "committee": committee,
            "windows": Windows(*[WINDOW_S] * 6),
            "macs": program.cost,
            "seat_fee": SEAT_FEE,
            "reserve": 0,
            "manifest": digests.digest(manifest),
            "program": digests.digest(program.data),
            "practice": digests.digest(practice),
            "holdout": commitment,
        }
        value = REWARD + REWARD // 5
        call = self.bounties.functions.create_task(terms, manifest_uri or uri)
        receipt = self.send(self.sponsor, call, value)
        (created,) = self.bounties.events.TaskCreated().process_receipt(receipt, errors=DISCARD)
        self.task = created["args"]["task"]
        self.holdouts[self.task] = holdout
        self.manifests[self.task] = manifest
        self.watched.append(self.task)
        return self.task

    def reveal_holdout(self) -> None:
        opening = self.holdouts[self.task].opening
        self.send(self.sponsor, self.bounties.functions.reveal_holdout(self.task, *opening))

    # Solvers

    def submit(self, weights: list[int], publish: bool = True) -> Entry:
        """Commit to a submission; without `publish` its ciphertext is not available anywhere."""
        return self.submit_file(Sealed(self.program.submission_file(weights)), publish)

    def submit_file(self, file: Sealed, publish: bool = True, uri: str | None = None) -> Entry:
        """Commit to any file and any `uri`."""
        index = self.view().submissions
        solver = self.person(f"solver {index}")
        sealed, plain, key = file.opening
        if uri is None:
            uri = self.host.publish(file.ciphertext) if publish else self.host.uri(file.ciphertext)
        commitment = commitments.submission(
            self.w3.eth.chain_id, self.bounties.address, self.task, solver.address, sealed, plain, key
        )
        value = self.bounties.functions.bond_of(index).call() + self.bounties.functions.fee(self.task).call()
        self.send(solver, self.bounties.functions.commit_submission(self.task, commitment, sealed, uri), value)
        return Entry(self.task, solver, file, index)

    def reveal(self, entry: Entry) -> None:
        self.send(entry.solver, self.bounties.functions.reveal_submission(self.task, entry.index, *entry.file.opening))

    # Time, and what the chain says

    def wait_for(self, condition: Any, what: str, timeout_s: float = 90.0) -> Any:
        """Poll until `condition()` is truthy; fails at once when a service has ended unexpectedly."""

        def look() -> Any:
            for verifier in self.verifiers:
                verifier.assert_alive()
            return condition()

        return wait_for(look, what, timeout_s)

    def view(self) -> Any:
        return self.bounties.functions.task(self.task).call()

    def panel_view(self) -> Any:
        return self.panel.functions.panel(self.task).call()

    def round(self, number: int = 1) -> Any:
        return self.panel.functions.round(self.task, number).call()

    def events(self, contract: Contract, name: str) -> list[Any]:
        """All events of that name for the current task, oldest first."""
        found = contract.events[name]().get_logs(from_block=0)
        return [entry["args"] for entry in found if entry["args"]["task"] == self.task]

    def credit(self, contract: Contract, account: str) -> int:
        return int(contract.functions.credit(NATIVE, account).call())

    def stake_of(self, verifier: Verifier) -> int:
        """The total balance of a verifier's seats, wei."""
        joined = self.stakes.events.Joined().get_logs(from_block=0)
        mine = [entry["args"]["stake"] for entry in joined if entry["args"]["operator"] == verifier.operator.address]
        return sum(self.stakes.functions.seat(stake).call().balance for stake in mine)

    def everywhere(self, condition: Any, what: str) -> None:
        """Wait until `condition()` holds with each watched task as the current one."""
        for task in self.watched:
            self.task = task
            self.wait_for(condition, what)

    def advance_all(self, time_of: Any) -> None:
        """Advance the clock to the latest `time_of()` of all watched tasks."""
        times = []
        for task in self.watched:
            self.task = task
            times.append(time_of())
        self.node.advance_to(max(times))

    def to_drawn(self) -> None:
        """Close the commits and wait until the services have convened and drawn."""
        self.advance_all(lambda: self.view().created_at + WINDOW_S)
        self.everywhere(lambda: self.panel_view().target_block or self.round().seats, "the panel is convened")
        self.node.mine(3)
        self.everywhere(lambda: self.round().seats, "a committee is drawn")

    def to_attested(self, count: int) -> None:
        """Wait for that many attestations, let the window end, and wait until it is closed."""
        self.everywhere(lambda: len(self.events(self.panel, "Attested")) >= count, f"{count} attestations")
        self.advance_all(lambda: self.panel_view().attest_closes)
        self.everywhere(lambda: self.panel_view().closed_at, "attestation is closed")

    def to_judging(self, *entries: Entry) -> None:
        """Reveal the holdouts and these submissions, and let the solvers' window end."""
        for task in self.watched:
            self.task = task
            self.reveal_holdout()
            for entry in entries:
                if entry.task == task:
                    self.reveal(entry)
        self.advance_all(lambda: self.view().holdout_revealed_at + WINDOW_S)

    def to_committed(self, count: int) -> None:
        """Wait for that many commitments, then let the window end."""
        self.everywhere(lambda: self.round().committed.bit_count() >= count, f"{count} commitments")
        self.advance_all(lambda: self.round().commit_closes)

    def to_revealed(self, count: int) -> None:
        """Wait for that many reveals, then let the window and the challenge window end."""
        self.everywhere(lambda: self.round().revealed.bit_count() >= count, f"{count} reveals")
        self.advance_all(lambda: self.round().reveal_closes + CHALLENGE_S)

    def to_closed(self, seats: int) -> None:
        """Wait until the tasks have ended, every vote is closed and every submission claimed."""
        self.everywhere(lambda: self.view().phase in (Phase.SETTLED, Phase.CANCELLED), "the task has ended")
        self.everywhere(lambda: len(self.events(self.panel, "VoteClosed")) == seats, f"{seats} votes closed")
        self.everywhere(
            lambda: len(self.events(self.bounties, "SubmissionClaimed")) == self.view().submissions, "every claim"
        )

    def to_settled(self, votes: int, seats: int) -> None:
        """Wait until `votes` seats have voted, and until the tasks have ended with all `seats` closed."""
        self.to_committed(votes)
        self.to_revealed(votes)
        self.to_closed(seats)


class Committed(NamedTuple):
    """A world whose only verifier runs, and whose task has one committed submission that passes."""

    world: World
    verifier: Verifier
    entry: Entry
