"""An adapter becomes a submission: floats of a PEFT folder or a safetensors file onto the task's grids.

A and B may be scaled against each other, component by component, without changing their product; so each component is
scaled until both of its halves use their grids alike. The files may be a stranger's: their size is bounded by the task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from verifier.artifacts import tensors
from verifier.artifacts.tensors import TensorSpec
from verifier.tasks.errors import PackError
from verifier.tasks.manifest import Manifest, nesting

MAX_CONFIG_BYTES = 1 << 20
_MAX_CONFIG_DEPTH = 16
_MAX_ALPHA = 1e6  # far beyond any
_HEADER_BYTES = 1 << 20  # a safetensors header of an adapter
_FLOATS: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_PREFIX = "base_model.model."
# Ways to start training that leave the base model as it is; the others change its weights.
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")

Floats = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Packed:
    """A submission, and how far it is from the adapter: the largest difference of any entry, and where.

    For a target module the entries are those of B·A, for the head its own.
    """

    data: bytes
    worst_error: float
    worst_tensor: str


def pack(adapter: Path, manifest: Manifest) -> Packed:
    """Make a submission of a PEFT folder or of a safetensors file whose tensors have the task's names.

    Errors: PackError naming the tensor, or the setting, that does not fit the task.
    """
    if manifest.kind != "lora":
        raise PackError(f"kind: the task is a {manifest.kind!r}, adapters are packed for 'lora'")
    schema = {spec.name: spec for spec in manifest.submission_schema}
    floats = _peft(adapter, manifest, schema) if adapter.is_dir() else _plain(adapter, schema)
    for name in schema:
        if name not in floats:
            raise PackError(f"{name}: the adapter does not have it")
    for name, array in floats.items():
        if array.shape != schema[name].shape:
            raise PackError(f"{name}: shape {list(array.shape)}, the task needs {list(schema[name].shape)}")
        if not np.isfinite(array).all():
            raise PackError(f"{name}: it has NaN or infinite values")
    balanced = _balanced(floats, schema)
    packed = {name: _on_grid(schema[name], array) for name, array in balanced.items()}
    worst_error, worst_tensor = _worst(floats, packed, schema)
    return Packed(tensors.encode(manifest.submission_schema, packed), worst_error, worst_tensor)


def _plain(file: Path, schema: Mapping[str, TensorSpec]) -> Floats:
    found = _read(file, schema)
    for name in found:
        if name not in schema:
            raise PackError(f"{name}: the task has no such tensor; it has {', '.join(sorted(schema))}")
    return found


def _peft(folder: Path, manifest: Manifest, schema: Mapping[str, TensorSpec]) -> Floats:
    """The tensors of a PEFT folder under the task's names, its scaling multiplied into B."""
    scaling = _scaling(_config(folder), manifest)
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise PackError(f"{folder} has no adapter_model.safetensors: save the adapter with safe serialization")
    floats: Floats = {}
    for key, array in _read(file, schema).items():
        name = _task_name(key, schema)
        if name in floats:
            raise PackError(f"{key}: another tensor of the adapter is {name} already")
        floats[name] = array * scaling if name.endswith(".lora_B") else array
    return floats


def _task_name(key: str, schema: Mapping[str, TensorSpec]) -> str:
    """A PEFT key as the task calls it: what model the encoder was wrapped in does not matter."""
    path = key.removeprefix(_PREFIX)
    for half in (".lora_A", ".lora_B"):
        path = path.replace(f"{half}.weight", half)
    found = [name for name in schema if path == name or path.endswith("." + name)]
    if not found:
        raise PackError(f"{key}: the task has no such tensor; its adapters are of {', '.join(_modules(schema))}")
    return max(found, key=len)


def _modules(schema: Mapping[str, TensorSpec]) -> list[str]:
    """The last names of the adapted layers, and the head's tensors."""
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
        raise PackError("adapter_config.json: no JSON") from error
    if not isinstance(config, dict):
        raise PackError("adapter_config.json: no JSON object")
    return config


