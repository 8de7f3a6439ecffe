"""The steps of the sponsor and the solvers, each with a folder and a wallet of their own."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from scripts._parameters import PROFILES
from scripts.demo.market import Market
from scripts.demo.plays import Play, Solver
from scripts.demo.setup import FOLDER, NETWORK, VERIFIERS, script
from scripts.demo.shell import ROOT, Shell, command, shown
from verifier.artifacts import digests
from verifier.protocol.constants import Phase, Windows
from verifier.protocol.state import TaskState
from verifier.tasks import find_kind, load_manifest

KEPT = ROOT / "build" / "trained"  # training that takes minutes, for the next run
REWARD, SEAT_FEE = "3", "0.02"  # coins
TASK = FOLDER / "task"
MANIFEST = TASK / "manifest.json"
RECORD = TASK / "task.json"
BUILT = FOLDER / "task-build.json"


@dataclass(frozen=True)
class Pace:
    """The speed of this machine, measured in earlier steps of the demo; the task's windows follow from it."""

    script_s: float  # seconds of three wallet scripts at once, each with a transaction
    score_s: float  # seconds of scoring two submissions at once, each on the practice set
    share: float = 2.0  # examples of the holdout for one of the practice set

    def windows(self) -> Windows:
        """Return windows of about twice what each step takes.

        A machine that becomes slower still keeps them, or a verifier misses a round and votes in the next one with the
        result that it has by then.
        """
        # Every verifier scores every submission on the larger holdout, and all share this machine. Starting and proving
        # the program are part of the measurement and happen once for each verifier.
        evaluations = VERIFIERS * self.share
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


def build_task(shell: Shell, play: Play, file_host: str) -> str:
    """Build the play's task and publish its files, as the sponsor. Returns the manifest's URI."""
    if play.first:
        shell.run(*play.first)
    task = shown(TASK)
    sizes = ("--holdout", str(play.holdout), "--practice", str(play.practice))
    shell.run(
        *(command("touchstone"), "task", "build", play.kind, *play.build(), *sizes),
        *("--url", file_host, "--out", task),
        out=BUILT,  # it describes every tensor
    )
    files = [f"{task}/{name}" for name in ("manifest.json", "program.onnx", "practice.tensors", "holdout.sealed")]
    return publish(shell, file_host, *files)[0]


def publish(shell: Shell, file_host: str, *files: str) -> list[str]:
    """Copy files into the folder that the demo's file host serves; returns their URIs."""
    said = shell.run(command("touchstone"), "publish", *files, "--to", shown(FOLDER / "public"), "--url", file_host)
    return [entry["uri"] for entry in json.loads(said)]


def prepare(shell: Shell, play: Play, file_host: str) -> tuple[list[str], float]:
    """Train, pack, score, seal and publish the submissions, as both solvers at the same time.

    Returns the ciphertexts' URIs and how many seconds the scoring on the practice set took.
    """
    touchstone, task = command("touchstone"), shown(MANIFEST)
    for solver in play.solvers:
        solver.folder.mkdir()
    trained = _train(shell, play)
    shell.together(
        *(
            (touchstone, "pack", trained[solver.alias], "--task", task, "--out", solver.file("mine.tensors"))
            for solver in play.solvers
        )
    )
    began = time.monotonic()
    scores = shell.together(
        *((touchstone, "score", "--task", task, "--submission", solver.file("mine.tensors")) for solver in play.solvers)
    )
    seconds = time.monotonic() - began
    kind, manifest = find_kind(play.kind), load_manifest(MANIFEST)
    threshold = kind.describe(_threshold(play), play.holdout, manifest)
    for solver, said in zip(play.solvers, scores, strict=True):
        reads = json.loads(said)["reads"]
        shell.note(f"{solver.alias}: {reads} of the practice set; the threshold is {threshold} of the holdout")
    uris = []
    for solver in play.solvers:
        sealed, key = solver.file("mine.sealed"), ("--key", solver.file("mine.key"))
        shell.run(
            *(touchstone, "seal", solver.file("mine.tensors"), "--out", sealed, *key),
            out=solver.folder / "sealed.json",
        )
        uris += publish(shell, file_host, sealed)
    return uris, seconds


def _train(shell: Shell, play: Play) -> dict[str, str]:
    """Train what was not kept from an earlier run; returns each solver's folder or file by its alias."""
    common = ("--task", shown(MANIFEST), "--data", shown(TASK / play.data), *play.base())
    outs = {solver.alias: solver.folder / "trained" for solver in play.solvers}
    if play.keeps_training:
        # What is trained follows from the settings of the task, the training rows and the trainer's options.
        settings = json.dumps(load_manifest(MANIFEST).settings, sort_keys=True)
        rows = digests.to_hex(digests.digest_file(TASK / play.data))
        for solver in play.solvers:
            key = digests.digest(" ".join((settings, rows, *solver.training)).encode()).hex()[:16]
            outs[solver.alias] = KEPT / play.kind / f"{solver.alias}-{key}"
            outs[solver.alias].parent.mkdir(parents=True, exist_ok=True)
    missing = [solver for solver in play.solvers if not outs[solver.alias].exists()]
    shell.together(
        *(
            ("python", "-m", "scripts.train", *common, *solver.training, "--out", shown(outs[solver.alias]))
            for solver in missing
        )
    )
    for solver in play.solvers:
        if solver not in missing:
            shell.note(f"{solver.alias} trained in an earlier run: {shown(outs[solver.alias])}")
    return {alias: shown(out) for alias, out in outs.items()}


def _threshold(play: Play) -> int:
    return play.threshold(json.loads(BUILT.read_text("utf-8")))


def create_task(shell: Shell, market: Market, play: Play, manifest_uri: str, pace: Pace) -> None:
    """Create the task and escrow the reward, as the sponsor."""
    windows = [
        word
        for name, seconds in pace.windows()._asdict().items()
        for word in (f"--{name.replace('_', '-')}-window", f"{seconds}s")
    ]
    files = ("--manifest", shown(MANIFEST), "--manifest-uri", manifest_uri, "--holdout", shown(TASK / "holdout.json"))
    files += ("--allow-host", _host(manifest_uri))
    terms = (
        "--reward",
        REWARD,
        "--threshold",
        str(_threshold(play)),
        "--committee",
        str(VERIFIERS),
        "--seat-fee",
        SEAT_FEE,
    )
    shell.run(*script("sponsor", "task", "create", *files, *terms, *windows, "--out", shown(RECORD)))
    market.task = bytes.fromhex(json.loads(RECORD.read_text("utf-8"))["task"][2:])


def commit(shell: Shell, play: Play, uris: list[str]) -> None:
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

    shell.together(*(words(solver, uri) for solver, uri in zip(play.solvers, uris, strict=True)))


class Hands:
    """What the sponsor and the solvers do while the task goes on, each step once when it is due."""

    def __init__(self, shell: Shell, play: Play) -> None:
        self._shell, self._play = shell, play
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
                script(item.alias, "submission", "reveal", "--record", item.file("record.json"))
                for item in self._play.solvers
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
