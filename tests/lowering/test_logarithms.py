"""Logarithms and softmaxes against float64, with bounds on the error."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import onnx
import pytest
import torch

from tests.lowering.compare import GRID, Array, FloatGraph, node, real, three_ways
from verifier.exact import load_program
from verifier.exact.lowering import Builder, InputSpec, log_sum_exp, lower
from verifier.exact.lowering.fusion import fuse
from verifier.exact.lowering.operators.functions import logarithm
from verifier.exact.program.values import FLOAT

LOG_ERROR = 2.0**-26
SUM_ERROR = 2.0**-20
SOFTMAX_ERROR = 2.0**-12
# A factor that puts the inputs' steps between the entries of every table.
FINE = 45_007 / 2**16

X = {"x": (3, 6)}
CUBE = {"x": (3, 4, 5)}
AXIS = np.array([-1], np.int64)


def sum_of_exponentials(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return ln(sum of exp(x)) over axes that are kept with length 1."""
    largest = x.max(axis, keepdims=True)
    return np.asarray(largest + np.log(np.exp(x - largest).sum(axis, keepdims=True)))


def log_softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    return np.asarray(x - sum_of_exponentials(x, axis))


def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    return np.asarray(np.exp(log_softmax(x, axis)))


def error(graph: FloatGraph, expected: Callable[[Array], Array], seed: int = 1) -> float:
    """Return the largest error of the exact graph of x against a function of x in float64."""
    feeds = graph.integers(seed)
    calibration = [real(graph.integers(number)) for number in range(100, 108)]
    exact = lower(graph.model(), calibration, {"x": InputSpec("int16", GRID)})
    found = three_ways(exact.SerializeToString(), feeds)
    wanted = expected(np.ldexp(feeds["x"].astype(np.float64), GRID))
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 0.1
    return float(np.abs(found - wanted).max())


def of_fine(
    last: onnx.NodeProto, shape: tuple[int, ...] = (3, 4, 5), scale: float = 2.0, opset: int = 18
) -> FloatGraph:
    """Return a graph of a node that reads y = FINE * x."""
    nodes = [node("Mul", ["x", "fine"], ["y"]), last]
    return FloatGraph(nodes, {"x": shape}, {"fine": np.float32(FINE)}, scale, opset)


def fused_operators(graph: FloatGraph) -> list[str]:
    return [item.op_type for item in fuse(graph.model()).nodes]


# Log


def every_octave() -> Array:
    """Return integers of 1 to 53 bits: both ends of every octave, and many between."""
    drawn = np.floor(2.0 ** np.random.default_rng(5).uniform(0, 53, 20_000)).astype(np.int64)
    ends = 2 ** np.arange(53)
    return np.concatenate([ends, ends[1:] + 1, ends[1:] - 1, drawn, [2**53 - 1]])


@pytest.mark.parametrize("grid", [0, -22, -30, -52, 200])
def test_logarithm__any_number_of_53_bits__is_within_its_bound(grid: int) -> None:
    q = every_octave()
    builder = Builder()
    limits = [builder.constant(np.int64(limit)) for limit in (0, 2**53)]
    whole = builder.op("Clip", builder.input("x", "int64", q.shape), *limits)
    out = logarithm(builder, builder.scale(builder.cast(whole, FLOAT), grid))
    found = three_ways(builder.model({"out": out}).SerializeToString(), {"x": q})
    assert np.abs(found - (np.log(q.astype(np.float64)) + grid * np.log(2))).max() <= LOG_ERROR
    # It never decreases, and the logarithms of successive powers of two differ by ln 2.
    assert (np.diff(found[np.argsort(q)]) >= 0).all()
    assert np.abs(np.diff(found[:53]) - np.log(2)).max() <= 2.0**-28


def test_logarithm__numbers_not_above_0__count_as_one_step() -> None:
    builder = Builder()
    x = builder.scale(builder.cast(builder.input("x", "int16", (4,)), FLOAT), -8)
    file = builder.model({"out": logarithm(builder, x)}).SerializeToString()
    found = three_ways(file, {"x": np.array([0, -1, -(2**15), 1], np.int16)})
    assert np.abs(found + 8 * np.log(2)).max() <= LOG_ERROR
    assert len(set(found.tolist())) == 1


