"""The commands lower and compare, as a user types them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from tests.lowering.compare import node
from verifier.cli.main import cli
from verifier.exact import load_program
from verifier.exact.analysis.compare import OutputDistance
from verifier.exact.analysis.inspect import inspect
from verifier.exact.analysis.layer_map import LayerMap
from verifier.exact.lowering.float_model import batches, inputs_of
from verifier.exact.lowering.input_quantisation import grid_of_input, integers

BATCH, TOKENS, WIDTH, CLASSES = 2, 5, 16, 4
BATCHES = 6


def embedder() -> onnx.ModelProto:
    """Masked sum of token embeddings, plus a vector that is an input, then tanh and a linear classifier."""
    rng = np.random.default_rng(3)
    constants = {
        "table": rng.normal(0, 1, (40, WIDTH)),
        "weight": rng.normal(0, 0.5, (WIDTH, CLASSES)),
        "axes": np.array([1], np.int64),
        "last": np.array([2], np.int64),
    }
    inputs = [("ids", TensorProto.INT64, [BATCH, TOKENS]), ("mask", TensorProto.INT64, [BATCH, TOKENS])]
    inputs.append(("shift", TensorProto.FLOAT, [1, WIDTH]))
    nodes = [
        node("Gather", ["table", "ids"], ["embedded"]),
        node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["kept", "last"], ["wide"]),
        node("Mul", ["embedded", "wide"], ["masked"]),
        node("ReduceSum", ["masked", "axes"], ["summed"], keepdims=0),
        node("Add", ["summed", "shift"], ["moved"]),
        node("Tanh", ["moved"], ["hidden"]),
        node("MatMul", ["hidden", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [BATCH, CLASSES])],
        [
            numpy_helper.from_array(array.astype(np.float32) if array.dtype == float else array, name)
            for name, array in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def arrays(seed: int) -> dict[str, Any]:
    """Stacked batches of ids and masks, and one shift for all of them."""
    rng = np.random.default_rng(seed)
    shape = (BATCHES * BATCH, TOKENS)
    mask = rng.integers(0, 2, shape)
    mask[0] = 1
    return {
        "ids": rng.integers(0, 40, shape),
        "mask": mask,
        "shift": rng.uniform(-1.5, 1.5, (1, WIDTH)).astype(np.float32),
    }


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with float.onnx, calibrate.npz, feeds.npz (other samples), exact.onnx, and lower's output lower.json."""
    path = tmp_path_factory.mktemp("lowered")
    onnx.save(embedder(), path / "float.onnx")
    np.savez(path / "calibrate.npz", **arrays(1))
    np.savez(path / "feeds.npz", **arrays(2))
    said = run(
        "lower",
        path / "float.onnx",
        "--calibrate",
        path / "calibrate.npz",
        "--out",
        path / "exact.onnx",
        "--map",
        path / "map.json",
    )
    assert said.exit_code == 0, (said.output, said.exception)
    (path / "lower.json").write_text(said.stdout)
    return path


def lowered(folder: Path, out: Path, *options: Any) -> Result:
    return run("lower", folder / "float.onnx", "--calibrate", folder / "calibrate.npz", "--out", out, *options)


def test_lower__float_model__writes_a_proven_program_and_says_what_it_is(folder: Path) -> None:
    said, data = json.loads((folder / "lower.json").read_text()), (folder / "exact.onnx").read_bytes()
    program = load_program(data)
    assert said["bytes"] == len(data)
    assert said["share_of_float"] == round(len(data) / (folder / "float.onnx").stat().st_size, 4)
    assert said["inputs"] == [
        {"name": "ids", "dtype": "int32", "shape": [BATCH, TOKENS], "grid": 0},
        {"name": "mask", "dtype": "int32", "shape": [BATCH, TOKENS], "grid": 0},
        # twice 1.5 in 16 bits: 2^15 steps of 2^-13 are 4
        {"name": "shift", "dtype": "int16", "shape": [1, WIDTH], "grid": -13},
    ]
    assert (said["macs"], said["peak_bits"]) == (program.macs, program.peak_bits)
    assert said["instructions"] == program.instruction_counts
    assert as_json(run("check", folder / "exact.onnx"))["exact"] is True


