"""Masked tokens change nothing, whatever a submission holds: not one bit of what does not see them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.lowering.decoder import CAUSAL_FORMS, PADDED_FORMS, ROWS, TOKENS, VOCABULARY, extreme, program
from verifier.exact import Engine

TRIALS = 200


def token_ids(rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    return rng.integers(0, VOCABULARY, (ROWS, TOKENS)).astype(np.int16)


@pytest.mark.parametrize("causal", CAUSAL_FORMS)
def test_run__later_tokens_and_other_rows_changed_under_extreme_submissions__earlier_outputs_stay(causal: str) -> None:
    engine, rng = Engine(program(causal)), np.random.default_rng(1)
    wrong = changed = 0
    for _ in range(TRIALS):
        submission, ids, other = extreme(rng), token_ids(rng), token_ids(rng)
        first = int(rng.integers(1, TOKENS))
        other[0, :first] = ids[0, :first]
        before, after = (engine.run({"input_ids": given, **submission})["result"] for given in (ids, other))
        wrong += not np.array_equal(before[0, :first], after[0, :first])
        changed += not np.array_equal(before[0, first:], after[0, first:])
    assert wrong == 0
    assert changed > TRIALS // 2


@pytest.mark.parametrize("padded", PADDED_FORMS)
def test_run__padding_changed_under_extreme_submissions__outputs_of_tokens_stay(padded: str) -> None:
    engine, rng = Engine(program("added -1e9", padded)), np.random.default_rng(2)
    wrong = 0
    for _ in range(TRIALS):
        submission, ids, other = extreme(rng), token_ids(rng), token_ids(rng)
        mask = np.ones((ROWS, TOKENS), np.int8)
        mask[0, rng.integers(1, TOKENS) :] = 0
        mask[0, 1 + rng.integers(TOKENS - 1)] = 0  # padding may also lie between tokens
        seen = mask[0] == 1
        other[0, seen] = ids[0, seen]
        before, after = (
            engine.run({"input_ids": given, "attention_mask": mask, **submission})["result"] for given in (ids, other)
        )
        wrong += not np.array_equal(before[0, seen], after[0, seen])
    assert wrong == 0
