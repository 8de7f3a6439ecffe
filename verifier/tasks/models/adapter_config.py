"""Reads a PEFT adapter_config.json: what multiplies an adapter's product, and which settings a task cannot express.

The settings that are known are listed here. Any other setting is accepted only with a value that switches it off,
because a newer PEFT may compute something else with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifier.tasks.errors import PackError, WrongBase
from verifier.tasks.manifest import Manifest, nesting
from verifier.tasks.models.base_files import check_base
from verifier.tasks.models.patterns import matches, pattern_problem
from verifier.tasks.models.weight_files import placeholder

CONFIG = "adapter_config.json"
# Maximum size of an adapter_config.json. PEFT writes about a kilobyte.
MAX_CONFIG_BYTES = 1 << 20
# Maximum nesting depth of an adapter_config.json, far above what PEFT writes.
_MAX_CONFIG_DEPTH = 16
# Maximum |lora_alpha|, far above any that trains.
_MAX_ALPHA = 1e6
# Settings that this module reads.
_READ = frozenset({
    "peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "bias", "init_lora_weights",
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern",
})  # fmt: skip
# Settings that do not change what a trained adapter computes: they choose layers, which the tensors' names show, or say
# how it was trained, initialised or stored. `fan_in_fan_out` says that the base model stores a layer transposed, as
# GPT-2 does; PEFT corrects it to what the layer is, and A and B are the same either way.
_WITHOUT_EFFECT = frozenset({
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save",
    "ensure_weight_tying", "fan_in_fan_out", "lora_dropout", "inference_mode", "peft_version", "revision",
    "runtime_config", "eva_config", "corda_config", "loftq_config", "lora_ga_config", "megatron_core",
    "qalora_group_size",
})  # fmt: skip
# Initialisations that leave the base model as it is; the others change its weights.
_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class AdaptedModel:
    """The model that a kind adapts: PEFT's task types of it, and what a message says that the task needs."""

    task_types: tuple[str, ...]
    needed: str


# None and "" are the task types of a model of one's own, which every kind takes.
ENCODER = AdaptedModel(("SEQ_CLS", "FEATURE_EXTRACTION"), "an encoder with a head for its classes")
DECODER = AdaptedModel(("CAUSAL_LM",), "a causal language model")


@dataclass(frozen=True)
class LoraSettings:
    """What PEFT does with the tensors of a layer. `remarks` are for the solver, and refuse nothing."""

    rank: int
    alpha: float
    rslora: bool
    ranks: Mapping[str, int]  # by pattern
    alphas: Mapping[str, float]  # by pattern
    remarks: tuple[str, ...]

    def rank_of(self, layer: str) -> tuple[str, int]:
        """Return the setting that decides about the rank of a layer, given by its path, and the rank."""
        pattern = _matching(self.ranks, layer)
        return ("r", self.rank) if pattern is None else ("rank_pattern", self.ranks[pattern])

    def scaling_of(self, layer: str) -> float:
        """Return what PEFT multiplies a layer's B·A by: alpha / rank, or alpha / sqrt(rank) of rsLoRA."""
        pattern = _matching(self.alphas, layer)
        alpha = self.alpha if pattern is None else self.alphas[pattern]
        _, rank = self.rank_of(layer)
        return alpha / (math.sqrt(rank) if self.rslora else rank)


