"""Products in bytes equal those in float64 bit for bit, and are used only where this machine computes them right."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.exact.graphs import Row, data
from verifier.exact import Engine, load_program, reference
from verifier.exact.program import Program
from verifier.exact.runtime import byte_products
from verifier.exact.runtime.byte_products import (
    BASE,
    MAX_TWO_DIGITS,
    MIN_TWO_DIGITS,
    byte_weight,
    digits_of,
    exact_here,
)
from verifier.exact.runtime.emission import emit, never

ROWS, DEPTH, COLUMNS = 64, 96, 48
SCALES = np.array([1 + column % 31 for column in range(COLUMNS)]) * 2.0**-9
WORDS = (-(2**15), MAX_TWO_DIGITS)  # int16 holds nothing smaller
BYTES = (-128, 127)


def product(operand: tuple[int, int], weight: np.ndarray[Any, Any], scaled: bool = True, rows: int = ROWS) -> Program:
    """A program that multiplies Clip(x) * 2**-3 by a weight, its columns scaled or not."""
    nodes = [
        ("Cast", "x", "f", {"to": 11}),
        ("Clip", "f low high", "c"),
        ("Mul", "c eighth", "s"),
        ("Cast", "w", "v", {"to": 11}),
        ("MatMul", "s v", "p" if scaled else "y"),
        *([("Mul", "p scales", "y")] if scaled else []),
    ]
    low, high = (np.float64(limit) for limit in operand)
    constants = {"w": weight, "scales": SCALES, "low": low, "high": high, "eighth": np.float64(0.125)}
    if not scaled:
        del constants["scales"]
    return load_program(data(nodes, {"x": ("int16", (1, rows, DEPTH))}, constants))


def extremes(limits: tuple[int, int], dtype: Any, *shape: int) -> np.ndarray[Any, Any]:
    """Random numbers, half of them at and near the limits."""
    rng = np.random.default_rng(11)
    drawn = rng.integers(limits[0], limits[1] + 1, shape)
    near = rng.choice([limits[0], limits[0] + 1, -129, -128, -1, 0, 1, 127, 128, limits[1] - 1, limits[1]], shape)
    drawn = np.where(rng.random(shape) < 0.5, drawn, np.clip(near, *limits))
    drawn[0], drawn[:, 0] = limits[0], limits[1]
    return drawn.astype(dtype)


def emitted(program: Program) -> Counter[str]:
    return Counter(node.op_type for node in emit(program, lambda shape: True)[0].graph.node)


@pytest.mark.parametrize(
    "q", [MIN_TWO_DIGITS, MIN_TWO_DIGITS + 1, -129, -128, -1, 0, 127, 128, MAX_TWO_DIGITS - 1, MAX_TWO_DIGITS]
)
def test_byte_weight__any_two_digits__are_the_number(q: int) -> None:
    split = byte_weight(np.array([[q, MIN_TWO_DIGITS], [q, MAX_TWO_DIGITS]], np.int32), 2)
    assert split is not None
    high, low = split.stack[:2].astype(int), split.stack[2:].astype(int)
    assert (high * BASE + low == [[q, MIN_TWO_DIGITS], [q, MAX_TWO_DIGITS]]).all()
    assert [(term.order, term.digits) for term in split.terms] == [(2, (1,)), (1, (0, 1)), (0, (0,))]
    assert [split.rows(term).shape[0] for term in split.terms] == [2, 4, 2]


@pytest.mark.parametrize(
    ("lo", "hi", "digits"),
    [
        (-128, 127, 1),
        (-129, 0, 2),
        (0, 128, 2),
        (MIN_TWO_DIGITS, MAX_TWO_DIGITS, 2),
        (MIN_TWO_DIGITS - 1, 0, None),
        (0, MAX_TWO_DIGITS + 1, None),
    ],
)
def test_digits_of__limits__are_told_apart(lo: int, hi: int, digits: int | None) -> None:
    assert digits_of(lo, hi) == digits


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(
    ("operand", "weight", "products"), [(WORDS, WORDS, 3), (WORDS, BYTES, 2), (BYTES, WORDS, 2), (BYTES, BYTES, 1)]
)
def test_product__of_integers_of_one_or_two_bytes__is_what_the_reference_says(
    operand: tuple[int, int], weight: tuple[int, int], products: int, scaled: bool
) -> None:
    program = product(operand, extremes(weight, np.int16, DEPTH, COLUMNS), scaled)
    assert emitted(program)["MatMulInteger"] == products
    assert emitted(program)["MatMul"] == 0
    feeds = {"x": extremes((-(2**15), 2**15 - 1), np.int16, 1, ROWS, DEPTH)}
    expected = reference.run(program, feeds)["y"]
    for threads in (1, 2):
        assert (Engine(program, threads).run(feeds)["y"] == expected).all()


@pytest.mark.parametrize("seed", range(12))
def test_product__of_any_shape_and_spread__is_what_float64_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.exact.runtime.byte_emission.MIN_MULTIPLICATIONS", 0)
    rng = np.random.default_rng(seed)
    rows, depth, columns = (int(rng.integers(1, limit)) for limit in (70, 600, 90))
    limits = rng.choice([3, 127, 128, 5000, MAX_TWO_DIGITS], 2)
    weight = rng.choice([-1, 1], (depth, columns)) * rng.integers(0, limits[0] + 1, (depth, columns))
    weight[:, 0] = limits[0]
    nodes: list[Row] = [
        ("Cast", "x", "f", {"to": 11}),
        ("Clip", "f low high", "c"),
        ("Cast", "w", "v", {"to": 11}),
        ("MatMul", "c v", "p"),
        ("Mul", "p scales", "y"),
    ]
    constants = {
        "w": weight.astype(np.int16),
        "scales": rng.integers(1, 32, columns) * 2.0 ** rng.integers(-12, 0),
        "low": np.float64(-limits[1]),
        "high": np.float64(limits[1]),
    }
    program = load_program(data(nodes, {"x": ("int16", (2, rows, depth))}, constants))
    assert emitted(program)["MatMulInteger"] >= 1
    feeds = {"x": rng.choice([-(2**15), -1, 0, 1, 2**15 - 1], (2, rows, depth)).astype(np.int16)}
    feeds["x"][0, 0] = 2**15 - 1
    assert (Engine(program).run(feeds)["y"] == Engine(program, 1, never).run(feeds)["y"]).all()
    assert (Engine(program).run(feeds)["y"] == reference.run(program, feeds)["y"]).all()


def test_product__of_more_columns_than_a_cache_holds__is_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.exact.runtime.byte_emission.MAX_BLOCK_ELEMENTS", 20 * ROWS)
    program = product(WORDS, extremes(WORDS, np.int16, DEPTH, COLUMNS))
    assert emitted(program)["MatMulInteger"] == 3 * 3  # 20, 20 and 8 columns
    feeds = {"x": extremes(WORDS, np.int16, 1, ROWS, DEPTH)}
    assert (Engine(program).run(feeds)["y"] == reference.run(program, feeds)["y"]).all()


@pytest.mark.parametrize(
    "program",
    [
        product((0, MAX_TWO_DIGITS + 1), extremes(WORDS, np.int16, DEPTH, COLUMNS)),
        product(WORDS, extremes((0, MAX_TWO_DIGITS + 1), np.int16, DEPTH, COLUMNS)),
        product(WORDS, extremes(WORDS, np.int16, DEPTH, COLUMNS), rows=8),
    ],
    ids=["operand beyond two bytes", "weight beyond two bytes", "too few rows"],
)
def test_product__that_bytes_do_not_hold_or_not_speed_up__stays_in_float64(program: Program) -> None:
    assert emitted(program)["MatMulInteger"] == 0
    assert emitted(program)["MatMul"] == 1


def test_weight__in_bytes__takes_two_of_them_for_a_number() -> None:
    program = product(WORDS, extremes(WORDS, np.int16, DEPTH, COLUMNS))
    weights = [array for array in emit(program, lambda shape: True)[1].values() if array.dtype == np.int8]
    owners = {id(array.base if array.base is not None else array) for array in weights}
    assert len(weights) == 3
    assert len(owners) == 1
    assert max(array.nbytes for array in weights) == 2 * DEPTH * COLUMNS


class Saturating:
    """A processor that adds two byte products at a time in 16 bits."""

    def run(self, _: None, feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        x, weight = feeds["x"].astype(np.int64), feeds["weight"].astype(np.int64)
        pairs = x.reshape(len(x), -1, 2, 1) * weight.reshape(1, -1, 2, weight.shape[1])
        sums = np.clip(pairs.sum(axis=2), -(2**15), 2**15 - 1).sum(axis=1)
        return [(sums - 128 * weight.sum(axis=0)).astype(np.int32)]


def test_exact_here__processor_that_saturates__is_noticed_and_the_product_stays_in_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact_here.cache_clear()
    monkeypatch.setattr(byte_products, "_session", lambda shape, threads: Saturating())
    assert not exact_here((ROWS, DEPTH, COLUMNS), 1)
    program = product(WORDS, extremes(WORDS, np.int16, DEPTH, COLUMNS))
    feeds = {"x": extremes(WORDS, np.int16, 1, ROWS, DEPTH)}
    assert (Engine(program).run(feeds)["y"] == reference.run(program, feeds)["y"]).all()
    exact_here.cache_clear()
