"""Reads the tensors of an adapter from a PEFT folder or a safetensors file, under the names that the task gives them.

The files are untrusted: their size is bounded by the task, and nothing in them is executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from verifier.tasks.errors import PackError
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapter_config import AdaptedModel, LoraSettings, read_lora_settings
from verifier.tasks.models.grids import Floats, Schemas
from verifier.tasks.models.weight_files import placeholder

# Maximum size of a safetensors header: 1 MiB describes about 8,000 tensors.
_MAX_HEADER_BYTES = 1 << 20
_FLOATS: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_PREFIX = "base_model.model."  # of every key that PEFT writes
# What torch.compile and DistributedDataParallel put before the names of a model's parts.
_WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|module)\.")
# The end of a key of A or B, in PEFT's files and, with the adapter's name, in a state dict.
_HALF = re.compile(r"\.lora_(A|B)(?:\.[^.]+)?\.weight$")
# What a state dict puts into the name of a head that is trained whole.
_TRAINED_COPY = re.compile(r"\.modules_to_save\.[^.]+(?=\.)")
# Parts of keys of what a task cannot express -> what they belong to.
_FOREIGN = {
    "lora_magnitude_vector": "it belongs to DoRA, which the task's program does not support; train without it",
    "lora_embedding_": "it adapts an embedding; the task has adapters of linear layers only",
    "pooler.": "it belongs to a head behind a pooling layer; the task's head follows the mean of the token embeddings",
    "pre_classifier.": "it belongs to a head of two layers; the task's head is one linear layer",
    "classifier.dense.": "it belongs to a head of two layers; the task's head is one linear layer",
    "classifier.out_proj.": "it belongs to a head of two layers; the task's head is one linear layer",
    ".base_layer.": "it is a weight of the base model, which is fixed: save the adapter with peft's `save_pretrained`",
}


@dataclass(frozen=True)
class AdapterTensors:
    """The tensors of an adapter under the task's names, and remarks for the solver."""

    floats: Floats
    remarks: tuple[str, ...]


def read_adapter(path: Path, schema: Schemas, rank: int, manifest: Manifest, adapted: AdaptedModel) -> AdapterTensors:
    """Read a PEFT folder, or a safetensors file whose tensors have the task's names.

    `adapted` is the type of model that the task adapts. The scaling of a PEFT adapter is multiplied into B. An adapter
    of a lower rank than the task's gets components of zeros, and one of a layer that the task does not adapt is left
    out when its B is zero: neither changes the product.
    Errors: PackError naming the tensor, or the setting, that does not fit the task.
    """
    if path.is_dir():
        found = _read_folder(path, schema, rank, manifest, adapted)
    else:
        found = AdapterTensors(read_tensors(path, schema), ())
    return AdapterTensors(_padded(found.floats, schema), found.remarks)


def read_tensors(file: Path, schema: Schemas) -> Floats:
    """Read a safetensors file whose tensors have the task's names. Errors: PackError naming the tensor."""
    found = _tensors(file, schema)
    for name in found:
        if name.startswith(_PREFIX) or _HALF.search(name):
            raise PackError(
                f"{name[:200]}: a key of PEFT, whose factor is in adapter_config.json: give the folder that has both"
            )
        if name not in schema:
            raise PackError(f"{name}: the task has no such tensor; it has {', '.join(sorted(schema))}")
    return found


