"""Reads texts as bytes, document by document, and cuts them into rows for a model of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verifier.tasks.errors import BuildError

# Largest size of all documents together: reading and cutting them takes about three times that much memory.
MAX_BYTES = 1 << 30

Rows = NDArray[np.uint8]  # [rows, context]


@dataclass(frozen=True)
class Document:
    """One text. Its name is only for people: a file, or the number of a part of a file."""

    name: str
    data: bytes

    def rows(self, context: int) -> Rows:
        """Return the text cut into rows of `context` bytes, one after the other; the incomplete last one is dropped."""
        count = len(self.data) // context
        return np.frombuffer(self.data, np.uint8, count * context).reshape(count, context)


def read_documents(path: Path, separator: str | None = None) -> list[Document]:
    """Read the documents of a folder, one a file, or those of one file, each of which begins at a line `separator`.

    Files whose names begin with a dot and folders inside the folder are not read. Documents are in the order of their
    names or places; empty ones are left out, and of equal ones the first stays.

    Errors: BuildError naming the file that cannot be read, or what to do when there are no documents.
    """
    if path.is_dir():
        if separator is not None:
            raise BuildError(f"{path} is a folder, of which each file is a document: a separator has no meaning there")
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        found = [Document(file.name, data) for file, data in zip(files, _read(files), strict=True)]
    else:
        (data,) = _read([path])
        parts = [data] if separator is None else _parts(data, separator.encode())
        found = [Document(f"{path.name} part {number}", part) for number, part in enumerate(parts, 1)]
    unique: dict[bytes, Document] = {}
    for document in found:
        if document.data.strip():
            unique.setdefault(document.data, document)
    if not unique:
        raise BuildError(f"{path} has no text")
    return list(unique.values())


def _read(files: Sequence[Path]) -> list[bytes]:
    try:
        total = sum(file.stat().st_size for file in files)
        if total > MAX_BYTES:
            raise BuildError(f"the text has {total:,} bytes; at most {MAX_BYTES:,} are read: choose a part of it")
        return [file.read_bytes() for file in files]
    except OSError as error:
        raise BuildError(f"cannot read {error.filename}: {error.strerror}") from error


def _parts(data: bytes, separator: bytes) -> list[bytes]:
    """The text cut before every line that equals the separator."""
    parts: list[list[bytes]] = [[]]
    for line in data.splitlines(keepends=True):
        if line.rstrip(b"\r\n") == separator:
            parts.append([])
        parts[-1].append(line)
    return [b"".join(lines) for lines in parts]
