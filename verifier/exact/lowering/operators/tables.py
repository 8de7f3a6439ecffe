"""Functions of one tensor, by a table.

Lowers Univariate, the node by which fusion replaces a tree of elementwise nodes that is a function of one tensor
(activations such as Gelu, Sigmoid or Tanh, and Cos and Sin).

The error of a table is measured before it is emitted: against the function in float64, at many points of the
calibrated range. A table that is too coarse gets more entries, and a function of period 2 pi gets a table of one
period. Where neither suffices, the node is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from verifier.exact.lowering.builder import Builder, grid_for
from verifier.exact.lowering.float_node import (
    OPERAND_BITS,
    WIDE_BITS,
    FloatNode,
    Operand,
    as_float,
)
from verifier.exact.lowering.fusion.univariate import Function, Points
from verifier.exact.program.values import Value

# Number of points at which a function is sampled to choose its table.
SAMPLES = 4001
# Maximum number of entries of a table. One that is read at the nearest entry has 2**STEP_BITS of them per unit.
MAX_ENTRIES = 2**18
STEP_BITS = 12
# Number of entries of an interpolated table to try first, and bits of the position between two of them.
INTERPOLATED_ENTRIES = 2**13
FRACTION_BITS = 12
# Bits of a table's entries.
ENTRY_BITS = 24
# The part of a range next to one of its ends is left out of the table where the function is within 2**-25 of its value
# at that end. For functions up to 1, this is a quarter of the step of an entry.
LEVEL_TOLERANCE = 2.0**-25
# The nearest entry is used without interpolation where entries differ by at most this share of the function's maximum.
# A gate is level where its last two samples differ by less than this.
NEAREST_TOLERANCE = 2.0**-12
# Maximum error of a table, as a share of the function's maximum. The nearest entry is off by half of NEAREST_TOLERANCE.
MAX_ERROR = 2.0**-12
# Maximum error of a function by the grid on which its operand comes, as a share of the function's maximum. An input of
# 16 bits that ranges over +-1,000 is rounded so that a Sigmoid is off by 1/128.
MAX_GRID_ERROR = 2.0**-6
# Places between two entries at which the error is measured. They are unequal, so that no period fits all of them.
ERROR_PLACES = (0.11, 0.31, 0.5, 0.73, 0.97)
# Number of points of the whole range at which the error is measured, beside the places between entries.
ERROR_SAMPLES = 2**16 + 1
# Bits of an angle before whole periods are subtracted, and the grid on which it is rounded to count them. The largest
# angle that is looked up is half a period, and some for that rounding.
ANGLE_BITS = 36
COUNT_GRID = -4
MAX_ANGLE = math.pi + 2.0**-4
# Maximum error of an angle by the rounding of its operand and of the period.
MAX_ANGLE_ERROR = 2.0**-10
# Points at which a function is compared with itself one period further, and the tolerance of that comparison.
PERIOD_POINTS = np.array([-2.9, -1.7, -0.3, 0.1, 0.9, 1.3, 2.2, 3.1])
PERIOD_TOLERANCE = 1e-9


@dataclass(frozen=True)
class TablePlan:
    """A table of a function: the entries are 2**spacing apart, the first of them stands for `first` spacings.

    It is read at the nearest entry, or interpolated linearly between two. `grid` is that of the entries.
    """

    function: Function
    first: int
    last: int
    spacing: int
    grid: int
    interpolated: bool

    @property
    def entries(self) -> Points:
        """The function at each entry, rounded to the grid."""
        exact = self.function(np.arange(self.first, self.last + 1) * 2.0**self.spacing)
        return np.asarray(np.ldexp(np.rint(np.ldexp(exact, -self.grid)), self.grid))

    @property
    def slope(self) -> float:
        """The largest slope between two entries."""
        return float(np.abs(np.diff(self.entries)).max(initial=0)) / 2.0**self.spacing

    @property
    def gated_slope(self) -> float:
        """The largest slope between two entries of x times the table."""
        places = np.arange(self.first, self.last + 1) * 2.0**self.spacing
        return float(np.abs(np.diff(places * self.entries)).max(initial=0)) / 2.0**self.spacing

    def error(self, points: Points, *, gate: bool) -> float:
        """Return the largest measured error over the range of the points, of x times the table for a gate.

        It is measured between all entries, at the points, densely over their range, and still more densely around 0.
        """
        entries, cells = self.entries, np.arange(self.first, self.last)
        dense = np.linspace(points.min(), points.max(), ERROR_SAMPLES)
        near = np.geomspace(1e-9, 1.0, ERROR_SAMPLES // 16) * float(np.abs(dense).max())
        largest = 0.0
        measured = np.concatenate([points, dense, near, -near]) * 2.0**-self.spacing
        for places in (*(cells + place for place in ERROR_PLACES), measured):
            x = places * 2.0**self.spacing
            inside = (x >= points.min()) & (x <= points.max())
            x, at = x[inside], np.clip(places[inside], self.first, self.last) - self.first
            cell = np.minimum(np.floor(at if self.interpolated else np.rint(at)).astype(np.int64), len(entries) - 1)
            found = entries[cell]
            if self.interpolated:
                found = found + (at - cell) * (entries[np.minimum(cell + 1, len(entries) - 1)] - found)
            difference = found - self.function(x)
            largest = max(largest, float(np.abs(difference * x if gate else difference).max(initial=0)))
        return largest


@np.errstate(all="ignore")  # poles and overflows are tested for below
def lower_univariate(node: FloatNode) -> list[Operand]:
    """Univariate: f(x) from a table of f over the calibrated range, or x * g(x) from a table of g.

    Most activations are x * g(x) with a gate g that is level at both ends of the range (GELU, SiLU). A table of g keeps
    the relative error small where x is small.
    """
    function = node.context.functions[node.proto.output[0]]
    points = _points(node, function)
    bounded = _bounded(node, function)
    seen = node.context.range(node.proto.input[0])
    # Beyond the calibrated range the function may have a kink, where it is clipped.
    measured = np.linspace(seen.lo, seen.hi, SAMPLES) if seen.lo < seen.hi else points
    measured = np.concatenate([measured, seen.samples[(seen.samples >= seen.lo) & (seen.samples <= seen.hi)]])
    limit = MAX_ERROR * max(float(np.abs(bounded(place)).max(initial=0)) for place in (points, seen.samples))
    gate = _gate(function, points)
    plan = _first_plan(bounded if gate is None else gate, points)
    if plan.error(measured, gate=gate is not None) > limit:
        if _has_period(function, seen.samples):
            return [_by_angle(node, function)]
        plan, gate = _finer_plan(node, bounded, (points, measured), limit), None
    if gate is None:
        return [tabulated(node.builder, _operand(node, plan, limit), plan)]
    _check_grid(node, plan.gated_slope, limit / MAX_ERROR)

    def emit(bits: int) -> Value:
        x = as_float(node.builder, node.fitted(0, bits))
        return node.builder.op("Mul", x, tabulated(node.builder, x, plan))

    return [node.widest_provable(emit, OPERAND_BITS)]


def _operand(node: FloatNode, plan: TablePlan, limit: float) -> Value:
    """Return the operand on a grid so fine that its rounding adds no more than `limit` to the table's error.

    It has WIDE_BITS bits over its whole range unless these are too coarse for the part in which the function varies.
    Errors: LoweringError where its own grid is, by MAX_GRID_ERROR of the function's maximum.
    """
    value = as_float(node.builder, node.value(0))
    own = _check_grid(node, plan.slope, limit / MAX_ERROR)
    fitted = as_float(node.builder, node.fitted(0, WIDE_BITS))
    return value if plan.slope * math.ldexp(1, fitted.grid - 1) > max(limit, own) else fitted


def _check_grid(node: FloatNode, slope: float, maximum: float) -> float:
    """Return the error that the operand's grid makes of a function of that slope and maximum.

    Errors: LoweringError for one of more than MAX_GRID_ERROR of the maximum.
    """
    grid = as_float(node.builder, node.value(0)).grid
    own = slope * math.ldexp(1, grid - 1)
    if own > MAX_GRID_ERROR * maximum and not node.whole(0):
        raise node.fail(
            f"its operand {node.proto.input[0]!r} comes in steps of {2.0**grid:g}, by which the result is off by "
            f"up to {own:.2g}, more than {MAX_GRID_ERROR * maximum:.2g}: declare the inputs before it as int32, or "
            "clip them to the range that matters"
        )
    return own


def _points(node: FloatNode, function: Function) -> Points:
    """Return points of the operand's range with headroom, or of its calibrated range, where the function is finite."""
    reach = node.magnitude(0)
    points = np.linspace(-reach, reach, SAMPLES)
    if not np.isfinite(function(points)).all():
        seen = node.context.range(node.proto.input[0])
        points = np.linspace(seen.lo, seen.hi, SAMPLES)
        if not np.isfinite(function(points)).all():
            raise node.fail(
                f"its function is not finite everywhere between {seen.lo:g} and {seen.hi:g}: clip its operand"
            )
    return points


