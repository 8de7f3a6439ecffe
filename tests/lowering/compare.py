"""Lowers a small float graph and runs it in three ways: as floats, on the engine, on the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from tests.exact.graphs import stock_run
from verifier.exact import Engine, Program, load_program, reference
from verifier.exact.lowering import InputSpec, lower

Array = np.ndarray[Any, Any]

# The grid of inputs: they are int16 steps of 2**-10, which reach from -32 to 32.
GRID = -10


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """Return a node whose name consists of its operator and its first output."""
    return helper.make_node(op, list(inputs), list(outputs), name=f"{op}_{outputs[0]}", **attributes)


@dataclass(frozen=True)
class FloatGraph:
    """A float graph from inputs x, y, … of given shapes to the output `out`.

    `scale` is the standard deviation of the random inputs.
    """

    nodes: Sequence[onnx.NodeProto]
    inputs: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, Array] = field(default_factory=dict)
    scale: float = 2.0
    opset: int = 18

    def model(self) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()]
        graph = helper.make_graph(
            list(self.nodes),
            "float",
            infos,
            [onnx.ValueInfoProto(name="out")],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(domain, 1) for domain in sorted({item.domain for item in self.nodes} - {""})]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return onnx.shape_inference.infer_shapes(model)

    def integers(self, seed: int) -> dict[str, Array]:
        """Draw random inputs, in steps of the grid."""
        rng = np.random.default_rng(seed)
        feeds = {}
        for name, shape in self.inputs.items():
            drawn = rng.normal(0.0, self.scale, shape)
            feeds[name] = np.clip(np.rint(drawn * 2.0**-GRID), -(2**15), 2**15 - 1).astype(np.int16)
        return feeds

    def lowered(self) -> Program:
        """Lower the graph, calibrated on inputs that no test uses."""
        feeds = [real(self.integers(seed)) for seed in range(100, 108)]
        inputs = {name: InputSpec("int16", GRID) for name in self.inputs}
        return load_program(lower(self.model(), feeds, inputs).SerializeToString())


def real(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the floats that integers on the grid mean, as feeds of the float graph."""
    return {name: np.ldexp(q.astype(np.float32), GRID).astype(np.float32) for name, q in feeds.items()}


def both(graph: FloatGraph, seed: int = 1) -> tuple[Array, Array]:
    """Return the exact and the float result as floats; assert that engine and reference agree to the bit."""
    program, feeds = graph.lowered(), graph.integers(seed)
    found, expected = Engine(program).run(feeds), reference.run(program, feeds)
    (output,) = program.outputs
    np.testing.assert_array_equal(found["out"], expected["out"])
    session = ort.InferenceSession(graph.model().SerializeToString())
    (floats,) = session.run(None, real(feeds))
    assert output.shape == floats.shape
    return np.ldexp(found["out"].astype(np.float64), output.grid), floats.astype(np.float64)


def three_ways(file: bytes, feeds: Mapping[str, Array]) -> Array:
    """Return the only output of an exact file as floats.

    Asserts that the engine, the reference and stock onnxruntime agree to the bit.
    """
    program = load_program(file)
    (output,) = program.outputs
    q = reference.run(program, feeds)[output.name]
    np.testing.assert_array_equal(Engine(program).run(feeds)[output.name], q)
    (stock,) = stock_run(file, feeds)
    np.testing.assert_array_equal(np.ldexp(stock, -output.grid) if stock.dtype == np.float64 else stock, q)
    return np.ldexp(q.astype(np.float64), output.grid)
