"""Metric heads on exact programs against float64: ties, ignored targets, extreme logits, rows that do not count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.lowering.compare import node, three_ways
from verifier.exact import Engine, load_program
from verifier.exact.lowering import Builder, InputSpec, lower_graph
from verifier.exact.program.values import FLOAT, Value
from verifier.tasks.judge import evaluate
from verifier.tasks.metrics import accuracy, log_likelihood, preference_wins, row_log_likelihoods

Array = np.ndarray[Any, Any]
Head = Callable[[Builder, Value, Value], Value]

UNIT = 2.0**-16  # of a log-likelihood, in nat
ROUNDING = 0.5 + 2.0**-3  # largest error of a token's log-likelihood, in units: half a unit of rounding, and 2^-19 nat
GRID = -20
IGNORED = -100


def program(head: Head, *operands: tuple[Array, int | None]) -> bytes:
    """Return a program of a metric alone. Each operand is an example array and its grid; None: it stays an integer."""
    builder = Builder()
    values = []
    for name, (example, grid) in zip(("first", "second"), operands, strict=True):
        value = builder.input(name, example.dtype.name, example.shape)
        values.append(value if grid is None else builder.scale(builder.cast(value, FLOAT), grid))
    return builder.model({"score": head(builder, *values)}).SerializeToString()


def likelihood(logits: Array, targets: Array, head: Head = log_likelihood, grid: int = GRID) -> Array:
    """Return the outputs of a head for logits, as integers on a grid, and targets."""
    return three_ways(program(head, (logits, grid), (targets, None)), {"first": logits, "second": targets})


def token_log_likelihoods(logits: Array, targets: Array, grid: int = GRID) -> Array:
    """Compute log-likelihoods in float64, in units: [batch, tokens], NaN for a target that does not count."""
    x = np.ldexp(logits.astype(np.float64), grid)
    largest = x.max(-1, keepdims=True)
    nats = x - largest - np.log(np.exp(x - largest).sum(-1, keepdims=True))
    counts = (targets >= 0) & (targets < logits.shape[-1])
    own = np.take_along_axis(nats, np.where(counts, targets, 0)[..., None].astype(np.int64), -1)[..., 0]
    return np.asarray(np.where(counts, own / UNIT, np.nan))


def drawn(rows: int, tokens: int, classes: int, scale: float = 4.0, seed: int = 0) -> tuple[Array, Array]:
    """Return random logits, and random targets of which three in ten are ignored."""
    rng = np.random.default_rng(seed)
    logits = np.rint(np.ldexp(rng.normal(0, scale, (rows, tokens, classes)), -GRID)).astype(np.int32)
    targets = rng.integers(0, classes, (rows, tokens), np.int32)
    targets[rng.random((rows, tokens)) < 0.3] = IGNORED
    return logits, targets


# Token log-likelihood


@pytest.mark.parametrize("classes", [2, 17, 1000, 49_152])
@pytest.mark.parametrize("scale", [0.5, 8.0])
def test_log_likelihood__random_logits__is_the_sum_over_counted_tokens(classes: int, scale: float) -> None:
    logits, targets = drawn(3, 5, classes, scale)
    expected = token_log_likelihoods(logits, targets)
    counted = int((~np.isnan(expected)).sum())
    assert 0 < counted < targets.size
    rows = likelihood(logits, targets, row_log_likelihoods)
    assert rows.shape == (3,)
    assert (np.abs(rows - np.nansum(expected, axis=1)) <= ROUNDING * (~np.isnan(expected)).sum(axis=1)).all()
    (total,) = likelihood(logits, targets)
    assert total == rows.sum()
    assert abs(total - np.nansum(expected)) <= ROUNDING * counted


def test_log_likelihood__one_token__is_the_nearest_unit() -> None:
    """Two classes whose logits differ by `apart` nats; the expected integers are those of the float64 oracle."""
    apart = np.ldexp(np.array([0.0, 1.0, -1.0, 5.0, -5.0, 12.0, -12.0]), -GRID).astype(np.int32)
    logits = np.stack([apart, np.zeros_like(apart)], axis=-1)[:, None]
    found = likelihood(logits, np.zeros((7, 1), np.int8), row_log_likelihoods)
    assert found.tolist() == [-45426, -20530, -86066, -440, -328120, 0, -786432]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_log_likelihood__targets_outside_the_classes__never_count(dtype: str) -> None:
    """The index is clipped, so that none of them reads outside the logits either."""
    limits = np.iinfo(dtype)
    hostile = np.array([[limits.min, -1, IGNORED, 5, limits.max], [0, 1, 2, 3, 4]], dtype)
    logits, _ = drawn(2, 5, 5)
    expected = token_log_likelihoods(logits, hostile)
    assert np.isnan(expected[0]).all()
    ignored, counted = likelihood(logits, hostile, row_log_likelihoods)
    assert ignored == 0
    assert abs(counted - expected[1].sum()) <= ROUNDING * 5
    assert likelihood(logits, hostile).tolist() == [counted]


def test_log_likelihood__no_target_counts__is_zero() -> None:
    logits, _ = drawn(2, 3, 7)
    assert likelihood(logits, np.full((2, 3), IGNORED, np.int16)).tolist() == [0]


@pytest.mark.parametrize("grid", [-26, -20, -11])
def test_log_likelihood__extreme_logits__are_accurate_and_never_above_zero(grid: int) -> None:
    """Logits at the limits of int32: a certain target, one that is a million nats away, and equal classes."""
    low, high = -(2**31), 2**31 - 1
    rows = [
        [high, low, low],
        [low, high, low],
        [high, high, high],
        [low, low, low],
        [high, high - 1, low],
        [0, low, high],
    ]
    logits = np.array(rows, np.int32)[:, None]
    targets = np.zeros((6, 1), np.int8)
    found = likelihood(logits, targets, row_log_likelihoods, grid)
    expected = token_log_likelihoods(logits, targets, grid)[:, 0]
    assert np.abs(found - expected).max() <= ROUNDING
    assert found.max() <= 0
    assert found[1] == np.rint(-np.ldexp(float(high - low), grid) / UNIT)


def test_log_likelihood__logits_beyond_a_million__saturate() -> None:
    logits = np.array([[[2**31 - 1, 0, -(2**31)]]], np.int32)
    assert likelihood(logits, np.array([[1]], np.int8), grid=0).tolist() == [-(2**20) / UNIT]
    assert likelihood(logits, np.array([[2]], np.int8), grid=0).tolist() == [-(2**21) / UNIT]


@pytest.mark.parametrize("grid", [-40, -33, -27, -4, 8])
def test_log_likelihood__logits_on_any_grid__are_proven(grid: int) -> None:
    """Logits are products of 53 bits, as those of a model's last layer."""
    builder = Builder()
    q = builder.input("first", "int32", (1, 2, 4))
    wide = builder.op("Mul", builder.cast(q, FLOAT), builder.constant(np.float64(2**22 - 1)))
    logits = builder.scale(wide, grid)
    targets = builder.input("second", "int8", (1, 2))
    file = builder.model({"score": log_likelihood(builder, logits, targets)}).SerializeToString()
    size = min(2.0**21, 8 * 2.0**-grid / 2**22)
    drawn_q = np.random.default_rng(1).uniform(-size, size, (1, 2, 4)).astype(np.int32)
    found = three_ways(file, {"first": drawn_q, "second": np.array([[1, 3]], np.int8)})
    expected = token_log_likelihoods(drawn_q.astype(np.int64) * (2**22 - 1), np.array([[1, 3]]), grid).sum()
    assert abs(found[0] - expected) <= 2 * ROUNDING
    low, high = load_program(file).interval("score")
    assert -(2**53) < low <= found[0] <= high <= 0


