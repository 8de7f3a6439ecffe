"""The kind `language` as the registry knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verifier.tasks.kinds.language.options import LanguageOptions, LanguageSettings, LanguageTraining
from verifier.tasks.manifest import Manifest
from verifier.tasks.registry import Kind, OnStep, Packed, Trainer
from verifier.tasks.thresholds import NAT_BITS


def _build(options: LanguageOptions, out: Path, on_step: OnStep) -> dict[str, Any]:
    from verifier.tasks.kinds.language.build import build

    return build(options, out, on_step)


def _train(manifest: Manifest, options: LanguageTraining, out: Path) -> str:
    from verifier.tasks.kinds.language.train import train

    return train(manifest, options, out)


def _pack(path: Path, manifest: Manifest) -> Packed:
    from verifier.tasks.kinds.language.pack import pack

    return pack(path, manifest)


def _describe(score: int, count: int, manifest: Manifest) -> str:
    return f"log-likelihood of {score / 2**NAT_BITS / count:.4f} nat per answer over {count:,} answers"


KIND = Kind(
    name="language",
    summary="LoRA adapters of a language model, by the likelihood of answers.",
    options=LanguageOptions,
    settings=LanguageSettings,
    build=_build,
    pack=_pack,
    describe=_describe,
    trainer=Trainer(LanguageTraining, _train),
)
