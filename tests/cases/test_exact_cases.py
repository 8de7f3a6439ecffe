"""Float models that were lowered to wrong programs, and exact files that were accepted and then computed wrongly.

Each test asserts the right behaviour. It is marked xfail until the fault is mended, and then stays as a plain test.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.cases.floats import FLOAT, INT64, Array, assert_right, assert_right_or_refused, float_model, lowered
from tests.exact.graphs import data
from verifier.exact import Engine, LoweringError, NotExactError, load_program, reference

NOT_RAISED = pytest.fail.Exception  # what `pytest.raises` fails with when nothing is raised


def normal(*shape: int, seed: int = 0) -> Array:
    """Standard normal numbers in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Lowering


def test_lower__all_values_below_minus_10000__are_kept_or_refused() -> None:
    model = float_model(
        [helper.make_node("Add", ["a", "s"], ["b"], name="b"), helper.make_node("MatMul", ["b", "w"], ["y"])],
        {"a": (FLOAT, (4, 6))},
        {"s": np.float32(-20_000), "w": normal(6, 5, seed=1)},
    )
    feeds = {"a": normal(4, 6)}
    assert_right_or_refused(model, feeds, feeds, tolerance=100.0, name="b")  # of results up to 90,000


def test_lower__constant_below_minus_65536__is_kept_or_refused() -> None:
    model = float_model(
        [helper.make_node("Mul", ["a", "s"], ["y"], name="y")], {"a": (FLOAT, (4, 6))}, {"s": np.float32(-1e6)}
    )
    feeds = {"a": normal(4, 6)}
    assert_right_or_refused(model, feeds, feeds, tolerance=2_500.0, name="y")  # of results up to 2,300,000


def test_lower__dropout_in_training_mode__is_refused() -> None:
    model = float_model(
        [helper.make_node("Dropout", ["a", "p", "t"], ["y"], name="drop")],
        {"a": (FLOAT, (4, 6))},
        {"p": np.float32(0.5), "t": np.bool_(True)},
    )
    with pytest.raises(LoweringError, match="^cannot lower Dropout node 'drop': "):
        lowered(model, {"a": normal(4, 6)})


def test_lower__float_input_of_large_ids__selects_the_right_rows_or_is_refused() -> None:
    model = float_model(
        [helper.make_node("Cast", ["a"], ["i"], to=INT64), helper.make_node("Gather", ["w", "i"], ["y"])],
        {"a": (FLOAT, (4,))},
        {"w": normal(40_000, 3, seed=1)},
    )
    feeds = {"a": np.array([1, 3_999, 39_990, 20_001], np.float32)}
    assert_right_or_refused(model, feeds, feeds, tolerance=0.001, name="a")


def test_lower__if_on_a_constant__is_the_branch_that_is_taken() -> None:
    def branch(operator: str) -> object:
        node = helper.make_node(operator, ["a"], [operator])
        return helper.make_graph([node], operator, [], [helper.make_tensor_value_info(operator, FLOAT, (4,))])

    model = float_model(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg"))],
        {"a": (FLOAT, (4,))},
        {"c": np.bool_(True)},
    )
    feeds = {"a": normal(4)}
    assert_right(model, feeds, feeds, tolerance=0.001)


def test_lower__mean_pooling_calibrated_on_short_texts__is_right_on_long_ones_or_refused() -> None:
    model = float_model(
        [
            helper.make_node("Cast", ["m"], ["mf"], to=FLOAT),
            helper.make_node("Unsqueeze", ["mf", "last"], ["mask"]),
            helper.make_node("Mul", ["x", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "tokens"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "tokens"], ["count"], name="count", keepdims=0),
            helper.make_node("Clip", ["count", "least"], ["divisor"]),
            helper.make_node("Div", ["sum", "divisor"], ["y"]),
        ],
        {"x": (FLOAT, (1, 512, 8)), "m": (INT64, (1, 512))},
        {"last": np.array([2]), "tokens": np.array([1]), "least": np.float32(1e-9)},
    )

    def texts(lengths: list[int], size: float) -> dict[str, Array]:
        """Embeddings whose mean is about `size`, and masks with that many ones."""
        mask = np.arange(512) < np.array(lengths)[:, None]
        return {"x": (0.1 * normal(len(lengths), 512, 8) + size).astype(np.float32), "m": mask.astype(np.int64)}

    # The sum over 512 tokens stays within what it reaches over 12: only the count is larger than calibrated.
    calibration, long = texts([*range(1, 13)], size=1.0), texts([512, 300], size=0.02)
    assert_right_or_refused(model, calibration, long, tolerance=0.002, name="count")


