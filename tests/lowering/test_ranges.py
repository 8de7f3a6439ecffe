"""Numbers that the calibration does not show, and numbers whose range hides others: right, or refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.cases.floats import FLOAT, INT64, Array, Feeds, assert_right, float_model, lowered
from verifier.exact import LoweringError
from verifier.exact.lowering import InputSpec, lower

LENGTH = 512
node = helper.make_node


def texts(lengths: list[int], size: float, dtype: type) -> Feeds:
    """Embeddings whose mean is about `size`, and masks with that many ones."""
    noise = np.random.default_rng(0).normal(size=(len(lengths), LENGTH, 8))
    mask = np.arange(LENGTH) < np.array(lengths)[:, None]
    return {"x": (0.1 * noise + size).astype(np.float32), "m": mask.astype(dtype)}


UNSQUEEZED = [node("Cast", ["m"], ["f"], to=FLOAT), node("Unsqueeze", ["f", "last"], ["mask"])]
SUM = [node("Mul", ["x", "mask"], ["masked"]), node("ReduceSum", ["masked", "tokens"], ["sum"], keepdims=0)]
COUNT = [node("ReduceSum", ["mask", "tokens"], ["count"], keepdims=0)]
DIVIDED = [node("Div", ["sum", "divisor"], ["y"])]
POOLING = {
    "clipped": [*COUNT, node("Clip", ["count", "least"], ["divisor"]), *DIVIDED],
    "maximum": [*COUNT, node("Max", ["least", "count"], ["divisor"]), *DIVIDED],
    "sum": [*COUNT, node("Add", ["count", "least"], ["divisor"]), *DIVIDED],
    "of integers": [
        node("ReduceSum", ["m", "columns"], ["whole"]),
        node("Cast", ["whole"], ["count"], to=FLOAT),
        node("Clip", ["count", "least"], ["divisor"]),
        *DIVIDED,
    ],
    "expanded": [
        node("Expand", ["mask", "shape"], ["expanded"]),
        node("ReduceSum", ["expanded", "tokens"], ["count"], keepdims=0),
        node("Clip", ["count", "least"], ["divisor"]),
        *DIVIDED,
    ],
    "reciprocal": [
        *COUNT,
        node("Clip", ["count", "least"], ["divisor"]),
        node("Reciprocal", ["divisor"], ["inverse"]),
        node("Mul", ["sum", "inverse"], ["y"]),
    ],
    "power": [
        *COUNT,
        node("Clip", ["count", "least"], ["divisor"]),
        node("Pow", ["divisor", "minus"], ["inverse"]),
        node("Mul", ["sum", "inverse"], ["y"]),
    ],
}
CONSTANTS = {
    "last": np.array([2]),
    "tokens": np.array([1]),
    "columns": np.array([1]),
    "least": np.float32(1e-9),
    "shape": np.array([1, LENGTH, 8]),
    "minus": np.float32(-1),
}


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
@pytest.mark.parametrize("form", POOLING)
def test_lower__mean_over_more_tokens_than_calibrated__is_right(form: str, dtype: type) -> None:
    kind = FLOAT if dtype == np.float32 else INT64
    nodes = [*UNSQUEEZED, *SUM, *POOLING[form]]
    model = float_model(nodes, {"x": (FLOAT, (1, LENGTH, 8)), "m": (kind, (1, LENGTH))}, CONSTANTS)
    # The sum over 512 tokens stays within what it reaches over 12: only the count is larger than calibrated.
    calibration, long = texts([*range(1, 13)], 1.0, dtype), texts([512, 300, 4], 0.02, dtype)
    assert_right(model, calibration, long, tolerance=0.002)


def default_model() -> onnx.ModelProto:
    model = float_model([node("Mul", ["a", "w"], ["y"])], {"a": (FLOAT, (4,)), "w": (FLOAT, (4,))})
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    return model


def test_lower__feed_that_replaces_a_default__is_refused_by_name() -> None:
    specs = {"a": InputSpec("int16", -10)}
    feed: dict[str, Array] = {"a": np.ones(4, np.float32), "w": np.full(4, 2, np.float32)}
    with pytest.raises(LoweringError) as caught:
        lower(default_model(), [feed], specs)
    assert str(caught.value) == (
        "cannot lower input 'w': it is a constant of the program, because the file has an initialiser of that name, "
        "and a calibration feed holds other numbers: remove the initialiser, or leave the input out of the feeds"
    )
    lower(default_model(), [{**feed, "w": np.ones(4, np.float32)}], specs)
    lowered(default_model(), {"a": feed["a"]})


LOUDNESS = np.ones(64, np.float32)
LOUDNESS[7] = 30_000
SMALL = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
LOUD = {"a": np.random.default_rng(2).normal(size=(16, 64)).astype(np.float32) * LOUDNESS}
PRODUCTS = {
    "MatMul": [node("MatMul", ["a", "w"], ["y"])],
    "Gemm, transposed": [node("Gemm", ["a", "t", "b"], ["y"], transB=1)],
    "of a computed operand": [node("LeakyRelu", ["a"], ["c"], alpha=0.5), node("MatMul", ["c", "w"], ["y"])],
    "read twice": [
        node("MatMul", ["a", "w"], ["p"]),
        node("MatMul", ["a", "v"], ["q"]),
        node("Add", ["p", "q"], ["y"]),
    ],
    "rows of unlike size": [
        node("Mul", ["a", "rows"], ["c"]),
        node("MatMul", ["c", "w"], ["d"]),
        node("Div", ["d", "rows"], ["y"]),
    ],
}


@pytest.mark.parametrize("form", PRODUCTS)
def test_lower__channel_that_dwarfs_all_others__leaves_them_their_precision(form: str) -> None:
    weight = (SMALL / LOUDNESS[:, None]).astype(np.float32)
    rows = np.where(np.arange(16) == 3, 100, 1).astype(np.float32)[:, None]
    constants = {
        "w": weight,
        "v": (weight / 2).astype(np.float32),
        "t": weight.T,
        "b": np.ones(8, np.float32),
        "rows": rows,
    }
    model = float_model(PRODUCTS[form], {"a": (FLOAT, (16, 64))}, constants)
    assert_right(model, LOUD, LOUD, tolerance=0.25)  # of results up to 30


def test_lower__product_that_cancels_almost_all_of_its_operand__is_refused_with_figure_and_remedy() -> None:
    model = float_model(
        [node("Add", ["a", "offset"], ["c"]), node("MatMul", ["c", "w"], ["y"], name="p")],
        {"a": (FLOAT, (16, 64))},
        {"offset": np.float32(1e6), "w": np.float32(SMALL - SMALL.mean(axis=0))},
    )
    feeds = {"a": LOUD["a"] / LOUDNESS}
    with pytest.raises(
        LoweringError, match=r"^cannot lower MatMul node 'p': its operand 'c' reaches 1e\+06, and its "
    ) as e:
        lowered(model, feeds)
    assert str(e.value).endswith(" %: scale its channels to like magnitudes, or subtract what they have in common")


def test_lower__columns_of_a_table_of_unlike_size__keep_their_precision() -> None:
    """Incomes and shares, brought to one size by a product and a sum as scikit-learn's scaler does."""
    rng = np.random.default_rng(4)
    table = np.stack([rng.normal(60_000, 20_000, 64), rng.uniform(0, 1, 64)], axis=1).astype(np.float32)
    scaler = {"mean": table.mean(axis=0), "scale": 1 / table.std(axis=0)}
    nodes = [node("Sub", ["a", "mean"], ["c"]), node("Mul", ["c", "scale"], ["y"])]
    model = float_model(nodes, {"a": (FLOAT, (1, 2))}, scaler)
    assert_right(model, {"a": table}, {"a": table}, tolerance=0.01)
