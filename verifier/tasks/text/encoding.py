"""Turns labelled texts into the integers that a program takes: token ids, attention masks and class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from verifier.tasks.errors import BuildError
from verifier.tasks.manifest import padded_rows
from verifier.tasks.sets import Arrays
from verifier.tasks.text.rows import Row

# Class number of a row that fills the last batch. No class has it, so the row never counts.
PADDING_LABEL = -1


class Encoding:
    """Encodes rows with a model folder's tokenizer, truncated or padded to `sequence` tokens."""

    def __init__(self, folder: Path, sequence: int, labels: Sequence[str]) -> None:
        """Load the tokenizer; `labels` are in the order of their class numbers. Errors: BuildError."""
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            raise BuildError(f"cannot load the tokenizer in {folder}: {str(error).splitlines()[0]}") from error
        self._sequence = sequence
        self._numbers = {label: number for number, label in enumerate(labels)}
        # The dtype of token ids: the narrowest that holds them all.
        self.ids_dtype = "int16" if len(self._tokenizer) <= 2**15 else "int32"

    def encode(self, rows: Sequence[Row], batch: int = 1) -> Arrays:
        """Return `input_ids` and `attention_mask` [rows, sequence] and `label` [rows], padded to whole batches.

        Errors: BuildError when a row has a label that the task does not have.
        """
        unknown = sorted({row.label for row in rows} - self._numbers.keys())
        if unknown:
            raise BuildError(f"the task has no label {unknown[0]!r}; it has {', '.join(self._numbers)}")
        encoded = self._tokenizer(
            [row.text for row in rows], padding="max_length", truncation=True, max_length=self._sequence
        )
        count = padded_rows(len(rows), batch)
        arrays: Arrays = {
            "input_ids": np.zeros((count, self._sequence), self.ids_dtype),
            "attention_mask": np.zeros((count, self._sequence), np.int8),
            "label": np.full((count,), PADDING_LABEL, np.int16),
        }
        arrays["input_ids"][: len(rows)] = encoded["input_ids"]
        arrays["attention_mask"][: len(rows)] = encoded["attention_mask"]
        arrays["label"][: len(rows)] = [self._numbers[row.label] for row in rows]
        return arrays
