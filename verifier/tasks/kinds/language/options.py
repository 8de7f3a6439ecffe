"""What a sponsor chooses for a task of the kind `language`, and what its manifest tells solvers."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from pydantic import Field

from verifier.tasks.manifest import Text
from verifier.tasks.models.base_files import source_of
from verifier.tasks.registry import KindOptions, KindSettings, ServerUrl


def _twice_the_rank(fields: dict[str, Any]) -> int:
    return 2 * int(fields["rank"])


def _from_the_data_set(fields: dict[str, Any]) -> str:
    return f"Answer {fields['dataset'].stem}"


def _from_the_base(fields: dict[str, Any]) -> str:
    return source_of(fields["base"])


class LanguageOptions(KindOptions):
    """Build a task for LoRA adapters of a language model.

    The score is the log-likelihood of the answers, given their prompts. Besides the files of every task, this kind
    writes train.jsonl: the rows that are left for solvers to train on. Rows with the same prompt are in the same set.
    """

    base: Path = Field(description="Hugging Face-style folder of the decoder.")
    dataset: Path = Field(
        description="The data set in UTF-8: a .jsonl or .csv file, or lines prompt<TAB>answer under that header."
    )
    prompt_column: str = Field("prompt", description="Name of the data set's column with the texts to continue.")
    answer_column: str = Field("answer", description="Name of the data set's column with the continuations.")
    targets: tuple[str, ...] = Field(
        ("all-linear",),
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
    practice: int = Field(64, ge=1, description="Number of public rows, for solvers to score themselves on.")
    holdout: int = Field(
        128, ge=0, description="Number of sealed rows, which decide; 0 makes a public task, which practice decides."
    )
    batch: int = Field(4, ge=1, le=4096, description="Rows per run of the program.")
    # At most as many positions as the proof of causality tells apart.
    sequence: int = Field(
        128, ge=2, le=2048, description="Tokens per row, prompt and answer together; longer rows are left out."
    )
    reference_steps: int = Field(
        20,
        ge=1,
        description="Steps of the training during the build, of 8 rows each, which shows what an adapter changes.",
    )
    seed: int = Field(
        default_factory=lambda: secrets.randbits(32),
        ge=0,
        description="Decides which rows are held out: keep it secret.  [default: random]",
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
        description="Name train.jsonl in the manifest, so that solvers can download it: you agree that everybody may "
        "read these rows.",
    )
    url: ServerUrl = Field(description="URL of the server that will serve the files, such as https://files.example.")


class LanguageTraining(KindOptions):
    """The options of the example trainer."""

    base: Path = Field(description="The model folder that the task was built from.")
    data: Path = Field(description="Rows to train on, with the columns `prompt` and `answer`.")
    epochs: int = Field(2, ge=1, description="Passes over the rows.")
    limit: int | None = Field(None, ge=1, description="Train on at most so many rows, to stop early.")
    seed: int = Field(0, ge=0, description="Decides the order of the rows and the first weights.")


class LanguageSettings(KindSettings):
    """The manifest settings of a `language` task."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)  # for the example trainer; `pack` applies the alpha of the adapter
    targets: tuple[str, ...]  # which linear layers are adapted, see `models.targets`
    sequence: int = Field(ge=2)  # tokens per row
    answers: int = Field(ge=1)  # most counted tokens of a row
