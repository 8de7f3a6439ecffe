"""Elementwise arithmetic and activations made of straight lines.

Lowers Abs, Add, Clip, Dropout, HardSigmoid, HardSwish, Identity, LeakyRelu, Max, Mean, Min, Mul, Neg, PRelu, Relu, Sub,
Sum, ThresholdedRelu. Results are exact; operands lose bits only where 53 bits would not hold the exact result.
"""

from __future__ import annotations

import math

import numpy as np

from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.calibration_checks import NAN_LIMIT
from verifier.exact.lowering.float_node import (
    CONSTANT_BITS,
    WIDE_BITS,
    Array,
    FloatNode,
    Operand,
    absolute,
    as_constant,
    as_float,
)
from verifier.exact.lowering.mask_margin import masked_operand
from verifier.exact.program.values import MAX_STEPS, Value

# Bits of each factor of a product of two computed tensors: 2**26 steps times 2**26 steps fit into 53 bits.
FACTOR_BITS = 27
# Bits of HardSwish's operand, and of its gate.
HARD_SWISH_BITS = 26
# Bits that a float64 holds: operands of a sum are not rounded at first.
ALL_BITS = 53


def _float_operands(node: FloatNode, bits: int) -> tuple[Value, Value]:
    """Return both operands as floats of at most `bits` bits."""
    return as_float(node.builder, node.fitted(0, bits)), as_float(node.builder, node.fitted(1, bits))


def _integer_operands(node: FloatNode) -> list[Value]:
    return [node.builder.cast(node.value(index), "int64") for index in (0, 1)]


def lower_add_sub(node: FloatNode) -> list[Operand]:
    """Add, Sub: exact on the finer grid of the two; a constant is rounded to a grid of the operands' size."""
    builder, op = node.builder, node.proto.op_type
    if node.all_integers:
        return [builder.op(op, *_integer_operands(node))]
    for index, other in ((0, 1), (1, 0)):
        array = node.constant(index)
        if array is not None and np.issubdtype(array.dtype, np.floating):
            return [_add_sub_constant(node, array, index, other)]

    def emit(bits: int) -> Value:
        return builder.op(op, *(masked_operand(node, index, bits) for index in (0, 1)))

    return [node.widest_provable(emit, ALL_BITS)]


def _add_sub_constant(node: FloatNode, array: Array, index: int, other: int) -> Value:
    """Emit the sum or difference of the constant at `index` and the computed operand at `other`."""
    builder = node.builder
    grid = grid_for(max(node.magnitude(index), node.magnitude(other)), WIDE_BITS)

    def emit(bits: int) -> Value:
        value = masked_operand(node, other, bits)
        constant = as_constant(builder, _without_repeats(node.clamped(index, array), value.shape), grid=grid)
        return builder.op(node.proto.op_type, *((constant, value) if index == 0 else (value, constant)))

    return node.widest_provable(emit, ALL_BITS)


def _without_repeats(array: Array, shape: tuple[int, ...]) -> Array:
    """Reduce an axis of equal entries to length 1 where broadcasting to `shape` restores it.

    Exporters fold a row that is the same for every example, as of positions, into one copy per example.
    """
    for axis, size in enumerate(array.shape):
        matching = axis - array.ndim + len(shape)
        if size > 1 and matching >= 0 and shape[matching] == size:
            first = array.take([0], axis)
            array = first if (array == first).all() else array
    return array


def lower_mul(node: FloatNode) -> list[Operand]:
    """Mul: the exact product. A constant takes CONSTANT_BITS of the 53 bits, a computed operand at most WIDE_BITS.

    Beside powers of two, which take few bits, the operand keeps as many as the proof allows.
    """
    builder = node.builder
    if node.all_integers:
        return [builder.op("Mul", *_integer_operands(node))]
    squared = node.proto.input[0] == node.proto.input[1]
    known = [array for array in (node.constant(0), node.constant(1)) if array is not None]
    bits = WIDE_BITS if known and not squared else FACTOR_BITS
    if any(_are_scales(array) for array in known):
        bits = ALL_BITS
    return [node.widest_provable(lambda bits: builder.op("Mul", *_float_operands(node, bits)), bits)]


