"""MatMul and Gemm."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.registry import OPERAND_BITS, WEIGHT_BITS, Item, Node, as_float, lowers
from verifier.exact.values import Value


def _operand(node: Node, index: int, bits: int) -> Value:
    """A weight in 16 bits, or a computed operand in `bits`."""
    array = node.constant(index)
    if array is not None:
        return node.builder.weight(array, WEIGHT_BITS)
    return as_float(node.builder, node.fitted(index, bits))


@lowers("MatMul")
def lower_matmul(node: Node) -> list[Item]:
    """Exact; the operands are the only thing rounded."""
    builder = node.builder
    weights = {index: _operand(node, index, 0) for index in (0, 1) if node.constant(index) is not None}

    def emit(bits: int) -> Value:
        operands = [weights.get(index) or _operand(node, index, bits) for index in (0, 1)]
        return builder.op("MatMul", *operands)

    return [node.narrowing(emit, OPERAND_BITS)]


@lowers("Gemm")
def lower_gemm(node: Node) -> list[Item]:
    """alpha * A' * B' + beta * C with constant B and C, alpha and beta folded into them."""
    builder, attributes = node.builder, node.attributes
    weight = node.constant(1)
    if weight is None or attributes.get("transA"):
        raise node.fail("a computed or transposed left operand: write it as Transpose and MatMul")
    if attributes.get("transB"):
        weight = weight.T
    stored = builder.weight(np.ascontiguousarray(weight) * attributes.get("alpha", 1.0), WEIGHT_BITS)
    product = node.narrowing(
        lambda bits: builder.op("MatMul", as_float(builder, node.fitted(0, bits)), stored), OPERAND_BITS
    )
    if not node.has(2):
        return [product]
    bias = node.needed(2, "its bias").astype(np.float64) * attributes.get("beta", 1.0)
    rounded = np.ldexp(np.rint(np.ldexp(bias, -product.grid)), product.grid) + 0.0
    return [builder.op("Add", product, builder.constant(rounded))]
