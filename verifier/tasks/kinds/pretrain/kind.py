"""The kind `pretrain` as the registry knows it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from verifier.tasks.kinds.pretrain.options import PretrainOptions, PretrainSettings, PretrainTraining
from verifier.tasks.manifest import Manifest
from verifier.tasks.registry import Kind, OnStep, Packed, Trainer, read_settings


def _build(options: PretrainOptions, out: Path, on_step: OnStep) -> dict[str, Any]:
    from verifier.tasks.kinds.pretrain.build import build

    return build(options, out, on_step)


def _train(manifest: Manifest, options: PretrainTraining, out: Path) -> str:
    from verifier.tasks.kinds.pretrain.train import train

    return train(manifest, options, out)


def _pack(path: Path, manifest: Manifest) -> Packed:
    from verifier.tasks.kinds.pretrain.pack import pack

    return pack(path, manifest)


def _describe(score: int, count: int, manifest: Manifest) -> str:
    context = read_settings(PretrainSettings, "pretrain", manifest).context
    bits = -score / 2**16 / math.log(2) / (count * context)
    return f"{bits:.4f} bits per byte over {count:,} rows of {context:,} bytes"


KIND = Kind(
    name="pretrain",
    summary="All weights of a small language model of bytes.",
    options=PretrainOptions,
    settings=PretrainSettings,
    build=_build,
    pack=_pack,
    describe=_describe,
    trainer=Trainer(PretrainTraining, _train),
)
