"""Files made to exhaust the machine that checks them, or that are not ONNX: refused soon and in little memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exact.graphs import data
from tests.exact.hostile import DOUBLE, field, refused, valid_model, varint
from verifier.exact import NotExactError, load_program

# Encoding


@pytest.mark.parametrize("claim", [2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**69])
def test_encoding__field_claiming_2_gigabytes__is_refused(claim: int) -> None:
    found = refused(valid_model().SerializeToString() + varint(7 << 3 | 2) + varint(claim) + b"abc")
    assert found.startswith("the file: it is not an ONNX model")


@pytest.mark.parametrize(
    "file", [b"\xff", b"\x00\x00", b"not a model", b"\x0b\x0c", b"\x08" + b"\xff" * 20, b"\x39123"]
)
def test_encoding__bytes_that_are_no_message__are_refused(file: bytes) -> None:
    assert refused(file).startswith("the file: it is not an ONNX model")


def test_encoding__nothing_at_all__is_refused() -> None:
    assert refused(b"") == "the model: IR version 0: 8 or 9 is needed"


def test_encoding__nested_a_thousand_times__is_refused() -> None:
    nested = b""
    for _ in range(1000):
        nested = field(1, field(5, field(6, nested)))  # a node, its attribute, a graph
    assert refused(field(7, nested)) == "the file: it is nested deeper than 12 levels"


def test_encoding__every_cut_and_a_thousand_changed_bytes__are_proven_or_refused() -> None:
    file = valid_model().SerializeToString()
    choose = np.random.default_rng(7)
    variants = [file[:length] for length in range(len(file))]
    for _ in range(1000):
        altered = bytearray(file)
        for place in choose.integers(0, len(file), choose.integers(1, 4)):
            altered[place] = choose.integers(0, 256)
        variants.append(bytes(altered))
    refusals = 0
    for variant in variants:
        try:
            load_program(variant)
        except NotExactError:
            refusals += 1
    assert len(file) < refusals < len(variants)


# Size. Each file is checked in a process of its own whose memory is measured: Python does not see protobuf's.

LIMITED = """
import resource, sys
from verifier.exact import NotExactError, load_program
data = open(sys.argv[1], "rb").read()
def peak():  # in KiB; ru_maxrss would not do: Linux starts a process with its parent's
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
try:
    load_program(data)
    print("proven")
except NotExactError as error:
    print(error)
