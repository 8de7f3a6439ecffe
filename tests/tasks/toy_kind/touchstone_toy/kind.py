"""The kind `toy`: its options, its settings, and how a score reads. Building and packing are in `task`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray
from pydantic import Field

from verifier.tasks import (
    Kind,
    KindOptions,
    KindSettings,
    Manifest,
    OnStep,
    Packed,
    ServerUrl,
    load_manifest,
    read_settings,
)


class ToyOptions(KindOptions):
    """Build a task about a linear scorer."""

    features: int = Field(4, ge=1, le=64, description="Number of weights.")
    practice: int = Field(6, ge=1, description="Number of public examples.")
    holdout: int = Field(5, ge=0, description="Number of sealed examples; 0 makes a public task.")
    batch: int = Field(2, ge=1, description="Examples per run of the program.")
    seed: int = Field(0, ge=0, description="Decides the examples.")
    title: str = Field("A linear scorer", description="The title that people see.")
    url: ServerUrl = Field(description="URL of the server that will serve the files.")


class ToySettings(KindSettings):
    """The manifest settings of a `toy` task."""

    features: int = Field(ge=1)


def _build(options: ToyOptions, out: Path, on_step: OnStep) -> dict[str, Any]:
    from touchstone_toy.task import build

    return build(options, out, on_step)


def _pack(path: Path, manifest: Manifest) -> Packed:
    from touchstone_toy.task import pack

    return pack(path, manifest)


def _describe(score: int, count: int, manifest: Manifest) -> str:
    return f"{score:,} points on {count} examples"


def _score_range(examples: Mapping[str, NDArray[Any]], count: int, manifest: Manifest) -> tuple[int, int]:
    """Weights of zero score zero."""
    return 0, manifest.metric.bound


@click.group(name="toy")
def commands() -> None:
    """Look at tasks of the kind toy."""


@commands.command(name="features")
@click.option("--task", "file", type=click.Path(path_type=Path), required=True, help="The task's manifest.")
def features_command(file: Path) -> None:
    """Print how many weights a submission has."""
    click.echo(read_settings(ToySettings, "toy", load_manifest(file)).features)


KIND = Kind(
    name="toy",
    summary="Integer weights of a linear scorer.",
    options=ToyOptions,
    settings=ToySettings,
    build=_build,
    pack=_pack,
    describe=_describe,
    score_range=_score_range,
    commands=commands,
)
