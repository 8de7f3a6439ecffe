"""What a score is compared with: scores that need no work, the noise of a score, and scores on sets of another size.

A score is a sum over examples, so its noise and its share grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.tasks.manifest import Manifest

# A log-likelihood counts units of 2**-16 nat.
NAT_BITS = 16
# Weight of the squared entries of a fitted head, for embeddings of mean square 1.
_RIDGE = 1e-2


def constant_scores(labels: Sequence[str] | NDArray[Any]) -> dict[str, float]:
    """Return how many examples of a set with these labels [examples] a submission gets right that ignores its input.

    "majority class" always gives the most frequent label, "random class" a random one of the labels.
    """
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    return {"majority class": float(counts.max()), "random class": round(len(labels) / len(counts), 1)}


def standard_error(count: int, share: float) -> float:
    """Return the standard error of a score on `count` examples of which a submission gets `share` right.

    It says how far the score would move with other examples of the same kind: the square root of count·p·(1-p).
    """
    return math.sqrt(count * share * (1 - share))


def room_warnings(trivial: Mapping[str, float], count: int) -> list[str]:
    """Return a warning where no threshold can tell a trained submission from an untrained one; else nothing.

    `trivial` are scores on `count` examples that need no training.
    """
    name, score = max(trivial.items(), key=lambda item: item[1])
    if score + 2 * standard_error(count, min(score / count, 1.0)) + 1 < count:
        return []
    return [
        f"{name} scores {score:.0f} of {count}: no threshold can tell training from that: choose a harder data set, or "
        "classes that are closer to each other"
    ]


def clustered_error(values: NDArray[np.float64], groups: Sequence[object]) -> float:
    """Return the standard error of the sum of `values` when whole groups are drawn, not single examples.

    `values` [examples] are for example the differences between the log-likelihoods of two submissions, and `groups`
    names the group of each, such as its document or person. Examples of one group resemble each other, so their number
    says too little about the error. A single group says nothing about it: the error is then infinite.

    Source: the cluster-robust variance of a mean, with the correction G / (G - 1) for G groups.
    """
    names = sorted({str(group) for group in groups})
    if len(names) < 2:
        return float("inf")
    number = {name: place for place, name in enumerate(names)}
    members = np.array([number[str(group)] for group in groups])
    residuals = np.bincount(members, weights=values - values.mean(), minlength=len(names))
    return float(np.sqrt(len(names) / (len(names) - 1) * np.sum(residuals**2)))


def nat_units(nats: float) -> int | None:
    """Return a number of nats in units of a log-likelihood's score; None for an infinite `clustered_error`."""
    return round(nats * 2.0**NAT_BITS) if math.isfinite(nats) else None


def fitted_head_share(
    train: NDArray[np.float64], labels: Sequence[str], test: NDArray[np.float64], expected: Sequence[str]
) -> float:
    """Return the share of test examples that a linear head gets right which is fitted to embeddings [rows, width].

    The head is a ridge regression to the classes, which is what a submission without any adapter can have.
    """
    classes = sorted(set(labels))
    scale = math.sqrt(float(np.mean(train**2))) or 1.0
    design = np.hstack([train / scale, np.ones((len(train), 1))])
    targets = np.array([[label == name for name in classes] for label in labels], np.float64)
    weights: NDArray[Any] = np.linalg.solve(
        design.T @ design + _RIDGE * len(train) * np.eye(design.shape[1]), design.T @ targets
    )
    chosen = (np.hstack([test / scale, np.ones((len(test), 1))]) @ weights).argmax(axis=1)
    return float(np.mean([classes[number] == label for number, label in zip(chosen, expected, strict=True)]))


def on_the_other_set(manifest: Manifest, score: int, *, sealed: bool) -> str:
    """Say what a score corresponds to on the set that was not scored; `sealed` says that the holdout was."""
    if manifest.holdout is None:
        return "the task has no holdout: the threshold applies to this score"
    practice, holdout = manifest.practice.count, manifest.holdout.count
    if sealed:
        part = _scaled(score, holdout, practice)
        return (
            f"{score:,} on the {holdout:,} examples of the holdout corresponds to {part} on the {practice:,} of "
            "practice"
        )
    part = _scaled(score, practice, holdout)
    return (
        f"{score:,} on the {practice:,} examples of practice corresponds to {part} on the {holdout:,} of the holdout, "
        "to which the threshold applies"
    )


def threshold_on_practice(manifest: Manifest, threshold: int) -> str:
    """Say what a threshold, which applies to the holdout, corresponds to on the practice set."""
    practice = manifest.practice.count
    if manifest.holdout is None:
        return f"{threshold:,} on {practice:,} examples"
    holdout = manifest.holdout.count
    part = _scaled(threshold, holdout, practice)
    return (
        f"{threshold:,} on the {holdout:,} examples of the holdout, which corresponds to {part} on the {practice:,} of "
        "practice"
    )


def _scaled(score: int, count: int, other: int) -> str:
    """Scale a score on `count` examples to `other` examples, to one decimal where it is not whole."""
    return f"{score * other // count:,}" if score * other % count == 0 else f"{score * other / count:,.1f}"
