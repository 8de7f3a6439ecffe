"""Files that a hostile sponsor publishes: ONNX files that must not run, and invalid manifests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.end_to_end.program import FEATURES, float_program, linear_program, model

INT16 = [TensorProto.INT16, TensorProto.INT16]


def hostile_programs() -> dict[str, tuple[bytes, str]]:
    """By kind: the file, and a part of the reason why it is not exact."""
    return {
        "float graph": (float_program(), "dtype"),
        "control flow": (_control_flow(), "control flow"),
        "custom domain": (_custom_domain(), "domain"),
        "external data": (_external_data(), "another file"),
        "unbounded product": (_unbounded_product(), "float64 is exact to 53"),
        "dynamic shape": (_dynamic_shape(), "not static"),
        "2 GB claim": (_claim(), "bytes of data where its shape needs"),
    }


def _edited(edit: Any) -> bytes:
    made = onnx.load_from_string(linear_program())
    edit(made)
    data: bytes = made.SerializeToString()
    return data


def _control_flow() -> bytes:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.DOUBLE, [2, 1])],
    )
    node = helper.make_node("If", ["logits"], ["picked"], then_branch=branch, else_branch=branch)
    return _edited(lambda made: made.graph.node.append(node))


def _custom_domain() -> bytes:
    return _edited(lambda made: setattr(made.graph.node[3], "domain", "com.microsoft"))


def _external_data() -> bytes:
    def edit(made: onnx.ModelProto) -> None:
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")

    return _edited(edit)


def _unbounded_product() -> bytes:
    nodes = [helper.make_node("Cast", ["w"], ["p0"], to=TensorProto.DOUBLE)]
    nodes += [helper.make_node("Mul", [f"p{step}", f"p{step}"], [f"p{step + 1}"]) for step in range(3)]
    nodes += [helper.make_node("ReduceSum", ["p3", "axes"], ["score"], keepdims=1)]
    return model(nodes, INT16, {"score": [1]}, {"axes": np.array([0])})


def _dynamic_shape() -> bytes:
    def edit(made: onnx.ModelProto) -> None:
        made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "features"

    return _edited(edit)


def _claim() -> bytes:
    def edit(made: onnx.ModelProto) -> None:
        made.graph.initializer.add(name="huge", data_type=TensorProto.INT8, dims=[1 << 31], raw_data=b"\x01" * 16)

    return _edited(edit)


def hostile_manifests(honest: bytes) -> dict[str, tuple[bytes, str]]:
    """By kind: the file, and a part of the reason why it is not valid."""

    def changed(**fields: Any) -> bytes:
        return _canonical({**json.loads(honest), **fields})

    practice = json.loads(honest)["practice"]
    without_batch = {name: value for name, value in json.loads(honest).items() if name != "batch"}
    other_program = {**json.loads(honest)["program"], "digest": "0x" + "ab" * 32}
    huge = [{"name": "w", "dtype": "int16", "shape": [FEATURES, 1 << 40], "grid": 0}]
    return {
        "unknown field": (changed(surprise=1), "surprise"),
        "missing field": (_canonical(without_batch), "batch"),
        "negative count": (changed(practice={**practice, "count": -5}), "practice.count"),
        "another program": (changed(program=other_program), "contradicts the task on chain: program"),
        "huge submission": (changed(submission=huge), "larger than"),
        "nested brackets": (b"[" * 100_000, "manifest"),
    }


def _canonical(fields: Any) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
