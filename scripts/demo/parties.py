"""The steps of the sponsor and the solvers, each with a folder and a wallet of their own."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts._parameters import PROFILES
from scripts.demo.market import Market
from scripts.demo.setup import FOLDER, NETWORK, VERIFIERS, base_model, script
from scripts.demo.shell import Shell, command, shown
from verifier.protocol.constants import Phase, Windows
from verifier.protocol.state import TaskState

HOLDOUT, PRACTICE = 256, 128  # sentences
SEQUENCE = 32  # tokens; nine of ten sentences are shorter
SEED = "20140601"  # chooses the sentences that are held out; fixed, so that every run holds out the same ones
THRESHOLD = 170  # of 256 sentences: more than guessing reaches, fewer than a minute of training does
REWARD, SEAT_FEE = "3", "0.02"  # coins
TASK = FOLDER / "task"
MANIFEST = TASK / "manifest.json"
RECORD = TASK / "task.json"


@dataclass(frozen=True)
class Pace:
    """The speed of this machine, measured in earlier steps of the demo; the task's windows follow from it."""

    script_s: float  # seconds of three wallet scripts at once, each with a transaction
    score_s: float  # seconds of scoring two submissions at once, each on the practice set

    def windows(self) -> Windows:
        """Return windows of about twice what each step takes.

        A machine that becomes slower still keeps them, or a verifier misses a round and votes in the next one with the
        result that it has by then.
        """
        # Every verifier scores every submission on the larger holdout, and all share this machine. Starting and proving
        # the program are part of the measurement and happen once for each verifier.
        evaluations = VERIFIERS * HOLDOUT / PRACTICE
        shortest = PROFILES["demo"].parameters.limits.min_windows
        longest = PROFILES["demo"].parameters.limits.max_windows
        wanted = Windows(
            commit=round(5 + 2 * self.script_s),  # two scripts at once
            attest=round(6 + self.script_s / 2),
            holdout=600,  # it ends when the sponsor reveals, at once
            reveal=round(5 + 2 * self.script_s),
            verdict_commit=round(15 + 0.6 * evaluations * self.score_s),
            verdict_reveal=round(6 + self.script_s / 2),
        )
        return Windows(
            *(min(max(low, chosen), high) for low, chosen, high in zip(shortest, wanted, longest, strict=True))
        )


@dataclass(frozen=True)
class Solver:
    """A solver: the alias of its wallet, and the options of its training."""

    alias: str
    training: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder of this solver's files."""
        return FOLDER / self.alias

    def file(self, name: str) -> str:
        """Return the path of one of its files as the commands name it."""
        return shown(self.folder / name)


SOLVERS = (
    Solver("solver1", ("--epochs", "1", "--limit", "768")),
    Solver("solver2", ("--epochs", "1", "--limit", "32")),
)


def build_task(shell: Shell, file_host: str) -> str:
    """Build a task from rated film-review sentences and publish its files, as the sponsor.

    Returns the manifest's URI.
    """
    data = shown(FOLDER / "sentiment.tsv")
    shell.run("python", "-m", "scripts.sentiment", "--out", data)
    task, base = shown(TASK), shown(base_model())
    sizes = ("--rank", "8", "--holdout", str(HOLDOUT), "--practice", str(PRACTICE), "--sequence", str(SEQUENCE))
    shell.run(
        *(command("touchstone"), "task", "build", "classify", "--base", base, "--dataset", data),
        *("--targets", "query,value", *sizes, "--seed", SEED, "--title", "Is a film review's sentence positive?"),
        *("--url", file_host, "--out", task),
        out=FOLDER / "task-build.json",  # it describes every tensor
    )
    files = [f"{task}/{name}" for name in ("manifest.json", "program.onnx", "practice.tensors", "holdout.sealed")]
    return publish(shell, file_host, *files)[0]


def publish(shell: Shell, file_host: str, *files: str) -> list[str]:
    """Copy files into the folder that the demo's file host serves; returns their URIs."""
    said = shell.run(command("touchstone"), "publish", *files, "--to", shown(FOLDER / "public"), "--url", file_host)
    return [entry["uri"] for entry in json.loads(said)]


