"""What a sponsor chooses for a task of the kind `pretrain`, and what its manifest tells solvers."""

from __future__ import annotations

import secrets
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from verifier.tasks.manifest import Text
from verifier.tasks.registry import KindOptions, KindSettings, ServerUrl


class Architecture(Enum):
    """The models that a task can prescribe."""

    LLAMA = "llama"
    GPT2 = "gpt2"
    CONVOLUTION = "convolution"


def _from_the_text(fields: dict[str, Any]) -> str:
    return f"Predict {fields['text'].stem}"


class PretrainOptions(KindOptions):
    """Build a task for the weights of a small language model of bytes.

    Besides the files of every task, this kind writes train.txt: the documents that are left for solvers to train on.
    No document is in two sets. A short training of the same model, during the build, finds the ranges of its values and
    shows what a few minutes reach.
    """

    text: Path = Field(description="A folder, of which each file is a document, or one file and --separator.")
    separator: str | None = Field(
        None, description="The line at which a document begins, where the text is one file; whole lines are compared."
    )
    architecture: Architecture = Field(Architecture.LLAMA, description="The model.")
    layers: int = Field(4, ge=1, le=48, description="Blocks of the model.")
    width: int = Field(128, ge=8, le=2048, description="Numbers that describe a byte between two blocks.")
    heads: int = Field(4, ge=1, le=64, description="Attention heads of a block; no meaning for `convolution`.")
    context: int = Field(256, ge=8, le=4096, description="Bytes of a row: the most that a prediction can look back on.")
    practice: int = Field(128, ge=1, description="Number of public rows, for solvers to score themselves on.")
    holdout: int = Field(
        256, ge=0, description="Number of sealed rows, which decide; 0 makes a public task, which practice decides."
    )
    batch: int = Field(4, ge=1, le=4096, description="Rows per run of the program.")
    reference_steps: int = Field(
        300, ge=20, description="Steps of the training during the build, of 16 rows each: about a minute for 300."
    )
    seed: int = Field(
        default_factory=lambda: secrets.randbits(32),
        ge=0,
        description="Decides which documents and rows are held out: keep it secret.  [default: random]",
    )
    title: Text = Field(
        default_factory=_from_the_text, description="The title that people see.  [default: from the text's name]"
    )
    publish_train: bool = Field(
        False,
        description="Name train.txt in the manifest, so that solvers can download it: you agree that everybody may "
        "read these documents.",
    )
    url: ServerUrl = Field(description="URL of the server that will serve the files, such as https://files.example.")

    @model_validator(mode="after")
    def _check_heads(self) -> PretrainOptions:
        if self.architecture is not Architecture.CONVOLUTION and self.width % (2 * self.heads):
            raise ValueError(f"a width of {self.width} cannot be divided into {self.heads} heads of even size")
        return self


class PretrainTraining(KindOptions):
    """The options of the example trainer."""

    data: Path = Field(description="The text to train on, for example the task's train.txt.")
    minutes: float = Field(10.0, gt=0, description="How long to train.")
    steps: int | None = Field(None, ge=1, description="Train for so many steps of 16 rows, however long they take.")
    seed: int = Field(0, ge=0, description="Decides the order of the text and the first weights.")


class PretrainSettings(KindSettings):
    """The manifest settings of a `pretrain` task."""

    architecture: Literal["llama", "gpt2", "convolution"]
    layers: int = Field(ge=1)
    width: int = Field(ge=1)
    heads: int = Field(ge=1)
    context: int = Field(ge=2)  # bytes per row
