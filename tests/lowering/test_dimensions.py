"""Symbolic dimensions get sizes from options, from feeds, or from a program; and what the commands print of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from tests.cases.floats import FLOAT, INT64, assert_right, float_model
from tests.lowering.compare import GRID, real, three_ways
from verifier.cli.main import cli
from verifier.exact import LoweringError, load_program
from verifier.exact.lowering import InputSpec, lower
from verifier.exact.lowering.dimensions import fix_dimensions, fix_to_shapes
from verifier.exact.lowering.float_model import inputs_of

TABLE = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)


def embedder(inputs: Mapping[str, Sequence[int | str | None]] | None = None) -> onnx.ModelProto:
    """Rows of a table for token ids, multiplied by a mask."""
    inputs = inputs or {"ids": ("batch", "sequence"), "mask": ("batch", "sequence")}
    return float_model(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("Cast", ["mask"], ["whole"], to=FLOAT),
            helper.make_node("Unsqueeze", ["whole", "last"], ["column"]),
            helper.make_node("Mul", ["rows", "column"], ["y"]),
        ],
        {name: (INT64, shape) for name, shape in inputs.items()},  # type: ignore[misc]
        {"table": TABLE, "last": np.array([2])},
    )


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {item.name: item.shape for item in inputs_of(model)}


def test_fix_dimensions__batch_and_name_are_given__are_used_for_every_input() -> None:
    model = embedder()
    assert fix_dimensions(model, {}, 4, {"sequence": 7}) == {"sequence": 7, "batch": 4}
    assert shapes(model) == {"ids": (4, 7), "mask": (4, 7)}


def test_fix_dimensions__batch_is_given__the_rest_follows_from_the_feeds() -> None:
    model = embedder()
    feeds = {"ids": (8, 7), "mask": (8, 7)}
    assert fix_dimensions(model, feeds, batch=4) == {"batch": 4, "sequence": 7}
    assert shapes(model) == {"ids": (4, 7), "mask": (4, 7)}


def test_fix_dimensions__feeds_of_one_row__leave_no_choice() -> None:
    model = embedder()
    assert fix_dimensions(model, {"ids": (1, 7), "mask": (1, 7)}) == {"sequence": 7, "batch": 1}


def test_fix_dimensions__leading_name_is_another_inputs_inner_one__has_its_size() -> None:
    model = embedder({"ids": ("n", 5), "mask": (1, "n")})
    assert fix_dimensions(model, {"ids": (6, 5), "mask": (1, 3)}) == {"n": 3}
    assert shapes(model)["ids"] == (3, 5)


def test_fix_dimensions__dimension_without_a_name__is_known_by_input_and_axis() -> None:
    model = embedder({"ids": (None, None), "mask": (None, -1)})
    feeds = {"ids": (6, 5), "mask": (6, 5)}
    assert fix_dimensions(model, feeds, None, {"ids[0]": 2, "mask[0]": 2}) == {
        "ids[0]": 2,
        "mask[0]": 2,
        "ids[1]": 5,
        "mask[1]": 5,
    }


def test_fix_dimensions__input_without_a_shape__has_the_rank_of_its_feed() -> None:
    model = embedder()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    fix_dimensions(model, {"ids": (4, 7), "mask": (4, 7)}, batch=2)
    assert shapes(model) == {"ids": (2, 7), "mask": (2, 7)}


def test_fix_to_shapes__shapes_of_a_program__are_those_of_the_model() -> None:
    model = embedder()
    fix_to_shapes(model, {"ids": (3, 7), "mask": (3, 7)})
    assert shapes(model) == {"ids": (3, 7), "mask": (3, 7)}


@pytest.mark.parametrize(
    ("feeds", "batch", "named", "message"),
    [
        (
            {"ids": (8, 7), "mask": (8, 7)},
            None,
            {},
            "cannot lower input 'ids': its dimension 0 (batch) is symbolic, and the 8 rows of its feed can be cut into "
            "batches of several sizes: give --batch N, or --dim batch=N",
        ),
        (
            {"ids": (1, 7), "mask": (1, 6)},
            None,
            {},
            "cannot lower input 'mask': its dimension 1 (sequence) is 6 in the feed, elsewhere 7: use feeds of one "
            "size",
        ),
        (
            {},
            None,
            {"tokens": 7},
            "cannot lower dimension 'tokens': the model has no such symbolic dimension: it has batch, sequence",
        ),
    ],
)
def test_fix_dimensions__open_or_contradicting_sizes__are_refused(
    feeds: dict[str, tuple[int, ...]], batch: int | None, named: dict[str, int], message: str
) -> None:
    with pytest.raises(LoweringError) as caught:
        fix_dimensions(embedder(), feeds, batch, named)
    assert str(caught.value) == message


def test_fix_dimensions__batch_for_static_shapes__is_refused() -> None:
    with pytest.raises(LoweringError) as caught:
        fix_dimensions(embedder({"ids": (2, 3), "mask": (2, 3)}), {}, batch=2)
    assert str(caught.value) == (
        "cannot lower the leading dimension: no input's is symbolic: all of its inputs have static shapes, so leave "
        "out --batch"
    )


def test_inputs_of__dimension_of_size_zero__is_not_called_symbolic() -> None:
    with pytest.raises(LoweringError) as caught:
        inputs_of(embedder({"ids": (2, 0), "mask": (2, 3)}))
    assert str(caught.value) == (
        "cannot lower input 'ids' of Gather node 'rows': its dimension 1 is 0, so it has no elements: export the model "
        "with larger sizes, or remove the input"
    )


def test_lower__inputs_and_output_named_like_the_builders_own__are_right() -> None:
    nodes = [
        helper.make_node("Mul", ["v0", "k0"], ["v1"]),
        helper.make_node("Add", ["v1", "v2"], ["k1"]),
        helper.make_node("Mul", ["k1", "v1"], ["v3"]),
    ]
    model = float_model(
        nodes, {"v0": (FLOAT, (4,)), "v2": (FLOAT, (4,))}, {"k0": np.array([1.5, 2, 3, 4], np.float32)}, outputs="v3"
    )
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=4).astype(np.float32) for name in ("v0", "v2")}
    assert_right(model, feeds, feeds, tolerance=0.01)


def test_lower__input_without_dimensions__takes_one_number_for_each_batch() -> None:
    model = float_model([helper.make_node("Mul", ["x", "t"], ["y"])], {"x": (FLOAT, (2, 3)), "t": (FLOAT, ())})
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(8, 3)).astype(np.float32), "t": rng.normal(size=4).astype(np.float32)}
    assert_right(model, feeds, feeds, tolerance=0.01)


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with float.onnx and feeds.npz: six rows of int64 token ids and masks."""
    onnx.save(embedder(), tmp_path / "float.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "feeds.npz", ids=rng.integers(0, 40, (6, 7)), mask=rng.integers(0, 2, (6, 7)))
    return tmp_path


def test_commands__symbolic_dimensions_and_int64_ids__lower_compare_and_eval_agree(folder: Path) -> None:
    feeds, exact = folder / "feeds.npz", folder / "exact.onnx"
    said = as_json(run("lower", folder / "float.onnx", "--calibrate", feeds, "--batch", "6", "--out", exact))
    assert said["dimensions"] == {"batch": 6, "sequence": 7}
    assert [item["shape"] for item in said["inputs"]] == [[6, 7], [6, 7]]
    assert as_json(run("compare", folder / "float.onnx", exact, "--feeds", feeds, "--runs", 1))["max_abs_error"] < 1e-3
    wide = as_json(run("eval", exact, "--feeds", feeds))
    with np.load(feeds) as arrays:
        np.savez(folder / "narrow.npz", **{name: array.astype(np.int32) for name, array in arrays.items()})
    assert wide == as_json(run("eval", exact, "--feeds", folder / "narrow.npz"))


def test_lower__named_dimension__overrides_what_the_feeds_leave_open(folder: Path) -> None:
    said = as_json(
        run(
            "lower",
            folder / "float.onnx",
            "--calibrate",
            folder / "feeds.npz",
            "--dim",
            "batch=2",
            "--out",
            folder / "exact.onnx",
        )
    )
    assert said["dimensions"] == {"batch": 2, "sequence": 7}


def test_lower__dimension_of_another_form__is_a_usage_error(folder: Path) -> None:
    result = run("lower", folder / "float.onnx", "--calibrate", folder / "feeds.npz", "--dim", "n=0", "--out", "e")
    assert result.exit_code == 2
    assert "'n=0' is not like sequence=128" in result.stderr


def test_eval__floats_for_a_float_input__are_rounded_to_its_grid(tmp_path: Path) -> None:
    model = float_model([helper.make_node("Mul", ["x", "x"], ["y"])], {"x": (TensorProto.FLOAT, ("n", 3))})
    onnx.save(model, tmp_path / "float.onnx")
    x = np.array([[0.5, -1.25, 3.0]], np.float32)
    np.savez(tmp_path / "feeds.npz", x=x)
    exact = tmp_path / "exact.onnx"
    as_json(run("lower", tmp_path / "float.onnx", "--calibrate", tmp_path / "feeds.npz", "--out", exact))
    assert load_program(exact.read_bytes()).inputs[0].shape == (1, 3)
    np.savez(tmp_path / "integers.npz", x=np.ldexp(x, 12).astype(np.int64))
    said = [as_json(run("eval", exact, "--feeds", tmp_path / f"{name}.npz")) for name in ("feeds", "integers")]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((1, 3), 2**15), "array 'x' has numbers outside of int16, in which the program takes them"),
        (np.full((1, 3), np.nan), "array 'x' has NaNs, which no integer stands for"),
    ],
)
def test_eval__numbers_that_the_input_cannot_hold__are_refused(tmp_path: Path, array: Any, message: str) -> None:
    model = float_model([helper.make_node("Mul", ["x", "x"], ["y"])], {"x": (TensorProto.FLOAT, (1, 3))})
    onnx.save(model, tmp_path / "float.onnx")
    np.savez(tmp_path / "calibrate.npz", x=np.ones((1, 3), np.float32))
    np.savez(tmp_path / "feeds.npz", x=array)
    exact = tmp_path / "exact.onnx"
    as_json(run("lower", tmp_path / "float.onnx", "--calibrate", tmp_path / "calibrate.npz", "--out", exact))
    result = run("eval", exact, "--feeds", tmp_path / "feeds.npz")
    assert (result.exit_code, str(result.exception)) == (1, message)


