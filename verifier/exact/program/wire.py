"""Check the protobuf encoding of untrusted bytes before protobuf builds objects from them.

A repeated message can take two bytes in a file and 200 bytes in memory, so that a small file could exhaust a machine
while it is parsed. `check_encoding` walks the encoding alone, builds no objects, and refuses a file with more than
MAX_MESSAGES messages or MAX_FIELDS fields. Within these limits, protobuf needs at most about 200 MB more than the
file's own size: up to 200 bytes for each message, and up to 30 for each other field.
"""

from __future__ import annotations

from typing import Any

import onnx

from verifier.exact.errors import NotExactError

# Maximum number of messages in a file: twice the need of a lowered model with the maximum of 200,000 nodes, which has
# 1.5 messages per node for the node itself, its attributes and its constants.
MAX_MESSAGES = 600_000
# Maximum number of fields in a file, over all messages: 30 times the 100,000 of a lowered SmolLM2-135M.
MAX_FIELDS = 3_000_000
# Maximum depth of nested messages. The messages of an exact graph are nested 6 deep.
MAX_NESTING = 12
# Maximum bytes of a packed list of numbers, which grows at least eightfold in memory. Shapes and axes have 8 numbers of
# at most 10 bytes.
MAX_PACKED_BYTES = 1024
_NOT_A_MODEL = "it is not an ONNX model"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# The fields of a message that need a closer look, by number: a nested message has a table of its own, a repeated number
# has None.
Table = dict[int, "Table | None"]


def check_encoding(data: bytes) -> None:
    """Check that the bytes are a well-formed message within the limits. Errors: NotExactError."""
    _MessageWalk(data).message(0, len(data), _MODEL, 0)


class _MessageWalk:
    """One walk through a file, which counts its messages and the fields of all of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._messages = 0
        self._fields = 0

    def message(self, position: int, end: int, table: Table, depth: int) -> None:
        """Check one message, the bytes from position to end, and all messages below it."""
        if depth > MAX_NESTING:
            raise NotExactError("the file", f"it is nested deeper than {MAX_NESTING} levels")
        self._messages += 1
        if self._messages > MAX_MESSAGES:
            raise NotExactError("the file", f"it has more than {MAX_MESSAGES} messages")
        while position < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise NotExactError("the file", f"it has more than {MAX_FIELDS} fields")
            position = self._field(position, end, table, depth)
        if position > end:
            raise NotExactError("the file", _NOT_A_MODEL)

    def _field(self, position: int, end: int, table: Table, depth: int) -> int:
        """Check one field; returns where the next one starts."""
        tag, position = self._varint(position, end)
        kind = tag & 7
        if kind == _BYTES:
            length, position = self._varint(position, end)
            self._bytes(position, length, end, tag >> 3, table, depth)
            return position + length
        if kind == _VARINT:
            return self._varint(position, end)[1]
        if kind in (_FIXED64, _FIXED32):
            return position + (8 if kind == _FIXED64 else 4)
        raise NotExactError("the file", _NOT_A_MODEL)

    def _bytes(self, position: int, length: int, end: int, number: int, table: Table, depth: int) -> None:
        """Check the content of a length-delimited field: text, raw data, a nested message or packed numbers."""
        left = end - position
        if length > left:
            raise NotExactError("the file", f"{_NOT_A_MODEL}: a field claims {length} bytes where {left} are left")
        below = table.get(number, {})
        if below is None and length > MAX_PACKED_BYTES:
            raise NotExactError("the file", f"it has a list of numbers of {length} bytes outside raw data")
        if below:
            self.message(position, position + length, below, depth + 1)

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Read a number of at most 10 bytes; returns it and the position after it."""
        value = shift = 0
        while position < end and shift < 70:
            byte = self._data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
            shift += 7
        raise NotExactError("the file", _NOT_A_MODEL)


def _table(descriptor: Any, known: dict[str, Table]) -> Table:
    """The table of a message type; `known` holds those that were made, because types contain each other."""
    if descriptor.full_name not in known:
        table = known[descriptor.full_name] = {}
        for field in descriptor.fields:
            if field.message_type is not None:
                table[field.number] = _table(field.message_type, known)
            elif field.is_repeated and field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
                table[field.number] = None
    return known[descriptor.full_name]


_MODEL = _table(onnx.ModelProto.DESCRIPTOR, {})
