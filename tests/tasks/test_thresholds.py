"""Scores that need no work, and standard errors of sums over examples that come in groups."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.tasks.thresholds import clustered_error, constant_scores, room_warnings


def test_clustered_error__every_example_a_group__is_that_of_independent_examples() -> None:
    values = np.random.default_rng(1).normal(size=500)
    expected = np.sqrt(500) * values.std(ddof=1)
    assert clustered_error(values, range(500)) == pytest.approx(expected, rel=1e-9)


def test_clustered_error__equal_examples_in_groups__grows_with_their_size() -> None:
    groups = np.repeat(np.arange(50), 8)
    values = np.repeat(np.random.default_rng(2).normal(size=50), 8)
    assert clustered_error(values, groups) == pytest.approx(np.sqrt(8) * clustered_error(values, range(400)), rel=0.02)


def test_clustered_error__one_group__is_infinite() -> None:
    assert clustered_error(np.array([1.0, 2.0]), ["a", "a"]) == np.inf


def test_constant_scores__labels_as_texts_or_class_numbers__are_the_same() -> None:
    expected = {"majority class": 3.0, "random class": 2.5}
    assert constant_scores(["no", "yes", "no", "no", "yes"]) == expected
    assert constant_scores(np.array([0, 1, 0, 0, 1], np.int16)) == expected


def test_room_warnings__untrained_head_scores_nearly_all__says_so() -> None:
    (warning,) = room_warnings({"majority class": 90.0, "head fitted to 256 rows, no adapter": 254.0}, 256)
    assert warning.startswith("head fitted to 256 rows, no adapter scores 254 of 256: no threshold can tell training")


@pytest.mark.parametrize("score", [128.0, 200.0])
def test_room_warnings__room_above_the_untrained_scores__are_none(score: float) -> None:
    assert room_warnings({"majority class": 100.0, "head": score}, 256) == []