def _bounded(node: FloatNode, function: Function) -> Function:
    """Clip a function to its own calibrated range: exp of twice the operand would be far beyond it."""
    if node.context.range(node.proto.output[0]).magnitude == 0:
        return function
    limit = node.output_magnitude
    return lambda x: np.clip(function(x), -limit, limit)


def _gate(function: Function, points: Points) -> Function | None:
    """Return g with function(x) = x * g(x) if g is below 2 and level at both ends of the range, else None."""
    small = float(np.abs(points).max()) * 1e-6
    slope = (function(np.array([small])) - function(np.array([-small]))) / (2 * small)
    if points[0] > 0 or abs(function(np.zeros(1)).item()) > 1e-9:
        return None

    def gate(x: Points) -> Points:
        near = np.abs(x) <= small
        return np.where(near, slope, function(x) / np.where(near, 1.0, x))

    sampled = gate(points)
    level = np.abs(sampled[[1, -2]] - sampled[[0, -1]]).max() < NEAREST_TOLERANCE
    return gate if level and np.abs(sampled).max() < 2 else None


def _first_plan(function: Function, points: Points) -> TablePlan:
    """Return a table that is read at the nearest entry, for a function that varies slowly, or interpolated."""
    lo, hi = _varying_part(function, points)
    sampled = function(np.linspace(lo, hi, SAMPLES))
    difference = np.abs(np.diff(sampled)).max() * SAMPLES / ((hi - lo) * 2**STEP_BITS)
    scale = max(float(np.abs(sampled).max()), 1e-9)
    if difference <= NEAREST_TOLERANCE * scale and (hi - lo) * 2**STEP_BITS < MAX_ENTRIES:
        first, last = math.floor(lo * 2**STEP_BITS), math.ceil(hi * 2**STEP_BITS)
        return TablePlan(function, first, last, -STEP_BITS, grid_for(scale, ENTRY_BITS), interpolated=False)
    return _interpolated_plan(function, (lo, hi), INTERPOLATED_ENTRIES)


