"""Loads models from Hugging Face-style folders, without downloading anything or running code that they carry."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from verifier.artifacts import digests
from verifier.tasks.errors import BuildError
from verifier.tasks.models.weight_files import check_model_files, read_settings_file

# Name of the layer that pools token embeddings in many encoders. A task pools by the mean, so it is left out.
_POOLER = "pooler"
# Maximum number of names that an error lists.
_MAX_NAMES = 3


def load_encoder(folder: Path, attention: str | None = "eager") -> PreTrainedModel:
    """Load the base model of a folder (config.json, safetensors) in float32, without its pooling layer.

    All weights of the encoder come from the files; heads for other purposes are left out. The attention "eager" is
    matrix products and a softmax, which the lowering can convert; None is transformers' own choice.
    Errors: BuildError when a file is missing, incomplete or not what its name says, when the configuration contradicts
    the weights, or when the model is not an encoder that transformers can load without code of the folder.
    """
    encoder = _load(AutoModel, folder, attention)
    if not isinstance(getattr(encoder.config, "hidden_size", None), int):
        raise BuildError(f"cannot use the {type(encoder).__name__} in {folder}: its configuration has no hidden_size")
    if hasattr(encoder, _POOLER):
        setattr(encoder, _POOLER, None)  # an unused second way to pool, which must not receive adapters
    return encoder


def load_decoder(folder: Path, attention: str | None = "eager") -> PreTrainedModel:
    """Load the causal language model of a folder in float32, with its output layer. Otherwise as `load_encoder`."""
    return _load(AutoModelForCausalLM, folder, attention)


def _load(architecture: Any, folder: Path, attention: str | None) -> PreTrainedModel:
    """Load a model of transformers' class of models `architecture`, and check that every weight is in the files."""
    check_model_files(folder)
    _check_settings(folder)
    with _silent():
        try:
            model, report = architecture.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation=attention,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below, by name
            )
        except Exception as error:  # the configuration is untrusted, and transformers raises errors of many types
            raise BuildError(f"cannot load the model in {folder}: {_first_line(error)}") from error
    _check_loaded(folder, model, report)
    for name, parameter in model.named_parameters():
        if not (_POOLER in name.split(".") or torch.isfinite(parameter).all()):
            raise BuildError(f"{folder}: the weights {name} have NaN or infinite values")
    loaded: PreTrainedModel = model.eval()
    return loaded


def _check_settings(folder: Path) -> None:
    """Refuse by name the models that a task cannot be built from. Errors: BuildError."""
    settings = read_settings_file(folder / "config.json")
    model = f"the {settings.get('model_type', 'model')!s:.40} in {folder}"
    if settings.get("is_encoder_decoder"):
        raise BuildError(f"{model} is an encoder-decoder: a task needs a model that is one or the other")
    if settings.get("quantization_config"):
        raise BuildError(f"{model} has quantised weights: use the model in float32, float16 or bfloat16")


def _check_loaded(folder: Path, encoder: nn.Module, report: dict[str, Collection[object]]) -> None:
    """Check that files and model have the same weights, heads and pooling aside. Errors: BuildError naming them."""
    own = {name.partition(".")[0] for name, _ in encoder.named_parameters()}
    own.add(str(getattr(encoder, "base_model_prefix", "")))
    contradicting = sorted(str(item[0] if isinstance(item, tuple) else item) for item in report["mismatched_keys"])
    missing = sorted(str(name) for name in report["missing_keys"] if not str(name).startswith(f"{_POOLER}."))
    # Weights of heads are left out on purpose. A weight of the encoder's own parts means that config.json describes
    # another model, for example one with fewer layers. Older files hold the constants `position_ids` too.
    unused = sorted(
        name
        for name in map(str, report["unexpected_keys"])
        if name.partition(".")[0] in own and f".{_POOLER}." not in f".{name}" and not name.endswith("position_ids")
    )
    for names, problem in (
        (contradicting, "config.json contradicts the shapes of the weights"),
        (missing, "the files lack weights of the model, which would be random"),
        (unused, "config.json describes a model without these weights of the files"),
    ):
        if names:
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            raise BuildError(
                f"{folder}: {problem}: {', '.join(names[:_MAX_NAMES])}{more}; get config.json and weights of one model"
            )


def max_tokens(encoder: PreTrainedModel) -> int | None:
    """Return how many tokens an encoder takes at most; None when its table of positions does not bound them.

    RoBERTa and its kin number positions from `padding_idx` + 1 on, so that many rows of the table are never used.
    """
    limits = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] == "position_embeddings"
    ]
    stated = getattr(encoder.config, "max_position_embeddings", None)
    if not limits and isinstance(stated, int) and stated > 0:
        limits.append(stated)
    return min(limits, default=None)


def vocabulary(encoder: PreTrainedModel) -> int:
    """Return the number of token ids that an encoder has an embedding for."""
    table = encoder.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table.num_embeddings


def identify(folder: Path, file: str) -> str:
    """Return a file's name and digest, for the manifest's `base`: solvers compare their copy of the model with it.

    Without that file, the folder's name.
    """
    path = folder / file
    return f"{file} {digests.to_hex(digests.digest_file(path))}" if path.is_file() else folder.resolve().name


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers from printing its progress and its report on weights, which `_check_loaded` reads."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