def test_lower__mask_that_is_only_0_or_1_in_calibration__is_clipped(folder: Path) -> None:
    program = load_program((folder / "exact.onnx").read_bytes())
    (clip,) = [item for item in program.instructions if "mask" in item.inputs]
    assert (clip.op, program.interval(clip.outputs[0])) == ("Clip", (0, 1))


def test_lower__declared_input__is_encoded_as_declared(folder: Path, tmp_path: Path) -> None:
    said = as_json(lowered(folder, tmp_path / "e.onnx", "--input", "shift=int8:-4", "--input", "ids=int16"))
    assert [(item["dtype"], item["grid"]) for item in said["inputs"]] == [("int16", 0), ("int32", 0), ("int8", -4)]
    program = load_program((tmp_path / "e.onnx").read_bytes())
    assert [grid_of_input(program, name) for name in ("ids", "mask", "shift")] == [0, 0, -4]


def test_lower__external_data__is_read_from_the_models_folder(folder: Path, tmp_path: Path) -> None:
    onnx.save(embedder(), tmp_path / "f.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    as_json(run("lower", tmp_path / "f.onnx", "--calibrate", folder / "calibrate.npz", "--out", tmp_path / "e.onnx"))
    assert (tmp_path / "e.onnx").read_bytes() == (folder / "exact.onnx").read_bytes()


def test_lower__file_that_exists__is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "taken.onnx"
    out.write_text("mine")
    result = lowered(folder, out)
    assert (result.exit_code, str(result.exception)) == (
        1,
        f"{out} exists and is not overwritten: choose another name, or move it away",
    )
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("other=int16:-4", "cannot lower input 'other': the model has no such input: its inputs are ids, mask, shift"),
        (
            "ids=int16:-4",
            "cannot lower input 'ids': it holds integers, which have no grid: declare it without the grid -4",
        ),
        ("shift=int16:900", "cannot lower input 'shift': its grid 900 is out of range: declare one from -400 to 400"),
    ],
)
def test_lower__wrong_declaration__says_what_to_change(folder: Path, tmp_path: Path, option: str, message: str) -> None:
    result = lowered(folder, tmp_path / "e.onnx", "--input", option)
    assert (result.exit_code, str(result.exception)) == (1, message)