def test_log_likelihood__other_rows_and_batches__have_the_same_sum() -> None:
    logits, targets = drawn(4, 6, 9)
    (whole,) = likelihood(logits, targets)
    halves = (slice(0, 3), slice(3, 6))
    parts = [
        likelihood(logits[row : row + 1, half], targets[row : row + 1, half])[0] for row in range(4) for half in halves
    ]
    assert sum(parts) == whole
    (reshaped,) = likelihood(logits.reshape(8, 3, 9), targets.reshape(8, 3))
    assert reshaped == whole


# Preference wins


def test_preference_wins__scores_of_a_reward_model__ties_count_as_wrong() -> None:
    chosen = np.array([5, 5, 5, -7, 2**15 - 1, -(2**15), 0], np.int16)
    rejected = np.array([4, 5, 6, -8, -(2**15), 2**15 - 1, 0], np.int16)
    file = program(preference_wins, (chosen, -8), (rejected, -8))
    assert three_ways(file, {"first": chosen, "second": rejected}).tolist() == [3]


def test_preference_wins__likelihoods_of_rows__count_pairs_won() -> None:
    """Row 2i is the chosen and row 2i + 1 the rejected answer; the last pair is padding, the one before it equal."""
    logits, targets = drawn(12, 5, 8, seed=4)
    targets[[8, 9]] = targets[[8, 8]]
    logits[9] = logits[8]
    targets[10:] = IGNORED

    def head(builder: Builder, x: Value, y: Value) -> Value:
        pairs = builder.reshape(row_log_likelihoods(builder, x, y), (6, 2))
        halves = builder.ops("Split", (pairs, builder.constant(np.array([1, 1], np.int64))), 2, axis=1)
        return preference_wins(builder, *(builder.reshape(half, (6,)) for half in halves))

    totals = np.nansum(token_log_likelihoods(logits, targets), axis=1).reshape(6, 2)
    assert np.abs(totals[:4, 0] - totals[:4, 1]).min() > 10 * ROUNDING
    wins = int((totals[:4, 0] > totals[:4, 1]).sum())
    assert 0 < wins < 4
    assert likelihood(logits, targets, head).tolist() == [wins]


