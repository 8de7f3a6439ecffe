"""Univariate: a function of one tensor, tabulated over the range that calibration saw.

Most activations are x * g(x) with a gate g that levels off at both ends; then g is looked up, which keeps the relative
error small wherever g is. Where the nearest entry of a table would be too coarse, entries are interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from verifier.exact.lowering.builder import grid_for
from verifier.exact.lowering.registry import OPERAND_BITS, Item, Node, as_float, lowers
from verifier.exact.program.values import Value

Points = NDArray[np.float64]
Function = Callable[[Points], Points]

# Points in which a function is examined.
SAMPLES = 4001
# Entries of a table without and with interpolation, and steps between two entries when interpolating.
MOST_ENTRIES = 2**18
COARSE_ENTRIES = 2**13
FRACTION_BITS = 12
STEP_BITS = 12
VALUE_BITS = 24
# A gate is level where it is this close to its end; the nearest entry will do where it is this close to the function.
LEVEL = 2.0**-25
NEAR = 2.0**-12


@lowers("Univariate")
@np.errstate(all="ignore")  # poles and overflows are looked for
def lower_univariate(node: Node) -> list[Item]:
    """x * g(x) or f(x), from a table of g or f."""
    function = node.context.functions[node.proto.output[0]]
    reach = node.magnitude(0)
    points = np.linspace(-reach, reach, SAMPLES)
    if not np.isfinite(function(points)).all():
        seen = node.context.range(node.proto.input[0])
        points = np.linspace(seen.lo, seen.hi, SAMPLES)
        if not np.isfinite(function(points)).all():
            raise node.fail(
                f"its function has no finite value everywhere between {seen.lo:g} and {seen.hi:g}: clip its operand"
            )
    gate = _gate(function, points)
    if gate is None:
        value = as_float(node.builder, node.fitted(0, OPERAND_BITS + 6))
        return [tabulated(node, value, _bounded(node, function), points)]

    def gated(bits: int) -> Value:
        x = as_float(node.builder, node.fitted(0, bits))
        return node.builder.op("Mul", x, tabulated(node, x, gate, points))

    return [node.narrowing(gated, OPERAND_BITS)]


def _bounded(node: Node, function: Function) -> Function:
    """The function within its own calibrated range: a power or an exponential of twice the operand is far beyond."""
    output = node.proto.output[0]
    if node.context.range(output).magnitude == 0:
        return function
    limit = node.context.magnitude(output)
    return lambda x: np.clip(function(x), -limit, limit)


def _gate(function: Function, points: Points) -> Function | None:
    """g with function(x) = x * g(x), where it is bounded and levels off."""
    small = float(np.abs(points).max()) * 1e-6
    slope = (function(np.array([small])) - function(np.array([-small]))) / (2 * small)
    if points[0] > 0 or abs(function(np.zeros(1)).item()) > 1e-9:
        return None

    def gate(x: Points) -> Points:
        near = np.abs(x) <= small
        return np.where(near, slope, function(x) / np.where(near, 1.0, x))

    sampled = gate(points)
    level = np.abs(sampled[[1, -2]] - sampled[[0, -1]]).max() < NEAR
    return gate if level and np.abs(sampled).max() < 2 else None


def tabulated(node: Node, value: Value, function: Function, points: Points) -> Value:
    """function(value) for a value within the points' range, beyond which it stays what it is at the ends."""
    builder = node.builder
    lo, hi = _moving(function, points)
    sampled = function(np.linspace(lo, hi, SAMPLES))
    nearest = np.abs(np.diff(sampled)).max() * SAMPLES / ((hi - lo) * 2**STEP_BITS)
    scale = max(float(np.abs(sampled).max()), 1e-9)
    grid = grid_for(scale, VALUE_BITS)
    if nearest <= NEAR * scale and (hi - lo) * 2**STEP_BITS < MOST_ENTRIES:
        first, last = math.floor(lo * 2**STEP_BITS), math.ceil(hi * 2**STEP_BITS)
        steps = builder.op("Round", builder.scale(value, STEP_BITS))
        index = _index(node, steps, first, last)
        return builder.lookup(builder.table(function(np.arange(first, last + 1) / 2.0**STEP_BITS), grid), index)
    # Linear between entries 2**coarse apart.
    coarse = math.ceil(math.log2((hi - lo) / COARSE_ENTRIES))
    first, last = math.floor(lo / 2.0**coarse), math.ceil(hi / 2.0**coarse)
    ends = [builder.constant(np.array(limit, np.float64)) for limit in (first, last - 2.0**-FRACTION_BITS)]
    place = builder.op("Clip", builder.rounded(builder.scale(value, -coarse), -FRACTION_BITS), *ends)
    whole = builder.op("Floor", place)
    index = builder.op("Sub", whole, builder.constant(np.array(first, np.float64)))
    entries = builder.quantised(function(np.arange(first, last + 1) * 2.0**coarse), grid)
    base = builder.lookup(builder.table(entries[:-1], grid), index)
    rise = builder.lookup(builder.table(np.diff(entries), grid), index)
    between = builder.op("Add", base, builder.op("Mul", builder.op("Sub", place, whole), rise))
    # Back to the table's own bits: what it is multiplied with would have to give up as many.
    return builder.rounded(between, grid)


def _moving(function: Function, points: Points) -> tuple[float, float]:
    """The part of the range outside of which the function is level."""
    values = function(points)
    moving = np.flatnonzero((np.abs(values - values[0]) > LEVEL) & (np.abs(values - values[-1]) > LEVEL))
    if moving.size == 0:
        return float(points[0]), float(points[-1])
    return float(points[max(moving[0] - 1, 0)]), float(points[min(moving[-1] + 1, len(points) - 1)])


def _index(node: Node, steps: Value, first: int, last: int) -> Value:
    builder = node.builder
    clipped = builder.op("Clip", steps, *(builder.constant(np.array(limit, np.float64)) for limit in (first, last)))
    return builder.op("Sub", clipped, builder.constant(np.array(first, np.float64)))