def _interpolated_plan(function: Function, limits: tuple[float, float], entries: int) -> TablePlan:
    """Return an interpolated table between limits, with at most about that many entries."""
    lo, hi = limits
    scale = max(float(np.abs(function(np.linspace(lo, hi, SAMPLES))).max()), 1e-9)
    spacing = math.ceil(math.log2((hi - lo) / entries))
    first, last = math.floor(lo / 2.0**spacing), math.ceil(hi / 2.0**spacing)
    return TablePlan(function, first, last, spacing, grid_for(scale, ENTRY_BITS), interpolated=True)


def _finer_plan(node: FloatNode, function: Function, ranges: tuple[Points, Points], limit: float) -> TablePlan:
    """Return the smallest interpolated table whose error is within a limit.

    `ranges` are points of the table's range, and of the range in which its error is measured. Errors: LoweringError.
    """
    points, measured = ranges
    lo, hi = _varying_part(function, points)
    for _ in range(8):  # each round narrows the part by up to a factor of a thousand
        lo, hi = _varying_part(function, np.linspace(lo, hi, SAMPLES))
    entries, error = INTERPOLATED_ENTRIES, math.inf
    while entries <= MAX_ENTRIES:
        plan = _interpolated_plan(function, (lo, hi), entries)
        error = plan.error(measured, gate=False)
        if error <= limit:
            return plan
        entries *= 2
    raise node.fail(
        f"a table of {MAX_ENTRIES} entries over its operand {node.proto.input[0]!r}, from {measured.min():g} to "
        f"{measured.max():g}, is off by up to {error:.2g}, more than {limit:.2g}: clip the operand to the range that "
        "matters"
    )


