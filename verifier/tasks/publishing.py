"""Recognises files that must stay secret, before they are copied to where everybody can read them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from verifier.artifacts import digests, sealing
from verifier.tasks.errors import TaskError
from verifier.tasks.manifest import MANIFEST_FILE, load_manifest

# Maximum size in bytes of a file that is read as a key, a keystore or the record of a sealing: these have under 2 KB.
MAX_SECRET_BYTES = 1 << 16
# Bytes at the start of a safetensors file: the length of its header, then the header, which begins with a brace.
_LENGTH_BYTES = 8
# Maximum header length that the safetensors format allows.
_MAX_HEADER_BYTES = 100_000_000
_SECRET_SUFFIXES = (".key", ".pem")
_SECRET_NAMES = ("seed", "password")


def secret_reason(file: Path, published: Collection[Path]) -> str | None:
    """Say why `file` looks like something that must stay secret; None when it does not.

    `published` are the files that are published with it: an unsealed set is public when it is the practice set of a
    manifest among them or in its folder. Errors: OSError.
    """
    name = file.name.lower()
    if file.suffix.lower() in _SECRET_SUFFIXES or name in _SECRET_NAMES:
        return "its name is that of a key or password"
    if file.stem.lower() == "holdout" and file.suffix.lower() != ".sealed":
        return "it is a part of the holdout that is not sealed"
    with file.open("rb") as opened:
        start = opened.read(MAX_SECRET_BYTES + 1)
    if len(start) <= MAX_SECRET_BYTES and (reason := _key_reason(start)):
        return reason
    digest = digests.digest_file(file)
    for record, fields in _sealings(file.parent):
        if fields.get("plain") == digests.to_hex(digest):
            return f"{record.name} says that it is the plain content of {fields.get('file')}"
    if _is_tensor_file(start) and digest not in _practice_sets(file, published):
        return "it is an unsealed tensor file, and not the practice set of a manifest beside it"
    return None


def _key_reason(data: bytes) -> str | None:
    text = data.decode("utf-8", "replace")
    if sealing.parse_key(text) is not None:
        return "it contains a key"
    if "PRIVATE KEY-----" in text:
        return "it contains a private key"
    fields = _json_object(data)
    return "it is the keystore of an account" if {"crypto", "Crypto"} & fields.keys() else None


def _sealings(folder: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    """The records in a folder that `touchstone seal` or `touchstone task build` wrote."""
    for record in sorted(folder.glob("*.json")):
        with suppress(OSError):
            if record.stat().st_size <= MAX_SECRET_BYTES:
                fields = _json_object(record.read_bytes())
                if {"plain", "sealed"} <= fields.keys():
                    yield record, fields


def _json_object(data: bytes) -> dict[str, object]:
    """The JSON object in these bytes, or an empty one."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_tensor_file(start: bytes) -> bool:
    header = int.from_bytes(start[:_LENGTH_BYTES], "little")
    return 2 <= header <= _MAX_HEADER_BYTES and start[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"


def _practice_sets(file: Path, published: Collection[Path]) -> set[bytes]:
    """The digests of the practice sets that the manifests at hand name."""
    found = set()
    for manifest in {*published, file.parent / MANIFEST_FILE}:
        if manifest.suffix == ".json":
            with suppress(TaskError):
                found.add(digests.from_hex(load_manifest(manifest).practice.digest))
    return found
