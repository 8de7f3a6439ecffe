"""Conv, as a product of its windows with the weight; BatchNormalization that no product took up."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.operators.windows import gathered, spread, windows
from verifier.exact.lowering.registry import (
    CONSTANT_BITS,
    WEIGHT_BITS,
    WIDE_BITS,
    Item,
    Node,
    as_float,
    lowers,
    number,
)
from verifier.exact.program.values import Value

# Of what a window is multiplied with: deep networks amplify what the first layers round.
LOUD_BITS = 34


@lowers("Conv")
def lower_conv(node: Node) -> list[Item]:
    """Over any number of spatial axes, in groups; each output channel has a scale of its own."""
    builder = node.builder
    array = node.needed(1, "its weight")
    outputs, inner, *kernel = array.shape
    groups = int(node.attributes.get("group", 1))
    batch, _, *size = node.value(0).shape
    found = windows(node, tuple(size), tuple(kernel))
    positions, cells = found.index.shape

    # Rows of a window are its cells, each with all channels of a group.
    weight, scales = builder.scaled_weight(
        np.ascontiguousarray(array.reshape(outputs, inner, cells).transpose(2, 1, 0)).reshape(-1, outputs), WEIGHT_BITS
    )
    if groups > 1:
        parted = builder.reshape(weight, (cells * inner, groups, outputs // groups))
        weight = builder.op("Transpose", parted, perm=[1, 0, 2])

    def product(bits: int) -> Value:
        rows = gathered(node, as_float(builder, node.fitted(0, bits)), found, 0)
        if groups == 1:
            return builder.op("MatMul", builder.reshape(rows, (batch, positions, cells * inner)), weight)
        parts = builder.reshape(rows, (batch, positions, cells, groups, inner))
        parts = builder.op("Transpose", parts, perm=[0, 3, 1, 2, 4])
        parts = builder.op("MatMul", builder.reshape(parts, (batch, groups, positions, cells * inner)), weight)
        return builder.reshape(builder.op("Transpose", parts, perm=[0, 2, 1, 3]), (batch, positions, outputs))

    def emit(bits: int) -> Value:
        result = builder.op("Mul", product(bits), scales)
        if not node.has(2):
            return result
        bias = node.needed(2, "its bias")
        grid = grid_for(max(node.magnitude(2), node.context.magnitude(node.proto.output[0])), WIDE_BITS)
        return builder.op("Add", result, number(builder, bias, grid=grid))

    return [spread(node, node.narrowing(emit, LOUD_BITS), found.shape)]


@lowers("BatchNormalization")
def lower_batch_norm(node: Node) -> list[Item]:
    """As it is at inference: times a number and plus another for each channel."""
    if node.attributes.get("training_mode"):
        raise node.fail("it normalises as in training: export the model in evaluation mode")
    builder = node.builder
    weight, bias, mean, variance = (
        node.needed(index, "a statistic or parameter").astype(np.float64) for index in range(1, 5)
    )
    factor = weight / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    x = node.value(0)
    beside = (-1, *([1] * (len(x.shape) - 2)))
    scale = number(builder, factor.reshape(beside), CONSTANT_BITS)
    reach = node.context.magnitude(node.proto.output[0])
    offset = number(builder, (bias - mean * factor).reshape(beside), grid=grid_for(reach, WIDE_BITS))

    def emit(bits: int) -> Value:
        scaled = builder.op("Mul", as_float(builder, node.fitted(0, bits)), scale)
        return builder.op("Add", scaled, offset)

    return [node.narrowing(emit, WIDE_BITS)]
