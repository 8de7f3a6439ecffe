"""Tensor files: safetensors with integer tensors only and exactly one possible header.

A file is 8 bytes little-endian header length, the header, then the tensors without gaps. The header is compact JSON,
padded with spaces so that the tensors start at a multiple of 1,024 bytes: a whole chunk of the digest's tree. Tensors
lie by element width, widest first (so each is aligned), then by name. All of it follows from the schema, so a tensor
has the same offset in every file of that schema, and a file is checked by comparing bytes, never by parsing JSON.
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

# NumPy dtype -> safetensors' name. uint64 is missing because its values do not fit the arithmetic's int64.
DTYPES = {
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
}
MAX_RANK = 8
MAX_GRID = 1074  # the exponent of float64's smallest step; beyond it no value of the grid exists
MAX_TENSORS = 65_536
MAX_FILE_BYTES = 1 << 36  # also far below the 256 GiB after which ChaCha20's block counter would wrap
LENGTH_BYTES = 8

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: name, NumPy dtype, shape (dimensions ≥ 1; () is a scalar) and the exponent e of its grid 2^e.

    Errors: SchemaError when no tensor file can have such a tensor.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    grid: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == "__metadata__":
            raise SchemaError(f"{self.name[:80]!a} cannot name a tensor: letters, digits and _ . : / - only")
        if self.dtype not in DTYPES:
            raise SchemaError(f"{self.name}: dtype {self.dtype[:40]!a} is none of {', '.join(DTYPES)}")
        if len(self.shape) > MAX_RANK or any(dimension < 1 for dimension in self.shape):
            raise SchemaError(f"{self.name}: a shape has at most {MAX_RANK} dimensions, each at least 1")
        if self.nbytes > MAX_FILE_BYTES:
            raise SchemaError(f"{self.name}: larger than the {MAX_FILE_BYTES} bytes that a file may have")
        if abs(self.grid) > MAX_GRID:
            raise SchemaError(f"{self.name}: grid exponents lie within ±{MAX_GRID}")

    @property
    def width(self) -> int:
        """Bytes of one element."""
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return math.prod(self.shape) * self.width


Schema = tuple[TensorSpec, ...]


def layout(schema: Schema) -> list[tuple[TensorSpec, int]]:
    """The tensors in file order, each with its offset from the end of the header. Errors: SchemaError."""
    if not 1 <= len(schema) <= MAX_TENSORS:
        raise SchemaError(f"a tensor file has 1 to {MAX_TENSORS} tensors")
    if len({spec.name for spec in schema}) != len(schema):
        raise SchemaError("two tensors have one name")
    ordered = sorted(schema, key=lambda spec: (-spec.width, spec.name))
    placed, offset = [], 0
    for spec in ordered:
        placed.append((spec, offset))
        offset += spec.nbytes
    if offset > MAX_FILE_BYTES:
        raise SchemaError(f"the tensors are larger than the {MAX_FILE_BYTES} bytes that a file may have")
    return placed


def header(schema: Schema) -> bytes:
    """Everything before the first tensor, the 8 length bytes included: a multiple of 1,024. Errors: SchemaError."""
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
    """Bytes of every file of that schema. Errors: SchemaError."""
    return len(header(schema)) + sum(spec.nbytes for spec in schema)


def encode(schema: Schema, tensors: Mapping[str, NDArray[np.integer[Any]]]) -> bytes:
    """The tensor file. Errors: Misfit when the tensors are not exactly the schema's, without any conversion."""
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
    """The tensors of a file as read-only views into `data`, by name.

    Errors: Misfit when the length or the header bytes differ from the schema's. Nothing else can be wrong: every
    pattern of bits is an integer.
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
