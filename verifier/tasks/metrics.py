"""Metrics: what an evaluation program makes of a model's outputs, as exact instructions.

Each is one integer for a batch, higher is better, and a submission's score is the sum over batches. So they count or
add up, and none is a mean: means over batches with more and with fewer tokens do not add up. The mean over a set is the
score divided by the number of its examples or counted tokens, which is the same for every submission.
"""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering import Builder, log_sum_exp
from verifier.exact.program.values import FLOAT, Value

# A log-likelihood counts units of 2**-16 nat.
NAT_BITS = 16
# Logits saturate at 2**20 and are rounded to 2**-26: their differences and logarithms then have 53 bits.
MOST_LOGIT_BITS = 20
LOGIT_GRID = -26


def accuracy(builder: Builder, logits: Value, label: Value) -> Value:
    """How many rows of logits [batch, classes] have their one largest entry at `label` [batch]: int64, shape [1].

    A tie for the largest is no answer and counts as wrong. A label that is no class, as padding has, never counts.
    """
    batch, classes = logits.shape
    last = builder.constant(np.array([1], np.int64))
    numbers = builder.constant(np.arange(classes, dtype=np.float64))
    own = builder.op("Equal", builder.reshape(builder.cast(label, FLOAT), (batch, 1)), numbers)
    # Below every logit that can be: out of the way of both maxima. A label that is no class has nothing above it.
    below = builder.constant(np.float64(np.ldexp(-float(logits.magnitude + 1), logits.grid)))
    mine = builder.op("ReduceMax", builder.op("Where", own, logits, below), last, keepdims=0)
    others = builder.op("ReduceMax", builder.op("Where", own, below, logits), last, keepdims=0)
    right = builder.cast(builder.op("Greater", mine, others), "int64")
    return builder.op("ReduceSum", right, builder.constant(np.array([0], np.int64)), keepdims=1)


def row_log_likelihoods(builder: Builder, logits: Value, targets: Value) -> Value:
    """The log-likelihood of each row's targets, in units of 2**-16 nat: float64 whole numbers [batch], none above 0.

    `logits` [batch, tokens, classes] are what the model expects at the place of each of the `targets` [batch, tokens],
    integers of at most 32 bits. A target that is no class, as -100, does not count; a row of such has 0.

    A token's log-likelihood, off by less than 2**-19 nat for up to 2**16 classes, is rounded to the nearest unit, ties
    to even. Tokens are rounded one by one: how they lie in rows and batches changes nothing.

    Errors: NotExactError for logits on a grid too coarse to have a fraction, or for too many tokens.
    """
    batch, tokens, classes = logits.shape
    limit = 2 ** max(MOST_LOGIT_BITS - logits.grid, 0)
    logits = builder.rounded(builder.clipped(logits, -limit, limit), LOGIT_GRID)
    number = builder.cast(targets, FLOAT)
    a_class = builder.clipped(number, 0, classes - 1)
    counts = builder.cast(builder.op("Equal", number, a_class), FLOAT)
    index = builder.reshape(builder.cast(a_class, "int32"), (batch, tokens, 1))
    own = builder.op("GatherElements", logits, index, axis=2)
    nats = builder.op("Sub", own, log_sum_exp(builder, logits, [2]))
    units = builder.op("Round", builder.scale(nats, NAT_BITS))
    # No logarithm is above 0 by as much as half a unit, which the proof does not know.
    units = builder.reshape(builder.op("Min", units, builder.constant(np.float64(0))), (batch, tokens))
    last = builder.constant(np.array([1], np.int64))
    return builder.op("ReduceSum", builder.op("Mul", units, counts), last, keepdims=0)


def log_likelihood(builder: Builder, logits: Value, targets: Value) -> Value:
    """The sum of `row_log_likelihoods`, in units of 2**-16 nat: int64, shape [1], never above 0."""
    rows = row_log_likelihoods(builder, logits, targets)
    total = builder.op("ReduceSum", rows, builder.constant(np.array([0], np.int64)), keepdims=1)
    return builder.cast(total, "int64")


def preference_wins(builder: Builder, chosen: Value, rejected: Value) -> Value:
    """In how many pairs what people chose has more than what they rejected: int64, shape [1].

    `chosen` and `rejected` [pairs] are a reward model's scores or `row_log_likelihoods`. A tie is no preference and
    counts as wrong, so a pair of padding, whose two halves are alike, never counts.
    """
    won = builder.cast(builder.op("Greater", chosen, rejected), "int64")
    return builder.op("ReduceSum", won, builder.constant(np.array([0], np.int64)), keepdims=1)
