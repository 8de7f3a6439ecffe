"""An If whose condition static shapes decide, and a Scan over a known number of steps, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.lowering.compare import GRID, FloatGraph, both, node, real
from tests.lowering.test_operators_forms import graph, i64
from verifier.exact import Engine, LoweringError, load_program
from verifier.exact.lowering import InputSpec, lower

FLOAT = TensorProto.FLOAT


def branch(nodes: list[onnx.NodeProto], output: str, **constants: Any) -> onnx.GraphProto:
    """A branch of an If, with initialisers."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    info = helper.make_tensor_value_info(output, FLOAT, None)
    return helper.make_graph(nodes, "branch", [], [info], initializer=tensors)


def choice(condition: str, result: str, then: onnx.GraphProto, other: onnx.GraphProto) -> onnx.NodeProto:
    return node("If", [condition], [result], then_branch=then, else_branch=other)


# Both branches name their own tensors alike, as exporters do.
DOUBLE = branch([node("Mul", ["x", "factor"], ["inner"]), node("Neg", ["inner"], ["t"])], "t", factor=np.float32(2))
HALF = branch([node("Mul", ["x", "factor"], ["inner"]), node("Abs", ["inner"], ["t"])], "t", factor=np.float32(0.5))
OUTER = branch([node("Identity", ["x"], ["t"])], "t")
NESTED = branch([choice("yes", "t", HALF, DOUBLE)], "t")
OF_SHAPE = [
    node("Shape", ["x"], ["shape"]),
    node("Gather", ["shape", "axis"], ["rows"]),
    node("Equal", ["rows", "three"], ["c"]),
]


def recurrence(**attributes: Any) -> onnx.NodeProto:
    """state = state / 2 + row + outer[0]; the second result is the negative state of each step."""
    nodes = [
        helper.make_node("Mul", ["state", "half"], ["decayed"]),
        helper.make_node("Add", ["decayed", "row"], ["sum"]),
        helper.make_node("Add", ["sum", "offset"], ["next"]),
        helper.make_node("Neg", ["next"], ["negative"]),
    ]
    infos = {name: helper.make_tensor_value_info(name, FLOAT, None) for name in ("state", "row", "next", "negative")}
    body = helper.make_graph(
        nodes,
        "body",
        [infos["state"], infos["row"]],
        [infos["next"], infos["negative"]],
        initializer=[numpy_helper.from_array(np.float32(0.5), "half")],
    )
    return node("Scan", ["start", "x"], ["last", "steps"], body=body, num_scan_inputs=1, **attributes)


def scanned(*nodes: onnx.NodeProto, opset: int = 18, inputs: tuple[int, ...] = (4, 6), width: int = 6) -> FloatGraph:
    return graph(
        *nodes,
        inputs={"x": inputs},
        opset=opset,
        start=np.zeros(width, np.float32),
        offset=np.float32(0.25),
    )


CASES = {
    "constant condition": graph(choice("c", "out", DOUBLE, HALF), c=np.bool_(True)),
    "other branch": graph(choice("c", "out", DOUBLE, HALF), c=np.array([False])),
    "branch that is an outer tensor": graph(
        choice("c", "s", OUTER, HALF), node("Neg", ["s"], ["out"]), c=np.bool_(True)
    ),
    "condition that follows from a shape": graph(
        *OF_SHAPE, choice("c", "out", DOUBLE, HALF), axis=np.int64(0), three=np.int64(3)
    ),
    "choice within a branch": graph(choice("c", "out", NESTED, OUTER), c=np.bool_(True), yes=np.bool_(False)),
    "two choices with equal names within": graph(
        choice("c", "a", DOUBLE, HALF),
        choice("d", "b", DOUBLE, HALF),
        node("Add", ["a", "b"], ["out"]),
        c=np.bool_(True),
        d=np.bool_(False),
    ),
    "last state of a scan": scanned(recurrence(), node("Abs", ["last"], ["out"])),
    "all states of a scan": scanned(recurrence(), node("Abs", ["steps"], ["out"])),
    "scan that starts at the end": scanned(
        recurrence(scan_input_directions=[1], scan_output_directions=[1]), node("Abs", ["steps"], ["out"])
    ),
    "scan along another axis": scanned(
        recurrence(scan_input_axes=[1], scan_output_axes=[1]), node("Abs", ["steps"], ["out"]), width=4
    ),
    "scan of an older opset": scanned(recurrence(), node("Abs", ["steps"], ["out"]), opset=11),
}


@pytest.mark.parametrize("name", CASES)
def test_lower__control_flow_that_shapes_decide__result_is_that_of_floats(name: str) -> None:
    exact, floats = both(CASES[name])
    np.testing.assert_allclose(exact, floats, atol=1e-4)


def test_lower__stale_shapes_of_computed_tensors__do_not_decide_a_condition() -> None:
    """The file says that the tensor has 5 rows, as it had before somebody changed the input to 3."""
    decided = graph(
        node("Neg", ["x"], ["inner"]),
        node("Shape", ["inner"], ["shape"]),
        *OF_SHAPE[1:],
        choice("c", "out", DOUBLE, HALF),
        axis=np.int64(0),
        three=np.int64(3),
    )
    feeds = decided.integers(1)
    stale = decided.model()
    del stale.graph.value_info[:]
    stale.graph.value_info.append(helper.make_tensor_value_info("inner", FLOAT, (5, 6)))
    specs = {"x": InputSpec("int16", GRID)}
    program = load_program(lower(stale, [real(feeds)], specs).SerializeToString())
    found = np.ldexp(Engine(program).run(feeds)["out"].astype(np.float64), program.outputs[0].grid)
    np.testing.assert_array_equal(found, -2 * np.ldexp(feeds["x"].astype(np.float64), GRID))


def test_lower__condition_that_is_computed__is_refused_by_name() -> None:
    refused = graph(
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["c"]),
        choice("c", "out", DOUBLE, HALF),
        zero=np.float32(0),
    )
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower If node 'If_out': its result's shape or its control flow depends on computed data: export the "
        "model with fixed shapes and simplify it, so that the node becomes constant"
    )


def test_lower__scan_of_too_many_steps__is_refused_by_name() -> None:
    refused = scanned(recurrence(), node("Abs", ["last"], ["out"]), inputs=(20_000, 6))
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower Scan node 'Scan_last': its 20000 steps would become 80000 nodes, more than 50000: use shorter "
        "sequences"
    )


def test_lower__attention_with_operands_left_out__is_that_of_floats() -> None:
    attention = node("Attention", ["q", "k", "v", "", "", ""], ["y"])
    past = graph(
        node("Reshape", ["x", "s"], ["q"]),
        node("Neg", ["q"], ["k"]),
        node("Abs", ["q"], ["v"]),
        attention,
        node("Identity", ["y"], ["out"]),
        inputs={"x": (1, 2, 3, 4)},
        opset=23,
        s=i64(1, 2, 3, 4),
    )
    exact, floats = both(past)
    np.testing.assert_allclose(exact, floats, atol=2e-3)


def test_lower__attention_with_a_mask_of_minus_infinity__is_that_of_floats() -> None:
    masked = graph(
        node("Reshape", ["x", "s"], ["q"]),
        node("Attention", ["q", "q", "q", "m"], ["out"]),
        inputs={"x": (1, 2, 3, 4)},
        opset=23,
        s=i64(1, 2, 3, 4),
        m=np.where(np.tri(3) > 0, 0, -np.inf).astype(np.float32),
    )
    exact, floats = both(masked)
    np.testing.assert_allclose(exact, floats, atol=2e-3)
