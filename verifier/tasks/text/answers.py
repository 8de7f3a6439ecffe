"""Prompts with answers: the rows of a data set, and their tokens, of which a metric counts those of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verifier.tasks.errors import BuildError
from verifier.tasks.manifest import padded_rows
from verifier.tasks.sets import Arrays
from verifier.tasks.text.encoding import MAX_UNKNOWN_SHARE, load_tokenizer
from verifier.tasks.text.rows import normalised
from verifier.tasks.text.tables import Columns, read_table

# Names of a set's tensors.
TOKENS, PLACES = "tokens", "places"
# Rows that are tokenised at once, between two reports of progress.
_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class PromptAnswer:
    """A text to continue, and its continuation."""

    prompt: str
    answer: str

    @property
    def text(self) -> str:
        """Prompt and answer, with a space between them where the prompt does not end in white space."""
        joined = self.prompt == "" or self.prompt[-1].isspace()
        return self.prompt + ("" if joined else " ") + self.answer

    @property
    def key(self) -> tuple[str, str]:
        """What equal rows have in common: both texts, but for differences that no reader sees."""
        return normalised(self.prompt), normalised(self.answer)


@dataclass(frozen=True)
class TokenRow:
    """The tokens [length] of a prompt, an answer and an end; those from the position `first` on count."""

    tokens: NDArray[np.int32]
    first: int

    @property
    def places(self) -> NDArray[np.int64]:
        """The positions of the tokens that count."""
        return np.arange(self.first, len(self.tokens))


def read_answers(file: Path, prompt: str = "prompt", answer: str = "answer") -> Iterator[PromptAnswer]:
    """Read a data set, see `tables`, from the columns of these names. Errors: BuildError naming the line."""
    columns = Columns(label=answer, text=prompt, flags=("--answer-column", "--prompt-column"))
    for own_answer, own_prompt in read_table(file, columns, keep_breaks=True):
        yield PromptAnswer(own_prompt, own_answer)


def encode_answers(rows: Sequence[PromptAnswer]) -> bytes:
    """Return the JSON Lines file of these rows, which `read_answers` reads."""
    lines = (json.dumps({"prompt": row.prompt, "answer": row.answer}, ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


class AnswerEncoding:
    """Encodes prompts and answers with the tokenizer of a decoder's folder.

    A row has the tokens that the tokenizer puts before a text, the tokens of prompt and answer as one text, and the end
    token. The answer begins at the first token that the prompt alone does not have.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        """Load the tokenizer; `vocabulary` is the number of tokens that the model has. Errors: BuildError."""
        self._tokenizer = load_tokenizer(folder, padding=False)
        self._folder = folder
        self._vocabulary = vocabulary
        if self._tokenizer.eos_token_id is None:
            raise BuildError(
                f"the tokenizer in {folder} has no end token, which ends every answer: set `eos_token` in "
                "tokenizer_config.json to the token that the model was trained with"
            )
        self._end = int(self._tokenizer.eos_token_id)
        sample = self._tokenizer("a", return_special_tokens_mask=True)
        mask = [*sample["special_tokens_mask"], 0]
        self._start: list[int] = list(sample["input_ids"][: mask.index(0)])

    def encode(
        self, rows: Sequence[PromptAnswer], on_rows: Callable[[int, int], None] = lambda done, total: None
    ) -> list[TokenRow]:
        """Return the tokens of each row, however many they are.

        Errors: BuildError naming a row with a token that the model does not have, or without any token before its
        answer, and when most tokens of all rows are unknown to the tokenizer.
        """
        found: list[TokenRow] = []
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            prompts, texts = (self._ids([row.prompt for row in chunk]), self._ids([row.text for row in chunk]))
            for row, prompt, text in zip(chunk, prompts, texts, strict=True):
                found.append(self._row(row, prompt, text))
            on_rows(start + len(chunk), len(rows))
        self._check_known(found)
        return found

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _row(self, row: PromptAnswer, prompt: list[int], text: list[int]) -> TokenRow:
        """The tokens of a row whose prompt and whose whole text have these tokens."""
        shared = 0
        while shared < min(len(prompt), len(text)) and prompt[shared] == text[shared]:
            shared += 1
        tokens = np.array([*self._start, *text, self._end], np.int32)
        if tokens.max() >= self._vocabulary:
            raise BuildError(
                f"the text {row.text[:60]!r} has the token {tokens.max()}, but the model has embeddings for "
                f"{self._vocabulary} tokens only: use the model's own tokenizer, or a model whose embeddings were "
                "resized to it"
            )
        first = len(self._start) + shared
        if first == 0:
            raise BuildError(
                f"the prompt {row.prompt[:60]!r} shares no token with the text that it begins, and the tokenizer in "
                f"{self._folder} puts none before a text: nothing could predict the answer's first token"
            )
        return TokenRow(tokens, first)

    def _check_known(self, rows: Sequence[TokenRow]) -> None:
        unknown = self._tokenizer.unk_token_id
        if not rows or unknown is None or unknown == self._end:  # GPT-2 calls its end token so and never needs it
            return
        tokens = np.concatenate([row.tokens[len(self._start) : -1] for row in rows])
        share = float((tokens == unknown).mean()) if len(tokens) else 1.0
        if share > MAX_UNKNOWN_SHARE:
            raise BuildError(
                f"{share:.0%} of the data set's tokens are unknown to the tokenizer in {self._folder}: is it the "
                "tokenizer of this model, and a model for this language?"
            )


def token_arrays(rows: Sequence[TokenRow], vocabulary: int, sequence: int, answers: int, batch: int = 1) -> Arrays:
    """Return `tokens` [rows, sequence] and `places` [rows, answers] of rows that fit, padded to whole batches.

    `places` are the positions of the tokens that count, and 0, where no token counts, up to `answers` of them. Tokens
    after a row, and rows that fill the last batch, are 0: no counted token comes after them.
    """
    count = padded_rows(len(rows), batch)
    arrays: Arrays = {
        TOKENS: np.zeros((count, sequence), "int16" if vocabulary <= 2**15 else "int32"),
        PLACES: np.zeros((count, answers), np.int16),
    }
    for number, row in enumerate(rows):
        arrays[TOKENS][number, : len(row.tokens)] = row.tokens
        arrays[PLACES][number, : len(row.places)] = row.places
    return arrays
