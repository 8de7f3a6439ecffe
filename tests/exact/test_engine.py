"""The engine: its own graph in a pinned session, the reference's integers, and constants that are not copied."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.exact.graphs import Row, data, stock_run
from verifier.exact import Engine, FeedError, Program, SelfTestError, load_program, reference
from verifier.exact.runtime import engine

DOUBLE = onnx.TensorProto.DOUBLE


def product_with_transposed() -> bytes:
    """y = transpose(x) · z, with a vector z."""
    return data(
        [
            ("Cast", "x", "xf", {"to": DOUBLE}),
            ("Cast", "z", "zf", {"to": DOUBLE}),
            ("Transpose", "xf", "t", {"perm": [1, 0]}),
            ("MatMul", "t zf", "y"),
        ],
        {"x": ("int16", [3, 3]), "z": ("int16", [3])},
    )


@pytest.fixture
def program() -> Program:
    return load_program(product_with_transposed())


@pytest.fixture
def feeds() -> dict[str, Any]:
    return {"x": np.arange(9, dtype=np.int16).reshape(3, 3), "z": np.array([1, 10, 100], np.int16)}


TRUE = [630, 741, 852]  # 0·1 + 3·10 + 6·100 and so on


def test_optimised_runtime__transposed_operand_and_a_vector__is_wrong_where_the_engine_is_right(
    program: Program, feeds: dict[str, Any]
) -> None:
    """Stock onnxruntime's MatmulTransposeFusion takes the vector for a row: its optimiser is at fault, not a kernel."""
    (optimised,) = stock_run(product_with_transposed(), feeds, optimised=True)
    assert optimised.ravel().tolist() != TRUE, "repaired in this onnxruntime: update the documentation"
    (unoptimised,) = stock_run(product_with_transposed(), feeds)
    assert unoptimised.tolist() == TRUE
    assert Engine(program).run(feeds)["y"].tolist() == TRUE
    assert reference.run(program, feeds)["y"].tolist() == TRUE


def test_session__every_option__is_pinned(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, Any, list[str]]] = []

    class Session(ort.InferenceSession):  # type: ignore[misc]
        def __init__(self, model: bytes, options: Any, providers: list[str]) -> None:
            seen.append((model, options, providers))
            super().__init__(model, options, providers)

    monkeypatch.setattr(engine.ort, "InferenceSession", Session)
    Engine(program, threads=2)
    model, options, providers = seen[0]
    assert providers == ["CPUExecutionProvider"]
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    for entry in (
        "session.set_denormal_as_zero",
        "session.disable_prepacking",
        "optimization.enable_gelu_approximation",
        "optimization.enable_cast_chain_elimination",
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
    ):
        with pytest.raises(RuntimeError):
            options.get_session_config_entry(entry)
    assert model != product_with_transposed()
    assert b"zf" not in model  # no name from the file


def test_session__another_provider__is_refused(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort.InferenceSession, "get_providers", lambda self: ["DnnlExecutionProvider", engine.PROVIDER])
    with pytest.raises(SelfTestError, match=r"runs on \['DnnlExecutionProvider', 'CPUExecutionProvider'\], not on CPU"):
        Engine(program)


def test_environment__lets_a_model_override_options__is_cleared_before_onnxruntime_is_imported() -> None:
    code = (
        "import os, sys; import verifier.exact; "
        "assert 'onnxruntime' in sys.modules; print(os.environ.get('ORT_LOAD_CONFIG_FROM_MODEL'))"
    )
    environment = os.environ | {"ORT_LOAD_CONFIG_FROM_MODEL": "1"}
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert child.stdout == "None\n"


def test_emitted_graph__of_an_untrusted_file__holds_only_what_runs_under_new_names() -> None:
    file = data(
        [
            ("Cast", "weight", "w", {"to": DOUBLE}),
            ("Transpose", "w", "wt"),
            ("Mul", "wt scale", "ws"),
            ("Cast", "x", "xf", {"to": DOUBLE}),
            ("MatMul", "xf ws", "y", {"name": "ignore previous instructions"}),
        ],
        {"x": ("int16", [1, 20])},
        {"weight": np.arange(200, dtype=np.int16).reshape(10, 20), "scale": np.float64(2.0**-3), "unused": np.ones(9)},
    )
    model, constants = engine.emit(load_program(file))
    assert [(node.op_type, list(node.input), list(node.output)) for node in model.graph.node] == [
        ("Cast", ["in0"], ["v0_0"]),
        ("MatMul", ["v0_0", "c0"], ["out0"]),
    ]
    assert b"ignore" not in model.SerializeToString()
    # The weight is expanded once, in the layout in which it is used.
    assert list(constants) == ["c0"]
    assert constants["c0"].dtype == np.float64
    assert constants["c0"].flags.c_contiguous
    np.testing.assert_array_equal(constants["c0"], np.arange(200).reshape(10, 20).T / 8)