def _are_scales(array: Array) -> bool:
    """Return whether a constant holds unlike powers of two, by which `outlier_channels` scales channels."""
    mantissas, exponents = np.frexp(array) if array.dtype.kind == "f" else (np.zeros(1), np.zeros(1))
    return bool((mantissas == 0.5).all() and len(np.unique(exponents)) > 1)


def lower_sum_mean(node: FloatNode) -> list[Operand]:
    """Sum, Mean of any number of operands; a mean is the sum times the reciprocal of their number."""
    builder, count = node.builder, len(node.proto.input)
    mean = node.proto.op_type == "Mean"

    def emit(bits: int) -> Value:
        total = as_float(builder, node.fitted(0, bits))
        for index in range(1, count):
            total = builder.op("Add", total, as_float(builder, node.fitted(index, bits)))
        return builder.op("Mul", total, as_constant(builder, np.array(1 / count))) if mean else total

    return [node.widest_provable(emit, WIDE_BITS if mean else ALL_BITS)]


def lower_neg(node: FloatNode) -> list[Operand]:
    """Neg: exact."""
    return [node.restore_integers(node.builder.op("Neg", as_float(node.builder, node.value(0))))]


def lower_abs(node: FloatNode) -> list[Operand]:
    """Abs: the maximum of a number and its negative."""
    return [node.restore_integers(absolute(node.builder, as_float(node.builder, node.value(0))))]


def lower_max_min(node: FloatNode) -> list[Operand]:
    """Max, Min of any number of operands, on the finest grid; constants are rounded to one that all can use."""
    builder, op = node.builder, node.proto.op_type
    indices = sorted(range(len(node.proto.input)), key=lambda index: node.constant(index) is not None)
    result = as_float(builder, node.value(indices[0]))
    for index in indices[1:]:
        limit = node.constant(index)
        other = (
            as_float(builder, node.value(index))
            if limit is None
            else _limit(builder, result, node.clamped(index, limit))
        )
        result = builder.op(op, result, other)
    return [node.restore_integers(result)]


def lower_clip(node: FloatNode) -> list[Operand]:
    """Clip: a Max and a Min, each only where the limit is given and the proven interval exceeds it.

    A computed limit always gets its Max or Min. The Max comes first, as in ONNX, where the lower limit exceeds the
    upper one.
    """
    if not any(node.has(index) and node.constant(index) is None for index in (1, 2)):
        value = as_float(node.builder, node.value(0))
        return [_limited(node, value, _clip_limit(node, 1), _clip_limit(node, 2))]
    result = node.widest_provable(lambda bits: _clipped_by_computed(node, bits), ALL_BITS)
    return [node.restore_integers(result)]


def _clipped_by_computed(node: FloatNode, bits: int) -> Value:
    """Emit a Clip of which at least one limit is computed, with operands of at most `bits` bits."""
    value = as_float(node.builder, node.fitted(0, bits))
    for index, op in ((1, "Max"), (2, "Min")):
        limit = _clip_limit(node, index)
        if limit is not None and np.isfinite(limit):
            value = node.builder.op(op, value, _limit(node.builder, value, limit))
        elif limit is None and node.has(index):
            computed = as_float(node.builder, node.fitted(index, bits))
            value = node.builder.op(op, value, node.builder.reshape(computed, ()))
    return value


def lower_relu(node: FloatNode) -> list[Operand]:
    """Relu: Max with 0."""
    return [_limited(node, as_float(node.builder, node.value(0)), np.array(0.0), None)]


def _limited(node: FloatNode, value: Value, low: Array | None, high: Array | None) -> Value:
    builder = node.builder
    for op, limit in (("Max", low), ("Min", high)):
        if limit is None:
            continue
        # A limit outside of the proven interval is dropped: it may have no place on the value's grid.
        steps = math.ldexp(float(limit), -value.grid)
        if value.lo < steps if op == "Max" else steps < value.hi:
            value = builder.op(op, value, _limit(builder, value, np.asarray(limit, np.float64)))
    return node.restore_integers(value)