def _read_folder(folder: Path, schema: Schemas, rank: int, manifest: Manifest, adapted: AdaptedModel) -> AdapterTensors:
    settings = read_lora_settings(folder, manifest, rank, adapted)
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise PackError(f"{folder} has no adapter_model.safetensors: save the adapter with safe serialization")
    floats: Floats = {}
    foreign: dict[str, Floats] = {}  # layer that the task does not adapt -> its tensors by key
    for key, array in _tensors(file, schema).items():
        path = _TRAINED_COPY.sub("", _WRAPPERS.sub("", key.removeprefix(_PREFIX)))
        half = _HALF.search(path)
        if half is None:
            name = _place(path, schema)
        else:
            layer = path[: half.start()]
            _check_rank(layer, array, half[1], settings, rank)
            name = _place(f"{layer}.lora_{half[1]}", schema)
            if half[1] == "B":
                with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
                    array = array * settings.scaling_of(layer)
            if name is None:
                foreign.setdefault(layer, {})[key] = array
                continue
        if name is None:
            raise _no_such_tensor(key, schema)
        if name in floats:
            raise PackError(f"{key}: another tensor of the adapter is {name} already")
        floats[name] = array
    for tensors in foreign.values():
        if not any(_HALF.search(key) and ".lora_B" in key and not array.any() for key, array in tensors.items()):
            raise _no_such_tensor(next(iter(tensors)), schema)
    left_out = [f"{layer[:120]}: left out, because its B is zero" for layer in foreign]
    return AdapterTensors(floats, (*settings.remarks, *left_out))


def _place(path: str, schema: Schemas) -> str | None:
    """The task's name of a tensor; the model that the adapted part was wrapped in does not matter."""
    found = [name for name in schema if path == name or path.endswith("." + name)]
    return max(found, key=len, default=None)


def _check_rank(layer: str, array: NDArray[np.float64], half: str, settings: LoraSettings, rank: int) -> None:
    """Check the rank that the settings give a layer against the task's and the tensor's. Errors: PackError."""
    setting, own = settings.rank_of(layer)
    if own > rank:
        where = f" for {layer[:120]}" if setting == "rank_pattern" else ""
        raise PackError(f"{setting}: rank {own}{where}, the task needs {rank}")
    found = array.shape[0 if half == "A" else 1] if array.ndim == 2 else None
    if found != own:
        raise PackError(
            f"{layer[:120]}.lora_{half}: shape {list(array.shape)}, but {setting} in adapter_config.json is {own}"
        )


def _padded(floats: Floats, schema: Schemas) -> Floats:
    """Add components of zeros to pairs of a lower rank than the task's."""
    result = dict(floats)
    for name, a in floats.items():
        other = name.removesuffix("_A") + "_B"
        b = floats.get(other)
        if not name.endswith(".lora_A") or name not in schema or other not in schema or b is None:
            continue
        rank = schema[name].shape[0]
        if a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1] < rank:
            result[name] = np.pad(a, ((0, rank - a.shape[0]), (0, 0)))
            result[other] = np.pad(b, ((0, 0), (0, rank - b.shape[1])))
    return result


def _no_such_tensor(key: str, schema: Schemas) -> PackError:
    for part, reason in _FOREIGN.items():
        if part in key:
            return PackError(f"{key[:200]}: {reason}")
    return PackError(f"{key[:200]}: the task has no such tensor; it has adapters of {', '.join(_modules(schema))}")


def _modules(schema: Schemas) -> list[str]:
    """The last names of the adapted layers, and the tensors outside adapters."""
    layers = {name.removesuffix(".lora_A").rpartition(".")[2] for name in schema if name.endswith(".lora_A")}
    return sorted(layers) + [name for name in schema if ".lora_" not in name]


def _tensors(file: Path, schema: Schemas) -> Floats:
    """The tensors of a safetensors file of floats, at most as large as the task's adapters. Errors: PackError."""
    limit = _MAX_HEADER_BYTES + sum(8 * math.prod(spec.shape) for spec in schema.values())
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise PackError(f"cannot read {file}: {error.strerror}") from error
    if (found := placeholder(data)) is not None:
        raise PackError(f"{file} is {found}")
    if len(data) > limit:
        raise PackError(f"{file}: more than {limit} bytes, the largest size of an adapter of this task")
    try:
        entries = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise PackError(f"{file}: not a safetensors file, or an incomplete one: {error}") from error
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
