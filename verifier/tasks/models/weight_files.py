"""Recognises weight files that are not what their name says: Git LFS pointers, web pages, cut-off downloads."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from verifier.tasks.errors import BuildError
from verifier.tasks.manifest import nesting

# The file of a model's weights in a folder that transformers wrote, where they are in one file.
WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
# Maximum size of a Git LFS pointer, which its specification sets.
_MAX_POINTER_BYTES = 1024
# Maximum size of a file of JSON settings in a model folder, and of the index of a model in many files.
MAX_SETTINGS_BYTES = 1 << 24
# Maximum nesting depth of these files, far above what transformers writes.
_MAX_NESTING = 64


def placeholder(start: bytes) -> str | None:
    """Return what a file is, from its first bytes, when something else was downloaded in its place; otherwise None."""
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer and not the file itself: run `git lfs pull` in the folder that it comes from"
    if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "a web page and not the file itself: download it again"
    return None


def check_model_files(folder: Path) -> None:
    """Check that the files of a model folder are there, are themselves, and are whole. Errors: BuildError."""
    if not (folder / "config.json").is_file():
        raise BuildError(f"{folder} is not a model folder: it has no config.json")
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.stat().st_size <= _MAX_POINTER_BYTES:
            _check_is_itself(file)
    if (folder / "adapter_config.json").exists():
        raise BuildError(
            f"{folder} has an adapter_config.json: the base of a task is a model without an adapter; merge it with "
            "peft's `merge_and_unload`, or remove the adapter's files"
        )
    for file in _weights(folder):
        _check_whole(file)


def read_settings_file(file: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder. Errors: BuildError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_SETTINGS_BYTES + 1)
        if len(data) > MAX_SETTINGS_BYTES:
            raise BuildError(f"{file}: more than {MAX_SETTINGS_BYTES} bytes")
        if data.startswith(codecs.BOM_UTF8):
            raise BuildError(f"{file} begins with a byte order mark, which transformers cannot read: save it without")
        text = data.decode("utf-8")
        if nesting(text) > _MAX_NESTING:
            raise BuildError(f"{file}: nested too deeply")
        settings = json.loads(text)
    except OSError as error:
        raise BuildError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise BuildError(f"{file}: not JSON") from error
    if not isinstance(settings, dict):
        raise BuildError(f"{file}: not a JSON object")
    return settings


def _check_is_itself(file: Path) -> None:
    with file.open("rb") as opened:
        found = placeholder(opened.read(_MAX_POINTER_BYTES))
    if found is not None:
        raise BuildError(f"{file} is {found}")


def _weights(folder: Path) -> Iterator[Path]:
    """Yield the files that hold the model's weights. Errors: BuildError when there are none, or one is missing."""
    if (folder / WEIGHTS).is_file():
        yield folder / WEIGHTS
        return
    if not (folder / _INDEX).is_file():
        others = sorted(file.name for file in folder.iterdir() if file.suffix in (".bin", ".h5", ".msgpack", ".gguf"))
        raise BuildError(
            f"{folder} has no {WEIGHTS}"
            + (f", only {', '.join(others)}" if others else "")
            + ": save the model with transformers' `save_pretrained`, which writes it"
        )
    parts = read_settings_file(folder / _INDEX).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise BuildError(f"{folder / _INDEX} does not say which file has which weights")
    for part in sorted(set(parts.values())):
        if Path(part).name != part or not (folder / part).is_file():
            raise BuildError(f"{folder} has no {part}, which {_INDEX} names: the download is incomplete")
        yield folder / part


def _check_whole(file: Path) -> None:
    """Check that a safetensors file has all the bytes that its header describes. Errors: BuildError."""
    _check_is_itself(file)
    try:
        with safe_open(file, framework="np") as opened:
            opened.keys()
    except (SafetensorError, OSError) as error:
        raise BuildError(
            f"{file} is incomplete or damaged: download it again ({str(error).splitlines()[0]})"
        ) from error
