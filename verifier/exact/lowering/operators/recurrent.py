"""Recurrent layers, unrolled over a static number of steps.

Lowers GRU, LSTM, RNN, with ONNX's default activations. The products with the inputs of all steps are one instruction;
each step adds the product with the state before it. Gates and states are bounded by what the activations return, so
that only the layer's input depends on the calibrated range, and all steps share one table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.float_node import (
    OPERAND_BITS,
    PRODUCT_BITS,
    Array,
    FloatNode,
    Operand,
    as_constant,
    as_float,
)
from verifier.exact.lowering.operators.products import MAX_UNSCALED_DOUBLINGS, max_row_doublings
from verifier.exact.lowering.operators.tables import TablePlan, tabulated
from verifier.exact.program.values import Value

# Maximum number of steps of a layer, over both directions. A step takes up to 80 instructions, of which a program holds
# 200,000 at most.
MAX_STEPS = 2_048
# The grid of states, and that of gates. The product of a gate and a cell state, which grows by at most 1 in each step,
# fits in 53 bits for 4,096 steps.
STATE_GRID = -20
GATE_GRID = -21
# The sigmoid's table reaches from -16 to 16, beyond which it is within 2**-23 of 0 or 1. Its entries are 2**-8 apart:
# linear interpolation is off by at most 2**-22, and the rounded result by less than 2**-20.
SIGMOID_REACH = 16
SIGMOID_SPACING = -8
# The grid of a gate's operand. The sigmoid's slope is at most 1/4, so that rounding to it costs less than 2**-26.
SUM_GRID = -24
# Bits of a gate's operand: one of many bits is rounded to a coarser grid, so that sums of two fit in 53 bits.
SUM_BITS = 50
# The product of a state saturates just above the state's bound, because 16 bits in two signed bytes hold less than a
# power of two.
STATE_ROOM = 1.01
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
SIGMOID = TablePlan(
    lambda x: np.asarray(1 / (1 + np.exp(-x))),
    -SIGMOID_REACH << -SIGMOID_SPACING,
    SIGMOID_REACH << -SIGMOID_SPACING,
    SIGMOID_SPACING,
    GATE_GRID,
    interpolated=True,
)


def sigmoid(builder: Builder, x: Value) -> Value:
    """Emit 1 / (1 + exp(-x)) on GATE_GRID, within 2**-20 for any x."""
    return builder.clipped(tabulated(builder, x, SIGMOID), 0, 1 << -GATE_GRID)


def tanh_of_half(builder: Builder, x: Value) -> Value:
    """Emit tanh(x / 2) = 2 * sigmoid(x) - 1, within 2**-19 for any x."""
    return builder.op("Sub", builder.scale(sigmoid(builder, x), 1), builder.constant(np.float64(1)))


@dataclass(frozen=True)
class State:
    """The state of a layer after a step: `hidden` [batch, hidden] and, of an LSTM, `cell`; None stands for zeros."""

    hidden: Value | None = None
    cell: Value | None = None


@dataclass(frozen=True)
class Direction:
    """One direction of a layer.

    `inputs` are the products with the inputs, plus all biases that do not depend on the state: one value [batch,
    gates * hidden] for each step. `weight` [hidden, gates * hidden] multiplies the state. `bias` [hidden] is that of a
    GRU's product which the reset gate multiplies; it is None where the gate multiplies the state before the product.
    """

    node: FloatNode
    inputs: Sequence[Value]
    weight: Array
    bias: Array | None

    def product(self, hidden: Value, weight: Array) -> Value:
        """Emit a state times a weight [hidden, n], on a grid on which sums of two fit."""
        builder = self.node.builder
        q, scales = builder.scaled_weight(weight)
        bound = math.ldexp(hidden.magnitude, hidden.grid) * STATE_ROOM

        def emit(bits: int) -> Value:
            product = builder.op("MatMul", builder.fitted(hidden, bound, bits), q)
            return _sum_grid(builder, builder.op("Mul", product, scales))

        return self.node.widest_provable(emit, PRODUCT_BITS)


Step = Callable[[Direction, Value, State], State]


def lower_recurrent(node: FloatNode) -> list[Operand]:
    """GRU, LSTM, RNN: the states of all steps, the last state and, of an LSTM, the last cell state.

    Weights are constant; initial states and sequence lengths may be computed. After a sequence's end its results are 0
    and its state stays. Errors: LoweringError for other activations, peepholes, and more than MAX_STEPS steps.
    """
    builder, kind = node.builder, node.proto.op_type
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
        bytes(node.attributes.get("direction", b"forward")).decode()
    ]
    _check(node, len(directions))
    step = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}[kind]
    lengths = _lengths(node)
    outputs, last = [], []
    for number, backward in enumerate(directions):
        direction = _direction(node, number)
        state = State(_initial(node, 5, number), _initial(node, 6, number) if kind == "LSTM" else None)
        made = list(_steps(direction, step, state, lengths, backward=backward))
        shown = [output for output, _ in (reversed(made) if backward else made)]
        outputs.append(_joined(builder, [_with_axes(builder, output, 2) for output in shown], 0))
        last.append(made[-1][1])
    results = [_joined(builder, outputs, 1)]
    for states in ([state.hidden for state in last], [state.cell for state in last])[: 2 if kind == "LSTM" else 1]:
        known = [state for state in states if state is not None]
        results.append(_joined(builder, [_with_axes(builder, state, 1) for state in known], 0))
    return list(results)


def _check(node: FloatNode, directions: int) -> None:
    """Read the attributes that do not change the result, and refuse what is not supported."""
    kind = node.proto.op_type
    node.attributes.get("hidden_size")  # the weights have it too
    named = [bytes(item).decode() for item in node.attributes.get("activations", [])]
    if named and named != ACTIVATIONS[kind] * directions:
        raise node.fail(
            f"its activations are {', '.join(named)}, but only {', '.join(ACTIVATIONS[kind])} is supported: use that, "
            "or write the layer as a Scan"
        )
    if kind == "LSTM" and node.has(7) and node.require_constant(7, "its list of peepholes").any():
        raise node.fail("it has peepholes, which are not supported: train it without them, or write it as a Scan")
    steps = node.operand(0).shape[0] * directions
    if steps > MAX_STEPS:
        raise node.fail(f"it has {steps} steps, more than {MAX_STEPS}: use shorter sequences")


def _direction(node: FloatNode, number: int) -> Direction:
    """Emit the products with the inputs of all steps. The operand of a tanh is doubled, for `tanh_of_half`."""
    builder, kind = node.builder, node.proto.op_type
    weight, recurrent = (
        node.require_constant(index, description)[number].astype(np.float64)
        for index, description in ((1, "its weight W"), (2, "its weight R"))
    )
    hidden = recurrent.shape[1]
    biases = node.require_constant(3, "its bias B")[number].astype(np.float64) if node.has(3) else np.zeros(1)
    biases = np.broadcast_to(biases, 2 * GATES[kind] * hidden).reshape(2, -1)
    doubled = np.ones(GATES[kind] * hidden)
    doubled[-hidden:] = 2
    after_reset = kind == "GRU" and bool(node.attributes.get("linear_before_reset", 0))
    state_bias = biases[1, -hidden:] * 2 if after_reset else None
    fixed = biases.sum(axis=0)
    if after_reset:
        fixed[-hidden:] = biases[0, -hidden:]
    rows = _input_products(node, (weight * doubled[:, None]).T, fixed * doubled)
    steps, batch, width = rows.shape
    listed = builder.constant(np.ones(steps, np.int64))
    parts = builder.ops("Split", (rows, listed), steps, axis=0) if steps > 1 else [rows]
    inputs = [builder.reshape(part, (batch, width)) for part in parts]
    return Direction(node, inputs, (recurrent * doubled[:, None]).T, state_bias)


def _input_products(node: FloatNode, weight: Array, bias: Array) -> Value:
    """Emit the first operand [steps, batch, in] times a weight [in, n], plus a bias [n]."""
    builder = node.builder
    q, scales = builder.scaled_weight(weight)

    def emit(bits: int) -> Value:
        product = builder.op("MatMul", as_float(builder, node.fitted(0, bits)), q)
        return _sum_grid(builder, builder.op("Mul", product, scales))

    # Rows of unlike sizes need more bits than two bytes.
    unlike = max_row_doublings(node, node.magnitude(0)) > MAX_UNSCALED_DOUBLINGS
    products = node.widest_provable(emit, OPERAND_BITS if unlike else PRODUCT_BITS)
    if not bias.any():
        return products
    return builder.op("Add", products, as_constant(builder, bias, grid=products.grid))


def _sum_grid(builder: Builder, x: Value) -> Value:
    """Round the operand of a gate to SUM_GRID, or to the grid on which it has SUM_BITS bits."""
    bits = (x.magnitude.bit_length() + x.grid) if x.magnitude else 0
    return builder.rounded(x, max(SUM_GRID, bits - SUM_BITS))


def _lengths(node: FloatNode) -> Value | None:
    """Return the lengths of the sequences [batch, 1], None where all are full."""
    if not node.has(4):
        return None
    steps, batch = node.operand(0).shape[:2]
    known = node.constant(4)
    if known is not None and (known >= steps).all():
        return None
    return node.builder.reshape(as_float(node.builder, node.value(4)), (batch, 1))


def _initial(node: FloatNode, index: int, number: int) -> Value | None:
    """Return a direction's part [batch, hidden] of an initial state, None for zeros."""
    builder = node.builder
    if not node.has(index):
        return None
    known = node.constant(index)
    if known is not None:
        numbers = known[number].astype(np.float64)
        return as_constant(builder, numbers, grid=STATE_GRID) if numbers.any() else None
    state = as_float(builder, node.value(index))
    bounds = (builder.constant(np.array([item], np.int64)) for item in (number, number + 1, 0))
    part = builder.reshape(builder.op("Slice", state, *bounds), state.shape[1:])
    return builder.rounded(builder.fitted(part, node.magnitude(index), OPERAND_BITS), STATE_GRID)


