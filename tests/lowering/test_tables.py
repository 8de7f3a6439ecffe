"""The error of every function that is read from a table, over the whole range for which the table is made."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.cases.floats import FLOAT, assert_right, assert_right_or_refused, exact_and_float, float_model, lowered
from verifier.exact import LoweringError
from verifier.exact.lowering.fusion.univariate import TABULATED

# The number of points in a feed, and the grid and dtype of the operand: the rounding of the operand plays no part.
POINTS = 1 << 14
MICROSOFT = ("FastGelu", "QuickGelu")
# The table of an exponential ends at twice the function's calibrated range, and that of Log at its smallest operand.
OTHER_RANGES = ("Cosh", "Exp", "Log", "Sinh")
# Functions that vary both fast around 0 and slowly everywhere else, for which no table over +-10,000 is precise enough.
REFUSED = (("Atan", 5_000.0), ("Softsign", 5_000.0))


def grid(reach: float) -> int:
    """The finest grid on which twice `reach` fits into int32."""
    return int(np.ceil(np.log2(reach))) - 29


def assert_within(operator: str, reach: float, domain: str = "") -> None:
    node = helper.make_node(operator, ["x"], ["y"], name="f", domain=domain)
    model = float_model([node], {"x": (FLOAT, (POINTS,))}, opset=20)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    calibration = {"x": np.linspace(-reach, reach, POINTS).astype(np.float32)}
    # Twice the calibrated range is the range of the table; the points are dense around 0, and everywhere else.
    wide = np.concatenate([np.linspace(-2 * reach, 2 * reach, POINTS), np.geomspace(1e-6, 2 * reach, POINTS)])
    feeds = {"x": np.concatenate([wide, -wide[POINTS:], wide[:POINTS]]).astype(np.float32)}
    declared = {"x": ("int32", grid(reach))}
    scale = None
    for exact, real in exact_and_float(model, calibration, feeds, declared):
        scale = scale or float(np.abs(real).max())
        assert np.abs(exact - real).max() <= 2.0**-11 * scale


@pytest.mark.parametrize("reach", [0.5, 20.0, 5_000.0])
@pytest.mark.parametrize("operator", sorted(set(TABULATED) - set(OTHER_RANGES)))
def test_lower__function_over_its_whole_range__is_within_a_share_of_its_maximum(operator: str, reach: float) -> None:
    domain = "com.microsoft" if operator in MICROSOFT else ""
    if (operator, reach) in REFUSED:
        with pytest.raises(
            LoweringError, match=r"node 'f': a table of 262144 entries over its operand 'x', from -5000 "
        ):
            assert_within(operator, reach, domain)
    else:
        assert_within(operator, reach, domain)


def test_lower__cos_and_sin_of_a_million__are_right() -> None:
    nodes = [helper.make_node(op, ["x"], [out]) for op, out in (("Cos", "c"), ("Sin", "s"))]
    model = float_model(nodes, {"x": (FLOAT, (512,))}, outputs="c s")
    feeds = {"x": np.random.default_rng(2).integers(0, 2**20, 512).astype(np.float32)}
    for exact, real in exact_and_float(model, feeds, feeds, {"x": ("int32", 0)}):
        np.testing.assert_allclose(exact, real, rtol=0, atol=2e-3)


def test_lower__cos_of_angles_that_53_bits_do_not_resolve__is_refused() -> None:
    model = float_model([helper.make_node("Cos", ["x"], ["y"], name="c")], {"x": (FLOAT, (512,))})
    feeds = {"x": np.linspace(0, 1e9, 512).astype(np.float32)}
    with pytest.raises(LoweringError) as caught:
        lowered(model, feeds, {"x": ("int32", 0)})
    assert str(caught.value) == (
        "cannot lower Univariate node 'c': its operand 'x' reaches 2e+09, where its angle is off by up to 6.1e+02, "
        "more than 0.00098: subtract whole periods from it in the model"
    )


def test_lower__function_too_steep_for_any_table__is_refused_with_figure_and_remedy() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Mul", ["square", "rate"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["y"], name="chirp"),
    ]
    model = float_model(nodes, {"x": (FLOAT, (512,))}, {"rate": np.float32(100)})
    feeds = {"x": np.linspace(-500, 500, 512).astype(np.float32)}
    with pytest.raises(LoweringError) as caught:
        lowered(model, feeds)
    message = str(caught.value)
    assert message.startswith(
        "cannot lower Univariate node 'chirp': a table of 262144 entries over its operand 'x', from -500 "
    )
    assert message.endswith(", more than 0.00024: clip the operand to the range that matters")


@pytest.mark.parametrize("reach", [2e4, 1e6, 3e7])
@pytest.mark.parametrize("operator", ["Tanh", "Sigmoid", "Erf"])
def test_lower__steep_part_of_a_huge_range__is_read_on_a_grid_that_resolves_it(operator: str, reach: float) -> None:
    model = float_model(
        [
            helper.make_node(operator, ["c"], ["y"]),
        ],
        {"x": (FLOAT, (512,)), "z": (FLOAT, (512,))},
    )
    model.graph.node.insert(0, helper.make_node("Add", ["x", "z"], ["c"]))
    rng = np.random.default_rng(5)
    feeds = {"x": np.where(rng.random(512) < 0.1, reach, 0) * rng.uniform(-1, 1, 512), "z": rng.uniform(-4, 4, 512)}
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    assert_right(model, feeds, feeds, tolerance=1e-3, declared={"x": ("int32", -4), "z": ("int32", -20)})


def test_lower__operand_in_steps_that_are_too_coarse__is_refused_with_figure_and_remedy() -> None:
    model = float_model([helper.make_node("Tanh", ["x"], ["y"], name="t")], {"x": (FLOAT, (512,))})
    feeds = {"x": np.linspace(-1e4, 1e4, 512).astype(np.float32)}
    with pytest.raises(LoweringError) as caught:
        lowered(model, feeds, {"x": ("int16", 0)})
    assert str(caught.value) == (
        "cannot lower Univariate node 't': its operand 'x' comes in steps of 1, by which the result is off by up to "
        "0.5, more than 0.016: declare the inputs before it as int32, or clip them to the range that matters"
    )


def test_lower__spike_narrower_than_the_operands_steps__is_refused_with_figure_and_remedy() -> None:
    nodes = [
        helper.make_node("Sub", ["x", "center"], ["d"]),
        helper.make_node("Mul", ["d", "d"], ["square"]),
        helper.make_node("Mul", ["square", "factor"], ["power"]),
        helper.make_node("Exp", ["power"], ["y"], name="f"),
    ]
    constants = {"center": np.float32(3.3), "factor": np.float32(-1e6)}
    model = float_model(nodes, {"x": (FLOAT, (1024,))}, constants)
    feeds = {"x": np.random.default_rng(1).uniform(-50, 50, 4096).astype(np.float32)}
    with pytest.raises(LoweringError, match=r"node 'f': its operand 'x' comes in steps of 0\.00390625, by which "):
        lowered(model, feeds)


def test_lower__spike_that_only_calibrated_operands_hit__is_right_or_refused() -> None:
    nodes = [
        helper.make_node("Sub", ["x", "place"], ["d"]),
        helper.make_node("Mul", ["d", "d"], ["square"]),
        helper.make_node("Neg", ["square"], ["minus"]),
        helper.make_node("Exp", ["minus"], ["y"], name="spike"),
    ]
    model = float_model(nodes, {"x": (FLOAT, (512,))}, {"place": np.float32(3_217.3125)})
    x = np.linspace(-500_000, 500_000, 512).astype(np.float32)
    x[7] = 3_217.3125
    assert_right_or_refused(model, {"x": x}, {"x": x}, 1e-3, "spike", {"x": ("int32", -11)})


POSITIVE = {"Log": 1e-3, "Sqrt": 1e-3, "Reciprocal": 0.05}


@pytest.mark.parametrize("operator", sorted(POSITIVE))
@pytest.mark.parametrize("reach", [0.5, 20.0, 5_000.0])
def test_lower__function_of_positive_numbers__is_within_a_share_of_its_maximum(operator: str, reach: float) -> None:
    model = float_model([helper.make_node(operator, ["x"], ["y"])], {"x": (FLOAT, (POINTS,))})
    x = np.geomspace(POSITIVE[operator], reach, POINTS).astype(np.float32)
    for exact, real in exact_and_float(model, {"x": x}, {"x": x}, {"x": ("int32", grid(reach))}):
        steps = np.abs(np.gradient(real, x.astype(np.float64))) * 2.0 ** grid(reach)  # the rounding of the input itself
        assert (np.abs(exact - real) <= 2.0**-11 * np.abs(real).max() + steps).all()


@pytest.mark.parametrize("operator", ["Cosh", "Exp", "Sinh"])
@pytest.mark.parametrize("reach", [0.5, 5.0, 20.0, 60.0])
def test_lower__exponential_over_its_calibrated_range__is_within_a_share_of_its_maximum(
    operator: str, reach: float
) -> None:
    model = float_model([helper.make_node(operator, ["x"], ["y"])], {"x": (FLOAT, (POINTS,))})
    x = np.linspace(-reach, reach, POINTS).astype(np.float32)
    for exact, real in exact_and_float(model, {"x": x}, {"x": x}, {"x": ("int32", grid(reach))}):
        assert np.abs(exact - real).max() <= 2.0**-11 * np.abs(real).max()


@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.5, 1.5, 2.0, 2.5, 3.0, 7.0])
@pytest.mark.parametrize("reach", [0.5, 20.0, 500.0])
def test_lower__power_over_its_calibrated_range__is_within_a_share_of_its_maximum(
    exponent: float, reach: float
) -> None:
    model = float_model(
        [helper.make_node("Pow", ["x", "p"], ["y"])], {"x": (FLOAT, (512,))}, {"p": np.float32(exponent)}
    )
    x = np.linspace(reach / 50, reach, 512).astype(np.float32)
    for exact, real in exact_and_float(model, {"x": x}, {"x": x}, {"x": ("int32", grid(reach))}):
        assert np.abs(exact - real).max() <= 2.0**-11 * np.abs(real).max()