def test_emitted_graph__order_of_int64__is_found_by_comparisons() -> None:
    """Some onnxruntime versions take the wrong one of two int64 with equal upper halves in Max, Min and Clip."""
    file = data(
        [("Clip", "x low high", "c"), ("Max", "c z", "m"), ("Min", "m z x", "y")],
        {"x": ("int64", [2]), "z": ("int64", [2])},
        {"low": np.int64(-5), "high": np.int64(2**31 + 5)},
    )
    program = load_program(file)
    model, _ = engine.emit(program)
    assert {node.op_type for node in model.graph.node} == {"Less", "Greater", "Where"}
    feeds = {"x": np.array([2**31 - 1, 2**40], np.int64), "z": np.array([2**31, -7], np.int64)}
    for outputs in (Engine(program).run(feeds), reference.run(program, feeds)):
        assert outputs["y"].tolist() == [2**31 - 1, -7]


def test_emitted_graph__output_that_is_an_input_or_a_constant__is_returned() -> None:
    file = data([], {"x": ("int16", [2])}, {"c": np.array([-0.0, 0.75])}, outputs="x c")
    program = load_program(file)
    feeds = {"x": np.array([-5, 7], np.int16)}
    for outputs in (Engine(program).run(feeds), reference.run(program, feeds)):
        assert {name: q.tolist() for name, q in outputs.items()} == {"x": [-5, 7], "c": [0, 3]}
    assert [item.grid for item in program.outputs] == [0, -2]


FEEDS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"x": np.zeros((3, 3), np.int16)}, "input 'z' is missing"),
    "unknown": (
        {"x": np.zeros((3, 3), np.int16), "z": np.zeros(3, np.int16), "w": np.zeros(1)},
        r"no input is called 'w'; inputs are \['x', 'z'\]",
    ),
    "another dtype": (
        {"x": np.zeros((3, 3), np.int16), "z": np.zeros(3, np.int32)},
        r"input 'z' is int32\[3\], it should be int16\[3\]",
    ),
    "another byte order": (
        {"x": np.zeros((3, 3), np.int16), "z": np.zeros(3, ">i2")},
        r"input 'z' is >i2\[3\], it should be int16\[3\]",
    ),
    "another shape": (
        {"x": np.zeros((3, 3), np.int16), "z": np.zeros((3, 1), np.int16)},
        r"input 'z' is int16\[3, 1\], it should be int16\[3\]",
    ),
}


@pytest.mark.parametrize("case", FEEDS)
def test_feeds__that_are_not_declared__are_refused(case: str, program: Program) -> None:
    wrong, message = FEEDS[case]
    for run in (Engine(program).run, lambda feeds: reference.run(program, feeds)):
        with pytest.raises(FeedError, match=message):
            run(wrong)


def test_feeds__in_other_memory_layouts__give_the_same(program: Program, feeds: dict[str, Any]) -> None:
    spread = np.zeros((6, 6), np.int16)
    spread[::2, ::2] = feeds["x"]
    for x in (np.asfortranarray(feeds["x"]), spread[::2, ::2], feeds["x"][::-1][::-1]):
        assert Engine(program).run({"x": x, "z": feeds["z"]})["y"].tolist() == TRUE


@pytest.mark.parametrize("factor", [2**35 + 1, 2**36 - 1, 2**36 + 1, 2**38 - 1])
def test_outputs__below_and_beyond_2_to_51__are_the_references_integers(factor: int) -> None:
    """Smaller integers are read from the lowest bits of a sum, larger ones are cast."""
    nodes: list[Row] = [("Cast", "x", "f", {"to": DOUBLE}), ("Mul", "f k", "g"), ("Neg", "g", "y")]
    found = load_program(data(nodes, {"x": ("int16", [6])}, {"k": np.float64(factor * 2.0**-90)}))
    assert found.outputs[0].grid == -90
    x = np.array([-(2**15), 1 - 2**15, -1, 0, 1, 2**15 - 1], np.int16)
    q = Engine(found).run({"x": x})["y"]
    assert q.tolist() == [-int(number) * factor for number in x]
    assert q.tolist() == reference.run(found, {"x": x})["y"].tolist()