def test_lower__channel_louder_than_all_others__leaves_them_their_precision_or_is_refused() -> None:
    loudness = np.ones(64, np.float32)
    loudness[7] = 30_000
    weight = normal(64, 8, seed=1) / loudness[:, None]
    model = float_model([helper.make_node("MatMul", ["a", "w"], ["y"])], {"a": (FLOAT, (4, 64))}, {"w": weight})
    feeds = {"a": normal(4, 64) * loudness}
    # Of results up to 25.
    assert_right_or_refused(model, feeds, feeds, tolerance=0.25, name="a", declared={"a": ("int32", -14)})


def test_lower__rotary_angles_of_4096_positions__are_right_or_refused() -> None:
    frequencies = (10_000.0 ** -(np.arange(32) / 32)).astype(np.float32)
    model = float_model(
        [
            helper.make_node("Cast", ["p"], ["pf"], to=FLOAT),
            helper.make_node("Unsqueeze", ["pf", "last"], ["column"]),
            helper.make_node("Mul", ["column", "f"], ["angle"]),
            helper.make_node("Cos", ["angle"], ["c"], name="c"),
            helper.make_node("Sin", ["angle"], ["s"], name="s"),
        ],
        {"p": (INT64, (1, 4_096))},
        {"last": np.array([2]), "f": frequencies},
        outputs="c s",
    )
    feeds = {"p": np.arange(4_096)[None]}
    assert_right_or_refused(model, feeds, feeds, tolerance=0.01, name="c")


def test_lower__space_to_depth_in_crd_mode__is_right_or_refused() -> None:
    model = float_model(
        [helper.make_node("SpaceToDepth", ["a"], ["y"], name="y", blocksize=2, mode="CRD")],
        {"a": (FLOAT, (1, 2, 4, 4))},
        opset=28,
    )
    feeds = {"a": np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)}
    assert_right_or_refused(model, feeds, feeds, tolerance=0.01, name="y")


def test_lower__input_without_dimensions__is_an_input_like_any_other() -> None:
    model = float_model([helper.make_node("Mul", ["a", "t"], ["y"])], {"a": (FLOAT, (4,)), "t": (FLOAT, ())})
    feeds = {"a": normal(4), "t": np.array(1.5, np.float32)}
    assert_right(model, feeds, feeds, tolerance=0.001)


# Exact files


def assert_engine_agrees_or_refused(file: bytes, feeds: dict[str, Array]) -> None:
    """The engine computes the reference's integers, or the file is not accepted."""
    try:
        program = load_program(file)
    except NotExactError:
        return
    expected = reference.run(program, feeds)
    found = Engine(program).run(feeds)
    for name, q in expected.items():
        np.testing.assert_array_equal(found[name], q)


@pytest.mark.parametrize("columns", [3, 4])
def test_engine__scaled_product_with_a_vector__is_the_reference_or_refused(columns: int) -> None:
    file = data(
        [
            ("Cast", "x", "f", {"to": TensorProto.DOUBLE}),
            ("MatMul", "f w", "p"),
            ("Mul", "p s", "y"),
        ],
        {"x": ("int16", [3, columns])},
        {"w": np.arange(1.0, columns + 1), "s": np.array([3.0, 6.0, 9.0])},
    )
    assert_engine_agrees_or_refused(file, {"x": np.arange(3 * columns, dtype=np.int16).reshape(3, columns)})


def test_engine__squeeze_with_an_empty_name_for_axes__is_the_reference_or_refused() -> None:
    file = data([("Squeeze", "x -", "y")], {"x": ("int32", [1, 3])})
    assert_engine_agrees_or_refused(file, {"x": np.array([[1, 2, 3]], np.int32)})


def test_load_program__reduce_max_of_int64_up_to_2_to_the_31__is_refused() -> None:
    file = data(
        [
            ("Cast", "x", "a", {"to": TensorProto.INT64}),
            ("Neg", "a", "b"),  # the least int32 becomes 2**31
            ("Concat", "a b", "c", {"axis": 1}),
            ("ReduceMax", "c axis", "y", {"keepdims": 0}),
        ],
        {"x": ("int32", [3, 4])},
        {"axis": np.array([1])},
    )
    with pytest.raises(NotExactError, match="it orders int64 beyond 32 bits"):
        load_program(file)
