"""A solver's way from an id in `ape run status` to the payout, with the commands that each step prints."""

import json
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

from eth_account.signers.local import LocalAccount

from tests.end_to_end.node import ROOT
from tests.scripts import test_wallets as shared
from tests.scripts.conftest import Node, Wallets
from tests.scripts.test_wallets import TERMS, Committee, Files
from verifier.artifacts import digests
from verifier.chain.contracts import Contracts

# The fixtures of the wallet tests.
contracts = shared.contracts
files = shared.files
host = shared.host
seats = shared.seats

ACCOUNT = "--account=solver"


class Waiting:
    """A command that runs in the background, with the lines that it has printed on stderr."""

    def __init__(self, wallets: Wallets, *arguments: str | Path, account: str) -> None:
        command = [str(Path(sys.executable).parent / "ape"), "run", *map(str, arguments), "--wait"]
        command += ["--network", "ethereum:sepolia", "--account", account, "--yes"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=wallets.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line.rstrip())

    def says(self, words: str) -> str:
        """The first line with these words, which the command must print within four minutes."""
        while words not in (line := self._lines.get(timeout=240)):
            pass
        return line

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def ends(self) -> str:
        """What it printed on stdout; it must end with success within four minutes."""
        assert self._process.wait(240) == 0, self._lines.queue
        assert self._process.stdout is not None
        return self._process.stdout.read()


def shown_command(text: str, start: str) -> list[str]:
    """The words of the command that a line of the text tells the user to type, after `ape run`."""
    (line,) = [line for line in text.splitlines() if start in line]
    words = shlex.split(line[line.index(start) :])
    return [word for word in words[2:] if not word.startswith(("--network", "ethereum:"))]


def test_solver__from_status_to_payout__types_what_the_commands_print(
    seats: list[str], wallets: Wallets, files: Files, contracts: Contracts, node: Node, people: dict[str, LocalAccount]
) -> None:
    committee = Committee(node, contracts, people["owner"])
    allowed = f"--allow-host={files.host.host}"
    wallets.ok("withdraw", account="owner")  # what the seats earned in other tests' tasks on this chain
    wallets.ok(*files.create("task.json", *TERMS), account="sponsor")
    record = files.folder / "task.json"
    task = json.loads(record.read_text())["task"]
    # The solver downloads the task of an id that `status` shows whole.
    get = shown_command(wallets.ok("status", "--task", task), "ape run task get")
    assert get == ["task", "get", task, "--out", "task/"]
    folder = files.folder / "downloaded"
    said = wallets.ok(*get[:3], f"--out={folder}", allowed)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "practice.tensors", "program.onnx"]
    assert f"touchstone pack adapter/ --task {folder}/manifest.json --out mine.tensors" in said
    assert "the sponsor publishes no rows to train on" in said
    # Before the holdout is revealed, a score is on the practice set and is compared by share.
    weights = [int(column) for column in files.program.examples(files.seed).sum(axis=0)]
    mine, other = files.folder / "mine.tensors", files.folder / "other.tensors"
    mine.write_bytes(files.program.submission_file(weights))
    other.write_bytes(files.program.submission_file([1, 1, 1, 1]))
    score = ("submission", "score", f"--files={folder}", allowed)
    said = wallets.ok(*score, f"--task={task}", f"--submission={mine}")
    on_practice = files.program.score(weights, seed=2)
    assert f"score      {on_practice:,} points on 5 examples, on the practice set" in said
    assert "threshold  10 on the 5 examples of the holdout, which corresponds to 10 on the 5 of practice" in said
    assert f"ape run submission commit --network ethereum:sepolia:node --account NAME --task {task} …" in said
    files.submission("mine", weights)
    wallets.ok(*files.commit(task, "mine"), account="solver")
    own = files.folder / "mine-record.json"
    # Waiting says what for and until when, and can be interrupted.
    reveal = ("submission", "reveal", f"--record={own}")
    waiting = Waiting(wallets, *reveal, account="solver")
    line = waiting.says("waiting until submissions can be revealed; the task is committing; next: solvers: commit")
    assert ", until 20" in line
    assert waiting.interrupt() == 130
    waiting.says("interrupted while waiting: nothing was sent; the same command waits again")
    assert contracts.bounties.functions.task(bytes.fromhex(task[2:])).call().revealed == 0
    # The sponsor's reveal waits for the committee.
    sponsor = Waiting(wallets, "task", "reveal-holdout", f"--record={record}", account="sponsor")
    sponsor.says("waiting until the holdout can be revealed")
    committee.draw(bytes.fromhex(task[2:]))
    committee.attest(bytes.fromhex(task[2:]), bitmap=0b11)
    assert "revealed; solvers can reveal or decline until about" in sponsor.ends()
    # One command scores on the holdout, with the key from the chain.
    assert "other.tensors is not the file that was committed: its digest is" in wallets.refused(
        *score, f"--record={own}", f"--submission={other}"
    )
    said = wallets.ok(*score, f"--record={own}", f"--submission={mine}")
    on_holdout = files.program.score(weights, files.seed)
    assert f"threshold  10: this submission passes by {on_holdout - 10}" in said
    assert ", on the holdout" in said
    assert "best       not known before the committee's verdict" in said
    assert not (folder / "holdout.tensors").exists()
    assert digests.digest_file(folder / "holdout.sealed") == digests.digest_file(files.folder / "holdout.sealed")
    typed = shown_command(said, "ape run submission reveal")
    assert typed == ["submission", "reveal", "--account", "NAME", "--record", str(own)]
    assert shown_command(said, "ape run submission decline")[-1] == str(own)
    wallets.ok(*reveal, account="solver")
    # Payout: each role sees what the events say and what is still to come.
    said = wallets.ok("withdraw", account="sponsor")
    assert f"still to come: task {task}: you are its sponsor; it is revealing; next: nobody: the reveals end" in said
    solver = Waiting(wallets, "withdraw", account="solver")
    solver.says(f"waiting until the account's tasks have ended: task {task}: your submission 0; it is revealing; next:")
    committee.settle(bytes.fromhex(task[2:]), [on_holdout])
    said = solver.ends()
    assert f"claim for submission 0 of task {task}: reward 1 coins; bond and refunds 0.01 coins" in said
    assert f"the escrow paid 1.01 coins to {people['solver'].address}" in said
    assert "still to come" not in said
    said = wallets.ok("withdraw", account="owner")
    assert said.count(f"in round 1 of task {task}: earned 0.01 coins") == 3
    assert f"paid 0.03 coins to {people['owner'].address}" in said
    assert "nothing is left to do" in wallets.ok("status", "--task", task)


