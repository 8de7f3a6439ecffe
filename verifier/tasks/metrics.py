"""Metric heads: exact instructions that an evaluation program appends to a model's outputs.

Each yields one integer per batch, higher is better, and a submission's score is the sum over batches. Metrics therefore
count or add up and are never means: means over batches with different numbers of tokens do not add up. The mean over a
set is the score divided by the number of its examples or counted tokens, which is the same for every submission.
"""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering import Builder, log_sum_exp
from verifier.exact.program.values import FLOAT, Value
from verifier.tasks.thresholds import NAT_BITS

# Logits saturate at 2**20 and are rounded to the grid 2**-26, so their differences and logarithms fit in 53 bits.
MAX_LOGIT_BITS = 20
LOGIT_GRID = -26


def accuracy(builder: Builder, logits: Value, label: Value) -> Value:
    """Count the rows of logits [batch, classes] whose largest entry is at `label` [batch]: int64, shape [1].

    A tie for the largest entry counts as wrong. A label that is not a class, as that of padding, never counts.
    """
    batch, classes = logits.shape
    last = builder.constant(np.array([1], np.int64))
    numbers = builder.constant(np.arange(classes, dtype=np.float64))
    own = builder.op("Equal", builder.reshape(builder.cast(label, FLOAT), (batch, 1)), numbers)
    # A value below every possible logit, so that it decides neither maximum. A label that is not a class has this value
    # as its own logit.
    below = builder.constant(np.float64(np.ldexp(-float(logits.magnitude + 1), logits.grid)))
    mine = builder.op("ReduceMax", builder.op("Where", own, logits, below), last, keepdims=0)
    others = builder.op("ReduceMax", builder.op("Where", own, below, logits), last, keepdims=0)
    right = builder.cast(builder.op("Greater", mine, others), "int64")
    return builder.op("ReduceSum", right, builder.constant(np.array([0], np.int64)), keepdims=1)


def token_log_likelihoods(builder: Builder, logits: Value, targets: Value) -> Value:
    """Compute the log-likelihood of each target in units of 2**-16 nat: float64 integers [batch, tokens], at most 0.

    `logits` [batch, tokens, classes] predict the `targets` [batch, tokens] at the same positions; targets are integers
    of at most 32 bits. A target that is not a class, such as -100, does not count and has 0.

    Each has an error below 2**-19 nat for up to 2**16 classes, and is rounded to the nearest unit, ties to even. Tokens
    are rounded one by one, so their arrangement in rows and batches does not change a sum of them.

    Errors: NotExactError for logits on a grid that is too coarse for fractions, or for too many tokens.
    """
    batch, tokens, classes = logits.shape
    limit = 2 ** max(MAX_LOGIT_BITS - logits.grid, 0)
    logits = builder.rounded(builder.clipped(logits, -limit, limit), LOGIT_GRID)
    number = builder.cast(targets, FLOAT)
    a_class = builder.clipped(number, 0, classes - 1)
    counts = builder.cast(builder.op("Equal", number, a_class), FLOAT)
    index = builder.reshape(builder.cast(a_class, "int32"), (batch, tokens, 1))
    own = builder.op("GatherElements", logits, index, axis=2)
    nats = builder.op("Sub", own, log_sum_exp(builder, logits, [2]))
    units = builder.op("Round", builder.scale(nats, NAT_BITS))
    # A computed log-likelihood exceeds 0 by less than half a unit. The proof's intervals do not show it: clip it.
    units = builder.reshape(builder.op("Min", units, builder.constant(np.float64(0))), (batch, tokens))
    return builder.op("Mul", units, counts)


def total_score(builder: Builder, tokens: Value) -> Value:
    """Add up the `token_log_likelihoods` of all rows: int64, shape [1], at most 0."""
    total = builder.op("ReduceSum", tokens, builder.constant(np.array([0, 1], np.int64)), keepdims=0)
    return builder.reshape(builder.cast(total, "int64"), (1,))


def row_log_likelihoods(builder: Builder, logits: Value, targets: Value) -> Value:
    """Add up the `token_log_likelihoods` of each row: float64 integers [batch], at most 0."""
    last = builder.constant(np.array([1], np.int64))
    return builder.op("ReduceSum", token_log_likelihoods(builder, logits, targets), last, keepdims=0)


def log_likelihood(builder: Builder, logits: Value, targets: Value) -> Value:
    """Add up `row_log_likelihoods`, in units of 2**-16 nat: int64, shape [1], at most 0."""
    rows = row_log_likelihoods(builder, logits, targets)
    total = builder.op("ReduceSum", rows, builder.constant(np.array([0], np.int64)), keepdims=1)
    return builder.cast(total, "int64")


def preference_wins(builder: Builder, chosen: Value, rejected: Value) -> Value:
    """Count the pairs in which the chosen answer has a larger value than the rejected one: int64, shape [1].

    `chosen` and `rejected` [pairs] are the scores of a reward model or `row_log_likelihoods`. A tie counts as wrong, so
    a pair of padding, whose two halves are equal, never counts.
    """
    won = builder.cast(builder.op("Greater", chosen, rejected), "int64")
    return builder.op("ReduceSum", won, builder.constant(np.array([0], np.int64)), keepdims=1)
