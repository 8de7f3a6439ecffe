"""Reads the two columns of a data set, label and text, from the files in which people have them.

| name ends in        | format                                                                         |
|---------------------|--------------------------------------------------------------------------------|
| `.csv`              | cells between commas (or semicolons, or tabs), quoted as spreadsheets do       |
| `.jsonl`, `.ndjson` | one JSON object a line                                                         |
| anything else       | one example a line, cells between tabs                                         |

Files are UTF-8, with or without a byte order mark. Cells of a file with tabs are taken as they are. Only where every
cell that begins with a quotation mark is quoted from end to end, as spreadsheets write them, are the marks removed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifier.tasks.errors import BuildError
from verifier.tasks.manifest import nesting

# Maximum size of a data set. It is read into memory at once; a task uses some thousands of its rows.
MAX_TABLE_BYTES = 1 << 30
# Maximum length of a cell of a CSV file, in characters.
_MAX_CELL_CHARACTERS = 1 << 20
# Maximum nesting depth of an object of a JSON Lines file, whose other fields may be lists and objects.
_MAX_NESTING = 64
_DELIMITERS = (",", ";", "\t")  # of a .csv file, in the order in which they are tried
_QUOTED = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
_BREAKS = re.compile(r"[\t\r\n]+")  # what would end a cell of the file of training rows
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # JSON can escape one alone; no UTF-8 file can hold it
_CONVERT = (
    "convert it, for example with "
    "`python -c \"import pandas; pandas.{read}('{name}').to_json('{stem}.jsonl', orient='records', lines=True)\"`"
)
# How pandas reads the formats that are not read here, by the end of a file's name.
_OTHER_FORMATS = {
    ".parquet": "read_parquet",
    ".arrow": "read_feather",
    ".feather": "read_feather",
    ".xlsx": "read_excel",
    ".xls": "read_excel",
    ".ods": "read_excel",
    ".json": "read_json",
}


@dataclass(frozen=True)
class Columns:
    """The names of the two columns of a data set."""

    label: str = "label"
    text: str = "text"
    flags: tuple[str, str] = ("--label-column", "--text-column")  # with which a person names them


DEFAULT_COLUMNS = Columns()


def read_table(file: Path, columns: Columns, *, keep_breaks: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of each row, without white space around them; empty lines are skipped.

    Line breaks and tabs in a cell become spaces unless `keep_breaks`.

    Errors: BuildError naming the file and the line.
    """
    suffix = file.suffix.lower()
    if suffix in _OTHER_FORMATS:
        advice = _CONVERT.format(read=_OTHER_FORMATS[suffix], name=file.name, stem=file.stem)
        raise BuildError(f"{file}: {suffix} files are not read: {advice}")
    text = _read(file)
    empty = f"`{columns.label}` or `{columns.text}` is empty"
    if suffix == ".csv":
        rows = _comma_separated(file, text, columns)
    elif suffix in (".jsonl", ".ndjson"):
        rows = _json_lines(file, text, columns)
    else:
        rows, empty = _tab_separated(file, text, columns), _shape(columns)
    for number, label, example in rows:
        if not keep_breaks:
            label, example = _BREAKS.sub(" ", label), _BREAKS.sub(" ", example)
        label, example = label.strip(), example.strip()
        if not label or not example:
            raise BuildError(f"{file}, line {number}: {empty}")
        if _SURROGATE.search(label + example):
            raise BuildError(f"{file}, line {number}: half of a surrogate pair, which is not a character")
        yield label, example


def is_quoted(cell: str) -> bool:
    """Whether a cell is quoted from end to end, with the quotation marks in it doubled."""
    return _QUOTED.fullmatch(cell) is not None


