"""MatMul and Gemm."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.registry import OPERAND_BITS, WEIGHT_BITS, WIDE_BITS, Item, Node, as_float, lowers, number
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
    """alpha * A' * B' + beta * C; alpha is folded into a constant B and beta into a constant C."""
    builder, attributes = node.builder, node.attributes
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    weight = node.constant(1)
    if weight is not None:
        weight = np.ascontiguousarray(weight.T if attributes.get("transB") else weight)
        stored = builder.weight(weight * alpha, WEIGHT_BITS)
    elif alpha != 1.0:
        raise node.fail("it scales a product of computed tensors: write it as MatMul and Mul")

    def product(bits: int) -> Value:
        left = as_float(builder, node.fitted(0, bits))
        right = stored if weight is not None else as_float(builder, node.fitted(1, bits))
        left = builder.op("Transpose", left, perm=[1, 0]) if attributes.get("transA") else left
        if weight is None and attributes.get("transB"):
            right = builder.op("Transpose", right, perm=[1, 0])
        return builder.op("MatMul", left, right)

    result = node.narrowing(product, OPERAND_BITS)
    if not node.has(2):
        return [result]
    bias = node.constant(2)
    if bias is None:
        if beta != 1.0:
            raise node.fail("it scales a computed bias: write it as MatMul, Mul and Add")
        return [node.narrowing(lambda bits: builder.op("Add", result, as_float(builder, node.fitted(2, bits))), 53)]
    grid = grid_for(max(node.magnitude(2), node.context.magnitude(node.proto.output[0])), WIDE_BITS)
    return [builder.op("Add", result, number(builder, bias * beta, grid=grid))]
