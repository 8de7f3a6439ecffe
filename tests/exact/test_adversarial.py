"""Inputs chosen against the largest weights reach the proven bound of a product exactly, and never pass it."""

from typing import Any

import numpy as np
import pytest

from tests.exact.graphs import data, stock_run
from verifier.exact import Engine, NotExactError, load_program, reference

DEPTH, WIDTH = 384, 7
DOUBLE = 11


def product(weights: np.ndarray[Any, Any], limit: int) -> bytes:
    """y = x · weights for x within ±limit, an int64 input that is clipped."""
    return data(
        [
            ("Clip", "x low high", "clipped"),
            ("Cast", "clipped", "a", {"to": DOUBLE}),
            ("Cast", "w", "b", {"to": DOUBLE}),
            ("MatMul", "a b", "y"),
        ],
        {"x": ("int64", [4, DEPTH])},
        {"w": weights, "low": np.int64(-limit), "high": np.int64(limit)},
    )


@pytest.mark.parametrize("seed", range(5))
def test_product__rows_that_follow_the_largest_column__reach_the_bound_and_no_more(seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.integers(-(2**15), 2**15, (DEPTH, WIDTH), np.int16)
    sums = np.abs(weights.astype(np.int64)).sum(0)
    worst = int(sums.argmax())
    limit = 2**53 // int(sums[worst])  # the widest activations that are proven
    program = load_program(product(weights, limit))
    bound = limit * int(sums[worst])
    assert program.interval("y") == (-bound, bound)
    assert 2**53 - int(sums[worst]) < bound <= 2**53
    with pytest.raises(NotExactError, match="it can need 54 bits"):
        load_program(product(weights, limit + 1))

    follow = np.where(weights[:, worst] >= 0, limit, -limit).astype(np.int64)
    # The bound, its negative, an odd number of units below it, and partial sums that swing as widely as they can.
    nearly = follow.copy()
    nearly[0] -= np.sign(nearly[0]) * 3
    swinging = follow * np.where(np.arange(DEPTH) < DEPTH // 2, 1, -1)
    rows = np.stack([follow, -follow, nearly, swinging])
    truth = rows.astype(object) @ weights.astype(object)
    assert truth[0, worst] == bound
    assert truth[1, worst] == -bound
    for order in (np.arange(DEPTH), generator.permutation(DEPTH), np.argsort(weights[:, worst])):
        file = product(weights[order], limit)
        shuffled = load_program(file)
        feeds = {"x": rows[:, order]}
        for found in (
            reference.run(shuffled, feeds)["y"],
            Engine(shuffled).run(feeds)["y"],
            Engine(shuffled, threads=2).run(feeds)["y"],
            stock_run(file, feeds)[0].astype(np.int64),
        ):
            assert (found.astype(object) == truth).all()


def test_product__one_unit_too_many__really_rounds() -> None:
    """The rule is not stricter than necessary: a product that is refused by one unit is wrong by one unit."""
    weights = np.ones((DEPTH, WIDTH), np.int16)
    limit = 2**53 // DEPTH + 1
    file = product(weights, limit)
    with pytest.raises(NotExactError):
        load_program(file)
    rows = np.full((4, DEPTH), limit, np.int64)
    rows[:, 0] -= 1 - (limit * DEPTH) % 2  # an odd total above 2**53
    (found,) = stock_run(file, {"x": rows})
    assert int(rows[0].astype(object).sum()) % 2 == 1
    assert int(found[0, 0]) != int(rows[0].astype(object).sum())
