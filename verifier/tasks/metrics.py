"""Metrics: what an evaluation program makes of a model's outputs, as exact instructions."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering import Builder
from verifier.exact.values import FLOAT, Value


def accuracy(builder: Builder, logits: Value, label: Value) -> Value:
    """How many rows of logits [batch, classes] have their one largest entry at `label` [batch]: int64, shape [1].

    A tie for the largest is no answer and counts as wrong. A label that is no class, as padding has, never counts.
    """
    batch, classes = logits.shape
    last = builder.constant(np.array([1], np.int64))
    numbers = builder.constant(np.arange(classes, dtype=np.float64))
    own = builder.op("Equal", builder.reshape(builder.cast(label, FLOAT), (batch, 1)), numbers)
    is_class = builder.op("ReduceMax", builder.cast(own, "int32"), last, keepdims=0)
    # Below every logit that can be: out of the way of both maxima.
    below = builder.constant(np.float64(np.ldexp(-float(logits.magnitude + 1), logits.grid)))
    mine = builder.op("ReduceMax", builder.op("Where", own, logits, below), last, keepdims=0)
    others = builder.op("ReduceMax", builder.op("Where", own, below, logits), last, keepdims=0)
    right = builder.op("And", builder.op("Greater", mine, others), builder.cast(is_class, "bool"))
    all_rows = builder.constant(np.array([0], np.int64))
    return builder.op("ReduceSum", builder.cast(right, "int64"), all_rows, keepdims=1)
