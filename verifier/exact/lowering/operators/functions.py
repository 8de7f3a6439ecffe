"""Square roots, logarithms, powers and division.

Lowers Div, Log, Mod, Pow, Reciprocal, Sqrt.
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.float_node import (
    WIDE_BITS,
    FloatNode,
    Operand,
    absolute,
    as_constant,
    as_float,
    headroom_bits,
)
from verifier.exact.lowering.fusion.univariate import MAX_POWER, is_power
from verifier.exact.lowering.operators.tables import interpolated
from verifier.exact.program.values import FLOAT, MAX_STEPS, Value

# Sqrt: number of bits below which floor(sqrt(a)) is exact in float64, and bits of a root below the binary point.
RADICAND_BITS = 52
ROOT_FRACTION_BITS = 6

# Log: the grid of a logarithm. With a table of 2**12 entries per octave, linear interpolation is off by at most 2**-27,
# and a logarithm by less than 2**-26.
LOG_GRID = -30
LOG_ENTRY_BITS = 12
LOG_FRACTION_BITS = 18

# Mod: bits that a float64 holds; operands are not rounded at first.
ALL_BITS = 53
# Div: bits that a quotient as large as the output's magnitude has, and bits of a computed divisor.
QUOTIENT_BITS = 28
DIVISOR_BITS = 26
_ONE = np.int64(1)
# Maximum relative error of the smallest calibrated divisor in DIVISOR_BITS bits, bits that it gets where the error is
# larger, and the maximum bits of a divisor: the quotient needs the rest of the 53.
MAX_DIVISOR_ERROR = 2.0**-10
PRECISE_DIVISOR_BITS = 12
MAX_DIVISOR_BITS = 46
# Pow: bits of each factor of a power.
POWER_BITS = 26


# Sqrt


def lower_sqrt(node: FloatNode) -> list[Operand]:
    """Sqrt: the floor of the root on half the operand's grid; numbers below 0 count as 0."""
    return [node.widest_provable(lambda bits: root_of_operand(node, bits), RADICAND_BITS)]


def root_of_operand(node: FloatNode, bits: int) -> Value:
    """Emit the square root of the first operand, fitted to `bits` bits."""
    return square_root(node.builder, as_float(node.builder, node.fitted(0, bits)))


