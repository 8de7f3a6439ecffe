"""Labelled texts, and what the program takes of them: token ids, masks and labels as integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from verifier.tasks.errors import BuildError

HEADER = "label\ttext"
PADDING_LABEL = -1  # a row that fills the last batch; no class has it, so it never counts
MAX_CLASSES = 1_000

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """One example."""

    label: str
    text: str


def read_rows(file: Path) -> list[Row]:
    """The rows of a data set: UTF-8, a header line `label<TAB>text`, then one example a line.

    A text that stands there again is left out: an example must not be in two sets. Errors: BuildError with the line.
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
        raise BuildError(f"{file}, line 1: the header has to be `label`, a tab, `text`")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        label, tab, text = line.rstrip("\r").partition("\t")
        label, text = label.strip(), text.strip()
        if not tab or not label or not text or "\t" in text:
            raise BuildError(f"{file}, line {number}: a line is a label, one tab, a text")
        rows.setdefault(text, Row(label, text))
    return list(rows.values())


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write what `read_rows` reads."""
    file.write_text("".join(f"{line}\n" for line in (HEADER, *(f"{r.label}\t{r.text}" for r in rows))), "utf-8")


def labels_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The classes in the order of their numbers. Errors: BuildError when they make no classification."""
    labels = tuple(sorted({row.label for row in rows}))
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise BuildError(f"the data set has {len(labels)} different labels: 2 to {MAX_CLASSES} make a classification")
    return labels


class Encoding:
    """Turns rows into what the program takes: a model folder's tokenizer, cut or padded to `sequence` tokens."""

    def __init__(self, folder: Path, sequence: int, labels: Sequence[str]) -> None:
        """Errors: BuildError when the folder has no tokenizer."""
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            raise BuildError(f"cannot load the tokenizer in {folder}: {str(error).splitlines()[0]}") from error
        self._sequence = sequence
        self._numbers = {label: number for number, label in enumerate(labels)}
        # The dtype of token ids: the narrowest that holds them all.
        self.ids_dtype = "int16" if len(self._tokenizer) <= 2**15 else "int32"

    def encode(self, rows: Sequence[Row], batch: int = 1) -> Arrays:
        """`input_ids` and `attention_mask` [rows, sequence] and `label` [rows], filled up to whole batches.

        Errors: BuildError when a row's label is none of the task's.
        """
        unknown = sorted({row.label for row in rows} - self._numbers.keys())
        if unknown:
            raise BuildError(f"the label {unknown[0]!r} is none of the task's: {', '.join(self._numbers)}")
        encoded = self._tokenizer(
            [row.text for row in rows], padding="max_length", truncation=True, max_length=self._sequence
        )
        count = -(-len(rows) // batch) * batch
        arrays: Arrays = {
            "input_ids": np.zeros((count, self._sequence), self.ids_dtype),
            "attention_mask": np.zeros((count, self._sequence), np.int8),
            "label": np.full((count,), PADDING_LABEL, np.int16),
        }
        arrays["input_ids"][: len(rows)] = encoded["input_ids"]
        arrays["attention_mask"][: len(rows)] = encoded["attention_mask"]
        arrays["label"][: len(rows)] = [self._numbers[row.label] for row in rows]
        return arrays