def _clip_limit(node: FloatNode, index: int) -> Array | None:
    """Return a constant limit of Clip, which is an operand or, in older opsets, an attribute; None for any other.

    Errors: LoweringError for NaN.
    """
    limit = node.constant(index) if node.has(index) else None
    attribute = node.attributes.get("min" if index == 1 else "max")
    if limit is None and attribute is None:
        return None
    found = np.asarray(attribute) if limit is None else limit.reshape(())
    if np.isnan(found):
        raise node.fail(NAN_LIMIT)
    return found


def _limit(builder: Builder, value: Value, limit: Array) -> Value:
    """Add constant limits on the finest grid that still holds both them and the value in 53 bits.

    On a finer one, a clamp at 1e-9 would leave a large count too few bits.
    """
    limit = limit.astype(np.float64)
    finest = value.grid - (MAX_STEPS // max(value.magnitude, 1)).bit_length() + 1
    own = grid_for(float(np.abs(limit).max(initial=0)), CONSTANT_BITS)
    return as_constant(builder, limit, grid=max(own, finest))


def lower_identity(node: FloatNode) -> list[Operand]:
    """Identity: the operand itself."""
    return [node.operand(0)]


def lower_dropout(node: FloatNode) -> list[Operand]:
    """Dropout at inference: the operand itself."""
    check_inference(node)
    return [node.operand(0)]


def check_inference(node: FloatNode) -> None:
    """Check that a Dropout is not in training mode, where its result is random. Errors: LoweringError."""
    training = node.has(2) and node.require_constant(2, "its training mode").any()
    if training and (not node.has(1) or node.require_constant(1, "its ratio").any()):
        raise node.fail("it is in training mode, where its result is random: export the model in evaluation mode")


def lower_leaky_relu(node: FloatNode) -> list[Operand]:
    """LeakyRelu, PRelu: max(x, 0) + slope * min(x, 0). The slope of PRelu may be computed."""
    builder = node.builder
    zero = builder.constant(np.float64(0))
    leaky = node.proto.op_type == "LeakyRelu"
    constant = as_constant(builder, np.array(node.attributes.get("alpha", 0.01))) if leaky else None

    def emit(bits: int) -> Value:
        x = as_float(builder, node.fitted(0, bits))
        slope = constant or as_float(builder, node.fitted(1, min(bits, WIDE_BITS - 4)))
        below = builder.op("Mul", builder.op("Min", x, zero), slope)
        return builder.op("Add", builder.op("Max", x, zero), below)

    return [node.widest_provable(emit, WIDE_BITS)]


def lower_hard_sigmoid(node: FloatNode) -> list[Operand]:
    """HardSigmoid: alpha * x + beta clipped to 0..1. HardSwish: x times that, with alpha = 1/6 and beta = 1/2."""
    swish = node.proto.op_type == "HardSwish"
    alpha = 1 / 6 if swish else node.attributes.get("alpha", 0.2)
    beta = 0.5 if swish else node.attributes.get("beta", 0.5)

    def emit(bits: int) -> Value:
        builder = node.builder
        x = as_float(builder, node.fitted(0, bits))
        line = builder.op("Mul", x, as_constant(builder, np.array(alpha)))
        line = builder.op("Add", line, as_constant(builder, np.array(beta)))
        gate = builder.op("Clip", line, builder.constant(np.float64(0)), builder.constant(np.float64(1)))
        return builder.op("Mul", x, builder.rounded(gate, 1 - bits)) if swish else gate

    return [node.widest_provable(emit, HARD_SWISH_BITS if swish else WIDE_BITS)]


def lower_thresholded_relu(node: FloatNode) -> list[Operand]:
    """ThresholdedRelu: x where it exceeds alpha, else 0."""
    builder = node.builder
    x = as_float(builder, node.value(0))
    # x exceeds alpha exactly where it exceeds the largest step of its grid that does not exceed alpha.
    steps = np.floor(np.ldexp(np.float64(node.attributes.get("alpha", 1.0)), -x.grid))
    above = builder.op("Greater", x, builder.constant(np.ldexp(steps, x.grid)))
    return [builder.op("Where", above, x, builder.constant(np.float64(0)))]