def square_root(builder: Builder, x: Value) -> Value:
    """Emit the square root of a number below 2**52 steps; numbers below 0 count as 0. Errors: NotExactError."""
    # On the finest even grid: a root has half as many bits as its radicand.
    grid = x.grid - max(0, RADICAND_BITS - x.magnitude.bit_length())
    grid += grid % 2
    positive = builder.op("Max", builder.scale(x, -grid), builder.constant(np.array(0.0)))
    return builder.scale(integer_root(builder, positive), grid // 2 - ROOT_FRACTION_BITS)


def integer_root(builder: Builder, whole: Value) -> Value:
    """Emit floor(sqrt(a) * 2**6) for an integer a below 2**40, floor(sqrt(a)) * 2**6 for one below 2**52.

    It is the maximum of both forms. For an integer too large for the first form, that form saturates below the second.
    """
    small = 2 ** (RADICAND_BITS - 2 * ROOT_FRACTION_BITS) >> max(whole.grid, 0)
    fine = builder.scale(builder.clipped(whole, 0, small - 1), 2 * ROOT_FRACTION_BITS)
    roots = [builder.op("Floor", builder.op("Sqrt", radicand)) for radicand in (fine, whole)]
    return builder.op("Max", roots[0], builder.scale(roots[1], ROOT_FRACTION_BITS))


# Log


def lower_log(node: FloatNode) -> list[Operand]:
    """Log: the natural logarithm, of all bits of the operand."""
    return [logarithm(node.builder, as_float(node.builder, node.value(0)))]


def logarithm(builder: Builder, x: Value) -> Value:
    """Emit ln(x), off by less than 2**-26. Numbers that are not positive count as one step of x's grid.

    The integer is doubled 2**k times, for each k from high to low, where it is small enough for that, until its highest
    bit stands where that of the largest possible one does. The logarithm of the result comes from a table, and ln 2 is
    subtracted for each doubling.
    """
    whole = builder.clipped(builder.scale(x, -x.grid), 1, MAX_STEPS - 1)
    width = whole.hi.bit_length()
    result = builder.constant(builder.quantised(np.array((width - 1 + x.grid) * math.log(2)), LOG_GRID))
    for level in reversed(range((width - whole.lo.bit_length()).bit_length())):
        octaves = 2**level
        limit = 2 ** (width - octaves) - 1
        small = builder.cast(builder.op("LessOrEqual", whole, builder.constant(np.float64(limit))), FLOAT)
        raised = builder.scale(builder.clipped(whole, 0, limit), octaves)
        whole = builder.op("Max", whole, builder.op("Mul", raised, small))
        less = builder.constant(builder.quantised(np.array(octaves * math.log(2)), LOG_GRID))
        result = builder.op("Sub", result, builder.op("Mul", small, less))
    return builder.op("Add", result, _log_of_mantissa(builder, builder.scale(whole, 1 - width)))


def _log_of_mantissa(builder: Builder, x: Value) -> Value:
    """Emit ln(x) for 1 <= x < 2, interpolated linearly between the entries of a table."""
    place = builder.rounded(builder.scale(x, LOG_ENTRY_BITS), -LOG_FRACTION_BITS)
    first = 2 ** (LOG_ENTRY_BITS - place.grid)
    place = builder.clipped(place, first, 2 * first - 1)
    entries = builder.quantised(np.log1p(np.arange(2**LOG_ENTRY_BITS + 1) / 2**LOG_ENTRY_BITS), LOG_GRID)
    return builder.rounded(interpolated(builder, place, entries, 2**LOG_ENTRY_BITS, LOG_GRID), LOG_GRID)


# Div, Reciprocal, Mod, Pow


def lower_div(node: FloatNode) -> list[Operand]:
    """Div: by a constant, times its reciprocal; by a computed tensor, a floor division of a scaled numerator."""
    builder = node.builder
    if node.all_integers:
        operands = (as_float(builder, node.value(index)) for index in (0, 1))
        return [builder.cast(truncated_quotient(builder, *operands), "int64")]
    divisor = node.constant(1)
    if divisor is None:
        return [
            node.widest_provable(
                lambda bits: _by_operand(node, as_float(builder, node.fitted(0, bits)), 1), QUOTIENT_BITS
            )
        ]
    factor = as_constant(builder, 1.0 / divisor.astype(np.float64))
    return [
        node.widest_provable(lambda bits: builder.op("Mul", as_float(builder, node.fitted(0, bits)), factor), WIDE_BITS)
    ]


def lower_reciprocal(node: FloatNode) -> list[Operand]:
    """Reciprocal: 1 divided by the operand."""
    return [_by_operand(node, node.builder.constant(np.float64(1)), 0)]


def _by_operand(node: FloatNode, a: Value, divisor: int) -> Value:
    return _divided(node, a, as_float(node.builder, node.fitted(divisor, _divisor_bits(node, divisor))))


def _divisor_bits(node: FloatNode, index: int) -> int:
    """Return DIVISOR_BITS, or as many more as the smallest calibrated divisor needs.

    More are taken only where that divisor would be off by more than MAX_DIVISOR_ERROR. A range around 0 tells nothing
    about the smallest divisor.
    """
    seen = node.context.range(node.proto.input[index])
    smallest = max(seen.lo, -seen.hi)
    step = math.ldexp(1, grid_for(node.magnitude(index), DIVISOR_BITS - headroom_bits(DIVISOR_BITS)))
    if smallest <= 0 or step / 2 <= MAX_DIVISOR_ERROR * smallest:
        return DIVISOR_BITS
    missing = math.ceil(math.log2(step / smallest)) + PRECISE_DIVISOR_BITS
    return min(DIVISOR_BITS + missing + headroom_bits(MAX_DIVISOR_BITS), MAX_DIVISOR_BITS)


def _divided(node: FloatNode, a: Value, b: Value) -> Value:
    """Emit a / b, rounded down on a grid that gives the node's output QUOTIENT_BITS bits.

    A negative b passes its sign to a, because the instruction divides by positive integers only. A b that is nearer to
    0 than one step of its grid counts as one step.
    """
    builder, magnitude = node.builder, node.output_magnitude
    if b.lo < 0:
        a, b = builder.op("Mul", a, _sign(builder, b)), absolute(builder, b)
    b = builder.op("Max", b, builder.constant(np.float64(2.0**b.grid)))
    target = grid_for(magnitude, QUOTIENT_BITS)
    # In integers: a = qa * 2**ga and b = qb * 2**gb, so floor(qa * 2**s / qb) lies on the grid ga - gb - s.
    spare = (MAX_STEPS // max(a.magnitude, 1)).bit_length() - 1
    shift = min(max(0, a.grid - b.grid - target), spare)
    numerator, divisor = builder.scale(a, shift - a.grid), builder.scale(b, -b.grid)
    whole = builder.quotient(numerator, divisor)
    return builder.fitted(builder.scale(whole, a.grid - b.grid - shift), magnitude, WIDE_BITS)


def _sign(builder: Builder, x: Value) -> Value:
    """Emit -1 where x is below 0, else 1."""
    below = builder.cast(builder.op("Less", x, builder.constant(np.float64(0))), FLOAT)
    return builder.op("Sub", builder.constant(np.float64(1)), builder.scale(below, 1))


def truncated_quotient(builder: Builder, a: Value, b: Value) -> Value:
    """Emit the quotient of integers as floats, truncated towards 0; a divisor of 0 counts as 1."""
    sign = builder.op("Mul", _sign(builder, a), _sign(builder, b))
    a, b = (absolute(builder, x) for x in (a, b))
    return builder.op("Mul", sign, builder.quotient(a, builder.op("Max", b, builder.constant(np.float64(1)))))


def lower_mod(node: FloatNode) -> list[Operand]:
    """Mod: a - floor(a / b) * b, with the sign of b; with fmod, of the magnitudes and with the sign of a.

    A divisor of 0 counts as one step of its grid.
    """
    builder = node.builder

    def emit(bits: int) -> Value:
        a, b = (as_float(builder, node.fitted(index, bits)) for index in (0, 1))
        sign = None
        if node.attributes.get("fmod"):
            sign, a, b = (_sign(builder, a) if a.lo < 0 else None), absolute(builder, a), absolute(builder, b)
        elif b.lo < 0:
            sign = _sign(builder, b)
            a, b = builder.op("Mul", a, sign), absolute(builder, b)
        b = b if b.lo > 0 else builder.op("Max", b, builder.constant(np.float64(2.0**b.grid)))
        grid = min(a.grid, b.grid)
        whole = builder.quotient(builder.scale(a, -grid), builder.scale(b, -grid))
        rest = builder.op("Sub", a, builder.op("Mul", whole, b))
        return rest if sign is None else builder.op("Mul", rest, sign)

    return [node.restore_integers(node.widest_provable(emit, ALL_BITS))]


def lower_pow(node: FloatNode) -> list[Operand]:
    """Pow by constant multiples of 1/2: a product of copies of the base and its root, or 1 divided by that.

    Where exponents differ, each power is computed for the whole base, and a Where selects it. Any other scalar exponent
    does not reach this function: fusion makes a Univariate node of it.
    """
    builder = node.builder
    exponents = node.require_constant(1, "its exponent").astype(np.float64)
    powers = np.unique(exponents)
    other = [power for power in powers if power and not is_power(power)]
    if other:
        raise node.fail(
            f"its exponents include {other[0]:g}: use constant multiples of 1/2 from -{MAX_POWER} to {MAX_POWER}"
        )
    result = _any_power(node, powers[0])
    for power in powers[1:]:
        chosen = builder.constant(exponents == power)
        result = builder.op("Where", chosen, _any_power(node, power), result)
    if result.shape != np.broadcast_shapes(node.operand(0).shape, exponents.shape):
        shape = np.broadcast_shapes(node.operand(0).shape, exponents.shape)
        result = builder.op("Expand", result, builder.constant(np.array(shape, np.int64)))
    return [result]


def _any_power(node: FloatNode, power: float) -> Value:
    builder = node.builder
    if np.dtype(node.operand(0).dtype).kind in "iu":
        if power < 0 or power % 1:
            raise node.fail(f"it raises integers to the power {power:g}: cast its operand to floats before it")
        base = builder.cast(node.value(0), "int64")
        return reduce(lambda product, _: builder.op("Mul", product, base), range(int(power)), builder.constant(_ONE))
    if power == 0:
        return builder.constant(np.float64(1))
    return _power(node, round(abs(power) * 2), bool(power < 0))


def _power(node: FloatNode, halves: int, inverse: bool) -> Value:
    """Emit the operand to the power `halves` / 2, fitted to POWER_BITS before each product; inverted if `inverse`."""
    builder = node.builder
    base = as_float(builder, node.fitted(0, 53 if halves <= 2 else POWER_BITS))
    # A count is not saturated at its calibrated range (see `FloatNode.fitted`), so its powers are not either.
    counted = node.proto.input[0] in node.context.counts
    reach = math.ldexp(base.magnitude, base.grid) if counted else node.magnitude(0)
    odd = halves % 2 == 1
    result = node.widest_provable(lambda bits: root_of_operand(node, bits), RADICAND_BITS) if odd else base
    for done in range(1 if odd else 2, halves, 2):
        result = builder.op("Mul", builder.fitted(result, reach ** (done / 2), POWER_BITS), base)
    if not inverse:
        return result
    return _divided(node, builder.constant(np.float64(1)), builder.fitted(result, reach ** (halves / 2), DIVISOR_BITS))
