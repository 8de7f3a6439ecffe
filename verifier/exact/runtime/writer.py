"""Nodes and constants of a graph that the engine writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.program.parse import IR_VERSIONS, OPSET, Attribute

# Up to here a constant is written into the graph: kernels want their shapes, axes and limits there. Larger ones become
# inputs, which the session reads where they lie.
SMALL_BYTES = 1024


class Writer:
    """One graph. `constants` holds the large ones by the name of the input that they are fed to."""

    def __init__(self) -> None:
        self.constants: dict[str, NDArray[Any]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._small: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._repeated: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def input(self, name: str, dtype: int, shape: tuple[int, ...]) -> None:
        """Declare an input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def output(self, name: str, source: str, dtype: int, shape: tuple[int, ...]) -> None:
        """Declare an output that is a tensor of the graph."""
        self._nodes.append(helper.make_node("Identity", [source], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def node(
        self, op: str, operands: list[str], outputs: int = 1, attributes: Mapping[str, Attribute] | None = None
    ) -> str:
        """Add a node; the name of its first output, the others end in 1, 2, …"""
        names = [f"v{len(self._nodes)}_{index}" for index in range(outputs)]
        extra: dict[str, Any] = dict(attributes or {})
        self._nodes.append(helper.make_node(op, operands, names, **extra))
        return names[0]

    def constant(self, array: NDArray[Any]) -> str:
        """Add a constant."""
        name = f"c{len(self.constants) + len(self._small)}"
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.nbytes > SMALL_BYTES:
            self.constants[name] = array
            self.input(name, dtype, array.shape)
        else:
            self._small.append(helper.make_tensor(name, dtype, array.shape, array.tobytes(), raw=True))
        return name

    def number(self, number: float, dtype: type[np.generic] = np.float64) -> str:
        """A scalar constant, once however often it is asked for."""
        return self.repeated(np.array(number, dtype))

    def repeated(self, array: NDArray[Any]) -> str:
        """A constant, once however often it is asked for."""
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._repeated:
            self._repeated[key] = self.constant(array)
        return self._repeated[key]

    def model(self) -> onnx.ModelProto:
        """The graph as a model."""
        graph = helper.make_graph(self._nodes, "touchstone", self._inputs, self._outputs, initializer=self._small)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSIONS[0])