@pytest.mark.parametrize(("grid", "low", "high"), [(-30, -30, 0), (-1, -1, 30)])
def test_lower__log_from_2_to_the_minus_30_to_2_to_the_30__is_within_its_bound(grid: int, low: int, high: int) -> None:
    graph = FloatGraph([node("Log", ["x"], ["out"])], {"x": (1000,)})
    drawn = 2.0 ** np.random.default_rng(1).uniform(low, high, (2, 1000))
    q = np.maximum(np.rint(np.ldexp(drawn, -grid)), 1).astype(np.int32)
    calibration = [{"x": np.ldexp(q[0].astype(np.float32), grid)}]
    exact = lower(graph.model(), calibration, {"x": InputSpec("int32", grid)})
    found = three_ways(exact.SerializeToString(), {"x": q[1]})
    assert np.abs(found - np.log(np.ldexp(q[1].astype(np.float64), grid))).max() <= LOG_ERROR


SCALARS = {"one": np.float32(1), "small": np.float32(2.0**-20), "two": np.float32(2)}
OF_EXACT = {  # (nodes, function): logarithms of exact arithmetic
    "of a square": (
        [
            node("Mul", ["x", "x"], ["square"]),
            node("Add", ["square", "small"], ["total"]),
            node("Log", ["total"], ["out"]),
        ],
        lambda x: np.log(x**2 + 2.0**-20),
    ),
    "of a clamped number, negated": (
        [
            node("Max", ["x", "small"], ["clamped"]),
            node("Log", ["clamped"], ["log"]),
            node("Neg", ["log"], ["out"]),
        ],
        lambda x: -np.log(np.maximum(x, 2.0**-20)),
    ),
    "of a sum of squares": (
        [
            node("Mul", ["x", "x"], ["square"]),
            node("ReduceSum", ["square", "axis"], ["total"]),
            node("Log", ["total"], ["out"]),
        ],
        lambda x: np.log((x**2).sum(-1, keepdims=True)),
    ),
}


@pytest.mark.parametrize(("nodes", "function"), OF_EXACT.values(), ids=OF_EXACT.keys())
def test_lower__log_of_exact_arithmetic__is_not_tabulated_over_its_range(
    nodes: list[onnx.NodeProto], function: Callable[[Array], Array]
) -> None:
    graph = FloatGraph(nodes, {"x": (40, 6)}, {**SCALARS, "axis": AXIS})
    assert "Log" in fused_operators(graph)
    assert error(graph, function) <= 2 * LOG_ERROR


def test_lower__log_of_a_sigmoid__is_one_table() -> None:
    """The sigmoid approaches 0, where its logarithm approaches a straight line."""
    nodes = [node("Sigmoid", ["x"], ["y"]), node("Log", ["y"], ["out"])]
    graph = FloatGraph(nodes, {"x": (40, 6)}, scale=8.0)
    assert fused_operators(graph) == ["Univariate"]
    assert error(graph, lambda x: -np.logaddexp(0, -x)) <= 2e-3


# Log-softmax, and softmax over any axis


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("opset", [13, 18])
def test_lower__softmax_over_any_axis__is_within_its_bound(axis: int, opset: int) -> None:
    graph = of_fine(node("Softmax", ["y"], ["out"], axis=axis), opset=opset)
    assert error(graph, lambda x: softmax(FINE * x, axis)) <= SOFTMAX_ERROR
    graph = of_fine(node("LogSoftmax", ["y"], ["out"], axis=axis), opset=opset)
    assert error(graph, lambda x: log_softmax(FINE * x, axis)) <= SUM_ERROR


BEFORE_13 = {
    "first": ({"axis": 0}, (0, 1, 2)),
    "middle": ({"axis": 1}, (1, 2)),
    "last": ({"axis": -1}, (2,)),
    "omitted": ({}, (1, 2)),
}


@pytest.mark.parametrize(("attributes", "summed"), BEFORE_13.values(), ids=BEFORE_13.keys())
def test_lower__softmax_before_opset_13__sums_over_its_axis_and_all_after_it(
    attributes: dict[str, int], summed: tuple[int, ...]
) -> None:
    graph = of_fine(node("Softmax", ["y"], ["out"], **attributes), opset=11)
    assert error(graph, lambda x: softmax(FINE * x, summed)) <= SOFTMAX_ERROR
    graph = of_fine(node("LogSoftmax", ["y"], ["out"], **attributes), opset=11)
    assert error(graph, lambda x: log_softmax(FINE * x, summed)) <= SUM_ERROR


