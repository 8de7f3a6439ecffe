"""A small task, built once for all tests, and an adapter for it that PEFT wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from tests.tasks.tiny import write_dataset, write_model
from verifier.tasks import Manifest, load_manifest
from verifier.tasks.kinds.classify.build import build
from verifier.tasks.kinds.classify.options import ClassifyOptions
from verifier.tasks.models.adapters import with_adapter
from verifier.tasks.models.classifier import load_classifier

PRACTICE = 30  # not a multiple of the batch
HOLDOUT = 18
BATCH = 4
RANK = 2


@dataclass(frozen=True)
class BuiltTask:
    """A task's folder, the summary that `build` returned, and the options that it was built with."""

    folder: Path
    summary: dict[str, Any]
    options: ClassifyOptions

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.folder / "manifest.json")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the base model."""
    folder = tmp_path_factory.mktemp("base")
    write_model(folder)
    return folder


@pytest.fixture(scope="session")
def options(base: Path, tmp_path_factory: pytest.TempPathFactory) -> ClassifyOptions:
    """The options of a small task."""
    dataset = tmp_path_factory.mktemp("data") / "words.tsv"
    write_dataset(dataset, 200)
    return ClassifyOptions(
        base=base,
        dataset=dataset,
        targets=("query", "value"),
        rank=RANK,
        alpha=2 * RANK,
        practice=PRACTICE,
        holdout=HOLDOUT,
        batch=BATCH,
        sequence=12,
        seed=3,
        title="Good and bad words",
        url="https://files.example",
    )


@pytest.fixture(scope="session")
def task(options: ClassifyOptions, tmp_path_factory: pytest.TempPathFactory) -> BuiltTask:
    """The task with all its files, the secret ones included."""
    folder = tmp_path_factory.mktemp("sponsor") / "task"
    return BuiltTask(folder, build(options, folder), options)


def adapted(base: Path, seed: int, **settings: Any) -> PeftModel:
    """Return the model with a random adapter none of whose tensors is zero."""
    torch.manual_seed(seed)
    chosen = {"targets": ("query", "value"), "rank": RANK, "alpha": 2 * RANK, **settings}
    model = with_adapter(load_classifier(base, 2), **chosen)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
    return model.eval()


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """An adapter folder that PEFT wrote."""
    folder = tmp_path / "adapter"
    adapted(base, 1).save_pretrained(folder)
    return folder
