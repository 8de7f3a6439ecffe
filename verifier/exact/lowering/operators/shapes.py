"""What a tensor's shape alone decides: constants, once shapes are fixed."""

from __future__ import annotations

import numpy as np
import onnx

from verifier.exact.lowering.registry import Item, Node, lowers
from verifier.exact.program.values import FLOAT


@lowers("Shape")
def lower_shape(node: Node) -> list[Item]:
    """The dimensions, or some of them."""
    whole = np.array(node.item(0).shape, np.int64)
    return [whole[node.attributes.get("start", 0) : node.attributes.get("end")]]


@lowers("Size")
def lower_size(node: Node) -> list[Item]:
    """The number of elements."""
    return [np.array(node.item(0).size, np.int64)]


@lowers("EyeLike")
def lower_eye_like(node: Node) -> list[Item]:
    """Ones on a diagonal."""
    value = node.value(0)
    default = np.dtype(np.float32 if value.dtype == FLOAT else value.dtype)
    named = node.attributes.get("dtype")
    dtype = default if named is None else onnx.helper.tensor_dtype_to_np_dtype(named)
    rows, columns = value.shape
    return [np.eye(rows, columns, k=node.attributes.get("k", 0), dtype=dtype)]
