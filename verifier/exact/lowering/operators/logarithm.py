"""Log, ReduceLogSumExp and LogSoftmax: natural logarithms of numbers of any size, and of sums of exponentials.

A whole number is doubled until its highest bit stands where that of the largest possible number does. The logarithm of
what it is then comes from a table, and for each doubling ln 2 is taken off again.

The exponentials whose sum's logarithm is wanted are finer than those of a softmax: of fifty thousand classes each may
weigh next to nothing and all of them together a lot.
"""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.operators.reducing import reduced_axes
from verifier.exact.lowering.operators.softmax import softmax_axes
from verifier.exact.lowering.registry import Item, Node, as_float, lowers
from verifier.exact.program.values import FLOAT, MAX_STEPS, Value

# A logarithm is given in steps of 2**-LOG_BITS and is off by less than 2**-26: between the entries of the table, 2**12
# of them to an octave, it is taken for linear, which is 2**-27 off at most.
LOG_BITS = 30
ENTRY_BITS = 12
FRACTION_BITS = 18

# exp(-x) is tabulated for x in steps of 2**-10; up to half a step beside an entry it is that entry times 1 - rest,
# which is 2**-23 off relatively. Where the table ends exp(-x) is below half of its own steps.
STEP_BITS = 10
REST_BITS = 26
REACH = 28
EXP_BITS = 38

# Bits of what exponentials are taken of: differences of two have one more.
OPERAND_BITS = 52


def logarithm(builder: Builder, x: Value) -> Value:
    """ln(x), off by less than 2**-26. What is not positive counts as one step of x's grid."""
    whole = builder.clipped(builder.scale(x, -x.grid), 1, MAX_STEPS - 1)
    width = whole.hi.bit_length()
    result = builder.constant(builder.quantised(np.array((width - 1 + x.grid) * math.log(2)), -LOG_BITS))
    for level in reversed(range((width - whole.lo.bit_length()).bit_length())):
        octaves = 2**level
        most = 2 ** (width - octaves) - 1
        small = builder.cast(builder.op("LessOrEqual", whole, builder.constant(np.float64(most))), FLOAT)
        raised = builder.scale(builder.clipped(whole, 0, most), octaves)
        whole = builder.op("Max", whole, builder.op("Mul", raised, small))
        less = builder.constant(builder.quantised(np.array(octaves * math.log(2)), -LOG_BITS))
        result = builder.op("Sub", result, builder.op("Mul", small, less))
    return builder.op("Add", result, _mantissa(builder, builder.scale(whole, 1 - width)))


def _mantissa(builder: Builder, x: Value) -> Value:
    """ln(x) for x from 1 to less than 2, linear between the entries of a table."""
    place = builder.rounded(builder.scale(x, ENTRY_BITS), -FRACTION_BITS)
    first = 2 ** (ENTRY_BITS - place.grid)
    place = builder.clipped(place, first, 2 * first - 1)
    cell = builder.op("Floor", place)
    index = builder.op("Sub", cell, builder.constant(np.float64(2**ENTRY_BITS)))
    entries = builder.quantised(np.log1p(np.arange(2**ENTRY_BITS + 1) / 2**ENTRY_BITS), -LOG_BITS)
    base = builder.lookup(builder.table(entries[:-1], -LOG_BITS), index)
    rise = builder.lookup(builder.table(np.diff(entries), -LOG_BITS), index)
    beyond = builder.op("Mul", builder.op("Sub", place, cell), rise)
    return builder.rounded(builder.op("Add", base, beyond), -LOG_BITS)


def log_sum_exp(builder: Builder, x: Value, axes: list[int]) -> Value:
    """ln(sum of exp(x)) over `axes`, which stay with length 1; off by less than 2**-20 for up to 2**16 numbers.

    Errors: NotExactError where differences of x have more than 53 bits.
    """
    listed = builder.constant(np.array(axes, np.int64))
    largest = builder.op("ReduceMax", x, listed, keepdims=1)
    powers = _exponentials(builder, builder.op("Sub", largest, x), math.prod(x.shape[axis] for axis in axes))
    total = builder.op("ReduceSum", powers, listed, keepdims=1)
    # The largest number's own exponential is 1, which the proof does not know: it leaves fewer octaves to look in.
    total = builder.op("Max", total, builder.constant(np.float64(1)))
    return builder.op("Add", largest, logarithm(builder, total))


def _exponentials(builder: Builder, distance: Value, count: int) -> Value:
    """exp(-distance) for distances from 0 on, on the finest grid on which a sum of `count` has 53 bits."""
    # Between entries the proof allows up to one part in 2048 above 1.
    bits = min(EXP_BITS, 53 - (count + count // 1024 + 1).bit_length())
    limits = [builder.constant(np.float64(limit)) for limit in (0, REACH)]
    near = builder.rounded(builder.op("Clip", distance, *limits), -REST_BITS)
    cell = builder.op("Round", builder.scale(near, STEP_BITS))
    half = 2.0 ** -(STEP_BITS + 1)
    rest = builder.op("Sub", near, builder.scale(cell, -STEP_BITS))
    rest = builder.op("Clip", rest, *(builder.constant(np.float64(limit)) for limit in (-half, half)))
    table = builder.quantised(np.exp(-np.arange((REACH << STEP_BITS) + 1) / 2.0**STEP_BITS), -bits)
    powers = builder.lookup(builder.constant(table), cell)
    return builder.op("Sub", powers, builder.rounded(builder.op("Mul", powers, rest), -bits))


@lowers("Log")
def lower_log(node: Node) -> list[Item]:
    """Of positive numbers, with all the bits that they have."""
    return [logarithm(node.builder, as_float(node.builder, node.value(0)))]


@lowers("ReduceLogSumExp")
def lower_log_sum_exp(node: Node) -> list[Item]:
    """Relative to the largest number, so that none is too large or too small."""
    shape = node.value(0).shape
    axes = reduced_axes(node)

    def emit(bits: int) -> Value:
        return log_sum_exp(node.builder, as_float(node.builder, node.fitted(0, bits)), axes)

    result = node.narrowing(emit, OPERAND_BITS)
    if node.attributes.get("keepdims", 1):
        return [result]
    return [node.builder.reshape(result, tuple(dim for axis, dim in enumerate(shape) if axis not in axes))]


@lowers("LogSoftmax")
def lower_log_softmax(node: Node) -> list[Item]:
    """x - ln(sum of exp(x)): what is improbable is as precise as what is probable."""
    axes = softmax_axes(node)

    def emit(bits: int) -> Value:
        x = as_float(node.builder, node.fitted(0, bits))
        return node.builder.op("Sub", x, log_sum_exp(node.builder, x, axes))

    return [node.narrowing(emit, OPERAND_BITS)]
