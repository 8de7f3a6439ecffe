"""How large an ONNX file becomes in memory, found before protobuf builds anything of it.

A repeated message costs two bytes in a file and more than a hundred in memory, so a small file could exhaust a machine
while it is parsed. This walks the encoding alone: it allocates nothing, and stops at a limit on fields and nesting.
"""

from __future__ import annotations

from typing import Any

import onnx

from verifier.exact.errors import NotExactError

# SmolLM2-135M lowered has about 100,000.
MAX_FIELDS = 3_000_000
MAX_DEPTH = 12  # a plain graph has 6
# A packed list of numbers grows eightfold and more; shapes and axes have eight at most.
MAX_PACKED = 1024
_NO_MODEL = "it is no ONNX model"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Of a message: its fields that are messages themselves, each with its own table, and None for lists of numbers.
Table = dict[int, "Table | None"]


def _table(descriptor: Any, known: dict[str, Table]) -> Table:
    if descriptor.full_name not in known:
        table = known[descriptor.full_name] = {}
        for field in descriptor.fields:
            if field.message_type is not None:
                table[field.number] = _table(field.message_type, known)
            elif field.is_repeated and field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
                table[field.number] = None
    return known[descriptor.full_name]


_MODEL = _table(onnx.ModelProto.DESCRIPTOR, {})


def check_encoding(data: bytes) -> None:
    """Errors: NotExactError when the bytes are malformed, or would become too much."""
    _walk(data, 0, len(data), _MODEL, 0, 0)


def _walk(data: bytes, position: int, end: int, table: Table, depth: int, fields: int) -> int:
    """The fields of one message and all below it; returns how many were met in the whole file."""
    if depth > MAX_DEPTH:
        raise NotExactError("the file", f"it is nested deeper than {MAX_DEPTH} levels")
    while position < end:
        fields += 1
        if fields > MAX_FIELDS:
            raise NotExactError("the file", f"it has more than {MAX_FIELDS} fields")
        tag, position = _varint(data, position, end)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _varint(data, position, end)
        elif kind == _BYTES:
            length, position = _varint(data, position, end)
            left = end - position
            if length > left:
                raise NotExactError("the file", f"{_NO_MODEL}: a field claims {length} bytes where {left} are left")
            below = table.get(tag >> 3, {})
            if below is None and length > MAX_PACKED:
                raise NotExactError("the file", f"it has a list of numbers of {length} bytes outside raw data")
            if below:
                fields = _walk(data, position, position + length, below, depth + 1, fields)
            position += length
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise NotExactError("the file", _NO_MODEL)
    if position > end:
        raise NotExactError("the file", _NO_MODEL)
    return fields


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise NotExactError("the file", _NO_MODEL)