def _steps(
    direction: Direction, step: Step, state: State, lengths: Value | None, *, backward: bool
) -> Iterator[tuple[Value, State]]:
    """Yield, in the order of the steps, the output [batch, hidden] and the state after each step."""
    builder = direction.node.builder
    order = range(len(direction.inputs))
    for time in reversed(order) if backward else order:
        new = step(direction, direction.inputs[time], state)
        assert new.hidden is not None
        output = new.hidden
        if lengths is not None:
            valid = builder.op("Greater", lengths, builder.constant(np.float64(time)))
            output = builder.op("Where", valid, new.hidden, builder.constant(np.float64(0)))
            new = State(
                builder.op("Where", valid, new.hidden, _or_zero(builder, state.hidden)),
                None if new.cell is None else builder.op("Where", valid, new.cell, _or_zero(builder, state.cell)),
            )
        state = new
        yield output, state


def _rnn_step(direction: Direction, inputs: Value, state: State) -> State:
    """h = tanh(x W + h R + b)."""
    return State(_on_state_grid(direction, tanh_of_half(direction.node.builder, _total(direction, inputs, state))))


def _lstm_step(direction: Direction, inputs: Value, state: State) -> State:
    """c = f * c + i * g and h = o * tanh(c), for the gates i, o, f and g."""
    builder = direction.node.builder
    total = _total(direction, inputs, state)
    put, out, forget, candidate = _gates(builder, sigmoid(builder, total), 4)
    new = builder.op("Mul", put, builder.op("Sub", builder.scale(candidate, 1), builder.constant(np.float64(1))))
    if state.cell is not None:
        new = builder.op("Add", builder.op("Mul", forget, state.cell), new)
    cell = builder.rounded(new, STATE_GRID)
    shown = tanh_of_half(builder, builder.scale(cell, 1))
    return State(_on_state_grid(direction, builder.op("Mul", out, shown)), cell)


