"""Labelled texts: what a row is, the rows of a data set that are different examples, and the file of training rows."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from verifier.tasks.errors import BuildError
from verifier.tasks.manifest import Text, problems
from verifier.tasks.text.tables import DEFAULT_COLUMNS, Columns, is_quoted, quoted, read_table

HEADER = "label\ttext"
# Maximum number of classes: a setting of the manifest, such as the list of labels, holds at most 1,000 texts.
MAX_CLASSES = 1_000
# Maximum share of rows whose label is contradicted by an equal text. Above it the data set does not say which label is
# right, or the texts differ only after the tokens that the task reads.
MAX_CONTRADICTED_SHARE = 0.1
# What a manifest takes for a label.
_LABEL: TypeAdapter[str] = TypeAdapter(Text)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Row:
    """One example: its label and its text."""

    label: str
    text: str


@dataclass(frozen=True)
class DistinctRows:
    """The rows of a data set that are different examples, and how many were left out.

    `repeated` rows equal an earlier one. `contradicted` rows equal a row of another label, and none of them is kept.
    """

    rows: list[Row]
    repeated: int
    contradicted: int


def read_rows(file: Path, columns: Columns = DEFAULT_COLUMNS) -> list[Row]:
    """Read a data set, see `tables`. A text that occurs again is left out. Errors: BuildError naming the line."""
    rows: dict[str, Row] = {}
    for row in read_all_rows(file, columns):
        rows.setdefault(row.text, row)
    return list(rows.values())


def read_all_rows(file: Path, columns: Columns = DEFAULT_COLUMNS) -> Iterator[Row]:
    """Read a data set, see `tables`, with the texts that occur again. Errors: BuildError naming the line."""
    for label, text in read_table(file, columns):
        yield Row(label, text)


def distinct(rows: Sequence[Row], keys: Sequence[bytes]) -> DistinctRows:
    """Keep one row of each example, so that no example can be in two sets.

    `keys` are what the program sees of each row, see `Encoding.check`. Two rows are one example when their keys are
    equal, or their texts but for case, white space and invisible characters. Errors: BuildError when more than a tenth
    of the rows are contradicted.
    """
    example_of: dict[bytes | str, int] = {}  # a key or a normalised text -> the place of its first row
    labels: dict[int, set[str]] = {}
    counts: Counter[int] = Counter()  # rows of each example
    for place, (row, key) in enumerate(zip(rows, keys, strict=True)):
        text = normalised(row.text)
        first = example_of.get(key, example_of.get(text, place))
        example_of.setdefault(key, first)
        example_of.setdefault(text, first)
        labels.setdefault(first, set()).add(row.label)
        counts[first] += 1
    kept = [rows[place] for place, found in labels.items() if len(found) == 1]
    clashing = [place for place, found in labels.items() if len(found) > 1]
    contradicted = sum(counts[place] for place in clashing)
    if contradicted > MAX_CONTRADICTED_SHARE * len(rows):
        raise BuildError(
            f"{contradicted} of {len(rows)} rows have a text that also has another label, for example "
            f"{rows[clashing[0]].text[:60]!r}: correct the labels, or raise --sequence if the texts differ in their "
            "last words only"
        )
    return DistinctRows(kept, len(rows) - contradicted - len(kept), contradicted)


def normalised(text: str) -> str:
    """Return a text without differences that no reader sees: case, white space, invisible and compatible characters."""
    visible = "".join(
        character for character in unicodedata.normalize("NFKC", text) if unicodedata.category(character) != "Cf"
    )
    return " ".join(visible.split()).casefold()


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Return the file of these rows, which `read_rows` reads: UTF-8 lines label<TAB>text under that header.

    The cells are written as they are, unless the reader would take quotation marks of theirs for quoting.
    """
    cells = [cell for row in rows for cell in (row.label, row.text) if cell.startswith('"')]
    write = quoted if cells and all(map(is_quoted, cells)) else str
    lines = [HEADER, *(f"{write(row.label)}\t{write(row.text)}" for row in rows)]
    return "".join(f"{line}\n" for line in lines).encode()


def labels_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the labels in the order of their class numbers: whole numbers by value, other labels as texts.

    Errors: BuildError when they are too few or too many, or one cannot be in a manifest.
    """
    labels = {row.label for row in rows}
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise BuildError(
            f"the data set has {len(labels)} different labels; a classification has 2 to {MAX_CLASSES} of them"
        )
    for label in sorted(labels):
        try:
            _LABEL.validate_python(label)
        except ValidationError as error:
            raise BuildError(f"the label {label[:60]!a}: {problems(error)}") from error
    if all(map(_INTEGER.fullmatch, labels)):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def alike(labels: Sequence[str]) -> list[str]:
    """Return a sentence for each label that people cannot tell, or hardly, from an earlier one."""
    first: dict[str, str] = {}
    return [
        f"the labels {other!a} and {label!a} differ only in case, spaces or the form of characters, and are two classes"
        for label in labels
        if (other := first.setdefault(normalised(label), label)) != label
    ]


def label_counts(rows: Sequence[Row], labels: Sequence[str]) -> dict[str, int]:
    """Return how many rows have each label, in the order of `labels`."""
    counts = Counter(row.label for row in rows)
    return {label: counts[label] for label in labels}