@pytest.mark.parametrize("option", ["shift", "shift=float32", "shift=int16:", "=int16"])
def test_lower__declaration_of_another_form__is_a_usage_error(folder: Path, tmp_path: Path, option: str) -> None:
    result = lowered(folder, tmp_path / "e.onnx", "--input", option)
    assert result.exit_code == 2
    assert f"{option!r} is not like x=int16:-10, with int8, uint8, int16 or int32" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": None}, "the array for input 'ids' is missing"),
        ({"extra": np.zeros(1)}, "array 'extra' is not an input of the model: its inputs are ids, mask, shift"),
        ({"ids": np.zeros((4, TOKENS))}, "array 'ids' has dtype float64: the model takes int64"),
        (
            {"ids": np.zeros((3, TOKENS), np.int64)},
            "array 'ids' has shape [3, 5]: it must be [2, 5], or batches of that shape stacked along the first axis",
        ),
        ({"ids": np.zeros((4, TOKENS), np.int64)}, "array 'ids' has 2 batches: it must have 6, as others have, or one"),
        (
            {"shift": np.zeros((1, WIDTH), np.float32)},
            "cannot lower input 'shift' of Add node 'Add_moved': its largest magnitude in calibration is 0.0, from "
            "which no grid follows: declare one, as in --input shift=int16:-9",
        ),
        (
            {"shift": np.full((1, WIDTH), np.nan, np.float32)},
            "cannot lower input 'shift' of Add node 'Add_moved': its calibration feeds hold NaN or infinite numbers, "
            "which no integer stands for: replace these",
        ),
    ],
)
def test_lower__feeds_that_do_not_fit__are_named(
    folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    changed = {name: array for name, array in (arrays(1) | change).items() if array is not None}
    np.savez(tmp_path / "feeds.npz", **changed)
    result = run("lower", folder / "float.onnx", "--calibrate", tmp_path / "feeds.npz", "--out", tmp_path / "e.onnx")
    assert (result.exit_code, str(result.exception)) == (1, message)
    assert not (tmp_path / "e.onnx").exists()


def test_lower__node_without_a_lowering__is_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    model = embedder()
    model.graph.node[6].op_type = "Asin"
    onnx.save(model, tmp_path / "f.onnx")
    command = [sys.executable, "-m", "verifier", "lower", str(tmp_path / "f.onnx"), "--out", str(tmp_path / "e.onnx")]
    done = subprocess.run(
        [*command, "--calibrate", str(folder / "calibrate.npz")], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: cannot lower Asin node 'Tanh_hidden': ")
    assert not (tmp_path / "e.onnx").exists()


def test_compare__program_of_the_model__is_close_on_other_feeds(folder: Path) -> None:
    said = as_json(run("compare", folder / "float.onnx", folder / "exact.onnx", "--feeds", folder / "feeds.npz"))
    assert said["cosine_min"] > 0.9999
    assert 0 < said["max_abs_error"] < 0.01
    assert said["argmax_agreement"] == 1.0
    assert 0 < said["scale_error"] < 0.01
    worst = {name: said[name] for name in ("cosine_min", "scale_error", "max_abs_error", "argmax_agreement")}
    assert said["outputs"] == [{"name": "logits", "shape": [BATCH, CLASSES], **worst}]
    measured = said["measured"]
    assert (measured["batches"], measured["runs"], measured["threads"]) == (BATCHES, 5, 1)
    assert min(said["time_ratio"], measured["float_seconds"], measured["exact_seconds"]) > 0


def test_compare__program_of_another_model__shows_in_the_figures(folder: Path, tmp_path: Path) -> None:
    model = embedder()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "weight")
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), "weight"))
    onnx.save(model, tmp_path / "negated.onnx")
    said = as_json(run("compare", tmp_path / "negated.onnx", folder / "exact.onnx", "--feeds", folder / "feeds.npz"))
    assert said["cosine_min"] < -0.9999
    assert said["argmax_agreement"] == 0.0


def test_compare__program_with_other_names__is_refused(folder: Path, tmp_path: Path) -> None:
    model = embedder()
    model.graph.output[0].name = model.graph.node[-1].output[0] = "scores"
    onnx.save(model, tmp_path / "f.onnx")
    result = run("compare", tmp_path / "f.onnx", folder / "exact.onnx", "--feeds", folder / "feeds.npz")
    assert result.exit_code == 1
    assert str(result.exception) == "the float model has no output 'logits': the program was lowered from another model"


def test_output_distance__rows_of_zeros_and_infinities__have_figures() -> None:
    error = OutputDistance("y", (3, 2))
    error.add(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, -65536.0]]), np.array([[0.0, 0.0], [4.0, 3.0], [1.5, -np.inf]]))
    assert error.cosine_min == pytest.approx(24 / 25)
    assert error.max_abs_error == 1.0
    assert error.argmax_agreement == 2 / 3
    error.add(np.array([[0.0, 0.0]] * 3), np.array([[1.0, 0.0]] * 3))
    assert (error.cosine_min, error.argmax_agreement) == (0.0, 5 / 6)


