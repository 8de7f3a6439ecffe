"""What a sponsor needs to know before choosing a threshold: the scores that need no work, and the noise of a score.

For metrics that count correct examples of a set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Weight of the squared entries of a fitted head, for embeddings of mean square 1.
_RIDGE = 1e-2


def constant_scores(labels: Sequence[str]) -> dict[str, float]:
    """Return what a submission scores on a set with these labels that answers the same always, or at random."""
    _, counts = np.unique(np.array(labels, dtype=object).astype(str), return_counts=True)
    return {"majority class": float(counts.max()), "random class": round(len(labels) / len(counts), 1)}


def standard_error(count: int, share: float) -> float:
    """Return the standard error of a score on `count` examples of which a submission gets `share` right.

    It says how far the score would move with other examples of the same kind: the square root of count·p·(1-p).
    """
    return math.sqrt(count * share * (1 - share))


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