def _varying_part(function: Function, points: Points) -> tuple[float, float]:
    """Return the part of the range outside of which the function is level."""
    values = function(points)
    varying = (np.abs(values - values[0]) > LEVEL_TOLERANCE) & (np.abs(values - values[-1]) > LEVEL_TOLERANCE)
    indices = np.flatnonzero(varying)
    if indices.size == 0:
        return float(points[0]), float(points[-1])
    return float(points[max(indices[0] - 1, 0)]), float(points[min(indices[-1] + 1, len(points) - 1)])


def tabulated(builder: Builder, value: Value, plan: TablePlan) -> Value:
    """Emit a function of a value from its table; outside the table it is the nearest end value."""
    if not plan.interpolated:
        steps = builder.op("Round", builder.scale(value, -plan.spacing))
        limits = (builder.constant(np.array(limit, np.float64)) for limit in (plan.first, plan.last))
        clipped = builder.op("Clip", steps, *limits)
        index = builder.op("Sub", clipped, builder.constant(np.array(plan.first, np.float64)))
        return builder.lookup(builder.table(plan.entries, plan.grid), index)
    ends = [builder.constant(np.array(limit, np.float64)) for limit in (plan.first, plan.last - 2.0**-FRACTION_BITS)]
    place = builder.op("Clip", builder.rounded(builder.scale(value, -plan.spacing), -FRACTION_BITS), *ends)
    # Rounded to the entries' grid: otherwise a factor multiplied with the result would lose FRACTION_BITS bits.
    return builder.rounded(interpolated(builder, place, plan.entries, plan.first, plan.grid), plan.grid)


def interpolated(builder: Builder, place: Value, entries: Points, first: int, grid: int) -> Value:
    """Interpolate linearly at `place`, a position in a table whose entry 0 stands for the position `first`."""
    cell = builder.op("Floor", place)
    index = builder.op("Sub", cell, builder.constant(np.array(first, np.float64)))
    base = builder.lookup(builder.table(entries[:-1], grid), index)
    rise = builder.lookup(builder.table(np.diff(entries), grid), index)
    return builder.op("Add", base, builder.op("Mul", builder.op("Sub", place, cell), rise))


def _has_period(function: Function, samples: Points) -> bool:
    """Return whether a function has the period 2 pi, as Cos, Sin and functions of these have, also at the samples."""
    places = np.concatenate([PERIOD_POINTS, samples])
    here, further = function(places), function(places + 2 * math.pi)
    # An angle is as precise as float64 is.
    tolerance = PERIOD_TOLERANCE * max(float(np.abs(here).max()), 1.0) + np.spacing(np.abs(places) + 2 * math.pi)
    return bool((np.abs(here - further) <= tolerance).all())


def _by_angle(node: FloatNode, function: Function) -> Value:
    """Emit a function of period 2 pi: whole periods are subtracted from the operand, and the rest is looked up."""
    builder, reach = node.builder, node.magnitude(0)
    plan = _first_plan(function, np.linspace(-MAX_ANGLE, MAX_ANGLE, SAMPLES))
    value = as_float(builder, node.value(0))
    angle = builder.fitted(value, reach, ANGLE_BITS)
    coarse = builder.rounded(angle, COUNT_GRID)
    turn = _constant(builder, 1 / (2 * math.pi), grid_for(1 / (2 * math.pi), 52 - coarse.magnitude.bit_length()))
    periods = builder.op("Round", builder.op("Mul", coarse, turn))
    # The period is as precise as 53 bits allow for the difference of the angle and all whole periods.
    grid = grid_for(reach, 50)
    period = _constant(builder, 2 * math.pi, grid)
    rounding = math.ldexp(1, angle.grid - 1) if angle.grid > value.grid else 0.0
    error = rounding + reach / (2 * math.pi) * math.ldexp(1, grid - 1)
    if error > MAX_ANGLE_ERROR:
        raise node.fail(
            f"its operand {node.proto.input[0]!r} reaches {reach:g}, where its angle is off by up to {error:.2g}, more "
            f"than {MAX_ANGLE_ERROR:.2g}: subtract whole periods from it in the model"
        )
    return tabulated(builder, builder.op("Sub", angle, builder.op("Mul", periods, period)), plan)


def _constant(builder: Builder, number: float, grid: int) -> Value:
    return builder.constant(builder.quantised(np.array(number), grid))
