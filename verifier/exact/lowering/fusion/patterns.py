"""Questions that a rewrite asks of a float graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Patterns:
    """Who makes a tensor, and which tensors are constants: initialisers and Constant nodes alike."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = {item.name: item for item in graph.initializer}
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self._constants[node.output[0]] = attribute.t

    def maker(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, if it is one of these operators."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type in operators else None

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element."""
        tensor = self._constants.get(name)
        if tensor is None or math.prod(tensor.dims) != 1:
            return None
        return float(np.asarray(numpy_helper.to_array(tensor)).reshape(()))

    def is_near(self, name: str, wanted: float) -> bool:
        """Whether a tensor is that constant, as float32 knows it."""
        value = self.scalar(name)
        return value is not None and math.isclose(value, wanted, rel_tol=1e-5)

    def axis(self, node: onnx.NodeProto) -> int | None:
        """The one axis that a reduction with keepdims reduces, however it is written."""
        attributes: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if not attributes.get("keepdims", 1):
            return None
        if len(node.input) > 1:
            axis = self.scalar(node.input[1])
            return None if axis is None else int(axis)
        axes = attributes.get("axes", [])
        return int(axes[0]) if len(axes) == 1 else None
