"""Turns labelled texts into the integers that a program takes: token ids, attention masks and class numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from verifier.tasks.errors import BuildError
from verifier.tasks.manifest import padded_rows
from verifier.tasks.models.base_files import VOCABULARIES
from verifier.tasks.sets import Arrays
from verifier.tasks.text.rows import Row

OnRows = Callable[[int, int], None]  # (rows done, rows in all)

# Class number of a row that fills the last batch. No class has it, so the row never counts.
PADDING_LABEL = -1
# Files of which a tokenizer has at least one. Without any, transformers makes one to which every word is unknown.
_TOKENIZER_FILES = tuple(group[0] for group in VOCABULARIES)
# Maximum share of unknown tokens in a data set. A tokenizer that suits a model and a language knows nearly all of them.
MAX_UNKNOWN_SHARE = 0.5
# Length of the digest of a row's tokens: two different rows of a data set never have the same 128 bits.
_KEY_BYTES = 16
# Rows that are tokenised at once, between two reports of progress.
_CHUNK_ROWS = 4096


class Encoding:
    """Encodes rows with a model folder's tokenizer, truncated or padded to `sequence` tokens."""

    def __init__(self, folder: Path, sequence: int, labels: Sequence[str]) -> None:
        """Load the tokenizer; `labels` are in the order of their class numbers. Errors: BuildError."""
        self._tokenizer = load_tokenizer(folder)
        self._folder = folder
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
        count = padded_rows(len(rows), batch)
        arrays: Arrays = {
            "input_ids": np.zeros((count, self._sequence), self.ids_dtype),
            "attention_mask": np.zeros((count, self._sequence), np.int8),
            "label": np.full((count,), PADDING_LABEL, np.int16),
        }
        if rows:
            encoded = self._encoded([row.text for row in rows])
            arrays["input_ids"][: len(rows)] = encoded["input_ids"]
            arrays["attention_mask"][: len(rows)] = encoded["attention_mask"]
            arrays["label"][: len(rows)] = [self._numbers[row.label] for row in rows]
        return arrays

    def check(self, rows: Sequence[Row], vocabulary: int, on_rows: OnRows = lambda done, total: None) -> list[bytes]:
        """Check that the model and its tokenizer fit each other and these texts; return a digest of each row's tokens.

        `vocabulary` is the number of ids that the model has an embedding for. Rows with the same digest are one example
        to the program. Errors: BuildError naming a text with a token that the model does not have, or saying that most
        tokens are unknown to the tokenizer.
        """
        unknown_id = self._tokenizer.unk_token_id
        keys: list[bytes] = []
        tokens = unknown = 0
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            encoded = self._encoded([row.text for row in chunk])
            ids = np.array(encoded["input_ids"], np.int32)
            words = np.array(encoded["attention_mask"], np.bool_) & ~np.isin(ids, self._special)
            for number, row in zip(ids.max(axis=1), chunk, strict=True):
                if number >= vocabulary:
                    raise BuildError(
                        f"the text {row.text[:60]!r} has the token {number}, but the model has embeddings for "
                        f"{vocabulary} tokens only, the tokenizer in {self._folder} has {len(self._tokenizer)}: use "
                        "the model's own tokenizer, or a model whose embeddings were resized to it"
                    )
            tokens += int(words.sum())
            unknown += int((words & (ids == unknown_id)).sum()) if unknown_id is not None else 0
            keys.extend(blake2b(row.tobytes(), digest_size=_KEY_BYTES).digest() for row in ids)
            on_rows(start + len(chunk), len(rows))
        if tokens == 0 or unknown > MAX_UNKNOWN_SHARE * tokens:
            share = 1.0 if tokens == 0 else unknown / tokens
            raise BuildError(
                f"{share:.0%} of the data set's tokens are unknown to the tokenizer in {self._folder}: "
                "is it the tokenizer of this model, and a model for this language?"
            )
        return keys

    @property
    def _special(self) -> list[int]:
        """Ids that stand for no part of a text."""
        return [number for number in self._tokenizer.all_special_ids if number != self._tokenizer.unk_token_id]

    def _encoded(self, texts: list[str]) -> Any:
        return self._tokenizer(texts, padding="max_length", truncation=True, max_length=self._sequence)


def load_tokenizer(folder: Path, *, padding: bool = True) -> Any:
    """Load a model folder's tokenizer. Errors: BuildError when it cannot encode texts.

    With `padding`, it also has to pad, and after the text.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise BuildError(
            f"{folder} has no tokenizer ({', '.join(_TOKENIZER_FILES[:-1])} or {_TOKENIZER_FILES[-1]}): "
            "copy the files of the model's tokenizer into it"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the folder is untrusted, and transformers raises errors of many types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BuildError(f"cannot load the tokenizer in {folder}: {reason}") from error
    if not padding:
        return tokenizer
    if tokenizer.pad_token_id is None:
        raise BuildError(
            f"the tokenizer in {folder} has no padding token, which fills short texts: "
            "set `pad_token` in tokenizer_config.json to the token that the model was trained with"
        )
    if tokenizer.padding_side != "right":
        raise BuildError(
            f"the tokenizer in {folder} pads before the text, which moves its positions: "
            'set `padding_side` in tokenizer_config.json to "right"'
        )
    return tokenizer
