"""The commands check, eval and selftest, as a user types them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result

from tests.exact.graphs import data, digest_of_outputs, digest_of_stock_run
from verifier.cli.main import cli
from verifier.exact import Engine, load_program
from verifier.exact.vectors import load_vectors
from verifier.tasks.judge import evaluate

FLOAT = 11  # TensorProto.DOUBLE


def scorer() -> bytes:
    """score = sum of x * w / 16, rounded down; a second output holds the scaled products."""
    return data(
        [
            ("Cast", "x", "xf", {"to": FLOAT}),
            ("Cast", "w", "wf", {"to": FLOAT}),
            ("MatMul", "xf wf", "products"),
            ("Mul", "products scale", "scaled"),
            ("ReduceSum", "scaled", "total", {"keepdims": 0}),
            ("Floor", "total", "score"),
        ],
        {"x": ("int16", [2, 3])},
        {"w": np.array([[1], [-2], [300]], np.int16), "scale": np.float64(2.0**-4)},
        outputs="score scaled",
    )


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "exact.onnx"
    path.write_bytes(scorer())
    return path


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    path = tmp_path / "feeds.npz"
    np.savez(path, x=np.array([[5, 6, -7], [-(2**15), 2**15 - 1, 1]], np.int16))
    return path


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_check__exact_program__prints_what_it_costs(program: Path) -> None:
    assert as_json(run("check", program)) == {
        "exact": True,
        "instructions": {"Cast": 2, "Floor": 1, "MatMul": 1, "Mul": 1, "ReduceSum": 1},
        # casts 6 (the weight's is folded), products 6, scaled 2, sum 2 + 1, floor 1
        "macs": 6 + 6 + 2 + 3 + 1,
        # 2 * 303 * 2**15 = 19,857,408
        "peak_bits": 25,
        "peak_node": "ReduceSum node 'number 4'",
        # the constants weight and scale; the input, its cast and their products at once
        "memory_bytes": 8 * (3 + 1) + 2 * 6 + 8 * (6 + 2),
    }


def test_check__it_never_runs_the_graph(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_session(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a session was created")

    monkeypatch.setattr(ort, "InferenceSession", no_session)
    assert as_json(run("check", program))["exact"] is True


def test_check__graph_that_could_round__names_node_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "inexact.onnx"
    path.write_bytes(
        data(
            [("Cast", "x", "f", {"to": FLOAT}), ("Mul", "f f", "y", {"name": "square"})],
            {"x": ("int32", [1])},
        )
    )
    result = run("check", path)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "exact": False,
        "node": "Mul node 'square'",
        "reason": "it can need 63 bits where float64 is exact to 53: clip or requantise its inputs",
    }


def test_check__file_that_is_not_onnx__is_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    result = run("check", path)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["node"] == "the file"


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "Missing argument 'EXACT.onnx'"), (("exact.onnx", "--config", "service.toml"), "No such option: --config")],
)
def test_check__no_program_or_a_configuration__is_a_usage_error(options: tuple[str, ...], message: str) -> None:
    result = run("check", *options)
    assert result.exit_code == 2
    assert message in result.output


def test_eval__program_and_feeds__prints_outputs_and_their_digest(program: Path, feeds: Path) -> None:
    products = [5 - 12 - 2100, -(2**15) - 2 * (2**15 - 1) + 300]
    score = sum(products) // 16
    integers = [np.array(values, "<i8").tobytes() for values in ([score], products)]
    for threads in (1, 2):
        assert as_json(run("eval", program, "--feeds", feeds, "--threads", threads)) == {
            "outputs": [{"name": "score", "shape": [], "grid": 0}, {"name": "scaled", "shape": [2, 1], "grid": -4}],
            "digest": "0x" + digest_of_outputs(integers).hex(),
            "outputs_sha256": hashlib.sha256(b"".join(integers)).hexdigest(),
        }


def test_eval__outputs_sha256__is_of_little_endian_int64_in_graph_order(tmp_path: Path) -> None:
    (tmp_path / "copies.onnx").write_bytes(
        data([], {"a": ("int64", [1, 2]), "b": ("int64", [])}, outputs="a b"),
    )
    np.savez(tmp_path / "feeds.npz", a=np.array([[1, -1]], np.int64), b=np.array(2**40, np.int64))
    printed = as_json(run("eval", tmp_path / "copies.onnx", "--feeds", tmp_path / "feeds.npz"))
    encoded = b"\x01" + b"\0" * 7 + b"\xff" * 8 + b"\0" * 5 + b"\x01\0\0"
    assert printed["outputs_sha256"] == hashlib.sha256(encoded).hexdigest()


def test_eval__digest__is_the_one_that_evidence_records_for_the_same_run(program: Path, feeds: Path) -> None:
    proven = load_program(program.read_bytes())
    with np.load(feeds) as arrays:
        evaluation = evaluate(proven, Engine(proven), {}, dict(arrays), batch=2)
    (record,) = evaluation.records
    assert as_json(run("eval", program, "--feeds", feeds))["digest"] == "0x" + record.outputs.hex()


def test_eval__program_file_on_stock_onnxruntime__has_the_same_digest(program: Path, feeds: Path) -> None:
    printed = as_json(run("eval", program, "--feeds", feeds))
    with np.load(feeds) as arrays:
        plain = digest_of_stock_run(program.read_bytes(), [item["grid"] for item in printed["outputs"]], dict(arrays))
    assert "0x" + plain.hex() == printed["digest"]


def test_eval__real_process__prints_json_and_one_line_for_an_error(program: Path, feeds: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "verifier", "eval", str(program), "--feeds"]
    done = subprocess.run([*command, str(feeds)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == as_json(run("eval", program, "--feeds", feeds))
    np.savez(tmp_path / "wrong.npz", x=np.zeros((2, 4), np.int32))
    done = subprocess.run([*command, str(tmp_path / "wrong.npz")], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: input 'x' is int16[2, 4], it should be int16[2, 3]\n"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_eval__feeds_that_are_not_an_npz_file__are_refused(program: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    result = run("eval", program, "--feeds", path)
    assert result.exit_code == 1
    assert "is not an npz file of numeric arrays" in str(result.exception)


def test_eval__pickled_feeds__are_not_unpickled(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "pickled.npz"
    np.savez(path, x=np.array([{"a": 1}], object))
    result = run("eval", program, "--feeds", path)
    assert result.exit_code == 1
    assert "is not an npz file of numeric arrays" in str(result.exception)


def test_selftest__this_machine__counts_the_vectors() -> None:
    assert as_json(run("selftest")) == {"vectors": len(load_vectors()), "onnxruntime": ort.__version__}
