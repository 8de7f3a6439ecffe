"""Loads models from Hugging Face-style folders, without downloading anything or running code that they carry."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from verifier.artifacts import digests
from verifier.tasks.errors import BuildError


def load_encoder(folder: Path) -> PreTrainedModel:
    """Load the base model of a folder (config.json, safetensors) in float32, without its pooling layer.

    Attention is "eager": matrix products and a softmax, which the lowering can convert. Errors: BuildError.
    """
    if not (folder / "config.json").is_file():
        raise BuildError(f"{folder} is not a model folder: it has no config.json")
    disable_progress_bar()  # type: ignore[no-untyped-call]  # it would show how weights are copied
    try:
        encoder = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, attn_implementation="eager", dtype=torch.float32
        )
    except (OSError, ValueError, ImportError) as error:
        raise BuildError(f"cannot load the model in {folder}: {str(error).splitlines()[0]}") from error
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # an unused second way to pool, which must not receive adapters
    loaded: PreTrainedModel = encoder
    return loaded


def identify(folder: Path, file: str) -> str:
    """Return a file's name and digest, for the manifest's `base`: solvers compare their copy of the model with it.

    Without that file, the folder's name.
    """
    path = folder / file
    return f"{file} {digests.to_hex(digests.digest_file(path))}" if path.is_file() else folder.resolve().name
