"""The command over ONNX's node tests: what it counts as wrong or crashed, and its exit status."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.onnx_nodes import __main__ as command
from tests.onnx_nodes.cases import NodeCase, collect_from
from tests.onnx_nodes.judge import ABSOLUTE, RELATIVE, Comparison, Outcome, Result, judge
from tests.onnx_nodes.report import is_complete
from tests.onnx_nodes.worker import Worker


@pytest.fixture(scope="module")
def relu() -> NodeCase:
    """The test of Relu, which passes."""
    return next(case for case in collect_from(["relu"]) if case.name == "test_relu")


class Deadly(NodeCase):
    """A test that ends the process that receives it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def test_judge__expected_output_is_another__is_wrong(relu: NodeCase) -> None:
    other = {name: array + 0.01 for name, array in relu.outputs.items()}
    assert judge(relu).outcome == Outcome.PASS
    assert judge(dataclasses.replace(relu, outputs=other)).outcome == Outcome.WRONG


@pytest.mark.parametrize(("times", "passes"), [(0.99, True), (1.01, False)])
def test_comparison__float_output_is_off__the_tolerance_decides(times: float, passes: bool) -> None:
    expected = np.array([3.0, -np.inf, np.nan])
    comparison = Comparison([])
    comparison.add("y", expected - [times * (ABSOLUTE + RELATIVE * 3.0), 0, 0], expected)
    assert (comparison.faults == []) == passes
    assert comparison.infinite == 2


def test_comparison__integer_output_is_off_by_one__is_a_fault() -> None:
    comparison = Comparison([])
    comparison.add("y", np.array([1.0, 2.0]), np.array([1, 3]))
    assert comparison.faults == ["output 'y' differs in 1 of 2 integers"]


def test_worker__process_dies_or_hangs__costs_that_test_alone(relu: NodeCase) -> None:
    with Worker() as worker:
        died = worker.judge(Deadly("test_deadly", "Relu", b"", {}, {}))
        after = worker.judge(relu)
    with Worker(limit_s=0.001) as worker:
        late = worker.judge(relu)
    assert (died.outcome, died.detail) == (Outcome.CRASHED, "its process ended with exit status 3")
    assert after.outcome == Outcome.PASS
    assert (late.outcome, late.detail) == (Outcome.CRASHED, "no result within 0.001 seconds")


@pytest.mark.parametrize(
    ("detail", "complete"),
    [
        ("cannot lower Foo node 'y': its k is 3: use a k of 1", True),
        ("cannot lower input 'x' of Foo node 'y': it holds NaN: replace these", True),
        ("cannot lower the model: it has no opset: export it with one", False),
        ("cannot lower Foo node 'y': its k is 3", False),
        ("cannot lower Foo node 'y': use a k of 1", False),
        ("cannot lower Foo node 'y': its k is 3: at most 2 are allowed", False),
    ],
)
def test_refusal__operator_reason_and_remedy__all_are_needed(detail: str, complete: bool) -> None:
    assert is_complete(detail) == complete


def test_command__refusal_without_a_remedy__exit_status_is_one(
    relu: NodeCase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Result(relu.name, "Relu", Outcome.REFUSED, "cannot lower Relu node 'y': it is too large")
    monkeypatch.setattr(command, "collect", lambda: [relu])
    monkeypatch.setattr(command, "_judge", lambda cases: [refused])
    assert command.main(["--only", "relu$"]) == 1
    assert "FAILED: 1 refusals do not say the operator, why, and what to do" in capsys.readouterr().out


def test_command__too_few_pass__exit_status_is_one(
    relu: NodeCase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "collect", lambda: [relu])
    file = tmp_path / "results.json"
    assert command.main(["--only", "relu$", "--json", str(file)]) == 0
    assert json.loads(file.read_text())["totals"]["pass"] == 1
    assert command.main(["--only", "relu$", "--min-pass", "2"]) == 1
    assert "FAILED: 1 tests pass, at least 2 should" in capsys.readouterr().out
