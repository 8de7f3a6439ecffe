"""Write an ONNX graph node by node, for the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.program.parse import IR_VERSIONS, OPSET, Attribute

# Size of the largest constant that is written into the graph, where kernels need their shapes, axes and limits. Larger
# constants become inputs of the graph, which the session reads in place instead of copying them.
MAX_INITIALIZER_BYTES = 1024


class GraphWriter:
    """One graph. `constants` holds the large constants by the name of the input that each is fed to."""

    def __init__(self) -> None:
        self.constants: dict[str, NDArray[Any]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._computed: set[str] = set()  # the results of all nodes
        self._output_of: dict[str, str] = {}  # result of a node -> the output that it is
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._domains: set[str] = set()  # those of all nodes

    def input(self, name: str, dtype: int, shape: tuple[int, ...]) -> None:
        """Declare an input. `dtype` is a TensorProto data type."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def output(self, name: str, source: str, dtype: int, shape: tuple[int, ...] | None) -> None:
        """Declare an output `name` that has the value of the tensor `source`, of that shape unless it is unknown.

        The result of a node becomes the output itself. Anything else, and a result that is an output already, is
        copied.
        """
        if source in self._computed and source not in self._output_of:
            self._output_of[source] = name
        else:
            self._nodes.append(helper.make_node("Identity", [source], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def node(
        self, op: str, operands: Sequence[str], attributes: Mapping[str, Attribute] | None = None, *, domain: str = ""
    ) -> str:
        """Add a node with one output; returns the output's name."""
        (name,) = self.node_with_outputs(op, operands, 1, attributes, domain=domain)
        return name

    def node_with_outputs(
        self,
        op: str,
        operands: Sequence[str],
        count: int,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        domain: str = "",
    ) -> list[str]:
        """Add a node with `count` outputs; returns their names. `domain` is that of the operator, "" for ONNX."""
        names = [f"v{len(self._nodes)}_{index}" for index in range(count)]
        extra: dict[str, Any] = dict(attributes or {})
        self._nodes.append(helper.make_node(op, operands, names, domain=domain, **extra))
        self._domains.add(domain)
        self._computed.update(names)
        return names

    def constant(self, array: NDArray[Any]) -> str:
        """Add a constant; returns its name."""
        name = f"c{len(self.constants) + len(self._initializers)}"
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.nbytes > MAX_INITIALIZER_BYTES:
            self.constants[name] = array
            self.input(name, dtype, array.shape)
        else:
            self._initializers.append(helper.make_tensor(name, dtype, array.shape, array.tobytes(), raw=True))
        return name

    def shared_constant(self, array: NDArray[Any]) -> str:
        """Add a constant, or find the equal one that was added before; returns its name."""
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = self.constant(array)
        return self._shared[key]

    def scalar(self, number: float, dtype: type[np.generic] = np.float64) -> str:
        """Add a shared constant without dimensions; returns its name."""
        return self.shared_constant(np.array(number, dtype))

    def model(self) -> onnx.ModelProto:
        """Return the graph as a model, in which results that are outputs have the outputs' names.

        Nodes whose results nothing reads are left out.
        """
        self._remove_unread()
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [self._output_of.get(name, name) for name in names]
        graph = helper.make_graph(
            self._nodes, "touchstone", self._inputs, self._outputs, initializer=self._initializers
        )
        opsets = [helper.make_opsetid(domain, 1 if domain else OPSET) for domain in sorted(self._domains | {""})]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSIONS[0])

    def _remove_unread(self) -> None:
        """Remove every node of which neither an output nor a node that stays reads a result."""
        read = {item.name for item in self._outputs} | set(self._output_of)
        kept = []
        for node in reversed(self._nodes):
            if read.intersection(node.output):
                read.update(node.input)
                kept.append(node)
        self._nodes = kept[::-1]
