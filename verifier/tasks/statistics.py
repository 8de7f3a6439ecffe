"""How uncertain a score is: standard errors of sums over examples that come in groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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
