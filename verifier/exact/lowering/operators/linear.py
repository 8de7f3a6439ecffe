"""MatMul and Gemm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.operators.lifting import LIFTED_BITS, lifted, lifts, lowered_again
from verifier.exact.lowering.registry import (
    OPERAND_BITS,
    PRODUCT_BITS,
    WEIGHT_BITS,
    WIDE_BITS,
    Item,
    Node,
    as_float,
    lowers,
    number,
    room,
)
from verifier.exact.program.values import Value

# Rows are lifted where some are quieter than others by more doublings than this: each costs them a bit.
SPARE_LIFTS = 3
RESULT_ROOM = 8


@lowers("MatMul")
def lower_matmul(node: Node) -> list[Item]:
    """Exact; the operands are the only thing rounded."""
    weight = node.constant(1)
    if weight is not None and weight.ndim == 2 and node.constant(0) is None:
        return [_by_weight(node, weight)]
    known = {index: node.constant(index) for index in (0, 1)}
    builder = node.builder
    weights = {index: builder.weight(array, WEIGHT_BITS) for index, array in known.items() if array is not None}

    def emit(bits: int) -> Value:
        operands = [weights.get(index) or as_float(builder, node.fitted(index, bits)) for index in (0, 1)]
        return builder.op("MatMul", *operands)

    return [node.narrowing(emit, OPERAND_BITS)]


def _by_weight(node: Node, array: NDArray[Any], finish: Callable[[Value], Value] = lambda result: result) -> Value:
    """Times a weight [in, out] whose columns have a scale each, small numbers that multiply the product.

    `finish` goes on with the product, which gives up bits where the proof of that needs it.
    """
    builder = node.builder
    weight, scales = builder.scaled_weight(array, WEIGHT_BITS)

    def product(x: Value) -> Value:
        return builder.op("Mul", builder.op("MatMul", x, weight), scales)

    if lifts(node, node.magnitude(0)) <= SPARE_LIFTS:
        return node.narrowing(lambda bits: finish(product(as_float(builder, node.fitted(0, bits)))), PRODUCT_BITS)

    # A lifted row's results are about as large as a loud row's, which differ more than what they are made of.
    loudest = node.context.magnitude(node.proto.output[0]) * 2.0 ** room(LIFTED_BITS)

    def with_lifted_rows(bits: int) -> Value:
        reach = node.magnitude(0) * 2.0 ** room(LIFTED_BITS)
        most = lifts(node, reach)  # the room above the loudest row is the quiet ones' as well
        x, doubled = lifted(node, as_float(builder, node.fitted(0, LIFTED_BITS)), reach, most)
        result = product(builder.fitted(x, reach, bits))
        assert doubled is not None
        return finish(lowered_again(builder, builder.fitted(result, loudest, LIFTED_BITS, RESULT_ROOM), doubled, most))

    return node.narrowing(with_lifted_rows, PRODUCT_BITS)


@lowers("Gemm")
def lower_gemm(node: Node) -> list[Item]:
    """alpha * A' * B' + beta * C; alpha is folded into a constant B and beta into a constant C."""
    builder, attributes = node.builder, node.attributes
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    weight = node.constant(1)

    def biased(result: Value) -> Value:
        return builder.op("Add", result, _bias(node, beta)) if node.has(2) else result

    if weight is not None and not attributes.get("transA"):
        weight = np.ascontiguousarray(weight.T if attributes.get("transB") else weight)
        return [_by_weight(node, weight * np.float32(alpha), biased)]
    if alpha != 1.0:
        raise node.fail("it scales a product of computed tensors: write it as MatMul and Mul")
    return [node.narrowing(lambda bits: biased(_computed(node, bits)), OPERAND_BITS)]


def _bias(node: Node, beta: float) -> Value:
    bias = node.constant(2)
    if bias is not None:
        grid = grid_for(max(node.magnitude(2), node.context.magnitude(node.proto.output[0])), WIDE_BITS)
        return number(node.builder, bias * beta, grid=grid)
    if beta != 1.0:
        raise node.fail("it scales a computed bias: write it as MatMul, Mul and Add")
    return as_float(node.builder, node.fitted(2, WIDE_BITS))


def _computed(node: Node, bits: int) -> Value:
    """The product of two computed matrices, turned as the attributes say."""
    builder = node.builder
    operands = []
    for index, attribute in ((0, "transA"), (1, "transB")):
        value = as_float(builder, node.fitted(index, bits))
        operands.append(builder.op("Transpose", value, perm=[1, 0]) if node.attributes.get(attribute) else value)
    return builder.op("MatMul", *operands)