def test_lower__softmax_without_an_axis_since_opset_13__sums_over_the_last() -> None:
    assert error(of_fine(node("Softmax", ["y"], ["out"])), lambda x: softmax(FINE * x)) <= SOFTMAX_ERROR
    assert error(of_fine(node("LogSoftmax", ["y"], ["out"])), lambda x: log_softmax(FINE * x)) <= SUM_ERROR


def test_lower__log_softmax_of_improbable_classes__is_as_precise() -> None:
    graph = of_fine(node("LogSoftmax", ["y"], ["out"]), (20, 50), scale=12.0)
    assert log_softmax(FINE * np.ldexp(graph.integers(1)["x"].astype(np.float64), GRID)).min() < -40
    assert error(graph, lambda x: log_softmax(FINE * x)) <= SUM_ERROR


@pytest.mark.parametrize("mask", [-np.inf, -1e9, np.finfo(np.float32).min])
def test_lower__log_softmax_beside_masked_numbers__is_as_precise(mask: float) -> None:
    kept = np.array([True, True, False, True, False, True])
    nodes = [node("Where", ["kept", "x", "mask"], ["masked"]), node("LogSoftmax", ["masked"], ["out"])]
    graph = FloatGraph(nodes, X, {"kept": kept, "mask": np.float32(mask)})
    feeds = graph.integers(1)
    calibration = [real(graph.integers(number)) for number in range(100, 108)]
    exact = lower(graph.model(), calibration, {"x": InputSpec("int16", GRID)})
    found = three_ways(exact.SerializeToString(), feeds)
    wanted = log_softmax(np.ldexp(feeds["x"].astype(np.float64), GRID)[:, kept])
    assert np.abs(found[:, kept] - wanted).max() <= SUM_ERROR
    assert (found[:, ~kept] < -1000).all()


# Logarithms of sums of exponentials

REDUCED = {
    "the last axis": (["x", "axes"], {"keepdims": 0}, [-1], (2,)),
    "a middle axis": (["x", "axes"], {}, [1], (1,)),
    "two axes": (["x", "axes"], {"keepdims": 0}, [0, -1], (0, 2)),
    "all": (["x"], {}, None, (0, 1, 2)),
}


@pytest.mark.parametrize(("operands", "attributes", "axes", "summed"), REDUCED.values(), ids=REDUCED.keys())
def test_lower__log_of_summed_exponentials__is_within_its_bound(
    operands: list[str], attributes: dict[str, int], axes: list[int] | None, summed: tuple[int, ...]
) -> None:
    constants = {} if axes is None else {"axes": np.array(axes, np.int64)}

    def expected(x: Array) -> Array:
        kept = sum_of_exponentials(x, summed)
        return kept if attributes.get("keepdims", 1) else kept.squeeze(summed)

    graph = FloatGraph([node("ReduceLogSumExp", operands, ["out"], **attributes)], CUBE, constants)
    assert error(graph, expected) <= SUM_ERROR
    listed = {} if axes is None else {"axes": axes}
    before_18 = FloatGraph([node("ReduceLogSumExp", ["x"], ["out"], **listed, **attributes)], CUBE, opset=13)
    assert error(before_18, expected) <= SUM_ERROR


def test_lower__log_of_summed_exponentials_of_large_numbers__does_not_overflow() -> None:
    """exp(200) exceeds float32."""
    nodes = [node("Mul", ["x", "hundred"], ["large"]), node("ReduceLogSumExp", ["large", "axis"], ["out"])]
    graph = FloatGraph(nodes, X, {"hundred": np.float32(100), "axis": AXIS})
    assert np.abs(graph.integers(1)["x"]).max() * 2.0**GRID > 2
    assert error(graph, lambda x: sum_of_exponentials(100 * x, -1)) <= SUM_ERROR


def logits(classes: int, kind: str) -> Array:
    """Return two rows of logits in steps of 2**-26; the logit of the first class is 0."""
    rng = np.random.default_rng(classes)
    drawn = {
        "drawn": rng.normal(0, 4, (2, classes)),
        "all alike": np.zeros((2, classes)),
        # Each exponential rounds to 0, and fifty thousand of them have the largest sum that can be lost so.
        "half a step each": np.full((2, classes), np.log(0.499) - np.log(2) * np.array([[37.0], [36.0]])),
        "just above the end": np.full((2, classes), -27.9),
        "far beyond the end": np.full((2, classes), -31.0),
        "many small": rng.uniform(-26, -20, (2, classes)),
    }[kind]
    drawn[:, 0] = 0
    return np.clip(np.rint(np.ldexp(drawn, 26)), -(2**31), 2**31 - 1).astype(np.int32)