def test_lower__names_branches_masks_and_scalars_together__result_is_that_of_floats() -> None:
    """A symbolic batch, an If that the other dimension decides, a scalar input, names like the builder's, and -inf."""
    branches = {
        f"{kind}_branch": helper.make_graph(
            [helper.make_node(op, inputs, ["k0"])],
            kind,
            [],
            [helper.make_tensor_value_info("k0", TensorProto.FLOAT, None)],
        )
        for kind, op, inputs in (("then", "Mul", ["x", "v0"]), ("else", "Neg", ["x"]))
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["width"]),
        helper.make_node("Equal", ["width", "six"], ["chosen"]),
        helper.make_node("If", ["chosen"], ["v1"], **branches),
        helper.make_node("Cast", ["v0"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Clip", ["whole", "zero", "two"], ["row"]),
        helper.make_node("Gather", ["k1", "row"], ["mask"]),
        helper.make_node("Add", ["v1", "mask"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["out"]),
    ]
    table = np.zeros((3, 6), np.float32)
    table[0, 2] = table[1, 1] = -np.inf
    constants = {"one": np.int64(1), "six": np.int64(6), "zero": np.int64(0), "two": np.int64(2), "k1": table}
    graph = helper.make_graph(
        nodes,
        "float",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6]),
            helper.make_tensor_value_info("v0", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 6])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    rng = np.random.default_rng(0)
    feeds = [
        {"x": rng.integers(-3000, 3000, (3, 6)).astype(np.int16), "v0": np.asarray(step, np.int16)}
        for step in (512, 1536, 2048)  # they choose each row of the table
    ]
    session = ort.InferenceSession(model.SerializeToString())
    assert fix_dimensions(model, {"x": (3, 6), "v0": ()}, named={"batch": 3}) == {"batch": 3}
    specs = {name: InputSpec("int16", GRID) for name in ("x", "v0")}
    floats = [{name: np.asarray(array) for name, array in real(feed).items()} for feed in feeds]
    file = lower(model, floats, specs).SerializeToString()
    for feed, expected in zip(feeds, floats, strict=True):
        np.testing.assert_allclose(three_ways(file, feed), session.run(None, expected)[0], atol=1e-5)
