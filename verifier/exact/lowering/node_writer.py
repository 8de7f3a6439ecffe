"""A compound node of the float graph, and the nodes and constants that it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from verifier.exact.errors import LoweringError
from verifier.exact.lowering.attributes import Attributes
from verifier.exact.lowering.control_flow import KnownTensors


class NodeWriter:
    """Collects the nodes and constants that one node becomes; each node's result is named after that node's output."""

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._prefix = graph, next(filter(None, node.output))

    def constant(self, array: Any, dtype: Any = np.int64) -> str:
        """Add an initialiser to the graph; return its name."""
        name = f"{self._prefix}/constant {len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(np.array(array, dtype), name))
        return name

    def op(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name, by default one that no other node has."""
        name = output or f"{self._prefix}/{op} {len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name


class CompoundNode:
    """A node to be written out, with its attributes by name and what is known of its operands."""

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto, known: KnownTensors) -> None:
        self.proto, self.known, self._graph = node, known, graph
        self.attributes = Attributes(node)
        self.writer = NodeWriter(graph, node)

    @property
    def output(self) -> str:
        """The name of the first output that is read."""
        return str(next(filter(None, self.proto.output)))

    @property
    def is_output(self) -> bool:
        """Whether the first output is an output of the graph."""
        return self.output in {info.name for info in self._graph.output}

    def fail(self, reason: str) -> LoweringError:
        """Return the error that names this node; the caller raises it."""
        return LoweringError(f"{self.proto.op_type} node {self.proto.name or self.output!r}", reason)

    def shape(self, index: int) -> Sequence[int]:
        """Return an operand's shape. Errors: LoweringError where it is not known."""
        found = self.known.shapes.get(self.proto.input[index])
        if found is None:
            raise self.fail(
                f"the shape of its operand {self.proto.input[index]!r} is unknown: export the model with fixed shapes"
            )
        return found

    def integers(self, index: int, attribute: str) -> list[int] | None:
        """Return a list of integers that is a constant operand or an attribute; None where it is omitted."""
        if len(self.proto.input) <= index or not self.proto.input[index]:
            found = self.attributes.get(attribute)
            return None if found is None else [int(item) for item in np.reshape(found, -1)]
        constant = self.known.constant(self.proto.input[index])
        if constant is None:
            raise self.fail(f"its {attribute} must be constant, but they are computed: export them as an initializer")
        return [int(item) for item in constant.reshape(-1)]