def prepare(shell: Shell, file_host: str) -> tuple[list[str], float]:
    """Train, pack, score, seal and publish the submissions, as both solvers at the same time.

    Returns the ciphertexts' URIs and how many seconds the scoring on the practice set took.
    """
    touchstone, task = command("touchstone"), shown(MANIFEST)
    for solver in SOLVERS:
        solver.folder.mkdir()
    base = ("--task", task, "--base", shown(base_model()), "--data", shown(TASK / "train.tsv"))
    shell.together(
        *(
            ("python", "-m", "scripts.train", *base, *solver.training, "--out", solver.file("adapter"))
            for solver in SOLVERS
        )
    )
    shell.together(
        *(
            (touchstone, "pack", solver.file("adapter"), "--task", task, "--out", solver.file("adapter.tensors"))
            for solver in SOLVERS
        )
    )
    began = time.monotonic()
    scores = shell.together(
        *((touchstone, "score", "--task", task, "--submission", solver.file("adapter.tensors")) for solver in SOLVERS)
    )
    seconds = time.monotonic() - began
    for solver, said in zip(SOLVERS, scores, strict=True):
        score = json.loads(said)["score"]
        scaled = score * HOLDOUT // PRACTICE
        shell.note(
            f"{solver.alias} has {score} of {PRACTICE} on the practice set, which is about {scaled} of {HOLDOUT} on "
            f"the holdout; the threshold will be {THRESHOLD} of {HOLDOUT}"
        )
    uris = []
    for solver in SOLVERS:
        sealed, key = solver.file("adapter.sealed"), ("--key", solver.file("adapter.key"))
        shell.run(
            *(touchstone, "seal", solver.file("adapter.tensors"), "--out", sealed, *key),
            out=solver.folder / "sealed.json",
        )
        uris += publish(shell, file_host, sealed)
    return uris, seconds


def create_task(shell: Shell, market: Market, manifest_uri: str, pace: Pace) -> None:
    """Create the task and escrow the reward, as the sponsor."""
    windows = [
        word
        for name, seconds in pace.windows()._asdict().items()
        for word in (f"--{name.replace('_', '-')}-window", f"{seconds}s")
    ]
    files = ("--manifest", shown(MANIFEST), "--manifest-uri", manifest_uri, "--holdout", shown(TASK / "holdout.json"))
    files += ("--allow-host", _host(manifest_uri))
    terms = ("--reward", REWARD, "--threshold", str(THRESHOLD), "--committee", str(VERIFIERS), "--seat-fee", SEAT_FEE)
    shell.run(*script("sponsor", "task", "create", *files, *terms, *windows, "--out", shown(RECORD)))
    market.task = bytes.fromhex(json.loads(RECORD.read_text("utf-8"))["task"][2:])


def commit(shell: Shell, uris: list[str]) -> None:
    """Commit to the sealed submissions, as both solvers at once."""

    def words(solver: Solver, uri: str) -> list[str]:
        sealed = (
            "--task",
            shown(RECORD),
            "--sealed",
            solver.file("sealed.json"),
            "--uri",
            uri,
            "--allow-host",
            _host(uri),
        )
        return script(solver.alias, "submission", "commit", *sealed, "--out", solver.file("record.json"))

    shell.together(*(words(solver, uri) for solver, uri in zip(SOLVERS, uris, strict=True)))


class Hands:
    """What the sponsor and the solvers do while the task goes on, each step once when it is due."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._done: set[Phase] = set()

    def act(self, state: TaskState) -> None:
        """Do what is due in that state. A step that comes too late is shown, and the task takes its course."""
        phase = state.view.phase
        if phase in self._done:
            return
        if phase is Phase.CONVENING and not state.view.submissions:
            self._shell.attempt(lambda: self._shell.run(*script("sponsor", "task", "cancel", shown(RECORD))))
        elif phase is Phase.HOLDOUT and state.own_files_admitted:
            self._shell.title("The sponsor reveals the holdout, and the solvers reveal their submissions")
            self._shell.attempt(
                lambda: self._shell.run(*script("sponsor", "task", "reveal-holdout", "--record", shown(RECORD)))
            )
        elif phase is Phase.REVEALING:
            reveals = (
                script(item.alias, "submission", "reveal", "--record", item.file("record.json")) for item in SOLVERS
            )
            self._shell.attempt(lambda: self._shell.together(*reveals))
            status(self._shell)
        elif phase is Phase.JUDGING:
            self._shell.title("The verifiers evaluate, commit their verdicts and reveal them")
        else:
            return
        self._done.add(phase)


def status(shell: Shell) -> None:
    """Show the state of the task on chain."""
    shell.run(command("ape"), "run", "status", *NETWORK, "--task", shown(RECORD))


def withdraw(shell: Shell, aliases: list[str]) -> None:
    """Withdraw everything that these wallets are owed."""
    shell.together(*(script(alias, "withdraw") for alias in aliases))


def _host(uri: str) -> str:
    """Return the host and port of a URI on this machine, which must be allowed by name."""
    return urlsplit(uri).netloc
