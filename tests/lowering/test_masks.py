"""Masks are found by their use: numbers as large as a mask keep their value, and a mask does not widen a range."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cases.floats import FLOAT, INT64, Array, Feeds, assert_right, exact_and_float, float_model, lowered
from verifier.exact import LoweringError
from verifier.exact.lowering.masks import MASKED, find_masks

RNG = np.random.default_rng(3)
SCORES = RNG.normal(size=(4, 6)).astype(np.float32)
FLAGS = (RNG.random((4, 6)) < 0.7).astype(np.int64)
FLAGS[:, 0] = 1
SMALLEST = float(np.finfo(np.float32).min)


def model(*nodes: onnx.NodeProto, **constants: object) -> onnx.ModelProto:
    """A model from scores `a` and flags `m` to `y`."""
    inputs = {"a": (FLOAT, (4, 6)), "m": (INT64, (4, 6))}
    read = {name for item in nodes for name in item.input}
    arrays = {name: np.asarray(array) for name, array in constants.items()}
    return float_model(nodes, {name: inputs[name] for name in inputs if name in read}, arrays)


def fed(given: onnx.ModelProto, a: Array = SCORES) -> Feeds:
    return {info.name: {"a": a, "m": FLAGS}[info.name] for info in given.graph.input}


def softmax(source: str) -> onnx.NodeProto:
    return helper.make_node("Softmax", [source], ["y"], axis=-1)


CAST = helper.make_node("Cast", ["m"], ["f"], to=FLOAT)
OFF = helper.make_node("Sub", ["one", "f"], ["off"])
FLAG = helper.make_node("Cast", ["m"], ["flag"], to=onnx.TensorProto.BOOL)


@pytest.mark.parametrize("low", [-1e4, -1e9, SMALLEST])
def test_lower__mask_times_a_large_constant_added_to_scores__is_right(low: float) -> None:
    product = helper.make_node("Mul", ["off", "low"], ["mask"])
    given = model(
        CAST, OFF, product, helper.make_node("Add", ["a", "mask"], ["s"]), softmax("s"),
        one=np.float32(1), low=np.float32(low),
    )  # fmt: skip
    assert_right(given, fed(given), fed(given), tolerance=1e-3)


@pytest.mark.parametrize("low", [-1e4, -1e9, SMALLEST, -np.inf])
def test_lower__scores_selected_by_a_mask_before_a_softmax_or_a_maximum__are_right(low: float) -> None:
    where = helper.make_node("Where", ["flag", "a", "low"], ["s"])
    for last in (softmax("s"), helper.make_node("ReduceMax", ["s", "axes"], ["y"])):
        given = model(FLAG, where, last, low=np.float32(low), axes=np.array([1]))
        assert_right(given, fed(given), fed(given), tolerance=1e-3)


def test_lower__mask_by_position_that_is_a_constant__is_right() -> None:
    mask = np.where(np.tri(4, 6, 2, dtype=bool), 0, SMALLEST).astype(np.float32)
    given = model(helper.make_node("Add", ["a", "mask"], ["s"]), softmax("s"), mask=mask)
    assert_right(given, fed(given), fed(given), tolerance=1e-3)


@pytest.mark.parametrize("factor", [-1e6, -7e4, 7e4])
def test_lower__scores_scaled_by_a_large_factor_before_a_softmax__are_no_mask(factor: float) -> None:
    """A factor on scores is not a mask, whatever its size: the softmax sees all the differences."""
    small = np.ldexp(RNG.integers(-6, 7, size=(4, 6)), -14).astype(np.float32)
    scaled = helper.make_node("Mul", ["a", "c"], ["s"])
    given = model(scaled, softmax("s"), c=np.float32(factor / 64))
    feeds = fed(given, small)
    assert_right(given, feeds, feeds, tolerance=1e-3, declared={"a": ("int16", -14)})


def test_lower__scores_that_are_all_far_below_zero__keep_their_differences() -> None:
    """No number in a row stands for minus infinity where all of them are large and negative."""
    given = model(helper.make_node("Add", ["a", "c"], ["s"]), softmax("s"), c=np.float32(-50_000))
    assert_right(given, fed(given), fed(given), tolerance=0.01)


@pytest.mark.parametrize("operator", ["Max", "Min", "Add", "Sub", "Concat", "Where", "Clip"])
def test_lower__constant_below_minus_65536_that_no_softmax_reads__keeps_its_value(operator: str) -> None:
    large = np.full((4, 6), -1e6, np.float32)
    made = {
        "Concat": helper.make_node("Concat", ["a", "c"], ["y"], axis=0),
        "Where": helper.make_node("Where", ["flag", "a", "c"], ["y"]),
        "Clip": helper.make_node("Clip", ["a", "", "low"], ["y"]),
    }.get(operator, helper.make_node(operator, ["a", "c"], ["y"]))
    given = model(*([FLAG] if operator == "Where" else []), made, c=large, low=np.float32(-1e6))
    for exact, real in exact_and_float(given, fed(given), fed(given)):
        np.testing.assert_allclose(exact, real, rtol=1e-5, atol=1e-3)


def test_lower__maximum_of_numbers_below_the_mask_that_stands_for_minus_infinity__is_refused() -> None:
    where = helper.make_node("Where", ["flag", "a", "low"], ["s"])
    given = model(
        FLAG, where, helper.make_node("ReduceMax", ["s", "axes"], ["y"]), low=np.float32(-np.inf), axes=np.array([1])
    )
    feeds = fed(given, SCORES - np.float32(70_000))
    with pytest.raises(LoweringError) as caught:
        lowered(given, feeds)
    assert str(caught.value) == (
        "cannot lower tensor 's': a maximum reads it, its masked numbers become -65536, and its other numbers reach "
        f"{feeds['a'][FLAGS == 1].min():g}: scale them down"
    )


def test_find_masks__mask_and_scores__names_what_the_mask_reaches() -> None:
    nodes = [
        CAST,
        OFF,
        helper.make_node("Mul", ["off", "low"], ["mask"]),
        helper.make_node("Add", ["a", "mask"], ["s"]),
        softmax("s"),
    ]
    constants = {"one": np.float32(1), "low": np.float32(-1e9)}
    masks = find_masks(nodes, constants, [{"a": SCORES, "m": FLAGS}])
    assert dict(masks.thresholds) == dict.fromkeys(("low", "mask", "s"), MASKED)
    assert masks.threshold("a") == -np.inf


AXES, SMALLEST_32 = np.array([1]), np.float32(SMALLEST)
MASKED_ROWS = FLAGS.copy()
MASKED_ROWS[2] = 0
WHERE = helper.make_node("Where", ["flag", "a", "low"], ["s"])
ADDED = [CAST, OFF, helper.make_node("Mul", ["off", "low"], ["mask"]), helper.make_node("Add", ["a", "mask"], ["s"])]
FILLS = {"selected": [FLAG, WHERE], "added": ADDED}
SHARES = helper.make_node("Softmax", ["s"], ["p"], axis=-1)
# What reads masked scores beside a softmax.
READERS = {
    "ReduceMean": [helper.make_node("ReduceMean", ["s", "axes"], ["r"]), helper.make_node("Add", ["p", "r"], ["y"])],
    "ReduceMax": [helper.make_node("ReduceMax", ["s", "axes"], ["r"]), helper.make_node("Add", ["p", "r"], ["y"])],
    "ReduceMin": [helper.make_node("ReduceMin", ["s", "axes"], ["r"]), helper.make_node("Add", ["p", "r"], ["y"])],
    "TopK": [helper.make_node("TopK", ["s", "six"], ["r", "i"]), helper.make_node("Add", ["p", "r"], ["y"])],
    "LogSoftmax": [helper.make_node("LogSoftmax", ["s"], ["r"], axis=-1), helper.make_node("Add", ["p", "r"], ["y"])],
    "output": [helper.make_node("Identity", ["s"], ["y"])],
    "Tanh": [helper.make_node("Tanh", ["s"], ["r"]), helper.make_node("Add", ["p", "r"], ["y"])],
    "Abs": [helper.make_node("Abs", ["s"], ["r"]), helper.make_node("Add", ["p", "r"], ["y"])],
    "views": [
        helper.make_node("Transpose", ["s"], ["t"]),
        helper.make_node("ReduceSum", ["t"], ["r"]),
        helper.make_node("Add", ["p", "r"], ["y"]),
    ],
}


@pytest.mark.parametrize("low", [-1e4, -65504.0, -1e9, SMALLEST, -np.inf])
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("reader", READERS)
def test_lower__masked_scores_that_something_else_reads__keep_their_value_or_are_refused(
    reader: str, fill: str, low: float
) -> None:
    if fill == "added" and low == -np.inf:
        return  # 0 times infinity is NaN
    given = model(
        *FILLS[fill], SHARES, *READERS[reader],
        one=np.float32(1), low=np.float32(low), axes=np.array([1]), six=np.array([6]),
    )  # fmt: skip
    for flags in (FLAGS, MASKED_ROWS):
        feeds = fed(given) | {"m": flags}
        try:
            found = list(exact_and_float(given, feeds, feeds))
        except LoweringError as error:
            found, refusal = [], str(error)
            named = re.match(
                "cannot lower (tensor|Where node|Add node) '(s|low|mask)': |cannot lower ReduceMax ", refusal
            )
            if named is None or low > -1e9:
                raise
        for exact, real in found:
            # Logarithms of masked shares stand for minus infinity, as the masked scores do.
            kept = np.isfinite(real) if reader != "LogSoftmax" else real > -1e8
            if reader == "LogSoftmax":
                assert exact[np.isfinite(real) & ~kept].max(initial=-np.inf) < -1e4
            np.testing.assert_allclose(exact[kept], real[kept], rtol=2e-4, atol=4e-3)


def test_lower__large_mask_that_a_mean_reads__is_refused_with_figure_and_remedy() -> None:
    given = model(*FILLS["selected"], SHARES, *READERS["ReduceMean"], low=np.float32(-1e9), axes=np.array([1]))
    with pytest.raises(LoweringError) as caught:
        lowered(given, fed(given))
    assert str(caught.value) == (
        "cannot lower tensor 's': a softmax or a maximum takes its masked numbers, down to -1e+09, for minus infinity, "
        "but ReduceMean node 'r' reads them as numbers, beside which all others would lose their precision: let that "
        "read the numbers before they are masked, or mask them with -10000"
    )


def test_lower__maximum_of_a_row_that_is_masked_throughout__is_refused_with_figure_and_remedy() -> None:
    given = model(*FILLS["selected"], helper.make_node("ReduceMax", ["s", "axes"], ["y"]), low=SMALLEST_32, axes=AXES)
    assert_right(given, fed(given), fed(given), tolerance=1e-3)
    with pytest.raises(LoweringError) as caught:
        lowered(given, fed(given) | {"m": MASKED_ROWS})
    assert str(caught.value) == (
        "cannot lower ReduceMax node 'y': all numbers of a row are masked in calibration, and their maximum is "
        "-3.40282e+38, beside which all others would lose their precision: mask them with -10000, or leave such rows "
        "out"
    )


@pytest.mark.parametrize("low", [-1e4, -4e4, -65504.0, -1e5, -1e9, SMALLEST])
@pytest.mark.parametrize("fill", FILLS)
def test_lower__softmax_of_a_row_that_is_masked_throughout__is_that_of_floats(fill: str, low: float) -> None:
    given = model(*FILLS[fill], softmax("s"), one=np.float32(1), low=np.float32(low))
    feeds = fed(given) | {"m": MASKED_ROWS}
    for exact, real in exact_and_float(given, feeds, feeds):
        np.testing.assert_allclose(exact, real, rtol=0, atol=4e-3)


def safe_softmax(test: list[onnx.NodeProto], low: float) -> onnx.ModelProto:
    """A softmax whose row is 0 where all of it is masked, as attention of PyTorch is exported."""
    zeroed = helper.make_node("Where", ["undefined", "zero", "p"], ["y"])
    return model(*FILLS["selected"], SHARES, *test, zeroed, low=np.float32(low), zero=np.float32(0), axes=AXES)


SAFE = {
    "IsNaN": [helper.make_node("IsNaN", ["p"], ["undefined"])],
    "Equal": [
        helper.make_node("ReduceMax", ["s", "axes"], ["largest"]),
        helper.make_node("Equal", ["largest", "low"], ["undefined"]),
    ],
}


@pytest.mark.parametrize("test", SAFE)
def test_lower__softmax_of_minus_infinity_that_is_replaced_by_0__is_that_of_floats(test: str) -> None:
    given = safe_softmax(SAFE[test], -np.inf)
    feeds = fed(given) | {"m": MASKED_ROWS}
    for exact, real in exact_and_float(given, feeds, feeds):
        assert not real[2].any()
        np.testing.assert_allclose(exact, real, rtol=0, atol=1e-3)


def test_lower__infinities_that_a_model_asks_for__are_those_of_floats() -> None:
    tests = [
        helper.make_node("IsInf", ["s"], ["undefined"]),
        helper.make_node("Where", ["undefined", "one", "p"], ["y"]),
    ]
    given = model(*FILLS["selected"], SHARES, *tests, low=np.float32(-np.inf), one=np.float32(1))
    assert_right(given, fed(given), fed(given), tolerance=1e-3)


def test_lower__minus_infinity_of_which_views_reach_a_comparison__is_that_of_floats() -> None:
    """As ONNX writes out its Attention: one constant of minus infinity, cast to the type of the scores."""
    tests = [
        helper.make_node("CastLike", ["low", "a"], ["cast"]),
        helper.make_node("ReduceMax", ["s", "axes"], ["largest"]),
        helper.make_node("Equal", ["largest", "cast"], ["undefined"]),
    ]
    given = safe_softmax(tests, -np.inf)
    feeds = fed(given) | {"m": MASKED_ROWS}
    for exact, real in exact_and_float(given, feeds, feeds):
        np.testing.assert_allclose(exact, real, rtol=0, atol=1e-3)
