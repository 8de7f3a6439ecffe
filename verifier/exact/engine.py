"""The engine: an exact program on onnxruntime.

It emits its own graph from the Program, so that a stranger's bytes never reach the runtime, and pins the session: with
graph optimisations on, stock onnxruntime returns wrong integers on exact graphs (a fused transposed product with a
vector, scales rounded to float32), so they are off; that costs nothing measurable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.errors import SelfTestError
from verifier.exact.parse import IR_VERSIONS, OPSET, PROTO_OF
from verifier.exact.program import Program, Tensor
from verifier.exact.reference import check_feeds
from verifier.exact.values import BOOL, FLOAT, Value

# It would let a model file override the session's options.
os.environ.pop("ORT_LOAD_CONFIG_FROM_MODEL", None)

import onnxruntime as ort  # type: ignore[import-untyped]

PROVIDER = "CPUExecutionProvider"
# Up to here a constant is written into the graph: kernels want their shapes, axes and limits there.
SMALL_BYTES = 1024


class Engine:
    """A program loaded into onnxruntime. Not for use from several threads at once."""

    def __init__(self, program: Program, threads: int = 1) -> None:
        """Emit and load. `threads` computes one operator in parallel; it cannot change a bit.

        Errors: SelfTestError when this onnxruntime does not offer what a pinned session needs.
        """
        self.program = program
        model, constants = emit(program)
        # Values over these arrays, not copies of them; initialisers, even external ones, onnxruntime would copy.
        self._constants = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in constants.items()}
        self._session = ort.InferenceSession(model.SerializeToString(), session_options(threads), providers=[PROVIDER])
        if self._session.get_providers() != [PROVIDER]:
            raise SelfTestError(f"onnxruntime runs on {self._session.get_providers()}, not on {PROVIDER} alone")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int64]]:
        """Evaluate. `feeds` as for the reference; returns each output's q as int64. Errors: FeedError."""
        checked = check_feeds(self.program, feeds)
        names = [f"out{number}" for number in range(len(self.program.outputs))]
        inputs = {
            f"in{number}": ort.OrtValue.ortvalue_from_numpy(np.require(array, requirements="C"))
            for number, array in enumerate(checked.values())
        }
        results = self._session.run_with_ort_values(names, inputs | self._constants)
        return {item.name: _q(item, value.numpy()) for item, value in zip(self.program.outputs, results, strict=True)}


def session_options(threads: int) -> Any:
    """The one configuration in which programs are run."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _q(item: Tensor, array: NDArray[Any]) -> NDArray[np.int64]:
    """Integers of an output; -0.0 becomes 0 here, before anything is hashed."""
    if item.dtype != FLOAT:
        return array.astype(np.int64)
    return np.ldexp(array, -item.grid).astype(np.int64)


def emit(program: Program) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """The engine's own graph and its large constants, which are inputs of it.

    Tensors are renamed, folded constants are expanded once to the dtype they are used in, and only live instructions
    are emitted, in order.
    """
    names: dict[str, str] = {}
    inputs: list[onnx.ValueInfoProto] = []
    initializers: list[onnx.TensorProto] = []
    constants: dict[str, NDArray[Any]] = {}

    def operand(name: str) -> str:
        if name == "" or name in names:
            return names.get(name, "")
        array = materialise(program.values[name])
        new = f"c{len(constants) + len(initializers)}"
        names[name] = new
        proto = PROTO_OF[array.dtype.name]
        if array.nbytes > SMALL_BYTES:
            constants[new] = array
            inputs.append(helper.make_tensor_value_info(new, proto, array.shape))
        else:
            initializers.append(helper.make_tensor(new, proto, array.shape, array.tobytes(), raw=True))
        return new

    for number, item in enumerate(program.inputs):
        names[item.name] = f"in{number}"
        inputs.append(helper.make_tensor_value_info(f"in{number}", PROTO_OF[item.dtype], item.shape))
    nodes = []
    for number, instruction in enumerate(program.live_instructions):
        operands = [operand(name) for name in instruction.inputs]
        results = []
        for index, name in enumerate(instruction.outputs):
            names[name] = f"v{number}_{index}"
            results.append(names[name])
        attributes: dict[str, Any] = dict(instruction.attributes)
        if instruction.op in ("Max", "Min", "Clip") and program.values[instruction.outputs[0]].dtype == "int64":
            nodes += _by_comparison(instruction.op, operands, results[0])
        else:
            nodes.append(helper.make_node(instruction.op, operands, results, **attributes))
    outputs = []
    for number, item in enumerate(program.outputs):
        nodes.append(helper.make_node("Identity", [operand(item.name)], [f"out{number}"]))
        outputs.append(helper.make_tensor_value_info(f"out{number}", PROTO_OF[item.dtype], item.shape))
    graph = helper.make_graph(nodes, "touchstone", inputs, outputs, initializer=initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSIONS[0])
    return model, constants


def _by_comparison(op: str, operands: list[str], result: str) -> list[onnx.NodeProto]:
    """Max, Min or Clip of int64 by Less or Greater and Where.

    onnxruntime 1.24.4 on AVX2 takes the wrong one of two int64 whose upper halves are alike; its comparisons are right.
    """
    steps = {"Max": ["Less"] * len(operands), "Min": ["Greater"] * len(operands), "Clip": ["", "Less", "Greater"]}[op]
    nodes, current = [], operands[0]
    for number, (other, comparison) in enumerate(zip(operands[1:], steps[1:], strict=True)):
        flag, chosen = f"{result}_c{number}", f"{result}_w{number}"
        nodes.append(helper.make_node(comparison, [current, other], [flag]))
        nodes.append(helper.make_node("Where", [flag, other, current], [chosen]))
        current = chosen
    return [*nodes, helper.make_node("Identity", [current], [result])]


def materialise(value: Value) -> NDArray[Any]:
    """A constant as onnxruntime wants it: float64 at its real size, or its integer dtype."""
    assert value.constant is not None
    # order="C", not ascontiguousarray: that would make a vector of a scalar.
    if value.dtype == FLOAT:
        real = value.constant.astype(np.float64, order="C")
        return np.asarray(np.ldexp(real, value.grid))
    return value.constant.astype(np.bool_ if value.dtype == BOOL else value.dtype, order="C")