def read_lora_settings(folder: Path, manifest: Manifest, rank: int, adapted: AdaptedModel) -> LoraSettings:
    """Read the settings of an adapter's folder for a task of this rank.

    Errors: PackError naming the setting that the task cannot express, or the base model that is not the task's.
    """
    config = _read(folder)
    if config.get("peft_type") != "LORA":
        raise PackError(f"peft_type: {config.get('peft_type')!r:.80}, the task needs 'LORA'")
    for setting, value in config.items():
        if setting not in _READ and setting not in _WITHOUT_EFFECT and not _is_off(value):
            raise PackError(f"{ascii(setting)[1:-1]:.80}: the task's program does not support it; train without it")
    if config.get("bias", "none") != "none":
        raise PackError(f"bias: {config['bias']!r:.80}: the task's base model is fixed; train with 'none'")
    if config.get("init_lora_weights", True) not in _INITIALISATIONS:
        raise PackError(
            f"init_lora_weights: {config['init_lora_weights']!r:.80} changes the base model, which is fixed; "
            "train without it"
        )
    own = config.get("r")
    if not isinstance(own, int) or not _is_rank(own):
        raise PackError(f"r: rank {own!r:.80}, the task needs {rank}")
    if not isinstance(config.get("use_rslora", False), bool):
        raise PackError("use_rslora: not true or false")
    return LoraSettings(
        rank=own,
        alpha=_alpha("lora_alpha", config.get("lora_alpha")),
        rslora=config.get("use_rslora", False),
        ranks={key: _pattern_rank(value) for key, value in _patterns(config, "rank_pattern").items()},
        alphas={key: _alpha("alpha_pattern", value) for key, value in _patterns(config, "alpha_pattern").items()},
        remarks=(*_remarks_on_task(config, adapted), *_remarks_on_base(config, manifest)),
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        with (folder / CONFIG).open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise PackError(f"cannot read {CONFIG} in {folder}: {error.strerror}") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise PackError(f"{CONFIG}: more than {MAX_CONFIG_BYTES} bytes")
    if (found := placeholder(data)) is not None:
        raise PackError(f"{CONFIG} is {found}")
    try:
        text = data.decode("utf-8-sig")
        if nesting(text) > _MAX_CONFIG_DEPTH:
            raise PackError(f"{CONFIG}: nested too deeply")
        config = json.loads(text)
    except ValueError as error:
        raise PackError(f"{CONFIG}: not JSON") from error
    if not isinstance(config, dict):
        raise PackError(f"{CONFIG}: not a JSON object")
    return config


def _is_off(value: Any) -> bool:
    """Whether a setting with this value changes nothing."""
    return value is None or value is False or value in ("", [], {})


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _pattern_rank(value: Any) -> int:
    if not _is_rank(value):
        raise PackError(f"rank_pattern: {value!r:.80} is not a rank")
    return int(value)


def _alpha(setting: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_ALPHA:
        raise PackError(f"{setting}: not a number between -{_MAX_ALPHA:,.0f} and {_MAX_ALPHA:,.0f}")
    return float(value)


def _patterns(config: Mapping[str, Any], setting: str) -> Mapping[str, Any]:
    """The values of a setting by the pattern of the layers' paths. Errors: PackError."""
    patterns = config.get(setting) or {}
    if not isinstance(patterns, dict):
        raise PackError(f"{setting}: not a JSON object")
    for pattern in patterns:
        if (problem := pattern_problem(pattern)) is not None:
            raise PackError(f"{setting}: the pattern {pattern[:80]!a} is {problem}")
    return patterns


def _matching(patterns: Mapping[str, Any], layer: str) -> str | None:
    """The first pattern that matches the path of a layer from a dot, or from its start, to its end, as PEFT does it."""
    return next((pattern for pattern in patterns if matches(rf"(.*\.)?({pattern})", layer)), None)


def _remarks_on_task(config: Mapping[str, Any], adapted: AdaptedModel) -> list[str]:
    """Errors: PackError for an adapter of another type of model than the task's."""
    mapping = config.get("auto_mapping")
    wrapped = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    if isinstance(wrapped, str) and wrapped.endswith("ForSequenceClassification"):
        if adapted is not ENCODER:
            raise PackError(f"auto_mapping: the adapter is of a {wrapped[:80]}: the task needs {adapted.needed}")
        raise PackError(
            f"auto_mapping: the head of a {wrapped[:80]} follows a pooling layer; the task's head follows the mean of "
            "the token embeddings: train the task's model"
        )
    task_type = config.get("task_type")
    if task_type not in (None, "", *adapted.task_types):
        raise PackError(f"task_type: {task_type!r:.80}: the task needs {adapted.needed}")
    if task_type == "SEQ_CLS":
        return [
            "task_type: 'SEQ_CLS': the heads of transformers' models for sequence classification follow a pooling "
            "layer; the task's head follows the mean of the token embeddings, so such a head scores at random"
        ]
    return []


def _remarks_on_base(config: Mapping[str, Any], manifest: Manifest) -> list[str]:
    """Compare the base that the adapter names with the task's. Errors: PackError when its files are others."""
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        return []
    try:
        if Path(name).is_dir():
            check_base(Path(name), manifest)
            return []
    except WrongBase as error:
        raise PackError(f"base_model_name_or_path: {error}") from error
    except (OSError, ValueError):  # a path that this system cannot have, or may not read: compare the names
        pass
    known = manifest.base.source or manifest.base.model
    if name.rstrip("/").rpartition("/")[2].lower() == known.rstrip("/").rpartition("/")[2].lower():
        return []
    return [
        f"base_model_name_or_path: the adapter names the base model {ascii(name)[:120]}, and the task {known!a}: "
        "an adapter of another model scores at random"
    ]