def _scaling(config: Mapping[str, Any], manifest: Manifest) -> float:
    """What the adapter multiplies B·A by. Errors: PackError naming the setting that the task does not have."""
    if config.get("peft_type") != "LORA":
        raise PackError(f"peft_type: {config.get('peft_type')!r}, the task needs 'LORA'")
    for setting in ("use_dora", "lora_bias", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "layer_replication"):
        if config.get(setting):
            raise PackError(f"{setting}: the task's program does not have it; train without")
    if config.get("bias", "none") != "none":
        raise PackError(f"bias: {config['bias']!r}: the task's base model is fixed; train with 'none'")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        raise PackError(
            f"init_lora_weights: {config['init_lora_weights']!r} changes the base model, which is fixed; train without"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if rank != manifest.adapter.get("rank"):
        raise PackError(f"r: rank {rank!r}, the task needs {manifest.adapter.get('rank')}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= _MAX_ALPHA:
        raise PackError("lora_alpha: it is no number that an adapter has")
    assert isinstance(rank, int)
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _read(file: Path, schema: Mapping[str, TensorSpec]) -> Floats:
    """A safetensors file of floats. Errors: PackError."""
    limit = _HEADER_BYTES + sum(8 * math.prod(spec.shape) for spec in schema.values())
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise PackError(f"cannot read {file}: {error.strerror}") from error
    if len(data) > limit:
        raise PackError(f"{file}: more than {limit} bytes, which no adapter of this task has")
    try:
        entries = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise PackError(f"{file}: no safetensors file: {error}") from error
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


def _limit(spec: TensorSpec) -> float:
    """The largest number that the tensor's grid holds, on both sides of zero."""
    return math.ldexp(float(np.iinfo(spec.dtype).max), spec.grid)


def _balanced(floats: Floats, schema: Mapping[str, TensorSpec]) -> Floats:
    """Each row of A and its column of B scaled against each other until both use their grids alike."""
    balanced = dict(floats)
    for name, a in floats.items():
        if not name.endswith(".lora_A"):
            continue
        other = name.removesuffix("_A") + "_B"
        b = floats[other]
        used_a = np.abs(a).max(axis=1) / _limit(schema[name])
        used_b = np.abs(b).max(axis=0) / _limit(schema[other])
        live = (used_a > 0) & (used_b > 0)  # a component with a half of zeros is zero
        scale = np.sqrt(np.divide(used_b, used_a, out=np.zeros_like(used_a), where=live))
        balanced[name] = a * scale[:, None]
        balanced[other] = np.divide(b, scale, out=np.zeros_like(b), where=live)
    return balanced


def _on_grid(spec: TensorSpec, array: NDArray[np.float64]) -> NDArray[Any]:
    q = np.rint(np.ldexp(array, -spec.grid))
    limits = np.iinfo(spec.dtype)
    if q.size and (q.min() < limits.min or q.max() > limits.max):
        raise PackError(
            f"{spec.name}: it reaches {np.abs(array).max():.4g}, the task's grid holds {_limit(spec):.4g}: "
            "train with a smaller learning rate or with weight decay"
        )
    fitting: NDArray[Any] = q.astype(np.dtype(spec.dtype))
    return fitting


def _worst(floats: Floats, packed: Mapping[str, NDArray[Any]], schema: Mapping[str, TensorSpec]) -> tuple[float, str]:
    """The largest difference of an entry of the head or of a product B·A, and where it is."""
    errors = {}
    real = {name: np.ldexp(q.astype(np.float64), schema[name].grid) for name, q in packed.items()}
    for name in floats:
        if name.endswith(".lora_A"):
            other = name.removesuffix("_A") + "_B"
            errors[other] = np.abs(floats[other] @ floats[name] - real[other] @ real[name]).max()
        elif not name.endswith(".lora_B"):
            errors[name] = np.abs(floats[name] - real[name]).max()
    worst = max(errors, key=lambda name: float(errors[name]))
    return float(errors[worst]), worst