def _gru_step(direction: Direction, inputs: Value, state: State) -> State:
    """h = (1 - z) * n + z * h, for the gates z and r and the candidate n."""
    builder, hidden = direction.node.builder, direction.weight.shape[0]
    update_reset, candidate = _split_at(builder, inputs, 2 * hidden)
    product = None
    if state.hidden is not None:
        width = 3 * hidden if direction.bias is not None else 2 * hidden
        product = direction.product(state.hidden, direction.weight[:, :width])
        update_reset = builder.op("Add", update_reset, _split_at(builder, product, 2 * hidden)[0])
    update, reset = _gates(builder, sigmoid(builder, update_reset), 2)
    addend = _reset_product(direction, product, reset, state)
    if addend is not None:
        candidate = builder.op("Add", candidate, _sum_grid(builder, addend))
    new = tanh_of_half(builder, candidate)
    mixed = builder.op("Mul", builder.op("Sub", builder.constant(np.float64(1)), update), new)
    bound = 1.0
    if state.hidden is not None:
        mixed = builder.op("Add", mixed, builder.op("Mul", update, state.hidden))
        bound = max(bound, math.ldexp(state.hidden.magnitude, state.hidden.grid))
    # A mean of two numbers is within their bound, which interval arithmetic does not see.
    limit = math.ceil(math.ldexp(bound, -STATE_GRID))
    return State(builder.clipped(builder.rounded(mixed, STATE_GRID), -limit, limit))


