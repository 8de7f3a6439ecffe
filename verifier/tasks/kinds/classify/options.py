"""What a sponsor chooses for a task of the kind `classify`, and what its manifest tells solvers."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from verifier.tasks.manifest import Text
from verifier.tasks.models.base_files import source_of
from verifier.tasks.registry import KindOptions, KindSettings, ServerUrl


def _twice_the_rank(fields: dict[str, Any]) -> int:
    return 2 * int(fields["rank"])


def _from_the_data_set(fields: dict[str, Any]) -> str:
    return f"Classify {fields['dataset'].stem}"


def _from_the_base(fields: dict[str, Any]) -> str:
    return source_of(fields["base"])


class ClassifyOptions(KindOptions):
    """Build a text classification task for LoRA adapters and heads.

    Besides the files of every task, this kind writes train.tsv: the rows that are left for solvers to train on.
    """

    base: Path = Field(description="Hugging Face-style folder of the encoder.")
    dataset: Path = Field(
        description="The data set in UTF-8: lines label<TAB>text under that header, or a .csv or .jsonl file."
    )
    label_column: str = Field("label", description="Name of the data set's column with the labels.")
    text_column: str = Field("text", description="Name of the data set's column with the texts.")
    targets: tuple[str, ...] = Field(
        ("query", "value"),
        description="The linear layers that get an adapter: ends of their paths, `all-linear`, or one regular "
        "expression that matches whole paths.",
    )
    rank: int = Field(8, ge=1, le=1024, description="Rank of every adapter.")
    alpha: int = Field(
        default_factory=_twice_the_rank,
        ge=1,
        le=1_000_000,  # `pack` takes no larger one
        description="lora_alpha that the example trainer uses.  [default: twice the rank]",
    )
    practice: int = Field(256, ge=1, description="Number of public examples, for solvers to score themselves on.")
    holdout: int = Field(
        256, ge=0, description="Number of sealed examples, which decide; 0 makes a public task, which practice decides."
    )
    batch: int = Field(8, ge=1, le=4096, description="Examples per run of the program.")
    sequence: int = Field(64, ge=2, le=1 << 15, description="Tokens per example.")
    seed: int = Field(
        default_factory=lambda: secrets.randbits(32),
        ge=0,
        description="Decides which examples are held out: keep it secret.  [default: random]",
    )
    title: Text = Field(
        default_factory=_from_the_data_set,
        description="The title that people see.  [default: from the data set's name]",
    )
    source: Text = Field(
        default_factory=_from_the_base,
        description="Where solvers find the base model: its id on a hub, or a URL.  [default: from the base's path]",
    )
    publish_train: bool = Field(
        False,
        description="Name train.tsv in the manifest, so that solvers can download it: you agree that everybody may "
        "read these rows.",
    )
    url: ServerUrl = Field(description="URL of the server that will serve the files, such as https://files.example.")


class ClassifyTraining(KindOptions):
    """The options of the example trainer."""

    base: Path = Field(description="The model folder that the task was built from.")
    data: Path = Field(description="Rows to train on: label<TAB>text under that header.")
    epochs: int = Field(2, ge=1, description="Passes over the rows.")
    limit: int | None = Field(None, ge=1, description="Train on at most so many rows, to stop early.")
    seed: int = Field(0, ge=0, description="Decides the order of the rows and the first weights.")


class ClassifySettings(KindSettings):
    """The manifest settings of a `classify` task."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)  # for the example trainer; `pack` applies the alpha of the adapter
    targets: tuple[str, ...]  # which linear layers are adapted, see `models.targets`
    labels: tuple[str, ...]  # in the order of their class numbers
    sequence: int = Field(ge=2)  # tokens per example
    pooling: Literal["mean"] = "mean"  # how the token embeddings of a text become one embedding
