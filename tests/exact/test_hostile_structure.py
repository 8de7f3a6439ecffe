"""ONNX files with a structure that an exact graph must not have: each is refused with a clear reason."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.exact.graphs import constant, model
from tests.exact.hostile import DOUBLE, field, refused, valid_model
from verifier.exact import load_program


def test_valid_model__unaltered__is_proven() -> None:
    assert load_program(valid_model().SerializeToString()).macs == 8


# Structure


@pytest.mark.parametrize("op", ["If", "Loop", "Scan"])
def test_control_flow__subgraph_in_a_node__is_refused(op: str) -> None:
    altered = valid_model()
    branch = helper.make_graph([], "branch", [], [helper.make_empty_tensor_value_info("y")])
    name = {"If": "then_branch", "Loop": "body", "Scan": "body"}[op]
    altered.graph.node.append(helper.make_node(op, ["x"], ["z"], **{name: branch}))
    assert refused(altered) == (
        f"{op} node 'number 2', attribute '{name}': it has a subgraph: control flow is not allowed"
    )


def test_control_flow__subgraph_hidden_in_an_integer_attribute__is_refused() -> None:
    altered = valid_model()
    altered.graph.node[0].attribute[0].g.name = "hidden"
    assert "attribute 'to': it has a subgraph" in refused(altered)


def test_custom_domain__of_a_node_or_the_model__is_refused() -> None:
    altered = valid_model()
    altered.graph.node[1].domain = "com.microsoft"
    assert refused(altered) == "Mul node 'number 1': domain 'com.microsoft': only the default one is allowed"
    altered = valid_model()
    altered.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert refused(altered).startswith("the model: operator sets [('', 18), ('com.microsoft', 1)]: only the default")


def test_functions__a_local_one__is_refused() -> None:
    altered = valid_model()
    altered.functions.add(name="Mul", domain="")
    assert refused(altered) == "the model: it has functions, which an exact graph must not have"


def test_external_data__pointing_at_another_file__is_refused_and_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.ones(4).tobytes())
    altered = valid_model()
    tensor = altered.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=str(secret))
    tensor.data_location = TensorProto.EXTERNAL
    assert refused(altered) == "initialiser 'w': its data is in another file"
    tensor.ClearField("external_data")
    assert refused(altered) == "initialiser 'w': its data is in another file"


def test_float_graph__fp32_input_or_weight__is_refused() -> None:
    altered = valid_model()
    altered.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    assert refused(altered) == "input 'x': its dtype is number 1: integers, bool and float64 are allowed"
    altered = valid_model()
    altered.graph.initializer[0].data_type = TensorProto.FLOAT
    assert refused(altered) == "initialiser 'w': dtype FLOAT: integers, bool and float64 are allowed"
    altered.graph.initializer[0].data_type = 999
    assert refused(altered) == "initialiser 'w': dtype ?: integers, bool and float64 are allowed"


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.BOOL])
def test_input__of_a_type_without_a_known_range__is_refused(dtype: int) -> None:
    altered = valid_model()
    altered.graph.input[0].type.tensor_type.elem_type = dtype
    assert "int8, uint8, int16, int32 or int64 is needed, which bound its values" in refused(altered)


def test_unbounded_product__squares_of_squares__are_refused_before_they_pass_53_bits() -> None:
    altered = model(
        [("Cast", "x", "s0", {"to": DOUBLE}), *((("Mul", f"s{n} s{n}", f"s{n + 1}")) for n in range(50))],
        {"x": ("int16", [1])},
        outputs="s50",
    )
    assert refused(altered) == (
        "Mul node 'number 2': it can need 61 bits where float64 is exact to 53: clip or requantise its inputs"
    )


def test_dynamic_shape__named_absent_or_negative_dimension__is_refused() -> None:
    altered = valid_model()
    dims = altered.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_param = "batch"
    assert refused(altered) == "input 'x': its shape is not static"
    dims[0].ClearField("dim_param")
    assert refused(altered) == "input 'x': its shape is not static"
    dims[0].dim_value = -1
    assert refused(altered) == "input 'x': shape [-1, 2]: at most 2147483648 elements are allowed"
    dims[0].dim_value = 0
    assert refused(altered) == "input 'x': shape [0, 2]: it is empty"
    altered.graph.input[0].type.tensor_type.ClearField("shape")
    assert refused(altered) == "input 'x': its shape is not static"


def test_input__that_is_not_a_tensor__is_refused() -> None:
    altered = valid_model()
    altered.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.INT16
    assert refused(altered) == "input 'x': it is not a tensor"


def test_metadata__wherever_it_is__is_refused() -> None:
    def alter(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
        altered = valid_model()
        change(altered)
        return altered

    for change, what in (
        (lambda m: m.metadata_props.add(key="ort_config", value="{}"), "the model: it has metadata_props"),
        (lambda m: m.graph.metadata_props.add(key="a", value="b"), "the graph: it has metadata_props"),
        (
            lambda m: m.graph.node[0].metadata_props.add(key="a", value="b"),
            "Cast node 'number 0': it has metadata_props",
        ),
        (lambda m: m.graph.initializer[0].metadata_props.add(key="a", value="b"), "initialiser 'w': it has metadata_"),
        (lambda m: m.training_info.add(), "the model: it has training_info"),
        (lambda m: m.graph.quantization_annotation.add(), "the graph: it has quantization_annotation"),
        (lambda m: m.graph.sparse_initializer.add(), "the graph: it has sparse_initializer"),
        (lambda m: setattr(m.graph.node[0], "overload", "v2"), "Cast node 'number 0': it has overload"),
        (
            lambda m: setattr(m.graph.node[0].attribute[0], "ref_attr_name", "alpha"),
            "Cast node 'number 0', attribute 'to': it refers to an attribute of a function",
        ),
    ):
        assert refused(alter(change)).startswith(what)


def test_unknown_field__of_a_later_or_private_schema__is_refused() -> None:
    file = valid_model().SerializeToString()
    assert refused(file + field(500, b"x")) == "the model: it has a field that ONNX does not define"
    node = helper.make_node("Neg", ["y"], ["z"]).SerializeToString() + field(500, b"x")
    assert refused(file + field(7, field(1, node))) == "Neg node 'number 2': it has a field that ONNX does not define"


def test_versions__other_opset_or_ir__are_refused() -> None:
    for ir_version in (0, 3, 7, 10, 13):
        altered = valid_model()
        altered.ir_version = ir_version
        assert refused(altered) == f"the model: IR version {ir_version}: 8 or 9 is needed"
    for opset in (1, 17, 19):
        altered = valid_model()
        altered.opset_import[0].version = opset
        assert refused(altered).startswith(f"the model: operator sets [('', {opset})]")
    altered = valid_model()
    del altered.opset_import[:]
    assert refused(altered).startswith("the model: operator sets []")


def test_names__given_twice_or_to_two_kinds_of_things__are_refused() -> None:
    altered = valid_model()
    altered.graph.input.append(helper.make_tensor_value_info("w", TensorProto.INT16, [1]))
    assert refused(altered) == "input 'w': it is an initialiser too, so a feed could replace a constant"
    altered = valid_model()
    altered.graph.input.append(altered.graph.input[0])
    assert refused(altered).startswith("the graph: an input's name is empty, too long, not UTF-8 or given twice: 'x'")
    altered = valid_model()
    altered.graph.output.append(altered.graph.output[0])
    assert refused(altered).startswith("the graph: an output's name is empty, too long, not UTF-8 or given twice: 'y'")
    altered = valid_model()
    altered.graph.initializer.append(altered.graph.initializer[0])
    assert refused(altered) == "initialiser 'w': its name is empty, too long, not UTF-8 or taken"
    altered = valid_model()
    del altered.graph.output[:]
    assert refused(altered) == "the graph: it has no outputs"
    altered = valid_model()
    altered.graph.node[0].attribute.append(altered.graph.node[0].attribute[0])
    assert "attribute 'to' is given twice" in refused(altered)
    altered = valid_model()
    del altered.graph.node[1].output[:]
    assert refused(altered) == "Mul node 'number 1': an output's name is empty, too long or not UTF-8"


def test_names__of_a_megabyte__are_refused_in_a_short_message() -> None:
    huge = "n" * 2**20
    for alter in (
        lambda m: setattr(m.graph.input[0], "name", huge),
        lambda m: setattr(m.graph.output[0], "name", huge),
        lambda m: setattr(m.graph.initializer[0], "name", huge),
        lambda m: m.graph.node[1].input.__setitem__(0, huge),
        lambda m: m.graph.node[1].output.__setitem__(0, huge),
        lambda m: setattr(m.graph.node[1], "op_type", huge),
        lambda m: setattr(m.graph.node[1], "domain", huge),
        lambda m: setattr(m.graph.node[0].attribute[0], "name", huge),
        lambda m: setattr(m.opset_import[0], "domain", huge),
        lambda m: setattr(m.graph.node[1], "name", huge) or setattr(m.graph.node[1], "op_type", "Exp"),
    ):
        altered = valid_model()
        alter(altered)
        refused(altered)


def test_names__that_are_not_utf8__are_refused() -> None:
    file = valid_model().SerializeToString()
    # w is an initialiser, y an output, x an input, to an attribute, Mul an operator.
    for name in (b"\x0a\x01y", b"\x0a\x01x", b"\x42\x01w", b"\x0a\x02to", b"\x22\x03Mul", b"\x0a\x01f"):
        altered = file.replace(name, name[:2] + b"\xff" * (len(name) - 2))
        assert altered != file
        refused(altered)


# Constants


def test_constant__typed_fields_segments_or_too_few_bytes__are_refused() -> None:
    altered = valid_model()
    altered.graph.initializer[0].ClearField("raw_data")
    altered.graph.initializer[0].double_data.extend([1.0] * 4)
    assert refused(altered) == "initialiser 'w': its data is not raw bytes"
    altered = valid_model()
    altered.graph.initializer[0].int32_data.append(1)
    assert refused(altered) == "initialiser 'w': its data is not raw bytes"
    altered = valid_model()
    altered.graph.initializer[0].segment.begin = 0
    assert refused(altered) == "initialiser 'w': its data is not raw bytes"
    for cut, bytes_left in ((slice(0, 31), 31), (slice(0, 0), 0)):
        altered = valid_model()
        tensor = altered.graph.initializer[0]
        tensor.raw_data = tensor.raw_data[cut]
        assert refused(altered) == f"initialiser 'w': it has {bytes_left} bytes of data where its shape needs 32"


def test_constant__bool_byte_above_1__is_refused() -> None:
    altered = valid_model()
    tensor = helper.make_tensor("b", TensorProto.BOOL, [3], b"\x00\x01\x02", raw=True)
    altered.graph.initializer.append(tensor)
    assert refused(altered) == "initialiser 'b': a bool byte is neither 0 nor 1"


def test_constant__empty_or_of_nine_dimensions__is_refused() -> None:
    for array, what in (
        (np.zeros((0, 3)), "shape [0, 3]: only an int64 list may be empty"),
        (np.zeros(0), "shape [0]: only an int64 list may be empty"),
        (np.zeros((1,) * 9), "it has 9 dimensions, at most 8 are allowed"),
    ):
        altered = valid_model()
        altered.graph.initializer.append(constant("e", array))
        assert refused(altered) == f"initialiser 'e': {what}"


def test_constant__claiming_2_gigabytes__is_refused_without_allocating_them() -> None:
    for dims, what in (
        ([2**28], "it has 32 bytes of data where its shape needs 2147483648"),
        ([2**40], "shape [1099511627776]: at most 2147483648 elements are allowed"),
        ([2**31, 2**31, 2**31], "at most 2147483648 elements are allowed"),
        ([-1, -4], "shape [-1, -4]: at most 2147483648 elements are allowed"),
    ):
        altered = valid_model()
        tensor = altered.graph.initializer[0]
        del tensor.dims[:]
        tensor.dims.extend(dims)
        tracemalloc.start()
        try:
            assert what in refused(altered)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()
