"""FusedMatMul, as onnxruntime leaves it: MatMul of operands that are turned, times a number."""

from __future__ import annotations

import numpy as np
from onnx import helper

from verifier.exact.lowering.nodes.linear import lower_matmul
from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, lowers, number


@lowers("FusedMatMul")
def lower_fused_matmul(node: Node) -> list[Item]:
    """alpha * A' * B'; alpha is folded into a constant operand."""
    if node.attributes.get("transBatchA") or node.attributes.get("transBatchB"):
        raise node.fail("it turns its batch axes: give the model as it was before onnxruntime optimised it")
    builder, context, output = node.builder, node.context, node.proto.output[0]
    alpha = float(node.attributes.get("alpha", 1.0))
    names = []
    for index, turned in enumerate(("transA", "transB")):
        source, item = node.proto.input[index], node.item(index)
        if node.attributes.get(turned):
            order = [*range(len(item.shape) - 2), len(item.shape) - 1, len(item.shape) - 2]
            item = item.transpose(order) if isinstance(item, np.ndarray) else builder.op("Transpose", item, perm=order)
        if isinstance(item, np.ndarray):
            item, alpha = item * np.float32(alpha), 1.0
        names.append(f"{output}/{turned}")
        context.items[names[-1]], context.ranges[names[-1]] = item, context.range(source)
    (product,) = lower_matmul(Node(context, helper.make_node("MatMul", names, [output], name=node.proto.name), {}))
    if alpha == 1.0 or isinstance(product, np.ndarray):
        return [product]
    wide = builder.fitted(product, context.magnitude(output) / abs(alpha), WIDE_BITS)
    return [builder.op("Mul", wide, number(builder, np.array(alpha)))]