@pytest.mark.parametrize("classes", [2, 1000, 49_152, 65_536])
@pytest.mark.parametrize(
    "kind", ["drawn", "all alike", "half a step each", "just above the end", "far beyond the end", "many small"]
)
def test_log_sum_exp__of_many_classes__is_within_its_bound(classes: int, kind: str) -> None:
    q = logits(classes, kind)
    builder = Builder()
    x = builder.scale(builder.cast(builder.input("x", "int32", q.shape), FLOAT), -26)
    found = three_ways(builder.model({"out": log_sum_exp(builder, x, [1])}).SerializeToString(), {"x": q})
    assert np.abs(found - sum_of_exponentials(np.ldexp(q.astype(np.float64), -26), 1)).max() <= SUM_ERROR


def test_log_sum_exp__any_graph__has_only_basic_instructions() -> None:
    builder = Builder()
    x = builder.scale(builder.cast(builder.input("x", "int32", (2, 1000)), FLOAT), -26)
    program = load_program(builder.model({"out": log_sum_exp(builder, x, [1])}).SerializeToString())
    arithmetic = {"Add", "Sub", "Mul", "Max", "Clip", "Round", "Floor", "LessOrEqual", "Cast"}
    assert set(program.instruction_counts) <= {
        *arithmetic,
        "GatherElements",
        "Reshape",
        "ReduceMax",
        "ReduceSum",
        "Identity",
    }


# Decomposed


def decomposed(shift: bool, last: str) -> list[onnx.NodeProto]:
    """Return a decomposed ln(sum of exp), of x or of x minus its maximum, and the nodes that follow it."""
    source = "below" if shift else "x"
    nodes = [
        node("Exp", [source], ["powers"]),
        node("ReduceSum", ["powers", "axis"], ["total"], keepdims=1),
        node("Log", ["total"], ["log"]),
    ]
    if shift:
        nodes = [
            node("ReduceMax", ["x"], ["largest"], axes=[-1], keepdims=1),
            node("Sub", ["x", "largest"], ["below"]),
            *nodes,
        ]
    return [*nodes, {"softmax": node("Sub", [source, "log"], ["out"]), "sum": node("Identity", ["log"], ["out"])}[last]]


DECOMPOSED = {
    "log-softmax": (decomposed(True, "softmax"), log_softmax),
    "log-softmax without the maximum": (decomposed(False, "softmax"), log_softmax),
    "log of a sum": (decomposed(False, "sum"), lambda x: sum_of_exponentials(x, -1)),
    "log of a softmax": (
        [node("Softmax", ["x"], ["p"], axis=-1), node("Log", ["p"], ["out"])],
        log_softmax,
    ),
    "log of exponentials over their sum": (
        [
            node("Exp", ["x"], ["powers"]),
            node("ReduceSum", ["powers", "axis"], ["total"]),
            node("Div", ["powers", "total"], ["p"]),
            node("Log", ["p"], ["out"]),
        ],
        log_softmax,
    ),
}


@pytest.mark.parametrize(("nodes", "function"), DECOMPOSED.values(), ids=DECOMPOSED.keys())
def test_fuse__decomposed_log_of_exponentials__is_one_node_and_as_precise(
    nodes: list[onnx.NodeProto], function: Callable[[Array], Array]
) -> None:
    graph = FloatGraph(nodes, {"x": (20, 6)}, {"axis": AXIS}, scale=6.0, opset=13)
    found = fused_operators(graph)
    assert not {"Log", "Exp", "Softmax", "Univariate"} & set(found)
    assert ("ReduceLogSumExp" in found) != ("LogSoftmax" in found)
    assert error(graph, function) <= SUM_ERROR


