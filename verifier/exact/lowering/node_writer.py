"""Collects the nodes and constants that one compound node of the float graph becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


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
