"""Evaluation over a whole set, and the check of a program, with a program small enough to compute by hand."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from verifier.artifacts.evidence import outputs_digest
from verifier.tasks.errors import InvalidProgram
from verifier.tasks.judge import check_program, evaluate
from verifier.tasks.manifest import Manifest


@dataclass(frozen=True)
class Port:
    """An input or output of a program."""

    name: str
    shape: tuple[int, ...]
    grid: int = 0
    dtype: str = "int16"


@dataclass(frozen=True)
class LinearClassifier:
    """A program and its Runner in NumPy: it counts in how many of two examples weights · features equals the label."""

    inputs: tuple[Port, ...] = (Port("weights", (3,)), Port("features", (2, 3)), Port("label", (2,)))
    outputs: tuple[Port, ...] = (Port("score", ()), Port("products", (2,)))
    macs: int = 6
    intervals: dict[str, tuple[int, int]] = field(default_factory=lambda: {"score": (0, 2)})

    def interval(self, name: str) -> tuple[int, int]:
        return self.intervals[name]

    def run(self, feeds: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        for port in self.inputs:
            assert feeds[port.name].shape == port.shape
        products = feeds["features"].astype(np.int64) @ feeds["weights"].astype(np.int64)
        return {"score": np.array((products == feeds["label"]).sum(), np.int64), "products": products}


@pytest.fixture
def program() -> LinearClassifier:
    return LinearClassifier()


@pytest.fixture
def submission() -> dict[str, Any]:
    return {"weights": np.array([1, -2, 3], np.int16)}


@pytest.fixture
def examples() -> dict[str, Any]:
    """Three examples and a row of padding; the second label is wrong."""
    features = np.array([[1, 1, 1], [2, 0, 1], [0, 1, 0], [0, 0, 0]], np.int16)
    return {"features": features, "label": np.array([2, 4, -2, -1], np.int16)}


@pytest.fixture
def manifest() -> Manifest:
    return Manifest.from_fields(
        {
            "version": 1,
            "kind": "linear",
            "title": "Linear",
            "program": {"digest": "0x" + "01" * 32, "size": 5000, "uris": []},
            "submission": [{"name": "weights", "dtype": "int16", "shape": [3], "grid": -4}],
            "examples": [
                {"name": "features", "dtype": "int16", "shape": [2, 3], "grid": 0},
                {"name": "label", "dtype": "int16", "shape": [2], "grid": 0},
            ],
            "practice": {"digest": "0x" + "02" * 32, "size": 1024 + 4 * 8, "count": 3, "uris": []},
            "holdout": None,
            "batch": 2,
            "metric": {"name": "accuracy", "unit": "examples", "bound": 4},
            "macs": 12,
            "base": {"model": "none", "tokenizer": "none"},
            "settings": {},
        }
    )


def test_evaluate__two_batches__adds_up_and_records_each(
    program: LinearClassifier, submission: dict[str, Any], examples: dict[str, Any]
) -> None:
    progress: list[tuple[int, int]] = []
    evaluation = evaluate(
        program, program, submission, examples, 2, on_batch=lambda done, total: progress.append((done, total))
    )
    assert evaluation.score == 2
    assert [record.running for record in evaluation.records] == [1, 2]
    assert [record.outputs for record in evaluation.records] == [
        outputs_digest([np.array(1, np.int64), np.array([2, 5], np.int64)]),
        outputs_digest([np.array(1, np.int64), np.array([-2, 0], np.int64)]),
    ]
    assert progress == [(1, 2), (2, 2)]


def test_evaluate__scores_near_the_ends_of_int64__add_up_as_python_integers(
    submission: dict[str, Any], examples: dict[str, Any]
) -> None:
    class Extreme(LinearClassifier):
        def run(self, feeds: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
            return {"score": np.array([2**63 - 1], np.int64), "products": np.zeros(2, np.int64)}

    program = Extreme(outputs=(Port("score", (1,)), Port("products", (2,))))
    evaluation = evaluate(program, program, submission, examples, 2)
    assert evaluation.score == 2**64 - 2
    assert evaluation.records[-1].running == 2**64 - 2


@pytest.mark.parametrize("rows", [(3, 3), (0, 0), (4, 2)])
def test_evaluate__rows_are_not_whole_batches__is_refused(
    program: LinearClassifier, submission: dict[str, Any], examples: dict[str, Any], rows: tuple[int, int]
) -> None:
    cut = {name: array[:count] for (name, array), count in zip(examples.items(), rows, strict=True)}
    with pytest.raises(ValueError, match=r"one number of rows, a multiple of the batch of 2"):
        evaluate(program, program, submission, cut, 2)


def test_check_program__program_of_the_manifest__passes(program: LinearClassifier, manifest: Manifest) -> None:
    check_program(program, manifest)


WEIGHTS, FEATURES, LABEL = LinearClassifier().inputs
SCORE, PRODUCTS = LinearClassifier().outputs


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ((WEIGHTS, FEATURES), r"input label: the manifest has int16\[2\], the program none"),
        (
            (WEIGHTS, FEATURES, LABEL, Port("bias", (1,))),
            r"input bias: the manifest has none, the program int16\[1\]",
        ),
        ((replace(WEIGHTS, dtype="int8"), FEATURES, LABEL), r"input weights: .* the program int8\[3\]"),
        ((replace(WEIGHTS, shape=(4,)), FEATURES, LABEL), r"input weights: .* the program int16\[4\]"),
    ],
)
def test_check_program__other_inputs__are_named(manifest: Manifest, inputs: tuple[Port, ...], reason: str) -> None:
    with pytest.raises(InvalidProgram, match=reason):
        check_program(LinearClassifier(inputs=inputs), manifest)


@pytest.mark.parametrize(
    "outputs",
    [(PRODUCTS, SCORE), (Port("score", (2,)),), (Port("score", (), -1),), (Port("total", ()),)],
)
def test_check_program__first_output_is_not_a_score__is_refused(manifest: Manifest, outputs: tuple[Port, ...]) -> None:
    with pytest.raises(InvalidProgram, match="the first output of an evaluation program is `score`, one integer"):
        check_program(LinearClassifier(outputs=outputs), manifest)


def test_check_program__cost_understated__is_refused(manifest: Manifest) -> None:
    with pytest.raises(InvalidProgram, match="macs: 14 for 2 batches, the manifest says 12"):
        check_program(LinearClassifier(macs=7), manifest)


@pytest.mark.parametrize("interval", [(0, 3), (-3, 0)])
def test_check_program__score_can_pass_the_bound__is_refused(manifest: Manifest, interval: tuple[int, int]) -> None:
    with pytest.raises(InvalidProgram, match="score: up to 6 over 2 batches, the manifest says 4"):
        check_program(LinearClassifier(intervals={"score": interval}), manifest)