def over_their_sum(divided: str, shift: bool, axes: list[int], opset: int) -> FloatGraph:
    """Return a decomposed softmax, exp over its sum, of x or of x minus its maximum."""
    source, listed = "below" if shift else "x", {} if opset < 13 else {"axes": np.array(axes, np.int64)}
    summed = (["powers", *listed], {} if listed else {"axes": axes})
    nodes = [
        node("ReduceMax", ["x"], ["largest"], axes=axes),
        node("Sub", ["x", "largest"], ["below"]),
        node("Exp", [source], ["powers"]),
        node("ReduceSum", summed[0], ["total"], **summed[1]),
        *{
            "Div": [node("Div", ["powers", "total"], ["out"])],
            "Reciprocal": [node("Reciprocal", ["total"], ["inverse"]), node("Mul", ["inverse", "powers"], ["out"])],
        }[divided],
    ]
    return FloatGraph(nodes if shift else nodes[2:], CUBE, listed, scale=6.0, opset=opset)


@pytest.mark.parametrize("divided", ["Div", "Reciprocal"])
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize(("axes", "opset"), [([-1], 13), ([1], 13), ([0, 2], 13), ([1], 11), ([2], 11)])
def test_fuse__exponentials_over_their_sum__are_one_softmax_and_as_precise(
    divided: str, shift: bool, axes: list[int], opset: int
) -> None:
    graph = over_their_sum(divided, shift, axes, opset)
    assert fused_operators(graph) == (["ReduceMax", "Sub", "Softmax"] if shift else ["Softmax"])
    assert error(graph, lambda x: softmax(x, tuple(axes))) <= SOFTMAX_ERROR


def test_fuse__exponentials_over_the_sum_of_others__are_not_fused() -> None:
    nodes = [
        node("Exp", ["x"], ["powers"]),
        node("Exp", ["y"], ["others"]),
        node("ReduceSum", ["others", "axis"], ["total"]),
        node("Div", ["powers", "total"], ["out"]),
    ]
    graph = FloatGraph(nodes, {"x": (3, 6), "y": (3, 6)}, {"axis": AXIS}, opset=13)
    assert sorted(fused_operators(graph)) == ["Div", "ReduceSum", "Univariate", "Univariate"]


def test_fuse__exponentials_with_another_reader__are_not_fused() -> None:
    nodes = [*decomposed(True, "softmax")[:-1], node("Sub", ["powers", "log"], ["out"])]
    graph = FloatGraph(nodes, X, {"axis": AXIS}, opset=13)
    assert sorted(fused_operators(graph)) == ["ReduceLogSumExp", "ReduceMax", "Sub", "Sub", "Univariate"]


# As torch exports them


class Logarithms(torch.nn.Module):
    """Log-softmax by its name, by logsumexp, over the first axis, and as the logarithm of a softmax."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        summed = torch.logsumexp(x, -1, keepdim=True)
        over_first = torch.log_softmax(x, 0)
        naive = torch.log(torch.softmax(x, -1))
        return torch.stack([torch.log_softmax(x, -1), x - summed, over_first, naive])


def exported(by: str, x: torch.Tensor) -> onnx.ModelProto:
    """Export the module by one of torch's exporters; for "decomposed", torch decomposes its operators before."""
    model = Logarithms().eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        if by == "script":
            file = io.BytesIO()
            names = {"input_names": ["x"], "output_names": ["out"]}
            torch.onnx.export(model, (x,), file, dynamo=False, opset_version=17, **names)
            return onnx.load_from_string(file.getvalue())
        program = torch.export.export(model, (x,))
        program = program.run_decompositions() if by == "decomposed" else program
        found = torch.onnx.export(program, (x,), dynamo=True, opset_version=18, output_names=["out"], verbose=False)
        assert found is not None
        return found.model_proto


@pytest.mark.parametrize("by", ["script", "dynamo", "decomposed"])
def test_lower__logarithms_exported_by_torch__are_within_their_bound(by: str) -> None:
    rng = np.random.default_rng(0)
    q = np.rint(np.ldexp(rng.normal(0, 6, (9, 20, 6)), 20)).astype(np.int32)
    x = np.ldexp(q.astype(np.float64), -20)
    model = exported(by, torch.from_numpy(x[0].astype(np.float32)))
    assert [item.name for item in model.graph.input] == ["x"]
    assert ("ReduceLogSumExp" in {item.op_type for item in model.graph.node}) == (by != "decomposed")
    calibration = [{"x": row.astype(np.float32)} for row in x[1:]]
    exact = lower(model, calibration, {"x": InputSpec("int32", -20)})
    rows = log_softmax(x[0])
    wanted = np.stack([rows, rows, log_softmax(x[0], 0), rows])
    assert np.abs(three_ways(exact.SerializeToString(), {"x": q[0]}) - wanted).max() <= SUM_ERROR
