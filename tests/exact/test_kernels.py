"""Every operator and dtype that the proof accepts has a kernel in onnxruntime, and runs alike everywhere."""

from typing import Any

import numpy as np
import onnx
import pytest

from tests.exact.graphs import Row, data, stock_run
from tests.exact.oracle import evaluate, same
from tests.exact.programs import feeds_of
from verifier.exact import Engine, NotExactError, Program, load_program, reference
from verifier.exact.program.instructions import REGISTRY
from verifier.exact.program.parse import PROTO_OF
from verifier.exact.program.values import DTYPES

ALL = set(DTYPES)
WIDE = {"int32", "int64", "float64"}
FLOAT, BOOL = {"float64"}, {"bool"}
ACCEPTED: dict[str, set[str]] = (
    dict.fromkeys(("Add", "Sub", "Mul", "Neg", "Max", "Min", "Clip", "Where"), WIDE)
    | dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin"), WIDE)
    | dict.fromkeys(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"), WIDE)
    | dict.fromkeys(("MatMul", "Round", "Floor", "Div", "Sqrt"), FLOAT)
    | dict.fromkeys(("And", "Or", "Not"), BOOL)
    | dict.fromkeys(("Gather", "GatherElements", "Cast", "Identity", "Reshape", "Transpose"), ALL)
    | dict.fromkeys(("Slice", "Split", "Concat", "Expand", "Squeeze", "Unsqueeze"), ALL)
)
# The operands of each operator: a and b [2, 3] have the dtype under test, the others are defined below.
READS = dict.fromkeys(ACCEPTED, "a b") | {
    **dict.fromkeys(("Neg", "Not", "Round", "Floor", "Sqrt", "Identity", "Transpose", "Cast"), "a"),
    "Clip": "a lo hi",
    "Where": "c a b",
    "MatMul": "a t",
    "Gather": "a i",
    "GatherElements": "a ii",
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin"), "a list1"),
    "Reshape": "a list32",
    "Slice": "a list0 list1 list0",
    "Split": "a list12",
    "Expand": "a list223",
    "Squeeze": "u list0",
    "Unsqueeze": "a list0",
}
LIMITS = {"lo": 3, "hi": 5, "low": 1, "high": 100}
LISTS = {"list0": [0], "list1": [1], "list12": [1, 2], "list32": [3, 2], "list223": [2, 2, 3], "i": [2, 0]}


def graph(op: str, dtype: str, shape: tuple[int, ...] = (2, 3)) -> bytes:
    """A file with y = op of tensors of a dtype, which are computed from inputs and lie within 0..100."""
    source = {"bool": "int32", "float64": "int16"}.get(dtype, dtype)
    nodes: list[Row] = []
    for name in "ab":
        if dtype == "bool":
            nodes.append(("Greater", f"{name}0 zero", name))
        elif dtype in ("int32", "int64"):
            nodes.append(("Clip", f"{name}0 low high", name))
        elif dtype == "float64":
            nodes += [("Cast", f"{name}0", f"{name}1", {"to": PROTO_OF[dtype]}), ("Clip", f"{name}1 low high", name)]
        else:
            nodes.append(("Identity", f"{name}0", name))
    nodes.append(("Greater", "flags zero", "c"))
    if op == "MatMul":
        nodes.append(("Transpose", "a", "t"))
    if op == "Squeeze":
        nodes.append(("Unsqueeze", "a list0", "u"))
    attributes: dict[str, Any] = {"axis": 1} if op in ("Gather", "GatherElements", "Split", "Concat") else {}
    if op == "Cast":
        attributes["to"] = PROTO_OF[dtype]
    nodes.append((op, READS[op], {"Split": "y z"}.get(op, "r" if op in ("Div", "Sqrt") else "y"), attributes))
    if op in ("Div", "Sqrt"):
        nodes.append(("Floor", "r", "y"))
    constants = {name: np.array(values, np.int64) for name, values in LISTS.items()}
    constants["ii"] = np.array([[2], [0]], np.int32)
    constants["zero"] = np.array(0, np.int32)
    constants |= {
        name: np.array(value).astype(dtype) for name, value in (("lo", 3), ("hi", 5), ("low", 1), ("high", 100))
    }
    inputs = {"a0": (source, shape), "b0": (source, shape), "flags": ("int32", shape)}
    return data(nodes, inputs, constants)


def proven(file: bytes) -> Program | None:
    try:
        return load_program(file)
    except NotExactError:
        return None


def check_run(file: bytes, program: Program) -> None:
    model = onnx.load_from_string(file)
    engine = Engine(program)
    for feeds in feeds_of(model, seed=3):
        (plain,) = stock_run(file, feeds)
        outputs = engine.run(feeds)["y"]
        assert same(plain, evaluate(model, feeds)["y"])
        np.testing.assert_array_equal(outputs, reference.run(program, feeds)["y"])
        np.testing.assert_array_equal(outputs, plain.astype(np.int64))


def test_table__of_accepted_dtypes__has_every_operator() -> None:
    assert set(ACCEPTED) == set(REGISTRY)


@pytest.mark.parametrize("op", sorted(ACCEPTED))
def test_operator__every_dtype__is_refused_or_runs_alike_everywhere(op: str) -> None:
    accepted = set()
    for dtype in DTYPES:
        file = graph(op, dtype)
        program = proven(file)
        if program is not None:
            accepted.add(dtype)
            check_run(file, program)
    assert accepted == ACCEPTED[op]


ANY_SHAPE = sorted(op for op, reads in READS.items() if reads in ("a", "a b", "c a b", "a lo hi") and op != "Concat")


@pytest.mark.parametrize("shape", [(), (2, 1, 1, 2, 1, 1, 1, 3)], ids=["scalar", "eight dimensions"])
@pytest.mark.parametrize("op", ANY_SHAPE)
def test_operator__scalars_and_eight_dimensions__run_alike_everywhere(op: str, shape: tuple[int, ...]) -> None:
    for dtype in ACCEPTED[op]:
        file = graph(op, dtype, shape)
        check_run(file, load_program(file))
