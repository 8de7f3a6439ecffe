"""Data sets of labelled texts: TSV files with the columns `label` and `text`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifier.tasks.errors import BuildError

HEADER = "label\ttext"
# Maximum number of classes: a setting of the manifest, such as the list of labels, holds at most 1,000 texts.
MAX_CLASSES = 1_000


@dataclass(frozen=True)
class Row:
    """One example: its label and its text."""

    label: str
    text: str


def read_rows(file: Path) -> list[Row]:
    """Read a data set: UTF-8, a header line `label<TAB>text`, then one example per line.

    A text that occurs again is left out, so that no example is in two sets. Errors: BuildError naming the line.
    """
    try:
        lines = file.read_bytes().decode("utf-8").split("\n")
    except OSError as error:
        raise BuildError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        before: bytes = error.object[: error.start]
        ends = before.count(b"\n")
        raise BuildError(f"{file}, line {ends + 1}: not UTF-8") from error
    if lines[0].rstrip("\r") != HEADER:
        raise BuildError(f"{file}, line 1: the header must be `label`, a tab, `text`")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        label, tab, text = line.rstrip("\r").partition("\t")
        label, text = label.strip(), text.strip()
        if not tab or not label or not text or "\t" in text:
            raise BuildError(f"{file}, line {number}: a line must be a label, one tab, a text")
        rows.setdefault(text, Row(label, text))
    return list(rows.values())


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Return the bytes of a data set that `read_rows` reads."""
    return "".join(f"{line}\n" for line in (HEADER, *(f"{r.label}\t{r.text}" for r in rows))).encode("utf-8")


def labels_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the labels in the order of their class numbers. Errors: BuildError when they are too few or too many."""
    labels = tuple(sorted({row.label for row in rows}))
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise BuildError(
            f"the data set has {len(labels)} different labels; a classification has 2 to {MAX_CLASSES} of them"
        )
    return labels
