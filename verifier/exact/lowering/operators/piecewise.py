"""Activations of straight pieces: LeakyRelu, PRelu, HardSigmoid, HardSwish, ThresholdedRelu."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, as_float, lowers, number
from verifier.exact.program.values import Value


@lowers("LeakyRelu", "PRelu")
def lower_leaky_relu(node: Node) -> list[Item]:
    """Below zero times a slope, which an adapter may bring along."""
    builder = node.builder
    leaky = node.proto.op_type == "LeakyRelu"
    zero = builder.constant(np.float64(0))
    constant = number(builder, np.array(node.attributes.get("alpha", 0.01))) if leaky else None

    def emit(bits: int) -> Value:
        x = as_float(builder, node.fitted(0, bits))
        slope = constant or as_float(builder, node.fitted(1, min(bits, WIDE_BITS - 4)))
        below = builder.op("Mul", builder.op("Min", x, zero), slope)
        return builder.op("Add", builder.op("Max", x, zero), below)

    return [node.narrowing(emit, WIDE_BITS)]


@lowers("HardSigmoid", "HardSwish")
def lower_hard_sigmoid(node: Node) -> list[Item]:
    """x / 5 + 1 / 2 or as the attributes say, from 0 to 1; HardSwish takes x / 6 + 1 / 2 of x."""
    swish = node.proto.op_type == "HardSwish"
    alpha = 1 / 6 if swish else node.attributes.get("alpha", 0.2)
    beta = 0.5 if swish else node.attributes.get("beta", 0.5)

    def emit(bits: int) -> Value:
        builder = node.builder
        x = as_float(builder, node.fitted(0, bits))
        line = builder.op("Mul", x, number(builder, np.array(alpha)))
        line = builder.op("Add", line, number(builder, np.array(beta)))
        share = _between(builder, line, 1.0)
        return builder.op("Mul", x, builder.rounded(share, 1 - bits)) if swish else share

    return [node.narrowing(emit, 26 if swish else WIDE_BITS)]


def _between(builder: Builder, value: Value, limit: float) -> Value:
    return builder.op("Clip", value, builder.constant(np.float64(0)), builder.constant(np.float64(limit)))


@lowers("ThresholdedRelu")
def lower_thresholded_relu(node: Node) -> list[Item]:
    """What is above a threshold, and zero."""
    builder = node.builder
    x = as_float(builder, node.value(0))
    # A number lies above the threshold where it lies above the last step that does not.
    steps = np.floor(np.ldexp(np.float64(node.attributes.get("alpha", 1.0)), -x.grid))
    above = builder.op("Greater", x, builder.constant(np.ldexp(steps, x.grid)))
    return [builder.op("Where", above, x, builder.constant(np.float64(0)))]
