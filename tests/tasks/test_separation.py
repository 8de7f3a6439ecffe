"""Builders refuse programs whose rows see each other, and warn of padding that counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.exact.graphs import data
from tests.tasks.conftest import BuiltTask
from verifier.exact import Program, load_program
from verifier.exact.dependence import inputs_of_outputs, reach, reach_of_padding
from verifier.tasks.errors import BuildError
from verifier.tasks.separation import check_predictions, check_rows, padding_warnings

INPUTS = {"x": ("int8", (2, 3)), "m": ("int8", (2, 3))}
SUMMED = load_program(
    data(
        [("Cast", "x", "a", {"to": 6}), ("ReduceSum", "a axes", "sum"), ("Add", "a sum", "y"), ("Identity", "m", "z")],
        INPUTS,
        {"axes": np.array([0])},
        outputs="y z",
    )
)


def test_check_rows__row_that_sees_another_one__is_refused_with_both() -> None:
    check_rows(SUMMED, {"m": 0}, {"z": 0, "y": 0})
    with pytest.raises(BuildError) as caught:
        check_rows(SUMMED, {"x": 0, "m": 0}, {"y": 0})
    assert str(caught.value).startswith(
        "a row of the holdout could change the result of another one: output 'y' at position 0 of axis 0 may depend on "
        "position 1 of axis 0 of 'x': it must not depend on other rows."
    )


def test_padding_warnings__mask_that_is_not_applied__is_told() -> None:
    assert padding_warnings(SUMMED, "x", "m", {"z": 1, "y": 1}) == []
    (warning,) = padding_warnings(SUMMED, "x", "m", {"y": None})
    assert warning.startswith(
        "a result can depend on how many tokens a row is padded to: output 'y' may depend on position 1 of masked 'x': "
        "it must not depend on positions at which the mask is 0."
    )


def test_build__program__keeps_rows_and_padding_apart_and_the_label_from_the_logits(task: BuiltTask) -> None:
    program = load_program((task.folder / "program.onnx").read_bytes())
    dependent = inputs_of_outputs(program)
    assert set(dependent["score"]) - set(dependent["logits"]) == {"label"}
    (batch,) = program.values["label"].shape
    found = reach(program, "input_ids", 0)
    np.testing.assert_array_equal(found["logits"].along(0), np.eye(batch, dtype=np.bool_))
    masked = reach_of_padding(program, "input_ids", "attention_mask")
    assert not masked["logits"].positions[1:].any()
    assert not masked["score"].positions[1:].any()


# A program whose `states` [2, 3] are read one position before the places.
PREDICTING = {"tokens": ("int8", (2, 3)), "places": ("int8", (2, 2))}
READING = [
    ("Cast", "places", "at", {"to": 6}),
    ("Sub", "at one", "before"),
    ("Clip", "before zero last", "index"),
    ("GatherElements", "states index", "read", {"axis": 1}),
]
ALONE = [("Cast", "tokens", "states", {"to": 6})]
SUM_OF_ALL = [("Cast", "tokens", "a", {"to": 6}), ("ReduceSum", "a axes", "sum")]


def predicting(*nodes: tuple[Any, ...]) -> Program:
    constants = {"one": np.array(1, np.int32), "zero": np.array(0, np.int32), "last": np.array(2, np.int32)}
    return load_program(data(list(nodes), PREDICTING, constants | {"axes": np.array([1])}, outputs="y"))


def test_check_predictions__states_of_single_tokens__are_accepted() -> None:
    program = predicting(*ALONE, *READING, ("Identity", "read", "y"))
    check_predictions(program, "tokens", "places", ["y"])


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        (
            [*SUM_OF_ALL, ("Add", "a sum", "states"), *READING, ("Identity", "read", "y")],
            "output 'states' at position 0 of axis 1 may depend on position 1 of axis 1 of 'tokens'",
        ),
        (
            [*ALONE, *READING, *SUM_OF_ALL, ("Add", "read sum", "y")],
            "'y' reads 'tokens' at other positions than 'places' says$",
        ),
        (
            [*ALONE, *SUM_OF_ALL, *READING[:1], ("Sub", "at sum", "before"), *READING[2:], ("Identity", "read", "y")],
            "'y' reads 'tokens' at other positions than 'places' says$",
        ),
    ],
    ids=["states of all tokens", "tokens beside the places", "places that tokens move"],
)
def test_check_predictions__later_tokens_that_count__are_refused(nodes: list[tuple[Any, ...]], problem: str) -> None:
    with pytest.raises(BuildError, match=f"^a submission could look at the text that it has to predict: {problem}"):
        check_predictions(predicting(*nodes), "tokens", "places", ["y"])