def test_reveal_holdout__task_that_can_only_be_cancelled__does_not_wait(
    seats: list[str], wallets: Wallets, files: Files, contracts: Contracts, node: Node
) -> None:
    wallets.ok(*files.create("task.json", *TERMS), account="sponsor")
    record = files.folder / "task.json"
    task = json.loads(record.read_text())["task"]
    node.advance_to(contracts.bounties.functions.brief(bytes.fromhex(task[2:])).call().commit_closes)
    said = wallets.refused("task", "reveal-holdout", f"--record={record}", "--wait", account="sponsor")
    assert "waiting is of no use: the task can only be cancelled (nobody submitted)" in said
    assert f"`ape run task cancel {task}`" in said


def test_stake_exit__wait__requests_waits_for_the_delay_and_closes(
    deployed: str, wallets: Wallets, contracts: Contracts, node: Node, people: dict[str, LocalAccount]
) -> None:
    out = wallets.ok("stake", "join", f"--operator={people['owner'].address}", account="owner")
    stake = next(line.split()[1] for line in out.splitlines() if line.startswith("seat 0x"))
    leaving = Waiting(wallets, "stake", "exit", stake, account="owner")
    line = leaving.says(f"waiting until seat {stake} can be closed, 20")
    assert line.endswith("(in 1 min)") or line.endswith(" s)")
    seat = contracts.stakes.functions.seat(bytes.fromhex(stake[2:])).call()
    node.advance_to(seat.exit_at + contracts.stakes.functions.EXIT_DELAY().call())
    assert "the seat is closed; `ape run withdraw` pays out the credit" in leaving.ends()
    said = wallets.ok("withdraw", account="owner")
    assert f"the registry of seats paid 16 coins to {people['owner'].address}" in said


def test_status__of_a_task__abbreviates_no_id(
    seats: list[str], wallets: Wallets, files: Files, people: dict[str, LocalAccount]
) -> None:
    wallets.ok(*files.create("task.json", *TERMS), account="sponsor")
    files.submission("mine", [1, 2, 3, 4])
    wallets.ok(*files.commit(files.folder / "task.json", "mine"), account="solver")
    shown = wallets.run("status", "--task", str(files.folder / "task.json"), COLUMNS="80").stdout
    assert "…" not in shown
    for address in (people["sponsor"].address, people["solver"].address):
        assert address in shown
    assert digests.to_hex(digests.digest_file(files.folder / "mine.sealed")) in shown
