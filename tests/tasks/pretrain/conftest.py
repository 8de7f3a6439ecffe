"""Tiny `pretrain` tasks of made-up text, one for each architecture, built once for all tests."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from verifier.exact import Program, load_program
from verifier.tasks import Manifest, load_manifest
from verifier.tasks.kinds.pretrain.build import build
from verifier.tasks.kinds.pretrain.options import Architecture, PretrainOptions

CONTEXT, BATCH, PRACTICE, HOLDOUT, DOCUMENTS = 16, 4, 10, 14, 24
WORDS = ("the", "king", "queen", "speaks", "of", "love", "and", "war", "enter", "exit", "a", "lord")


@dataclass(frozen=True)
class BuiltText:
    """A task's folder, its options and the summary that `build` returned."""

    folder: Path
    options: PretrainOptions
    summary: dict[str, Any]

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.folder / "manifest.json")

    @property
    def program(self) -> Program:
        return load_program((self.folder / "program.onnx").read_bytes())


def write_text(folder: Path, documents: int = DOCUMENTS) -> None:
    """Write documents of 60 random words of a small vocabulary, each in a file of its own."""
    choose = random.Random(3)
    folder.mkdir()
    for number in range(documents):
        # words of its own, so that no row of one document stands in another by chance
        text = " ".join(choose.choice(WORDS) + chr(ord("A") + number) for _ in range(60))
        (folder / f"scene{number:02}.txt").write_text(text + "\n", "utf-8")


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "scenes"
    write_text(folder)
    return folder


def options(text: Path, architecture: str = "llama", **more: Any) -> PretrainOptions:
    """A sponsor's choices for a small task."""
    chosen = {
        "text": text,
        "architecture": Architecture(architecture),
        "layers": 1,
        "width": 16,
        "heads": 2,
        "context": CONTEXT,
        "practice": PRACTICE,
        "holdout": HOLDOUT,
        "batch": BATCH,
        "reference_steps": 20,
        "seed": 5,
        "url": "https://files.example",
    }
    return PretrainOptions.model_validate(chosen | more)


@pytest.fixture(scope="session", params=["llama", "gpt2", "convolution"])
def built(request: pytest.FixtureRequest, text: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltText:
    chosen = options(text, request.param)
    folder = tmp_path_factory.mktemp("built") / "task"
    return BuiltText(folder, chosen, build(chosen, folder))
