"""Reads the tensors of an adapter from a PEFT folder or a safetensors file, under the names that the task gives them.

The files are untrusted: their size is bounded by the task, and nothing in them is executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from verifier.tasks.errors import PackError
from verifier.tasks.manifest import nesting
from verifier.tasks.models.grids import Floats, Schemas

# Maximum size of an adapter_config.json. PEFT writes about a kilobyte.
MAX_CONFIG_BYTES = 1 << 20
# Maximum nesting depth of an adapter_config.json, far above what PEFT writes.
_MAX_CONFIG_DEPTH = 16
# Maximum |lora_alpha|, far above any that trains.
_MAX_ALPHA = 1e6
# Maximum size of a safetensors header: 1 MiB describes about 8,000 tensors.
_MAX_HEADER_BYTES = 1 << 20
_FLOATS: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_PREFIX = "base_model.model."  # of every key that PEFT writes
# Settings of PEFT that change what an adapter computes, and that a task's program does not compute.
_UNSUPPORTED = ("use_dora", "lora_bias", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "layer_replication")
# Initialisations that leave the base model as it is; the others change its weights.
_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva")


def read_adapter(path: Path, schema: Schemas, rank: int) -> Floats:
    """Read a PEFT folder, or a safetensors file whose tensors have the task's names.

    The scaling of a PEFT adapter (alpha / rank, or alpha / sqrt(rank) of rsLoRA) is multiplied into B.
    Errors: PackError naming the tensor, or the setting, that does not fit the task.
    """
    return _read_folder(path, schema, rank) if path.is_dir() else read_tensors(path, schema)


def read_tensors(file: Path, schema: Schemas) -> Floats:
    """Read a safetensors file whose tensors have the task's names. Errors: PackError naming the tensor."""
    found = _tensors(file, schema)
    for name in found:
        if name not in schema:
            raise PackError(f"{name}: the task has no such tensor; it has {', '.join(sorted(schema))}")
    return found


def _read_folder(folder: Path, schema: Schemas, rank: int) -> Floats:
    scaling = _scaling(_config(folder), rank)
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise PackError(f"{folder} has no adapter_model.safetensors: save the adapter with safe serialization")
    floats: Floats = {}
    for key, array in _tensors(file, schema).items():
        name = _task_name(key, schema)
        if name in floats:
            raise PackError(f"{key}: another tensor of the adapter is {name} already")
        floats[name] = array * scaling if name.endswith(".lora_B") else array
    return floats


def _task_name(key: str, schema: Schemas) -> str:
    """A PEFT key under the task's name; the model that the encoder was wrapped in does not matter."""
    path = key.removeprefix(_PREFIX)
    for half in (".lora_A", ".lora_B"):
        path = path.replace(f"{half}.weight", half)
    found = [name for name in schema if path == name or path.endswith("." + name)]
    if not found:
        raise PackError(f"{key}: the task has no such tensor; it has adapters of {', '.join(_modules(schema))}")
    return max(found, key=len)


def _modules(schema: Schemas) -> list[str]:
    """The last names of the adapted layers, and the tensors outside adapters."""
    layers = {name.removesuffix(".lora_A").rpartition(".")[2] for name in schema if name.endswith(".lora_A")}
    return sorted(layers) + [name for name in schema if ".lora_" not in name]


def _config(folder: Path) -> dict[str, Any]:
    try:
        with (folder / "adapter_config.json").open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise PackError(f"adapter_config.json: more than {MAX_CONFIG_BYTES} bytes")
        text = data.decode("utf-8")
        if nesting(text) > _MAX_CONFIG_DEPTH:
            raise PackError("adapter_config.json: nested too deeply")
        config = json.loads(text)
    except OSError as error:
        raise PackError(f"cannot read adapter_config.json in {folder}: {error.strerror}") from error
    except ValueError as error:
        raise PackError("adapter_config.json: not JSON") from error
    if not isinstance(config, dict):
        raise PackError("adapter_config.json: not a JSON object")
    return config


def _scaling(config: Mapping[str, Any], rank: int) -> float:
    """What the adapter multiplies B·A by. Errors: PackError naming the setting that the task does not have."""
    if config.get("peft_type") != "LORA":
        raise PackError(f"peft_type: {config.get('peft_type')!r}, the task needs 'LORA'")
    for setting in _UNSUPPORTED:
        if config.get(setting):
            raise PackError(f"{setting}: the task's program does not support it; train without it")
    if config.get("bias", "none") != "none":
        raise PackError(f"bias: {config['bias']!r}: the task's base model is fixed; train with 'none'")
    if config.get("init_lora_weights", True) not in _INITIALISATIONS:
        raise PackError(
            f"init_lora_weights: {config['init_lora_weights']!r} changes the base model, which is fixed; "
            "train without it"
        )
    own, alpha = config.get("r"), config.get("lora_alpha")
    if own != rank:
        raise PackError(f"r: rank {own!r}, the task needs {rank}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= _MAX_ALPHA:
        raise PackError(f"lora_alpha: not a number between -{_MAX_ALPHA:,.0f} and {_MAX_ALPHA:,.0f}")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _tensors(file: Path, schema: Schemas) -> Floats:
    """The tensors of a safetensors file of floats, at most as large as the task's adapters. Errors: PackError."""
    limit = _MAX_HEADER_BYTES + sum(8 * math.prod(spec.shape) for spec in schema.values())
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise PackError(f"cannot read {file}: {error.strerror}") from error
    if len(data) > limit:
        raise PackError(f"{file}: more than {limit} bytes, the largest size of an adapter of this task")
    try:
        entries = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise PackError(f"{file}: not a safetensors file: {error}") from error
    return {name: _floats(name, entry) for name, entry in sorted(entries, key=lambda item: str(item[0]))}


def _floats(name: str, entry: Mapping[str, Any]) -> NDArray[np.float64]:
    dtype, data = str(entry["dtype"]), bytes(entry["data"])
    flat: NDArray[Any]
    if dtype == "BF16":  # the upper half of a float32
        flat = (np.frombuffer(data, np.dtype("<u2")).astype(np.uint32) << 16).view(np.float32)
    elif dtype in _FLOATS:
        flat = np.frombuffer(data, _FLOATS[dtype])
    else:
        raise PackError(f"{name[:200]!a}: dtype {dtype}, an adapter has floats")
    return flat.astype(np.float64).reshape(tuple(entry["shape"]))
