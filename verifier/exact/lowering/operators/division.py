"""Div, Reciprocal, Mod, and Pow by a constant: floor divisions by the divisor's size, its sign put above the line."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.fusion.univariate import MOST_POWER, is_power
from verifier.exact.lowering.operators.roots import square_root
from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, absolute, as_float, lowers, number
from verifier.exact.program.values import FLOAT, MAX_STEPS, Value

# Bits of a computed quotient, of which it has room for headroom, and of a divisor.
QUOTIENT_BITS = 28
DIVISOR_BITS = 26
# Of both factors of a power.
FACTOR_BITS = 26


@lowers("Div")
def lower_div(node: Node) -> list[Item]:
    """By a constant: times its reciprocal. By a computed tensor: floor division of a scaled numerator."""
    builder = node.builder
    if node.integral:
        return [builder.cast(_truncated_quotient(node), "int64")]
    divisor = node.constant(1)
    if divisor is not None:
        factor = number(builder, 1.0 / divisor.astype(np.float64))
        return [
            node.narrowing(lambda bits: builder.op("Mul", as_float(builder, node.fitted(0, bits)), factor), WIDE_BITS)
        ]
    return [node.narrowing(lambda bits: _quotient(node, as_float(builder, node.fitted(0, bits)), 1), QUOTIENT_BITS)]


@lowers("Reciprocal")
def lower_reciprocal(node: Node) -> list[Item]:
    """As one divided by it."""
    return [_quotient(node, node.builder.constant(np.float64(1)), 0)]


def _quotient(node: Node, a: Value, divisor: int) -> Value:
    """a / b for the operand b, of which what is nearer to zero than its own step counts as a step."""
    return divided(node, a, as_float(node.builder, node.fitted(divisor, DIVISOR_BITS)))


def divided(node: Node, a: Value, b: Value) -> Value:
    """floor(|a / b|) on a grid that gives the node's result QUOTIENT_BITS bits, with the sign of a / b."""
    builder, magnitude = node.builder, node.context.magnitude(node.proto.output[0])
    if b.lo < 0:
        a, b = builder.op("Mul", a, _sign(builder, b)), absolute(builder, b)
    b = builder.op("Max", b, builder.constant(np.float64(2.0**b.grid)))
    target = grid_for(magnitude, QUOTIENT_BITS)
    # On whole numbers: a = qa * 2**ga, b = qb * 2**gb; floor(qa * 2**s / qb) has grid ga - gb - s.
    spare = (MAX_STEPS // max(a.magnitude, 1)).bit_length() - 1
    shift = min(max(0, a.grid - b.grid - target), spare)
    numerator, divisor = builder.scale(a, shift - a.grid), builder.scale(b, -b.grid)
    whole = builder.quotient(numerator, divisor)
    return builder.fitted(builder.scale(whole, a.grid - b.grid - shift), magnitude, WIDE_BITS)


def _sign(builder: Builder, x: Value) -> Value:
    """-1 below zero, otherwise 1."""
    below = builder.cast(builder.op("Less", x, builder.constant(np.float64(0))), FLOAT)
    return builder.op("Sub", builder.constant(np.float64(1)), builder.scale(below, 1))


def _truncated_quotient(node: Node) -> Value:
    """Of integers, towards zero."""
    builder = node.builder
    a, b = (as_float(builder, node.value(index)) for index in (0, 1))
    sign = builder.op("Mul", _sign(builder, a), _sign(builder, b))
    a, b = (absolute(builder, x) for x in (a, b))
    return builder.op("Mul", sign, builder.quotient(a, builder.op("Max", b, builder.constant(np.float64(1)))))


@lowers("Mod")
def lower_mod(node: Node) -> list[Item]:
    """What is left of a - floor(a / b) * b, for a positive divisor."""
    builder = node.builder
    a, b = (as_float(builder, node.value(index)) for index in (0, 1))
    if b.lo <= 0:
        raise node.fail("its divisor is not proven positive: clip it above zero")
    if node.attributes.get("fmod") and a.lo < 0:
        raise node.fail("it takes the sign of a dividend that can be negative: take Mod of its size")
    grid = min(a.grid, b.grid)
    whole = builder.quotient(builder.scale(a, -grid), builder.scale(b, -grid))
    return [node.restored(builder.op("Sub", a, builder.op("Mul", whole, b)))]


@lowers("Pow")
def lower_pow(node: Node) -> list[Item]:
    """By a whole number, by half of one, and one divided by those; other exponents are tabulated."""
    exponent = node.needed(1, "its exponent")
    power = float(exponent.reshape(-1)[0])
    if not (exponent == power).all() or not is_power(power):
        raise node.fail(
            f"exponent {power:g}: one constant number from -{MOST_POWER} to {MOST_POWER}, not 0, is lowered"
        )
    return [_power(node, round(abs(power) * 2), power < 0)]


def _power(node: Node, halves: int, inverse: bool) -> Value:
    """The operand, or its root, times itself, in FACTOR_BITS bits after every product; or one divided by that."""
    builder, reach = node.builder, node.magnitude(0)
    base = as_float(builder, node.fitted(0, 53 if halves <= 2 else FACTOR_BITS))
    result = (
        node.narrowing(lambda bits: square_root(builder, as_float(builder, node.fitted(0, bits))), 52)
        if halves % 2
        else base
    )
    for done in range(1 if halves % 2 else 2, halves, 2):
        result = builder.op("Mul", builder.fitted(result, reach ** (done / 2), FACTOR_BITS), base)
    if not inverse:
        return result
    return divided(node, builder.constant(np.float64(1)), builder.fitted(result, reach ** (halves / 2), DIVISOR_BITS))
