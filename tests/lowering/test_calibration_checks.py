"""Integers that overflow and NaN that an operator reads: refused by name, because an exact program has neither."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.cases.floats import FLOAT, INT64, assert_right, float_model, lowered
from verifier.exact import InputSpec, LoweringError, lower

node = helper.make_node
X = np.array([-1.5, 0.0, 0.25, 3.0], np.float32)
INTEGERS = {
    "Mul": [node("Cast", ["i"], ["n"], to=TensorProto.INT32), node("Mul", ["n", "n"], ["r"], name="r")],
    "Add": [node("Cast", ["i"], ["n"], to=TensorProto.INT32), node("Add", ["n", "n"], ["r"], name="r")],
    "Sub": [node("Cast", ["i"], ["n"], to=TensorProto.INT32), node("Sub", ["n", "c"], ["r"], name="r")],
}


@pytest.mark.parametrize("operator", INTEGERS)
def test_lower__integers_that_overflow__are_refused_by_name(operator: str) -> None:
    nodes = [*INTEGERS[operator], node("Cast", ["r"], ["y"], to=FLOAT)]
    model = float_model(nodes, {"i": (INT64, (3,))}, {"c": np.array([-5], np.int32)})
    small, large = {"i": np.array([1, 2, 300])}, {"i": np.array([1, 2, 2**31 - 2])}
    if operator != "Mul":  # a product of two int32 has more than 53 bits, as far as the proof knows
        assert_right(model, small, small, tolerance=0)
    with pytest.raises(LoweringError) as caught:
        lowered(model, large)
    start, end = f"cannot lower {operator} node 'r': its result reaches ", "or keep them smaller"
    assert (str(caught.value).startswith(start), str(caught.value).endswith(end)) == (True, True)
    assert "in calibration and overflows int32, where an exact program does not wrap around" in str(caught.value)


NARROW = node("Cast", ["i"], ["n"], to=TensorProto.INT32)
WRAPPING = {
    "Abs": [node("Cast", ["i"], ["n"], to=TensorProto.INT8), node("Abs", ["n"], ["r"], name="r")],
    "Cast": [node("Mul", ["i", "large"], ["n"]), node("Cast", ["n"], ["r"], name="r", to=TensorProto.INT32)],
    "Cast of floats": [
        node("Cast", ["i"], ["f"], to=FLOAT),
        node("Mul", ["f", "factor"], ["n"]),
        node("Cast", ["n"], ["r"], name="r", to=TensorProto.INT32),
    ],
    "CumSum": [NARROW, node("CumSum", ["n", "axis"], ["r"], name="r", reverse=1, exclusive=1)],
    "MatMul": [NARROW, node("MatMul", ["n", "matrix"], ["r"], name="r")],
    "Neg": [node("Cast", ["i"], ["n"], to=TensorProto.INT8), node("Neg", ["n"], ["r"], name="r")],
    "ReduceSum": [NARROW, node("ReduceSum", ["n"], ["r"], name="r")],
}
WRAPPED = {"Abs": -128, "Neg": -128, "Cast": 2**20, "Cast of floats": 2**20}


@pytest.mark.parametrize("case", WRAPPING)
def test_lower__integer_outputs_that_overflow__are_refused_by_name(case: str) -> None:
    constants = {
        "large": np.array([2**20]),
        "factor": np.float32(2**20),
        "axis": np.array(0),
        "matrix": np.full((3, 2), 2, np.int32),
    }
    model = float_model(WRAPPING[case], {"i": (INT64, (3,))}, constants, outputs="r")
    kind = TensorProto.INT8 if case in ("Abs", "Neg") else TensorProto.INT32
    model.graph.output[0].type.tensor_type.elem_type = kind
    specs = {"i": InputSpec("int32")}
    lower(model, [{"i": np.array([0, -3, 0]) if "Cast" not in case else np.zeros(3, np.int64)}], specs)
    reached = WRAPPED.get(case, 2**31 - 2)
    with pytest.raises(LoweringError) as caught:
        lower(model, [{"i": np.array([reached, reached, reached])}], specs)
    assert str(caught.value).startswith(f"cannot lower {case.split()[0]} node 'r': its result reaches ")
    assert "in calibration and overflows int" in str(caught.value)


READERS = {
    "IsNaN": [node("IsNaN", ["u"], ["b"], name="r"), node("Where", ["b", "zero", "u"], ["y"])],
    "Max": [node("Max", ["u", "zero"], ["y"], name="r")],
    "Min": [node("Min", ["u", "x"], ["y"], name="r")],
    "Cast": [node("Cast", ["u"], ["b"], to=INT64, name="r"), node("Cast", ["b"], ["y"], to=FLOAT)],
    "Clip": [node("Clip", ["u", "zero"], ["y"], name="r")],
    "Clip without a lower limit": [node("Clip", ["u", "", "zero"], ["y"], name="r")],
    "Relu": [node("Relu", ["u"], ["y"], name="r")],
    "ReduceMax": [node("ReduceMax", ["u"], ["y"], name="r")],
    "Greater": [node("Greater", ["u", "zero"], ["b"], name="r"), node("Cast", ["b"], ["y"], to=FLOAT)],
    "ArgMax": [node("ArgMax", ["u"], ["b"], name="r"), node("Cast", ["b"], ["y"], to=FLOAT)],
}
UNDEFINED = {
    "0 / 0": [node("Div", ["x", "x"], ["u"])],
    "root": [node("Sqrt", ["x"], ["u"])],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("source", UNDEFINED)
def test_lower__operator_that_reads_nan__is_refused_by_name(reader: str, source: str) -> None:
    model = float_model([*UNDEFINED[source], *READERS[reader]], {"x": (FLOAT, (4,))}, {"zero": np.float32(0)})
    with pytest.raises(LoweringError) as caught:
        lowered(model, {"x": X})
    assert str(caught.value) == (
        f"cannot lower {reader.split()[0]} node 'r': its operand 'u' is NaN in calibration, which no number of an "
        "exact program is: keep what makes it NaN (a division of 0 by 0, a root or a logarithm of negative numbers, a "
        "row that is masked throughout) out of it"
    )
    lowered(model, {"x": np.abs(X) + 1})


def test_lower__test_for_an_infinity_that_occurs__is_refused_by_name() -> None:
    nodes = [
        node("Reciprocal", ["x"], ["u"]),
        node("IsInf", ["u"], ["b"], name="r"),
        node("Where", ["b", "zero", "u"], ["y"]),
    ]
    model = float_model(nodes, {"x": (FLOAT, (4,))}, {"zero": np.float32(0)})
    with pytest.raises(
        LoweringError, match="^cannot lower IsInf node 'r': its operand 'u' is infinite in calibration, "
    ):
        lowered(model, {"x": X})
