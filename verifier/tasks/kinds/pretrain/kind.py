"""The kind `pretrain` as the registry knows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.tasks.errors import ManifestError
from verifier.tasks.kinds.pretrain.options import PretrainOptions, PretrainSettings, PretrainTraining
from verifier.tasks.manifest import Manifest
from verifier.tasks.registry import Kind, OnStep, Packed, Trainer, read_settings
from verifier.tasks.thresholds import NAT_BITS


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
    bits = -score / 2**NAT_BITS / math.log(2) / (count * context)
    return f"{bits:.4f} bits per byte over {count:,} rows of {context:,} bytes"


def _score_range(examples: Mapping[str, NDArray[Any]], count: int, manifest: Manifest) -> tuple[int, int]:
    """The same likelihoods for every byte are best where they are the shares of the bytes. Errors: ManifestError.

    No score exceeds 0, which is a likelihood of 1 for every byte.
    """
    if "text" not in examples:
        raise ManifestError("manifest: examples: a task of the kind 'pretrain' has a tensor `text`")
    _, counts = np.unique(examples["text"][:count], return_counts=True)
    return math.floor(2**NAT_BITS * float((counts * np.log(counts / counts.sum())).sum())), 0


KIND = Kind(
    name="pretrain",
    summary="All weights of a small language model of bytes.",
    options=PretrainOptions,
    settings=PretrainSettings,
    build=_build,
    pack=_pack,
    describe=_describe,
    score_range=_score_range,
    trainer=Trainer(PretrainTraining, _train),
)
