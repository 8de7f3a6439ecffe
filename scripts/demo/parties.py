"""The steps of the sponsor and the solvers, each with a folder and a wallet of their own."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts.demo.market import Market
from scripts.demo.setup import FOLDER, NETWORK, VERIFIERS, base_model, script
from scripts.demo.shell import Shell, command, shown
from verifier.protocol.constants import Windows

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
    score_s: float  # seconds of scoring one submission on the practice set

    def windows(self) -> Windows:
        """Return windows of several times what each step takes, so that a busy machine still keeps them."""
        # Every verifier scores every submission on the larger holdout, and all share this machine.
        evaluations = VERIFIERS * len(SOLVERS) * HOLDOUT / PRACTICE
        return Windows(
            commit=round(10 + 3 * self.script_s),
            attest=round(10 + self.script_s),
            holdout=600,  # it ends when the sponsor reveals, at once
            reveal=round(10 + 3 * self.script_s),
            verdict_commit=round(20 + 0.4 * evaluations * self.score_s),
            verdict_reveal=round(8 + self.script_s),
        )


@dataclass(frozen=True)
class Solver:
    """A solver: the alias of its wallet, the options of its training, and what the demo prints about it."""

    alias: str
    training: tuple[str, ...]
    remark: str

    @property
    def folder(self) -> Path:
        """The folder of this solver's files."""
        return FOLDER / self.alias

    def file(self, name: str) -> str:
        """Return the path of one of its files as the commands name it."""
        return shown(self.folder / name)


SOLVERS = (
    Solver("solver1", ("--epochs", "1", "--limit", "768"), "trains on 768 sentences"),
    Solver("solver2", ("--epochs", "1", "--limit", "32"), "stops after the first 32 sentences"),
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
    )
    files = [f"{task}/{name}" for name in ("manifest.json", "program.onnx", "practice.tensors", "holdout.sealed")]
    return publish(shell, file_host, *files)[0]


def publish(shell: Shell, file_host: str, *files: str) -> list[str]:
    """Copy files into the folder that the demo's file host serves; returns their URIs."""
    said = shell.run(command("touchstone"), "publish", *files, "--to", shown(FOLDER / "public"), "--url", file_host)
    return [entry["uri"] for entry in json.loads(said)]


def prepare(shell: Shell, solver: Solver, file_host: str) -> tuple[str, float]:
    """Train, pack, score, seal and publish a submission, as that solver.

    Returns the ciphertext's URI and how many seconds the scoring on the practice set took.
    """
    solver.folder.mkdir()
    task = shown(MANIFEST)
    shell.run(
        *("python", "-m", "scripts.train", "--task", task, "--base", shown(base_model())),
        *("--data", shown(TASK / "train.tsv"), *solver.training, "--out", solver.file("adapter")),
    )
    touchstone, plain = command("touchstone"), solver.file("adapter.tensors")
    shell.run(touchstone, "pack", solver.file("adapter"), "--task", task, "--out", plain)
    began = time.monotonic()
    shell.run(touchstone, "score", "--task", task, "--submission", plain)
    seconds = time.monotonic() - began
    sealed = solver.file("adapter.sealed")
    key = ("--key", solver.file("adapter.key"))
    shell.run(touchstone, "seal", plain, "--out", sealed, *key, out=solver.folder / "sealed.json")
    (uri,) = publish(shell, file_host, sealed)
    return uri, seconds


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


def reveal_holdout(shell: Shell) -> None:
    """Publish the holdout's key, as the sponsor."""
    shell.run(*script("sponsor", "task", "reveal-holdout", "--record", shown(RECORD)))


def reveal(shell: Shell) -> None:
    """Publish the submissions' keys, as both solvers at once."""
    shell.together(
        *(script(item.alias, "submission", "reveal", "--record", item.file("record.json")) for item in SOLVERS)
    )


def _host(uri: str) -> str:
    """Return the host and port of a URI on this machine, which must be allowed by name."""
    return urlsplit(uri).netloc


def status(shell: Shell) -> None:
    """Show the state of the task on chain."""
    shell.run(command("ape"), "run", "status", *NETWORK, "--task", shown(RECORD))


def withdraw(shell: Shell, aliases: list[str]) -> None:
    """Withdraw everything that these wallets are owed."""
    shell.together(*(script(alias, "withdraw") for alias in aliases))