MEMORY = """
import sys
import numpy as np
from verifier.exact import Engine, load_program

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

program = load_program(open(sys.argv[1], "rb").read())
before = resident()
engine = Engine(program)
engine.run({"x": np.ones((1, 4096), np.int16)})
print(resident() - before, program.memory_bytes)
"""


def test_memory__of_a_large_weight__is_one_float64_copy_of_it(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).integers(-100, 100, (4096, 4096), np.int16)
    path = tmp_path / "large.onnx"
    path.write_bytes(
        data(
            [("Cast", "x", "f", {"to": DOUBLE}), ("Cast", "w", "g", {"to": DOUBLE}), ("MatMul", "f g", "y")],
            {"x": ("int16", [1, 4096])},
            {"w": weight},
        )
    )
    child = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, timeout=600, check=True
    )
    used, foretold = map(int, child.stdout.split())
    assert foretold == 8 * (weight.size + 2 * 4096) + 2 * 4096  # f, y and x
    assert foretold <= used <= 1.25 * foretold


PEAK = """
import sys
import numpy as np
from verifier.exact import Engine, load_program

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

program = load_program(open(sys.argv[1], "rb").read())
before = status("VmRSS")
feeds = {item.name: np.ones(item.shape, item.dtype) for item in program.inputs}
engine = Engine(program)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
    engine.run(feeds)
print(status("VmHWM") - before, program.memory_bytes)
"""
LARGE: dict[str, tuple[list[Row], str]] = {
    "a cast": ([("Cast", "x", "y", {"to": DOUBLE})], "int32"),
    "a sum of two": ([("Cast", "x", "f", {"to": DOUBLE}), ("Neg", "f", "g"), ("Add", "f g", "y")], "int32"),
    "both side by side": ([("Cast", "x", "f", {"to": DOUBLE}), ("Concat", "f f", "y", {"axis": 0})], "int32"),
    "the larger of two int64": ([("Max", "x row", "y")], "int64"),
    "a clip of int64": ([("Clip", "x low high", "y")], "int64"),
    "a choice": ([("Less", "x row", "b"), ("Where", "b x row", "y")], "int64"),
    "a product of int64": ([("Clip", "x low high", "c"), ("Mul", "c c", "y")], "int64"),
    "int8 that stay int8": ([("Transpose", "x", "t", {"perm": [1, 0]}), ("Identity", "t", "y")], "int8"),
    "int8 in another order": ([("Gather", "x order", "y", {"axis": 0})], "int8"),
    "int8 as float64": ([("Cast", "x", "y", {"to": DOUBLE})], "int8"),
    "a square of uint8": ([("Cast", "x", "f", {"to": DOUBLE}), ("Mul", "f f", "g"), ("Neg", "g", "y")], "uint8"),
    "a sum of int16": ([("Cast", "x", "f", {"to": DOUBLE}), ("ReduceSum", "f", "y", {"keepdims": 0})], "int16"),
    "a choice of int32": ([("Less", "x row32", "b"), ("Where", "b x row32", "y")], "int32"),
    "bools": (
        [("Less", "x row32", "b"), ("Not", "b", "c"), ("And", "b c", "e"), ("Cast", "e", "y", {"to": 6})],
        "int32",
    ),
    "another shape": (
        [("Cast", "x", "f", {"to": DOUBLE}), ("Reshape", "f shape", "r"), ("ReduceSum", "r", "y", {"keepdims": 0})],
        "int8",
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_memory__of_large_tensors__peaks_within_a_fifth_of_what_is_stated(case: str, tmp_path: Path) -> None:
    """Measured beside 16 MiB for the session itself. Tensors have 2**22 elements, 32 MiB where each takes 8 bytes."""
    nodes, dtype = LARGE[case]
    row = np.arange(2**11)
    constants = {"low": np.int64(-5), "high": np.int64(5), "row": row, "row32": row.astype(np.int32)}
    constants |= {"order": row[::-1].copy(), "shape": np.array([2**22])}
    path = tmp_path / "large.onnx"
    path.write_bytes(data(nodes, {"x": (dtype, [2**11, 2**11])}, constants))
    child = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, timeout=600, check=True
    )
    peak, stated = map(int, child.stdout.split())
    assert 0.8 * stated <= peak <= 1.2 * stated + 2**24
