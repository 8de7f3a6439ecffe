"""What sponsor and solvers do, each with their own files and wallet."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.demo.market import Market
from scripts.demo.setup import FOLDER, NETWORK, VERIFIERS, base_model, script
from scripts.demo.shell import Shell, command, shown

HOLDOUT, PRACTICE = 256, 128  # sentences
SEQUENCE = 32  # tokens; nine of ten sentences are shorter
SEED = "20140601"  # which sentences are held out, the same in every run
THRESHOLD = 170  # of 256: between what a minute of training reaches and what guessing does
REWARD, SEAT_FEE = "3", "0.02"  # coins
TASK = FOLDER / "task"
MANIFEST = TASK / "manifest.json"
RECORD = TASK / "task.json"


@dataclass(frozen=True)
class Pace:
    """How fast this machine is, from what was measured on the way; the windows of the task follow from it."""

    script_s: float  # three scripts at once, each with a transaction
    score_s: float  # one submission on the practice set

    def windows(self) -> dict[str, int]:
        """Seconds by window: several times what the step takes, so that a busy machine still keeps them."""
        # Every verifier scores every submission on the larger holdout, on a machine they share.
        evaluations = VERIFIERS * len(SOLVERS) * HOLDOUT / PRACTICE
        return {
            "commit": round(10 + 3 * self.script_s),
            "attest": round(10 + self.script_s),
            "holdout": 600,  # ends with the reveal
            "reveal": round(10 + 3 * self.script_s),
            "verdict-commit": round(20 + 0.4 * evaluations * self.score_s),
            "verdict-reveal": round(8 + self.script_s),
        }


@dataclass(frozen=True)
class Solver:
    """A solver: the wallet's alias, how long it trains, and a folder of its own."""

    alias: str
    training: tuple[str, ...]
    remark: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.alias

    def file(self, name: str) -> str:
        return shown(self.folder / name)


SOLVERS = (
    Solver("solver1", ("--epochs", "1", "--limit", "768"), "trains on 768 sentences"),
    Solver("solver2", ("--epochs", "1", "--limit", "32"), "stops after the first 32 sentences"),
)


def build_task(shell: Shell, file_host: str) -> str:
    """The sponsor makes a task of rated film-review sentences and publishes its files; returns the manifest's URI."""
    data = shown(FOLDER / "sentiment.tsv")
    shell.run("python", "-m", "scripts.sentiment", "--out", data)
    task, base = shown(TASK), shown(base_model())
    sizes = ("--rank", "8", "--holdout", str(HOLDOUT), "--practice", str(PRACTICE), "--sequence", str(SEQUENCE))
    shell.run(
        *(
            command("touchstone"),
            "task",
            "build",
            "classify",
            "--base",
            base,
            "--dataset",
            data,
            "--targets",
            "query,value",
        ),
        *(*sizes, "--seed", SEED, "--title", "Is a film review's sentence positive?"),
        *("--url", file_host, "--out", task),
    )
    files = [f"{task}/{name}" for name in ("manifest.json", "program.onnx", "practice.tensors", "holdout.sealed")]
    return publish(shell, file_host, *files)[0]


def publish(shell: Shell, file_host: str, *files: str) -> list[str]:
    """Copy files to where everybody can fetch them; returns their URIs."""
    said = shell.run(command("touchstone"), "publish", *files, "--to", shown(FOLDER / "public"), "--url", file_host)
    return [entry["uri"] for entry in json.loads(said)]


def prepare(shell: Shell, solver: Solver, file_host: str) -> tuple[str, float]:
    """Train, pack, score on the practice set, seal, upload; returns the ciphertext's URI and the seconds of scoring."""
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
    """The sponsor escrows the reward."""
    windows = [word for name, seconds in pace.windows().items() for word in (f"--{name}-window", f"{seconds}s")]
    files = ("--manifest", shown(MANIFEST), "--manifest-uri", manifest_uri, "--holdout", shown(TASK / "holdout.json"))
    terms = ("--reward", REWARD, "--threshold", str(THRESHOLD), "--committee", str(VERIFIERS), "--seat-fee", SEAT_FEE)
    shell.run(*script("sponsor", "task", "create", *files, *terms, *windows, "--out", shown(RECORD)))
    market.task = bytes.fromhex(json.loads(RECORD.read_text("utf-8"))["task"][2:])


def commit(shell: Shell, uris: list[str]) -> None:
    """Both solvers commit, and nobody learns to what."""

    def words(solver: Solver, uri: str) -> list[str]:
        sealed = ("--task", shown(RECORD), "--sealed", solver.file("sealed.json"), "--uri", uri)
        return script(solver.alias, "submission", "commit", *sealed, "--out", solver.file("record.json"))

    shell.together(*(words(solver, uri) for solver, uri in zip(SOLVERS, uris, strict=True)))


def reveal_holdout(shell: Shell) -> None:
    """The sponsor opens the holdout."""
    shell.run(*script("sponsor", "task", "reveal-holdout", "--record", shown(RECORD)))


def reveal(shell: Shell) -> None:
    """Both solvers open their submissions."""
    shell.together(
        *(script(item.alias, "submission", "reveal", "--record", item.file("record.json")) for item in SOLVERS)
    )


def status(shell: Shell) -> None:
    """What the chain says of the task."""
    shell.run(command("ape"), "run", "status", *NETWORK, "--task", shown(RECORD))


def withdraw(shell: Shell, aliases: list[str]) -> None:
    """Everybody named is paid out."""
    shell.together(*(script(alias, "stake", "withdraw") for alias in aliases))
