"""The kind `classify` as the registry knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from verifier.tasks.errors import ManifestError
from verifier.tasks.kinds.classify.options import ClassifyOptions, ClassifySettings, ClassifyTraining
from verifier.tasks.manifest import Manifest
from verifier.tasks.registry import Kind, OnStep, Packed, Trainer
from verifier.tasks.thresholds import constant_scores


def _build(options: ClassifyOptions, out: Path, on_step: OnStep) -> dict[str, Any]:
    from verifier.tasks.kinds.classify.build import build

    return build(options, out, on_step)


def _train(manifest: Manifest, options: ClassifyTraining, out: Path) -> str:
    from verifier.tasks.kinds.classify.train import train

    return train(manifest, options, out)


def _pack(path: Path, manifest: Manifest) -> Packed:
    from verifier.tasks.kinds.classify.pack import pack

    return pack(path, manifest)


def _describe(score: int, count: int, manifest: Manifest) -> str:
    return f"{score:,} of {count:,} {manifest.metric.unit}"


def _score_range(examples: Mapping[str, NDArray[Any]], count: int, manifest: Manifest) -> tuple[int, int]:
    """A constant answer is right about the most frequent label. Errors: ManifestError."""
    if "label" not in examples:
        raise ManifestError("manifest: examples: a task of the kind 'classify' has a tensor `label`")
    return int(constant_scores(examples["label"][:count])["majority class"]), count


KIND = Kind(
    name="classify",
    summary="Text classification by LoRA adapters and a head.",
    options=ClassifyOptions,
    settings=ClassifySettings,
    build=_build,
    pack=_pack,
    describe=_describe,
    score_range=_score_range,
    trainer=Trainer(ClassifyTraining, _train),
)
