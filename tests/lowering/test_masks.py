"""Masks are found by their use: numbers as large as a mask keep their value, and a mask does not widen a range."""

from __future__ import annotations

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
