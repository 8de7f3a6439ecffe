"""Recurrent layers against onnxruntime: every direction, both layouts, initial states, lengths, and extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.lowering.compare import GRID, Array, FloatGraph, both, node, real, three_ways
from verifier.exact import LoweringError
from verifier.exact.lowering import Builder, InputSpec, lower
from verifier.exact.lowering.operators.recurrent import sigmoid, tanh_of_half
from verifier.exact.program.values import FLOAT

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, SIZE, HIDDEN = 6, 3, 5, 7
# Weights and states have 16 bits; over a few steps their rounding adds up to this.
TOLERANCE = 2e-4


def layer(
    kind: str, *operands: str, output: int = 0, weight: float = 1.0, shape: Any = (STEPS, BATCH, SIZE), **more: Any
) -> FloatGraph:
    """A graph of one layer whose output of that number is `out`.

    `operands` follow the bias. `weight` multiplies the weights. `more` are the node's attributes, and in `constants`
    the graph's.
    """
    both_ways = 2 if more.get("direction") == "bidirectional" else 1
    hidden, size = more.pop("hidden", HIDDEN), shape[2]
    constants, extra = more.pop("constants", {}), more.pop("nodes", [])
    inputs = {"x": shape, **more.pop("inputs", {})}
    rng = np.random.default_rng(3)
    made = {
        "w": rng.normal(0, weight / np.sqrt(size), (both_ways, GATES[kind] * hidden, size)),
        "r": rng.normal(0, weight / np.sqrt(hidden), (both_ways, GATES[kind] * hidden, hidden)),
        "b": rng.normal(0, 0.5, (both_ways, 2 * GATES[kind] * hidden)),
    }
    outputs = ["", "", ""][: output + 1]
    outputs[output] = "out"
    numbers = {name: array.astype(np.float32) for name, array in made.items()} | constants
    nodes = [*extra, node(kind, ["x", "w", "r", "b", *operands], outputs, hidden_size=hidden, **more)]
    return FloatGraph(nodes, inputs, numbers, opset=14)


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("GRU", {"linear_before_reset": 0}),
    ("GRU", {"linear_before_reset": 1}),
    ("RNN", {}),
]
OUTPUTS = [(kind, more, output) for kind, more in KINDS for output in range(3 if kind == "LSTM" else 2)]


def state(seed: int, directions: int = 1) -> Array:
    drawn = np.random.default_rng(seed).normal(0, 1, (directions, BATCH, HIDDEN))
    return np.asarray(drawn.astype(np.float32))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "more", "output"), OUTPUTS)
def test_lower__recurrent_layer__each_output_is_that_of_floats(
    kind: str, more: dict[str, Any], output: int, direction: str
) -> None:
    exact, floats = both(layer(kind, output=output, direction=direction, **more))
    np.testing.assert_allclose(exact, floats, atol=TOLERANCE)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "more", "output"), OUTPUTS)
def test_lower__states_and_lengths_given__each_output_is_that_of_floats(
    kind: str, more: dict[str, Any], output: int, direction: str
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    constants: dict[str, Any] = {"n": np.array([6, 2, 4], np.int32), "h": state(1, directions)}
    if kind == "LSTM":
        constants["c"] = state(2, directions) * 3
    graph = layer(kind, *constants, output=output, direction=direction, constants=constants, **more)
    exact, floats = both(graph)
    np.testing.assert_allclose(exact, floats, atol=TOLERANCE)


@pytest.mark.parametrize(("kind", "more", "output"), OUTPUTS)
def test_lower__states_and_lengths_computed__each_output_is_that_of_floats(
    kind: str, more: dict[str, Any], output: int
) -> None:
    inputs = {"h": (1, BATCH, HIDDEN), "y": (BATCH,)} | ({"c": (1, BATCH, HIDDEN)} if kind == "LSTM" else {})
    nodes = [
        node("Clip", ["y", "least", "most"], ["z"]),
        node("Cast", ["z"], ["n"], to=6),
    ]
    limits = {"least": np.float32(1), "most": np.float32(STEPS)}
    names = ["n", "h", *(["c"] if kind == "LSTM" else [])]
    exact, floats = both(layer(kind, *names, output=output, nodes=nodes, inputs=inputs, constants=limits, **more))
    np.testing.assert_allclose(exact, floats, atol=TOLERANCE)


@pytest.mark.parametrize(("kind", "more", "output"), OUTPUTS)
def test_lower__batch_as_first_axis__is_the_transposed_layer(kind: str, more: dict[str, Any], output: int) -> None:
    """onnxruntime does not run layout=1, so the layer with the steps first is its reference."""
    names = ["", "h", *(["c"] if kind == "LSTM" else [])]
    states = {name: state(number, 2) for number, name in enumerate(names) if name}
    rows = {name: array.transpose(1, 0, 2) for name, array in states.items()}
    more = more | {"direction": "bidirectional", "output": output}
    graph = layer(kind, *names, constants=states, **more)
    turned = layer(kind, *names, constants=rows, shape=(BATCH, STEPS, SIZE), layout=1, **more)
    feeds = graph.integers(1)
    found = [three_ways(_lowered(item, feeds), feeds) for item, feeds in ((graph, feeds), (turned, _turned(feeds)))]
    perm = (2, 0, 1, 3) if output == 0 else (1, 0, 2)
    np.testing.assert_array_equal(found[1], found[0].transpose(perm))


def _turned(feeds: dict[str, Array]) -> dict[str, Array]:
    return {name: array.transpose(1, 0, 2) for name, array in feeds.items()}


def _lowered(graph: FloatGraph, feeds: dict[str, Array]) -> bytes:
    inputs = {name: InputSpec("int16", GRID) for name in graph.inputs}
    return bytes(lower(graph.model(), [real(feeds)], inputs).SerializeToString())


@pytest.mark.parametrize(("kind", "more"), KINDS)
@pytest.mark.parametrize("weight", [0.01, 30.0])
def test_lower__extreme_weights_and_inputs__result_is_that_of_floats(
    kind: str, more: dict[str, Any], weight: float
) -> None:
    graph = layer(kind, weight=weight, shape=(4, 2, SIZE), **more)
    feeds = {"x": np.random.default_rng(4).choice([-(2**15), 2**15 - 1, 0, 1], (4, 2, SIZE)).astype(np.int16)}
    found = three_ways(_lowered(graph, feeds), feeds)
    (floats,) = ort.InferenceSession(graph.model().SerializeToString()).run(None, real(feeds))
    # A sum that is near 0 beside large weights turns on their rounding to 16 bits.
    near = np.abs(found - floats) <= (TOLERANCE if weight < 1 else 1e-2)
    assert near.mean() >= (1.0 if weight < 1 else 0.95)
    assert np.abs(found).max() <= 1


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_lower__sequence_of_200_steps__errors_do_not_add_up(kind: str, more: dict[str, Any]) -> None:
    graph = layer(kind, shape=(200, 1, 40), hidden=64, **more)
    exact, floats = both(graph)
    np.testing.assert_allclose(exact, floats, atol=5e-4)


@pytest.mark.parametrize(
    ("kind", "function", "bound"),
    [("sigmoid", lambda x: 1 / (1 + np.exp(-x)), 2.0**-20), ("tanh", lambda x: np.tanh(x / 2), 2.0**-19)],
)
def test_activation__any_number__is_within_its_bound(kind: str, function: Any, bound: float) -> None:
    near = np.arange(-20 * 2**12, 20 * 2**12) * 2**12 + 1_733  # between entries, and beyond both ends
    far = np.array([-(2**31), 2**31 - 1, 0, 1, -1, 2**24, -(2**24)])
    q = np.concatenate([near, far]).astype(np.int32)
    builder = Builder()
    x = builder.scale(builder.cast(builder.input("x", "int32", q.shape), FLOAT), -24)
    out = sigmoid(builder, x) if kind == "sigmoid" else tanh_of_half(builder, x)
    found = three_ways(builder.model({"out": out}).SerializeToString(), {"x": q})
    assert np.abs(found - function(np.ldexp(q.astype(np.float64), -24))).max() <= bound
    assert np.abs(found).max() <= 1


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (
            layer("RNN", activations=["Relu"]),
            "RNN node 'RNN_out': its activations are Relu, but only Tanh is supported: use that, or write the layer "
            "as a Scan",
        ),
        (
            layer("LSTM", clip=3.0),
            "LSTM node 'LSTM_out': its attribute 'clip' has the value 3.0, which the lowering does not support: leave "
            "the attribute out, or express the node by other operators",
        ),
        (
            layer("LSTM", "", "", "", "p", constants={"p": np.ones((1, 3 * HIDDEN), np.float32)}),
            "LSTM node 'LSTM_out': it has peepholes, which are not supported: train it without them, or write it as a "
            "Scan",
        ),
        (
            layer("GRU", shape=(1_025, 1, 2), direction="bidirectional", hidden=1),
            "GRU node 'GRU_out': it has 2050 steps, more than 2048: use shorter sequences",
        ),
    ],
)
def test_lower__form_of_layer_that_is_not_supported__says_what_to_change(refused: FloatGraph, reason: str) -> None:
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == f"cannot lower {reason}"
