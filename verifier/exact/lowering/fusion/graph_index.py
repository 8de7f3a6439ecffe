"""Look-ups in a float graph for pattern matching: producers, readers and constants by tensor name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class GraphIndex:
    """Read-only look-ups by tensor name in one graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.outputs = [output.name for output in model.graph.output]
        self._tensors = {item.name: item for item in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = node.attribute[0].t
        self._producers = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._ranks = {
            info.name: len(info.type.tensor_type.shape.dim)
            for info in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        }

    def producer(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """Return the node that produces a tensor if it is one of those operators, else None."""
        node = self._producers.get(name)
        return node if node is not None and node.op_type in operators else None

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a tensor, once for each operand."""
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """Return the node that reads a tensor if it is the only one and the tensor is not an output, else None."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def rank(self, name: str) -> int | None:
        """Return the number of dimensions of a tensor, None where the file does not tell it."""
        return self._ranks.get(name)

    def array(self, name: str) -> NDArray[np.generic] | None:
        """Return a constant's array, None for a computed tensor."""
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """Return the number of a constant of one element, None for any other tensor."""
        tensor = self._tensors.get(name)
        if tensor is None or any(dim != 1 for dim in tensor.dims):
            return None
        return float(np.asarray(numpy_helper.to_array(tensor)).reshape(()))

    def is_constant(self, name: str) -> bool:
        """Return whether a tensor is an initialiser or the output of a Constant node."""
        return name in self._tensors


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Return an attribute's value, `default` where it is omitted."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def both_orders(node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    """Yield the two operands of a commutative node in both orders; nothing for another number of operands."""
    if len(node.input) == 2:
        yield node.input[0], node.input[1]
        yield node.input[1], node.input[0]