def test_output_distance__rows_four_times_too_long__show_in_the_scale_error_alone() -> None:
    error = OutputDistance("y", (3, 2))
    real = np.array([[3.0, 4.0], [1.0, 1.0], [0.0, 0.0]])
    error.add(real * np.array([[4.0], [1.0], [1.0]]), real)
    assert error.cosine_min == pytest.approx(1.0)
    assert error.argmax_agreement == 1.0
    assert error.scale_error == pytest.approx(3.0)
    error.add(real, real)
    assert error.scale_error == pytest.approx(3.0)


def test_output_distance__rows_of_one_element__have_no_cosine() -> None:
    error = OutputDistance("score", ())
    error.add(np.array(5.0), np.array(4.5))
    assert (error.cosine_min, error.max_abs_error, error.argmax_agreement) == (None, 0.5, None)


def test_compare__report__shows_layers_ranges_saturation_and_time(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    files = (folder / "float.onnx", folder / "exact.onnx", "--feeds", folder / "feeds.npz")
    said = as_json(run("compare", *files, "--map", folder / "map.json", "--report", report))
    page = report.read_text("utf-8")
    for heading in ("Outputs", "Worst layers", "Ranges against calibration", "Saturation", "Time by instruction"):
        assert f"<h2>{heading}</h2>" in page
    for tensor in ("embedded", "masked", "summed", "moved", "hidden", "logits"):
        assert f">{tensor}</span>" in page
    assert f"<b>{said['cosine_min']:.9f}</b>" in page
    assert "MatMul 2×4" in page
    assert "http" not in page
    assert "<script" not in page
    again = run("compare", *files, "--report", report)
    assert str(again.exception) == f"{report} exists and is not overwritten: choose another name, or move it away"


def test_compare__map_of_another_program__is_refused(folder: Path, tmp_path: Path) -> None:
    files = (folder / "float.onnx", folder / "exact.onnx", "--feeds", folder / "feeds.npz")
    wrong = tmp_path / "map.json"
    wrong.write_text((folder / "map.json").read_text().replace('"exact": "v', '"exact": "w'))
    assert "the map is not this program's: it has no tensor 'w" in str(run("compare", *files, "--map", wrong).exception)
    wrong.write_text("[]")
    assert "this is not a map that `touchstone lower --map` wrote" in str(
        run("compare", *files, "--map", wrong).exception
    )


def test_inspect__operand_beyond_its_clip__is_counted_and_named(folder: Path) -> None:
    program = load_program((folder / "exact.onnx").read_bytes())
    known = LayerMap.from_json((folder / "map.json").read_text(), program)
    inputs = inputs_of(embedder())
    feed = next(iter(batches(inputs, arrays(2)))) | {"mask": np.full((BATCH, TOKENS), 7)}
    pairs = [(feed, integers(program, inputs, feed, known.grids))]
    _, saturations = inspect(embedder(), program, known.layers, pairs, lambda what, done, total: None)
    (clip,) = [item for item in program.instructions if "mask" in item.inputs]
    (mask,) = [item for item in saturations if item.node == clip.node]
    assert (mask.low, mask.high, mask.elements) == (0, BATCH * TOKENS, BATCH * TOKENS)


# Eval with the feeds of compare, and float models where exact programs are expected


def test_eval__feeds_of_several_batches__has_the_digests_of_each_batch_alone(folder: Path, tmp_path: Path) -> None:
    said = as_json(run("eval", folder / "exact.onnx", "--feeds", folder / "feeds.npz"))
    assert len(said["batches"]) == BATCHES
    assert said["outputs"] == [{"name": "logits", "shape": [BATCH, CLASSES], "grid": said["outputs"][0]["grid"]}]
    for number, feed in enumerate(batches(inputs_of(embedder()), arrays(2))):
        np.savez(tmp_path / f"{number}.npz", **feed)
        alone = as_json(run("eval", folder / "exact.onnx", "--feeds", tmp_path / f"{number}.npz"))
        assert said["batches"][number] == {name: alone[name] for name in ("digest", "outputs_sha256")}
        quantised = integers(
            load_program((folder / "exact.onnx").read_bytes()),
            inputs_of(embedder()),
            feed,
            {"ids": 0, "mask": 0, "shift": -13},
        )
        np.savez(tmp_path / f"q{number}.npz", **quantised)
        assert as_json(run("eval", folder / "exact.onnx", "--feeds", tmp_path / f"q{number}.npz")) == alone


OUTSIDE = "array 'ids' has numbers outside of int32, in which the program takes them"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": None}, "input 'ids' is missing"),
        ({"ids": np.full((BATCH, TOKENS), 2**31)}, OUTSIDE),
        ({"ids": np.full((BATCH, TOKENS), -(2**31) - 1)}, OUTSIDE),
        (
            {"mask": np.zeros((2 * BATCH, TOKENS), np.int64)},
            "array 'mask' has 2 batches: it must have 6, as others have, or one",
        ),
        ({"shift": np.full((1, WIDTH), np.nan, np.float32)}, "array 'shift' has NaNs, which no integer stands for"),
        (
            {"shift": np.full((1, WIDTH), -np.inf, np.float32)},
            "array 'shift' has infinite numbers, which no integer stands for",
        ),
        (
            {"ids": np.zeros((3, TOKENS), np.int64), "mask": np.zeros((BATCH, TOKENS), np.int64)},
            "input 'ids' is int32[3, 5], it should be int32[2, 5]",
        ),
        ({"other": np.zeros(1, np.int64)}, "no input is called 'other'; inputs are ['ids', 'mask', 'shift']"),
    ],
)
def test_eval__feeds_that_do_not_fit__are_named(
    folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "feeds.npz", **{name: x for name, x in (arrays(2) | change).items() if x is not None})
    result = run("eval", folder / "exact.onnx", "--feeds", tmp_path / "feeds.npz")
    assert (result.exit_code, str(result.exception)) == (1, message)


