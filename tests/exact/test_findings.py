"""What `lower` and `compare` tell of calibration: saturation, scale, constant inputs, rows that are too short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from tests.exact.test_compare import as_json, run
from tests.lowering.compare import node
from verifier.exact.analysis.findings import MAX_LISTED, MAX_WARNED, Inspection
from verifier.exact.analysis.inspect import LayerDistance
from verifier.exact.analysis.layer_map import Layer
from verifier.exact.analysis.saturation import Saturation
from verifier.exact.lowering.float_node import LoweringContext

ROWS, TOKENS, WIDTH = 4, 16, 8


def pooler() -> onnx.ModelProto:
    """The masked sum of token embeddings that are about 1 each, plus a kind's embedding, then a linear layer."""
    rng = np.random.default_rng(5)
    constants = {
        "table": rng.uniform(0.9, 1.1, (32, WIDTH)).astype(np.float32),
        "kinds": rng.uniform(-0.1, 0.1, (2, WIDTH)).astype(np.float32),
        "weight": rng.normal(0, 0.5, (WIDTH, WIDTH)).astype(np.float32),
        "axes": np.array([1], np.int64),
        "last": np.array([2], np.int64),
    }
    nodes = [
        node("Gather", ["table", "ids"], ["embedded"]),
        node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["kept", "last"], ["wide"]),
        node("Mul", ["embedded", "wide"], ["masked"]),
        node("ReduceSum", ["masked", "axes"], ["summed"], keepdims=0),
        node("Gather", ["kinds", "kind"], ["of_kind"]),
        node("Add", ["summed", "of_kind"], ["pooled"]),
        node("Add", ["pooled", "x"], ["shifted"]),
        node("MatMul", ["shifted", "weight"], ["y"]),
    ]
    inputs = [
        ("ids", TensorProto.INT64, [ROWS, TOKENS]),
        ("mask", TensorProto.INT64, [ROWS, TOKENS]),
        ("kind", TensorProto.INT64, [ROWS]),
        ("x", TensorProto.FLOAT, [ROWS, WIDTH]),
    ]
    graph = helper.make_graph(
        nodes,
        "pooler",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def arrays(seed: int, longest: int = TOKENS, kinds: int = 2, reach: float = 0.1) -> dict[str, Any]:
    """Three batches in which rows use at most `longest` tokens, and one row uses so many."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, (3 * ROWS, 1))
    lengths[0] = longest
    x = rng.uniform(-reach, reach, (3 * ROWS, WIDTH))
    x[0, 0] = reach
    return {
        "ids": rng.integers(0, 32, (3 * ROWS, TOKENS)),
        "mask": (np.arange(TOKENS) < lengths).astype(np.int64),
        "kind": np.arange(3 * ROWS) % kinds,
        "x": x.astype(np.float32),
    }


def lowered(folder: Path, name: str, feeds: dict[str, Any], *options: str) -> Result:
    np.savez(folder / f"{name}.npz", **feeds)
    if not (folder / "float.onnx").exists():
        onnx.save(pooler(), folder / "float.onnx")
    out = ("--out", folder / f"{name}.onnx", "--map", folder / f"{name}.json")
    return run("lower", folder / "float.onnx", "--calibrate", folder / f"{name}.npz", *out, *options)


def compared(folder: Path, name: str, feeds: dict[str, Any], *options: Any) -> Result:
    np.savez(folder / "feeds.npz", **feeds)
    return run(
        "compare",
        folder / "float.onnx",
        folder / f"{name}.onnx",
        "--feeds",
        folder / "feeds.npz",
        "--runs",
        1,
        *options,
    )


def warned(result: Result) -> list[str]:
    """The warnings of a command, which it prints on stderr and as JSON."""
    warnings: list[str] = as_json(result)["warnings"]
    assert [line for line in result.stderr.splitlines() if line.startswith("warning: ")] == [
        f"warning: {sentence}" for sentence in warnings
    ]
    return warnings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with programs calibrated on whole rows (`whole`) and on rows of at most two tokens (`short`)."""
    path = tmp_path_factory.mktemp("findings")
    assert warned(lowered(path, "whole", arrays(1))) == []
    (path / "short.txt").write_text("\n".join(warned(lowered(path, "short", arrays(1, longest=2)))))
    return path


def test_lower__calibration_like_the_feeds__warns_of_nothing_there_either(folder: Path) -> None:
    result = compared(folder, "whole", arrays(2), "--map", folder / "whole.json")
    assert warned(result) == []
    inside = as_json(result)["inside"]
    assert (inside["batches"], inside["saturated"], inside["saturated_inputs"]) == (3, [], [])
    assert inside["saturated_in_all"] == 0
    names = {item["tensor"] for item in inside["tensors"]}
    assert {"x", "embedded", "masked", "summed", "pooled", "shifted", "y"} <= names
    assert inside["tensors_in_all"] == len(names)
    for item in inside["tensors"]:
        assert item["relative_error"] < 0.001
        assert item["cosine"] > 0.999999
        assert abs(item["scale"] - 1) < 0.001


def test_lower__rows_shorter_than_the_program__says_how_short(folder: Path) -> None:
    assert (folder / "short.txt").read_text() == (
        "rows of input 'mask' use at most 2 of their 16 positions in calibration, so rows of more than 4 can saturate: "
        "calibrate with rows as long as those that will be evaluated"
    )


def test_compare__rows_longer_than_calibrated__names_the_tensor_and_the_scale_that_a_cosine_hides(folder: Path) -> None:
    result = compared(folder, "short", arrays(2), "--map", folder / "short.json")
    said = as_json(result)
    rows, saturated, output = warned(result)
    assert rows == (
        "rows of input 'mask' use up to 16 of their 16 positions in these feeds and used at most 2 in calibration: "
        "lower the model again, calibrated with rows as long"
    )
    assert saturated.startswith("tensor 'shifted' saturates: ")
    (found,) = said["inside"]["saturated"]
    assert (found["tensor"], found["limit"]) == ("shifted", pytest.approx(7.97, abs=0.05))
    assert 16 < found["reached"] < 18
    assert 0.3 < found["share"] < 0.9
    scale = next(item["scale"] for item in said["inside"]["tensors"] if item["tensor"] == "y")
    assert 0.3 < scale < 0.7
    assert output.startswith("output 'y' is off by ")
    assert f"scale {scale:.4g})" in output


def test_compare__without_a_map__tells_of_saturation_by_input_and_output(folder: Path) -> None:
    saturated, output = warned(compared(folder, "short", arrays(2)))
    assert saturated.startswith("a tensor computed from 'ids' saturates: ")
    assert output.startswith("output 'y' is off by ")
    assert [item["tensor"] for item in as_json(compared(folder, "short", arrays(2)))["inside"]["tensors"]] == ["y"]


def test_compare__float_input_beyond_its_dtype__names_the_option_that_gives_it_room(folder: Path) -> None:
    (warning, *_) = warned(compared(folder, "whole", arrays(2, reach=3.0)))
    assert warning.startswith("input 'x' saturates: ")
    assert "the limit of int16 on grid -17, and the largest is 3: " in warning
    option = warning.rpartition(" with ")[2].split()
    assert option == ["--input", "x=int16:-12"]
    assert warned(lowered(folder, "roomy", arrays(1), *option)) == []
    assert warned(compared(folder, "roomy", arrays(2, reach=3.0), "--map", folder / "roomy.json")) == []


def test_lower__input_that_is_constant__is_named_and_compare_says_where_it_varies(folder: Path) -> None:
    (warning,) = warned(lowered(folder, "constant", arrays(1, kinds=1)))
    assert warning == (
        "input 'kind' holds nothing but 0 in calibration, so what other numbers lead to is not measured: calibrate "
        "with feeds in which it varies, if it varies in what will be evaluated"
    )
    (difference, *_) = warned(compared(folder, "constant", arrays(2), "--map", folder / "constant.json"))
    assert difference == (
        "input 'kind' is 0 to 1 in these feeds and was nothing but 0 in calibration: lower the model again, calibrated "
        "with feeds in which it varies"
    )


def test_lower__output_that_is_wrong_on_calibration_feeds__is_refused_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tensors saturate at a hundredth of what they reach.
    monkeypatch.setattr(LoweringContext, "magnitude", lambda self, name: 0.01 * self.range(name).magnitude)
    result = lowered(folder, "wrong", arrays(1))
    assert result.exit_code == 1
    assert re.fullmatch(
        r"cannot lower output 'y': on the calibration feeds its exact result is off by 98\.?\d* % \(cosine 0\.8\d+, "
        r"scale 0\.02\d+\): change the part of the model that computes it, or declare inputs with finer grids",
        str(result.exception),
    )
    assert not (folder / "wrong.onnx").exists()
    assert not (folder / "wrong.json").exists()


def small_model(nodes: list[onnx.NodeProto], kind: int, constants: dict[str, Any]) -> onnx.ModelProto:
    """A model of x [2, 4] with an output y."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def lowered_small(folder: Path, model: onnx.ModelProto, x: Any) -> Result:
    onnx.save(model, folder / "small.onnx")
    np.savez(folder / "small.npz", x=x)
    return run(
        *("lower", folder / "small.onnx", "--calibrate", folder / "small.npz", "--out", folder / "exact.onnx"),
        *("--map", folder / "map.json"),
    )


def test_lower__output_that_is_not_finite_in_the_float_model__is_named_and_counted(tmp_path: Path) -> None:
    x = np.random.default_rng(1).uniform(1, 2, (6, 4)).astype(np.float32)
    x[2, 1], x[3, 0] = -1, -2
    model = small_model([node("Sqrt", ["x"], ["y"])], TensorProto.FLOAT, {})
    expected = [
        "output 'y' is NaN or infinite in the float model, in 2 of 24 elements, for which the exact program has "
        "numbers: the figures leave these elements out"
    ]
    assert warned(lowered_small(tmp_path, model, x)) == expected
    files = (tmp_path / "small.onnx", tmp_path / "exact.onnx", "--feeds", tmp_path / "small.npz", "--runs", 1)
    more = ("--map", tmp_path / "map.json", "--report", tmp_path / "page.html")
    assert warned(run("compare", *files, *more)) == expected
    np.savez(tmp_path / "small.npz", x=-np.abs(x))
    expected = [sentence.replace("2 of 24", "24 of 24") for sentence in expected]
    assert warned(run("compare", *files)) == expected


def test_lower__output_that_is_off_in_a_batch_between__is_named(tmp_path: Path) -> None:
    x = np.random.default_rng(1).uniform(1, 2, (10, 4)).astype(np.float32)
    x[4] = 0.0005  # the third of five batches
    nodes = [node("Mul", ["x", "x"], ["square"]), node("Reciprocal", ["square"], ["y"])]
    (warning,) = warned(lowered_small(tmp_path, small_model(nodes, TensorProto.FLOAT, {}), x))
    assert warning.startswith("output 'y' is off by ")


def test_lower__attention_that_onnxruntime_cannot_run__is_refused_by_name(tmp_path: Path) -> None:
    # onnxruntime 1.32 does not broadcast the rows of a mask, which the function of ONNX's own Attention does.
    nodes = [
        node("Reshape", ["x", "shape"], ["q"]),
        node("Attention", ["q", "q", "q", "mask"], ["y"]),
    ]
    model = small_model(
        nodes, TensorProto.FLOAT, {"shape": np.array([1, 1, 4, 2]), "mask": np.ones((1, 1, 1, 4), bool)}
    )
    model.opset_import[0].version = 23
    model.ir_version = 10
    x = np.random.default_rng(1).uniform(-1, 1, (4, 4)).astype(np.float32)
    message = str(lowered_small(tmp_path, model, x).exception)
    assert message.startswith("cannot lower Attention node 'Attention_y': onnxruntime cannot run it on a feed: ")


def test_lower__integer_output_that_differs__is_named_and_not_refused(tmp_path: Path) -> None:
    x = np.full((6, 4), 0.5, np.float32)
    x[2, 2] += np.float32(2**-22)  # less than a step of the input's grid
    nodes = [node("ArgMax", ["x"], ["y"], axis=1)]
    (warning,) = warned(lowered_small(tmp_path, small_model(nodes, TensorProto.INT64, {}), x))[-1:]
    assert warning == "output 'y' is off by 100 % (cosine none, scale 0)"


def test_report__saturation_and_scale__are_on_the_page(folder: Path, tmp_path: Path) -> None:
    files = ("--map", folder / "short.json", "--report", tmp_path / "report.html")
    said = as_json(compared(folder, "short", arrays(2), *files))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert all(sentence.replace("'", "&#x27;") in page for sentence in said["warnings"])
    assert "<th>cosine</th><th>scale</th>" in page
    assert "class=hot" in page


def test_inspection__many_tensors__names_the_worst_and_counts_the_rest() -> None:
    layers = []
    for number in range(60):
        layer = LayerDistance(f"t{number}", Layer(f"v{number}"))
        layer.add(np.full(4, 1.0 + number), np.ones(4))
        layers.append(layer)
    clips = [
        Saturation("Clip node", f"t{number}", True, -8, 7, 0.5, 0, 1, 4, number, number / 8) for number in range(9)
    ]
    found = Inspection(1, layers, clips, [], frozenset(["t0"]))
    summary = found.summary()
    assert [item["tensor"] for item in summary["tensors"]] == [
        f"t{number}" for number in range(59, 59 - MAX_LISTED, -1)
    ]
    assert summary["tensors_in_all"] == 60
    warnings = list(found.warnings())
    assert len(warnings) == MAX_WARNED + 2
    assert warnings[MAX_WARNED] == "3 more tensors saturate"
    assert warnings[0].startswith(
        "tensor 't8' saturates: 25 % of its elements pass the limit 4, and the largest is 4, "
    )
    assert warnings[-1] == (
        "59 of 60 tensors are off by more than 1%: in the model's order the first is 't1', off by 100 % (cosine 1, "
        "scale 2), and the worst is 't59', off by 5.9e+03 % (cosine 1, scale 60)"
    )
