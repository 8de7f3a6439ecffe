"""The rows of a `language` task: which of a data set are examples, and which of these are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.language.options import LanguageOptions
from verifier.tasks.registry import OnStep
from verifier.tasks.text.answers import AnswerEncoding, PromptAnswer, TokenRow, read_answers

# Maximum share of rows that may be longer than the task's. With more, the task would be about other texts than the
# data set is.
MAX_LONG_SHARE = 0.5


@dataclass(frozen=True)
class AnswerExample:
    """A row as text and as tokens. Rows of one group are never in two sets, and a score's error is that of groups."""

    text: PromptAnswer
    encoded: TokenRow
    group: str


@dataclass(frozen=True)
class AnswerSets:
    """The rows of a data set by their use, and how many rows were left out, by the reason."""

    practice: list[AnswerExample]
    holdout: list[AnswerExample]
    train: list[AnswerExample]
    left_out: dict[str, int]
    by_prompt: bool  # whether prompts repeat, and the groups are those of equal prompts

    @property
    def evaluated(self) -> list[AnswerExample]:
        """The rows that decide."""
        return self.holdout or self.practice


def read_examples(
    options: LanguageOptions, vocabulary: int, calibration: int, on_step: OnStep = lambda name, done, total: None
) -> AnswerSets:
    """Read the data set, leave out what is too long or repeated, and draw the sets; `calibration` rows stay for it.

    Errors: BuildError.
    """
    texts = list(read_answers(options.dataset, options.prompt_column, options.answer_column))
    encoding = AnswerEncoding(options.base, vocabulary)
    encoded = encoding.encode(texts, lambda done, total: on_step("tokenise the data set", done, total))
    lengths = [len(row.tokens) for row in encoded]
    long = sum(length > options.sequence for length in lengths)
    if long > MAX_LONG_SHARE * len(texts):
        raise BuildError(
            f"{long} of {len(texts)} rows have more than {options.sequence} tokens, the longest has {max(lengths)}: "
            "raise --sequence, or shorten the prompts"
        )
    short = [place for place, length in enumerate(lengths) if length <= options.sequence]
    # Rows are one example when their tokens are equal, or their texts but for what no reader sees.
    seen: set[object] = set()
    rows: list[tuple[PromptAnswer, TokenRow]] = []
    for place in short:
        row, tokens = texts[place], encoded[place]
        keys = {row.key, (tokens.tokens.tobytes(), tokens.first)}
        if not keys & seen:
            rows.append((row, tokens))
        seen |= keys
    prompts = {row.key[0] for row, _ in rows}
    by_prompt = 1 < len(prompts) < len(rows)
    examples = [
        AnswerExample(row, tokens, row.key[0] if by_prompt else str(number))
        for number, (row, tokens) in enumerate(rows)
    ]
    (holdout, practice), train, cut = _draw(examples, (options.holdout, options.practice), options.seed)
    if len(holdout) < options.holdout or len(practice) < options.practice or len(train) < calibration:
        groups = f" with {len(prompts)} different prompts, of which none may be in two sets" if by_prompt else ""
        raise BuildError(
            f"the data set has {len(examples)} different rows of at most {options.sequence} tokens{groups}; that is "
            f"too little for {options.holdout} of the holdout, {options.practice} of practice and {calibration} of "
            "calibration: give more rows, or ask for fewer"
        )
    left_out = {"too_long": long, "repeated": len(short) - len(rows), "prompt_in_another_set": cut}
    return AnswerSets(practice, holdout, train, left_out, by_prompt)


def _draw(
    examples: Sequence[AnswerExample], sizes: Sequence[int], seed: int
) -> tuple[list[list[AnswerExample]], list[AnswerExample], int]:
    """Draw sets of these sizes from groups of their own, in random order.

    Returns the sets, the rows of the groups that are left, and how many rows are in none because their group filled a
    set.
    """
    rng = np.random.default_rng(seed)
    members: dict[str, list[AnswerExample]] = {}
    for example in examples:
        members.setdefault(example.group, []).append(example)
    names = list(members)
    order = [names[number] for number in rng.permutation(len(names))]
    sets: list[list[AnswerExample]] = []
    cut = 0
    for size in sizes:
        taken: list[AnswerExample] = []
        while order and len(taken) < size:
            taken += members[order.pop()]
        sets.append([taken[number] for number in rng.permutation(len(taken))[:size]])
        cut += len(taken) - len(sets[-1])
    left = [example for name in order for example in members[name]]
    return sets, [left[number] for number in rng.permutation(len(left))], cut
