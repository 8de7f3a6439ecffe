"""Erf, Gelu, Tanh, Sigmoid: a table over the range where the function moves, clipped at the ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.registry import OPERAND_BITS, Item, Node, as_float, lowers
from verifier.exact.values import Value

STEP_BITS = 12
VALUE_BITS = 24

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([math.erf(item) for item in x])


def _normal_cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([0.5 * math.erfc(-item / math.sqrt(2)) for item in x])


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def tabulated(node: Node, value: Value, function: Function, reach: int) -> Value:
    """function(value), value rounded to steps of 2**-12 and clipped to -reach..reach, in VALUE_BITS bits."""
    builder = node.builder
    ends = reach << STEP_BITS
    steps = builder.op("Round", builder.scale(value, STEP_BITS))
    clipped = builder.op("Clip", steps, *(builder.constant(np.float64(limit)) for limit in (-ends, ends)))
    index = builder.op("Add", clipped, builder.constant(np.float64(ends)))
    samples = function(np.arange(-ends, ends + 1) / 2.0**STEP_BITS)
    table = np.rint(samples * 2.0 ** (VALUE_BITS - 2)) / 2.0 ** (VALUE_BITS - 2) + 0.0
    return builder.lookup(table, index)


@lowers("Erf")
def lower_erf(node: Node) -> list[Item]:
    """The error function is 1 to 8 digits from 4 on."""
    return [tabulated(node, as_float(node.builder, node.value(0)), _erf, 4)]


@lowers("Tanh")
def lower_tanh(node: Node) -> list[Item]:
    """tanh is 1 to 8 digits from 10 on."""
    return [tabulated(node, as_float(node.builder, node.value(0)), np.tanh, 10)]


@lowers("Sigmoid")
def lower_sigmoid(node: Node) -> list[Item]:
    """The logistic function is 0 or 1 to 8 digits from 18 on."""
    return [tabulated(node, as_float(node.builder, node.value(0)), _sigmoid, 18)]


@lowers("Gelu")
def lower_gelu(node: Node) -> list[Item]:
    """x times the normal distribution function, which is 0 or 1 to 8 digits from 6 on."""
    if node.attributes.get("approximate", b"none") not in (b"none", "none"):
        raise node.fail("approximate='tanh' is lowered from its decomposed form: export it so")
    builder = node.builder

    def emit(bits: int) -> Value:
        x = as_float(builder, node.fitted(0, bits))
        return builder.op("Mul", x, tabulated(node, x, _normal_cdf, 6))

    return [node.narrowing(emit, OPERAND_BITS)]