def _reset_product(direction: Direction, product: Value | None, reset: Value, state: State) -> Value | None:
    """Return what the state adds to a GRU's candidate: r * (h R + b), or (r * h) R; None for zero."""
    builder, hidden = direction.node.builder, direction.weight.shape[0]
    if direction.bias is None:
        if state.hidden is None:
            return None
        kept = builder.rounded(builder.op("Mul", reset, state.hidden), STATE_GRID)
        return direction.product(kept, direction.weight[:, 2 * hidden :])
    added = None
    if product is not None:
        added = _split_at(builder, product, 2 * hidden)[1]
    if direction.bias.any():
        grid = SUM_GRID if added is None else added.grid
        constant = as_constant(builder, direction.bias, grid=grid)
        added = constant if added is None else builder.op("Add", added, constant)
    if added is None:
        return None
    coarse = builder.rounded(added, added.grid + max(0, added.magnitude.bit_length() + -GATE_GRID + 1 - 53))
    return builder.op("Mul", reset, coarse)


def _total(direction: Direction, inputs: Value, state: State) -> Value:
    """Emit the operands of all gates: the part of the inputs plus that of the state."""
    if state.hidden is None:
        return inputs
    return direction.node.builder.op("Add", inputs, direction.product(state.hidden, direction.weight))


def _on_state_grid(direction: Direction, state: Value) -> Value:
    """Round a state to STATE_GRID."""
    return direction.node.builder.rounded(state, STATE_GRID)


def _gates(builder: Builder, x: Value, count: int) -> list[Value]:
    """Split the last axis in equal parts."""
    lengths = builder.constant(np.full(count, x.shape[-1] // count, np.int64))
    return builder.ops("Split", (x, lengths), count, axis=1)


def _split_at(builder: Builder, x: Value, place: int) -> list[Value]:
    """Split the last axis at a place; the second part is the first where that is all."""
    if place == x.shape[-1]:
        return [x, x]
    lengths = builder.constant(np.array([place, x.shape[-1] - place], np.int64))
    return builder.ops("Split", (x, lengths), 2, axis=1)


def _or_zero(builder: Builder, state: Value | None) -> Value:
    return builder.constant(np.float64(0)) if state is None else state


def _with_axes(builder: Builder, x: Value, count: int) -> Value:
    """Add leading axes of length 1."""
    return builder.reshape(x, (*[1] * count, *x.shape))


def _joined(builder: Builder, parts: list[Value], axis: int) -> Value:
    return builder.op("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]