print(peak() - before >> 10, resource.getrusage(resource.RUSAGE_SELF).ru_utime)
"""


def measured(tmp_path: Path, file: bytes) -> tuple[str, int, float]:
    """The result of the check, the MiB that it needed beside the file, and its CPU seconds."""
    path = tmp_path / "hostile.onnx"
    path.write_bytes(file)
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=600, check=True
    )
    said, numbers = child.stdout.strip().rsplit("\n", 1)
    mebibytes, seconds = numbers.split()
    return said, int(mebibytes), float(seconds)


@pytest.mark.parametrize("count", [2_900_000, 20_000_000])
def test_size__millions_of_empty_nodes__are_refused_before_they_fill_the_memory(count: int, tmp_path: Path) -> None:
    said, mebibytes, _ = measured(tmp_path, field(7, b"\x0a\x00" * count))
    assert said == "not exact at the file: it has more than 600000 messages"
    assert mebibytes < 100


def test_size__20_million_empty_names__are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    said, mebibytes, _ = measured(tmp_path, field(7, field(1, b"\x0a\x00" * 20_000_000)))
    assert said == "not exact at the file: it has more than 3000000 fields"
    assert mebibytes < 100


def test_size__as_many_messages_and_names_as_are_read__take_less_than_250_mebibytes(tmp_path: Path) -> None:
    """Nodes with an attribute each take the most memory for their bytes."""
    nodes = field(1, b"\x2a\x00") * 299_000 + field(1, b"\x0a\x00" * 2_400_000)
    said, mebibytes, _ = measured(tmp_path, field(7, nodes))
    assert said == "not exact at the model: IR version 0: 8 or 9 is needed"
    assert 50 < mebibytes < 250


def test_size__250_thousand_nodes__are_refused(tmp_path: Path) -> None:
    good = valid_model()
    node = field(1, good.graph.node[0].SerializeToString())
    said, mebibytes, _ = measured(tmp_path, good.SerializeToString() + field(7, node * 250_000))
    assert said == "not exact at the graph: it has 250002 nodes, at most 200000 are allowed"
    assert mebibytes < 500


def test_size__list_of_100_million_numbers_in_an_attribute__is_refused(tmp_path: Path) -> None:
    attribute = field(1, b"perm") + b"\xa0\x01\x07" + field(8, b"\x00" * 100_000_000)
    node = field(1, b"f") + field(2, b"z") + field(4, b"Transpose") + field(5, attribute)
    said, mebibytes, _ = measured(tmp_path, valid_model().SerializeToString() + field(7, field(1, node)))
    assert said == "not exact at the file: it has a list of numbers of 100000000 bytes outside raw data"
    assert mebibytes < 100


def test_size__constant_looked_up_into_a_terabyte__is_refused(tmp_path: Path) -> None:
    rows = {"row": np.ones((1, 2**18), np.int16), "index": np.zeros(2**10, np.int64)}
    said, mebibytes, _ = measured(tmp_path, data([("Gather", "row index", "y")], {"x": ("int8", [1])}, rows))
    assert "its constants are copied or added up more often than a check can afford: store the result" in said
    assert mebibytes < 64


@pytest.mark.parametrize("op", ["Concat", "Reshape", "Gather"])
def test_size__constant_copied_by_a_thousand_nodes__is_refused(op: str, tmp_path: Path) -> None:
    weight = np.zeros((2**10, 2**10), np.int8)
    weight[0, 0] = 1
    nodes: list[Any] = [("Transpose", "w", "t")]
    for number in range(1000):
        nodes.append(
            {
                "Concat": ("Concat", "w w", f"c{number}", {"axis": 0}),
                "Reshape": ("Reshape", "t flat", f"c{number}"),
                "Gather": ("Gather", "w every", f"c{number}"),
            }[op]
        )
    constants = {"w": weight, "flat": np.array([-1], np.int64), "every": np.arange(2**10)}
    said, mebibytes, seconds = measured(tmp_path, data(nodes, {"x": ("int8", [1])}, constants, outputs="c0"))
    assert "its constants are copied or added up more often than a check can afford" in said
    assert mebibytes < 64
    assert seconds < 60


def test_size__weight_multiplied_in_ten_thousand_views__is_added_up_once_or_refused(tmp_path: Path) -> None:
    """One weight that many nodes read is added up once; as many different slices of it exceed the budget."""
    weight = {"w": np.ones((2**10, 2**10), np.int8), "one": np.array([1], np.int64)}
    shared: list[Any] = [("Cast", "x", "f", {"to": DOUBLE})]
    for number in range(1000):
        shared += [("Cast", "w", f"w{number}", {"to": DOUBLE}), ("MatMul", f"f w{number}", f"y{number}")]
    inputs = {"x": ("int8", [1, 2**10])}
    said, mebibytes, _ = measured(tmp_path, data(shared, inputs, weight, outputs="y0"))
    assert said == "proven"
    assert mebibytes < 64
    sliced: list[Any] = [("Cast", "x", "f", {"to": DOUBLE}), ("Cast", "w", "g", {"to": DOUBLE})]
    ends = {f"e{number}": np.array([number + 24], np.int64) for number in range(1000)}
    for number in range(1000):
        sliced += [("Slice", f"g zero e{number} one", f"w{number}"), ("MatMul", f"f w{number}", f"y{number}")]
    weight |= ends | {"zero": np.array([0], np.int64)}
    said, mebibytes, _ = measured(tmp_path, data(sliced, inputs, weight, outputs="y0"))
    assert "its constants are copied or added up more often than a check can afford" in said
    assert mebibytes < 64


def test_size__expansion_to_gigabytes__costs_the_check_nothing(tmp_path: Path) -> None:
    nodes: list[Any] = [("Expand", "w shape", f"e{number}") for number in range(1000)]
    constants = {"w": np.ones(1, np.int8), "shape": np.array([2**15, 2**16], np.int64)}
    said, mebibytes, _ = measured(tmp_path, data(nodes, {"x": ("int8", [1])}, constants, outputs="e0"))
    assert said == "proven"
    assert mebibytes < 16


def test_size__program_says_what_memory_a_run_needs() -> None:
    program = load_program(
        data([("Expand", "x shape", "y")], {"x": ("int8", [1])}, {"shape": np.array([2**15, 2**16], np.int64)})
    )
    assert program.memory_bytes >= 2**31
