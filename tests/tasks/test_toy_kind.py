"""A kind in a package of its own, installed beside Touchstone, needs no change anywhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from verifier.artifacts import digests, sealing, tensors
from verifier.protocol.constants import Outcome
from verifier.tasks import EvaluationLimits, load_manifest
from verifier.tasks.case import Case, SealedFile, StoredFile
from verifier.tasks.judge import judge

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).parent / "toy_kind"
URL = ("--url", "https://files.example")
WEIGHTS = [3, -1, 4, 1]


@dataclass(frozen=True)
class Installation:
    """A folder with the toy kind's package installed in it."""

    folder: Path

    def touchstone(self, *words: str | Path, status: int = 0) -> str:
        """Run `touchstone WORDS`; see `run`."""
        return self.run("verifier", *words, status=status)

    def run(self, module: str, *words: str | Path, status: int = 0) -> str:
        """Run a module in a process that finds the package; returns its stdout, or the stderr of a failure."""
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)])},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The package installed by pip, from a copy of its source, without a network."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(SOURCE, tmp_path_factory.mktemp("source") / "toy_kind")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder), str(source)],
        check=True,
        timeout=300,
    )
    return Installation(folder)


@pytest.fixture(scope="module")
def task(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of the kind, built by the command."""
    folder = tmp_path_factory.mktemp("toy") / "task"
    summary = json.loads(installed.touchstone("task", "build", "toy", "--seed", "3", *URL, "--out", folder))
    assert summary["counts"] == {"practice": 6, "holdout": 5}
    return folder


@pytest.fixture
def submission(installed: Installation, task: Path, tmp_path: Path) -> Path:
    """A submission, packed by the command."""
    (tmp_path / "weights.json").write_text(json.dumps(WEIGHTS))
    file = tmp_path / "mine.tensors"
    manifest = task / "manifest.json"
    said = json.loads(installed.touchstone("pack", tmp_path / "weights.json", "--task", manifest, "--out", file))
    assert said["digest"] == digests.to_hex(digests.digest_file(file))
    assert said["largest"] == 4
    return file


def expected_score(task: Path, name: str, count: int) -> int:
    """The score of WEIGHTS on a set, in plain integers."""
    data = (task / f"{name}.tensors").read_bytes()
    rows = tensors.decode(load_manifest(task / "manifest.json").set_schema(count), data)["x"]
    return int((rows.astype(object) @ np.array(WEIGHTS, dtype=object)).sum())


def test_kinds__toy_package_is_installed__lists_it_with_its_package(installed: Installation) -> None:
    lines = [line.split(maxsplit=2) for line in installed.touchstone("kinds").splitlines()]
    assert lines == [
        ["classify", "touchstone-verifier", "Text classification by LoRA adapters and a head."],
        ["language", "touchstone-verifier", "LoRA adapters of a language model, by the likelihood of answers."],
        ["pretrain", "touchstone-verifier", "All weights of a small language model of bytes."],
        ["toy", "touchstone-toy", "Integer weights of a linear scorer."],
    ]


def test_task_build__help_of_the_toy_kind__has_its_options(installed: Installation) -> None:
    said = installed.touchstone("task", "build", "toy", "--help")
    assert "--features INTEGER RANGE" in said
    assert "[default: 4; 1<=x<=64]" in said
    assert "--out PATH" in said


def test_task_build__wrong_option_of_the_toy_kind__names_the_flag(installed: Installation, tmp_path: Path) -> None:
    said = installed.touchstone("task", "build", "toy", "--features", "65", *URL, "--out", tmp_path / "t", status=2)
    assert "Invalid value for '--features': 65 is not in the range 1<=x<=64." in said


def test_task_show__toy_task__has_its_kind_and_settings(installed: Installation, task: Path) -> None:
    said = installed.touchstone("task", "show", task / "manifest.json")
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert lines["kind"] == "toy: Integer weights of a linear scorer."
    assert lines["settings.features"] == "4"


def test_toy__command_of_the_kind__is_a_command_of_touchstone(installed: Installation, task: Path) -> None:
    assert installed.touchstone("toy", "features", "--task", task / "manifest.json") == "4\n"
    assert "Look at tasks of the kind toy." in installed.touchstone("--help")


def test_train__kind_without_a_trainer__says_so(installed: Installation, task: Path) -> None:
    manifest = task / "manifest.json"
    said = installed.run("scripts.train", "--task", manifest, "--out", task / "adapter", status=1)
    assert said == "Error: the kind 'toy' has no example trainer\n"


def test_pack__wrong_file_for_the_toy_kind__is_one_line(installed: Installation, task: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    file.write_text("[1]")
    arguments = ("pack", file, "--task", task / "manifest.json", "--out", tmp_path / "mine")
    said = installed.touchstone(*arguments, status=1)
    assert said == f"error: {file}: 1 weights, the task needs 4\n"


def test_score__toy_submission__is_the_sum_and_reads_as_the_kind_says(
    installed: Installation, task: Path, submission: Path
) -> None:
    found = json.loads(installed.touchstone("score", "--task", task / "manifest.json", "--submission", submission))
    score = expected_score(task, "practice", 6)
    assert found == {"score": score, "count": 6, "unit": "points", "reads": f"{score:,} points on 6 examples"}


def test_score__kind_is_not_installed__is_the_same_without_words(
    installed: Installation, task: Path, submission: Path, tmp_path: Path
) -> None:
    elsewhere = Installation(tmp_path)
    arguments = ("score", "--task", task / "manifest.json", "--submission", submission)
    without = json.loads(elsewhere.touchstone(*arguments))
    found = json.loads(installed.touchstone(*arguments))
    found.pop("reads")
    assert without == found


def test_pack__kind_is_not_installed__names_the_installed_ones(task: Path, submission: Path, tmp_path: Path) -> None:
    arguments = ("pack", submission, "--task", task / "manifest.json", "--out", tmp_path / "mine")
    said = Installation(tmp_path).touchstone(*arguments, status=1)
    assert said == (
        "error: no installed kind is called 'toy'; installed: classify, language, pretrain. "
        "Other packages add kinds through the entry-point group touchstone.kinds\n"
    )


def test_judge__toy_submission__is_scored_as_by_hand(task: Path, submission: Path, tmp_path: Path) -> None:
    manifest = load_manifest(task / "manifest.json")
    sealed = sealing.seal_file(submission, tmp_path / "mine.sealed", tmp_path / "mine.key")
    assert manifest.holdout is not None

    def key(file: Path) -> bytes:
        return digests.from_hex(file.read_text().strip())

    case = Case(
        manifest=StoredFile(task / "manifest.json", manifest.digest()),
        program=StoredFile(task / "program.onnx", digests.from_hex(manifest.program.digest)),
        evaluation_set=SealedFile(
            task / "holdout.sealed",
            digests.from_hex(manifest.holdout.sealed_digest),
            digests.digest_file(task / "holdout.tensors"),
            key(task / "holdout.key"),
        ),
        submissions=(SealedFile(sealed.file, sealed.sealed, sealed.plain, key(sealed.key_file)),),
        macs=manifest.macs,
    )
    limits = EvaluationLimits(threads=1, memory_bytes=1 << 30)
    judgement = judge(case, tmp_path / "evidence", limits, lambda done, total: None)
    assert judgement.outcome == Outcome.SCORED
    assert judgement.scores == (expected_score(task, "holdout", 5),)