# Accuracy


def test_accuracy__ties_and_labels_outside_the_classes__count_as_wrong() -> None:
    logits = np.array(
        [[3, 1, 2], [1, 3, 2], [3, 3, 1], [7, 7, 7], [-(2**15), -(2**15), 2**15 - 1], [5, 1, 1], [5, 1, 1], [5, 1, 1]],
        np.int16,
    )
    label = np.array([0, 2, 0, 1, 2, -1, 3, 2**15 - 1], np.int16)
    file = program(accuracy, (logits, -10), (label, None))
    assert three_ways(file, {"first": logits, "second": label}).tolist() == [2]


# A language model, from floats to a score


VOCABULARY, WIDTH, TOKENS, BATCH = 50, 16, 7, 4


def language_model() -> tuple[Any, dict[str, Array]]:
    """Return a model that predicts each token from the one before it; its second layer is the submission."""
    rng = np.random.default_rng(6)
    constants = {
        "table": rng.normal(0, 1, (VOCABULARY, WIDTH)).astype(np.float32),
        "inner": rng.normal(0, 0.5, (WIDTH, WIDTH)).astype(np.float32),
    }
    nodes = [
        node("Gather", ["table", "ids"], ["embedded"]),
        node("MatMul", ["embedded", "inner"], ["product"]),
        node("Tanh", ["product"], ["hidden"]),
        node("MatMul", ["hidden", "outer"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "language model",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, (BATCH, TOKENS)),
            helper.make_tensor_value_info("outer", TensorProto.FLOAT, (WIDTH, VOCABULARY)),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (BATCH, TOKENS, VOCABULARY))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), constants


def test_log_likelihood__of_a_language_model_over_a_set__is_the_float_models() -> None:
    model, constants = language_model()
    rng = np.random.default_rng(7)

    def outer(seed: int) -> Array:
        return np.rint(np.random.default_rng(seed).normal(0, 0.6, (WIDTH, VOCABULARY)) * 2**12).astype(np.int16)

    calibration = [
        {"ids": rng.integers(0, VOCABULARY, (BATCH, TOKENS)), "outer": np.ldexp(outer(seed).astype(np.float32), -12)}
        for seed in range(6)
    ]
    specs = {"ids": InputSpec("int16", lo=0, hi=VOCABULARY - 1), "outer": InputSpec("int16", -12)}
    lowered = lower_graph(model, calibration, specs)
    targets = lowered.builder.input("targets", "int16", (BATCH, TOKENS))
    score = log_likelihood(lowered.builder, lowered.outputs["logits"], targets)
    exact = load_program(lowered.builder.model({"score": score}).SerializeToString())

    text = rng.integers(0, VOCABULARY, (12, TOKENS + 1)).astype(np.int16)
    examples = {"ids": text[:, :-1], "targets": text[:, 1:].copy()}
    examples["targets"][2, 3:] = IGNORED  # a short text
    examples["targets"][-1] = IGNORED  # a row that fills the last batch
    submission = {"outer": outer(99)}
    found = evaluate(exact, Engine(exact), submission, examples, BATCH)

    hidden = np.tanh(constants["table"].astype(np.float64)[examples["ids"]] @ constants["inner"].astype(np.float64))
    logits = torch.from_numpy(hidden @ np.ldexp(submission["outer"].astype(np.float64), -12))
    wanted = torch.nn.functional.cross_entropy(
        logits.reshape(-1, VOCABULARY),
        torch.from_numpy(examples["targets"].reshape(-1).astype(np.int64)),
        reduction="sum",
    ).item()
    assert wanted > 250
    assert len(found.records) == 3
    assert abs(-found.score * UNIT / wanted - 1) <= 1e-4
    low, high = exact.interval("score")
    assert low < found.score < 0 == high
