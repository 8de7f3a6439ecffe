"""A float graph as pattern matching wants it: who makes a tensor, who reads it, which are constant."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class View:
    """Read-only look-ups in one graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.outputs = [output.name for output in model.graph.output]
        self._tensors = {item.name: item for item in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = node.attribute[0].t
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._ranks = {
            info.name: len(info.type.tensor_type.shape.dim)
            for info in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        }

    def maker(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, if it is one of those operators."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type in operators else None

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor which is no output, if there is exactly one."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return self._readers.get(name, [])

    def rank(self, name: str) -> int | None:
        """Dimensions of a tensor, where the file says."""
        return self._ranks.get(name)

    def array(self, name: str) -> NDArray[np.generic] | None:
        """A constant's array."""
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """A constant of one element."""
        tensor = self._tensors.get(name)
        if tensor is None or any(dim != 1 for dim in tensor.dims):
            return None
        return float(np.asarray(numpy_helper.to_array(tensor)).reshape(()))

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is an initialiser or a Constant node's."""
        return name in self._tensors


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """An attribute's value."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def commuted(node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    """Both orders of a node's two operands."""
    if len(node.input) == 2:
        yield node.input[0], node.input[1]
        yield node.input[1], node.input[0]