def test_eval__floats_beyond_the_inputs_dtype__saturate_with_a_warning(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "feeds.npz", **(arrays(2) | {"shift": np.full((1, WIDTH), -6.0, np.float32)}))
    result = run("eval", folder / "exact.onnx", "--feeds", tmp_path / "feeds.npz")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        "warning: input 'shift' saturates: 100 % of its numbers pass 3.99988, the limit of int16 on grid -13, and the "
        "largest is 6: lower the model again, calibrated with such feeds or with --input shift=int16:-11"
    )


@pytest.mark.parametrize(("number", "what"), [(np.nan, "NaNs"), (np.inf, "infinite numbers")])
def test_compare__feeds_that_are_not_finite__are_refused(
    folder: Path, tmp_path: Path, number: float, what: str
) -> None:
    np.savez(tmp_path / "feeds.npz", **(arrays(2) | {"shift": np.full((1, WIDTH), number, np.float32)}))
    result = run("compare", folder / "float.onnx", folder / "exact.onnx", "--feeds", tmp_path / "feeds.npz")
    assert str(result.exception) == f"array 'shift' has {what}, which no integer stands for"


@pytest.mark.parametrize("command", ["check", "eval", "compare", "dependence"])
def test_exact_commands__float_model__say_how_to_lower_it(folder: Path, command: str) -> None:
    model = folder / "float.onnx"
    feeds = () if command in ("check", "dependence") else ("--feeds", folder / "feeds.npz")
    result = run(command, *([model] if command == "compare" else []), model, *feeds)
    reason = f"it is a float model: run `touchstone lower {model} --calibrate feeds.npz --out exact.onnx` first"
    assert result.exit_code == 1
    if command == "check":
        assert json.loads(result.stdout) == {"exact": False, "node": "the model", "reason": reason}
    else:
        assert str(result.exception) == f"not exact at the model: {reason}"


def test_check__file_with_floats_that_is_no_model__keeps_its_own_reason(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"float " * 100)
    assert json.loads(run("check", tmp_path / "text.onnx").stdout)["reason"] == "it is not an ONNX model"