def quoted(cell: str) -> str:
    """Quote a cell as spreadsheets do."""
    return '"' + cell.replace('"', '""') + '"'


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_TABLE_BYTES + 1)
    except OSError as error:
        raise BuildError(f"cannot read {file}: {error.strerror}") from error
    if len(data) > MAX_TABLE_BYTES:
        raise BuildError(f"{file}: more than {MAX_TABLE_BYTES} bytes: take a sample of its rows")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BuildError(f"{file}: the file is UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before: bytes = error.object[: error.start]
        ends = before.count(b"\n")
        raise BuildError(f"{file}, line {ends + 1}: not UTF-8: save the file as UTF-8") from error


def _tab_separated(file: Path, text: str, columns: Columns) -> Iterator[tuple[int, str, str]]:
    lines = [line.rstrip("\r").split("\t") for line in text.split("\n")]
    starting = [cell for line in lines[1:] for cell in line if cell.startswith('"')]
    if starting and all(map(is_quoted, starting)):
        lines[1:] = [[_unquoted(cell) for cell in line] for line in lines[1:]]
    names = [_unquoted(cell).strip() for cell in lines[0]]
    if columns.label not in names or columns.text not in names:
        raise BuildError(
            f"{file}, line 1: the header must be `{columns.label}`, a tab, `{columns.text}`; "
            f"{_columns_found(names, columns)}"
        )
    label, example = _places(file, names, columns)
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            raise BuildError(f"{file}, line {number}: {_shape(columns, len(names))}")
        yield number, cells[label], cells[example]


def _comma_separated(file: Path, text: str, columns: Columns) -> Iterator[tuple[int, str, str]]:
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    reader, names = _header(file, text, columns)
    label, example = _places(file, names, columns)
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise BuildError(
                    f"{file}, line {reader.line_num}: {len(cells)} cells under a header of {len(names)}: "
                    "quote a cell that has the separator in it"
                )
            yield reader.line_num, cells[label], cells[example]
    except csv.Error as error:
        raise BuildError(f"{file}, line {reader.line_num}: not CSV: {error}") from error


def _header(file: Path, text: str, columns: Columns) -> tuple[Any, list[str]]:
    """Find the separator by which the header has both columns; returns a reader after it, and all columns."""
    found: list[str] = []
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            names = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise BuildError(f"{file}, line 1: not CSV: {error}") from error
        if columns.label in names and columns.text in names:
            return reader, names
        found = max(found, names, key=len)
    raise BuildError(
        f"{file}, line 1: the header must name the columns `{columns.label}` and `{columns.text}`; "
        f"{_columns_found(found, columns)}"
    )


def _places(file: Path, names: list[str], columns: Columns) -> tuple[int, int]:
    """The places of the two columns in a header that has both. Errors: BuildError when it has one of them twice."""
    for name in (columns.label, columns.text):
        if names.count(name) > 1:
            raise BuildError(f"{file}, line 1: {names.count(name)} columns are called `{name}`: rename all but one")
    return names.index(columns.label), names.index(columns.text)


def _json_lines(file: Path, text: str, columns: Columns) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if nesting(line) > _MAX_NESTING:
            raise BuildError(f"{file}, line {number}: nested too deeply")
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise BuildError(f"{file}, line {number}: not JSON") from error
        if not isinstance(entry, dict):
            raise BuildError(f"{file}, line {number}: not a JSON object")
        if columns.label not in entry or columns.text not in entry:
            raise BuildError(
                f"{file}, line {number}: an object must have `{columns.label}` and `{columns.text}`; "
                f"{_columns_found(list(map(str, entry)), columns)}"
            )
        label, example = entry[columns.label], entry[columns.text]
        if isinstance(label, bool):
            label = str(label).lower()  # as JSON writes it
        if not isinstance(label, str | int) or not isinstance(example, str):
            raise BuildError(
                f"{file}, line {number}: `{columns.label}` must be a text or a whole number and `{columns.text}` a text"
            )
        yield number, str(label), example


def _shape(columns: Columns, count: int = 2) -> str:
    """What a line with tabs must be."""
    if count == 2 and columns == DEFAULT_COLUMNS:
        return "a line must be a label, one tab, a text"
    return f"a line must have {count} cells, `{columns.label}` and `{columns.text}` with something in them"


def _columns_found(names: list[str], columns: Columns) -> str:
    shown = ", ".join(name[:40] for name in names[:8] if name) or "none"
    return f"the file has {shown}: name its columns with {' and '.join(columns.flags)}"


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if is_quoted(cell) else cell
