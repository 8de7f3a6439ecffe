"""Tensor files: safetensors files that hold integer tensors only and have exactly one possible header.

A file is the header's length (8 bytes, little-endian), the header, and the tensors without gaps. The header is compact
JSON, padded with spaces so that the tensors start at a multiple of 1,024 bytes, at a chunk of the digest's tree. The
tensors are ordered by element width, the widest first (so that each is aligned), then by name; each is in row-major
(C) order and little-endian. All of this follows from the schema. A tensor therefore has the same offset in every file
of a schema, and a file is checked by comparing bytes, never by parsing JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.digests import CHUNK_BYTES
from verifier.artifacts.errors import Misfit, SchemaError

# NumPy dtype -> its name in safetensors. uint64 is excluded because its values do not fit in the arithmetic's int64.
DTYPES = {
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
}
# Maximum number of dimensions, the same as an exact program allows.
MAX_DIMENSIONS = 8
# Largest magnitude of a grid exponent: 2^-1074 is the smallest positive float64, so no float64 lies on a finer grid.
MAX_GRID_EXPONENT = 1074
MAX_TENSORS = 65_536
# 64 GiB, below the 256 GiB after which ChaCha20's 32-bit block counter would wrap.
MAX_FILE_BYTES = 1 << 36
# Bytes of the header's length at the start of a file.
LENGTH_BYTES = 8

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: its name, NumPy dtype, shape (each dimension at least 1; () is a scalar) and grid exponent.

    An integer q of a tensor with grid exponent e stands for the number q * 2^e.
    Errors: SchemaError when no tensor file can have such a tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    grid: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == "__metadata__":
            raise SchemaError(
                f"{self.name[:80]!a} cannot name a tensor: a name has 1 to 200 letters, digits and _ . : / - only"
            )
        if self.dtype not in DTYPES:
            raise SchemaError(f"{self.name}: dtype {self.dtype[:40]!a} is not one of {', '.join(DTYPES)}")
        if len(self.shape) > MAX_DIMENSIONS or any(dimension < 1 for dimension in self.shape):
            raise SchemaError(f"{self.name}: a shape has at most {MAX_DIMENSIONS} dimensions, each at least 1")
        if self.nbytes > MAX_FILE_BYTES:
            raise SchemaError(f"{self.name}: larger than the maximum of {MAX_FILE_BYTES} bytes for a file")
        if abs(self.grid) > MAX_GRID_EXPONENT:
            raise SchemaError(f"{self.name}: the grid exponent must be within ±{MAX_GRID_EXPONENT}")

    @property
    def width(self) -> int:
        """The size of one element in bytes."""
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """The size of the whole tensor in bytes."""
        return math.prod(self.shape) * self.width


Schema = tuple[TensorSpec, ...]


def layout(schema: Schema) -> list[tuple[TensorSpec, int]]:
    """Return the tensors in file order, each with its byte offset from the end of the header. Errors: SchemaError."""
    if not 1 <= len(schema) <= MAX_TENSORS:
        raise SchemaError(f"a tensor file has 1 to {MAX_TENSORS} tensors")
    if len({spec.name for spec in schema}) != len(schema):
        raise SchemaError("two tensors have the same name")
    ordered = sorted(schema, key=lambda spec: (-spec.width, spec.name))
    placed, offset = [], 0
    for spec in ordered:
        placed.append((spec, offset))
        offset += spec.nbytes
    if offset > MAX_FILE_BYTES:
        raise SchemaError(f"the tensors are larger than the maximum of {MAX_FILE_BYTES} bytes for a file")
    return placed


def header(schema: Schema) -> bytes:
    """Return all bytes before the first tensor, including the 8 of the length; their number is a multiple of 1,024.

    Errors: SchemaError.
    """
    entries = {
        spec.name: {
            "dtype": DTYPES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + spec.nbytes],
        }
        for spec, offset in layout(schema)
    }
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-(LENGTH_BYTES + len(text)) % CHUNK_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def size(schema: Schema) -> int:
    """Return the size in bytes of every file of that schema. Errors: SchemaError."""
    return len(header(schema)) + sum(spec.nbytes for spec in schema)


def encode(schema: Schema, tensors: Mapping[str, NDArray[np.integer[Any]]]) -> bytes:
    """Return the tensor file of these tensors, which are not converted.

    Errors: Misfit when names, dtypes or shapes differ from the schema's; SchemaError.
    """
    known = {spec.name for spec in schema}
    if missing := sorted(known - tensors.keys()):
        raise Misfit(f"tensors are missing: {', '.join(missing)}")
    if extra := sorted(tensors.keys() - known):
        raise Misfit(f"tensors that the schema does not have: {', '.join(extra)}")
    parts = [header(schema)]
    for spec, _ in layout(schema):
        array = tensors[spec.name]
        if array.dtype.name != spec.dtype:
            raise Misfit(f"{spec.name}: dtype {array.dtype.name}, the schema says {spec.dtype}")
        if array.shape != spec.shape:
            raise Misfit(f"{spec.name}: shape {list(array.shape)}, the schema says {list(spec.shape)}")
        parts.append(array.astype(_little_endian(spec), copy=False).tobytes())
    return b"".join(parts)


def decode(schema: Schema, data: bytes | memoryview) -> dict[str, NDArray[np.integer[Any]]]:
    """Return the tensors of a file by name, as read-only views of `data`.

    Errors: Misfit when the length or the header bytes differ from the schema's; SchemaError. Nothing else can be wrong,
    because every bit pattern is an integer.
    """
    expected = header(schema)
    length = len(expected) + sum(spec.nbytes for spec in schema)
    if len(data) != length:
        raise Misfit(f"the file has {len(data)} bytes, its schema says {length}")
    if data[: len(expected)] != expected:
        raise Misfit("the header is not the one that the schema implies")
    return {
        spec.name: np.frombuffer(data, _little_endian(spec), math.prod(spec.shape), len(expected) + offset).reshape(
            spec.shape
        )
        for spec, offset in layout(schema)
    }


def _little_endian(spec: TensorSpec) -> np.dtype[np.integer[Any]]:
    return np.dtype(spec.dtype).newbyteorder("<")
