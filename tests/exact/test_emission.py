"""The engine emits fewer nodes than a program has, with the same results bit for bit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.exact.graphs import Row, data
from verifier.exact import Engine, load_program, reference
from verifier.exact.program import Program
from verifier.exact.runtime.emission import emit

X = {"x": ("int16", (3, 4))}
WEIGHT = np.arange(-8, 12, dtype=np.float64).reshape(4, 5)
SCALES = np.array([1, 3, 0.5, 17 / 16, 31 * 2.0**-20])


def program(nodes: list[Row], outputs: str = "y", **constants: Any) -> Program:
    return load_program(data([("Cast", "x", "f", {"to": 11}), *nodes], X, constants, outputs))


def emitted(found: Program) -> Counter[str]:
    """How often each operator is emitted, without Identity."""
    return Counter(node.op_type for node in emit(found)[0].graph.node if node.op_type != "Identity")


def agrees(found: Program) -> None:
    """Check that the engine equals the reference on extreme and on random rows."""
    rng = np.random.default_rng(5)
    engine = Engine(found)
    for x in (
        np.full((3, 4), -(2**15), np.int16),
        np.full((3, 4), 2**15 - 1, np.int16),
        rng.integers(-(2**15), 2**15, (3, 4)).astype(np.int16),
    ):
        expected = reference.run(found, {"x": x})
        for name, q in engine.run({"x": x}).items():
            np.testing.assert_array_equal(q, expected[name])


def test_scales__of_a_product_that_nothing_else_reads__go_into_its_weight() -> None:
    found = program([("MatMul", "f w", "p"), ("Mul", "p s", "y")], w=WEIGHT, s=SCALES)
    assert emitted(found) == {"Cast": 1, "MatMul": 1}
    agrees(found)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([("MatMul", "f w", "p"), ("Mul", "p s", "y")], "y p"),
        ([("MatMul", "f w", "p"), ("Mul", "p s", "q"), ("Add", "p q", "y")], "y"),
        ([("MatMul", "f w", "p"), ("Mul", "p p", "y")], "y"),
    ],
    ids=["an output", "read twice", "squared"],
)
def test_scales__of_a_product_that_is_needed_itself__stay_apart(nodes: list[Row], outputs: str) -> None:
    constants = {"w": WEIGHT} if nodes[1][1] == "p p" else {"w": WEIGHT, "s": SCALES}
    found = program(nodes, outputs, **constants)
    assert emitted(found)["MatMul"] == 1
    assert emitted(found)["Mul"] == 1
    agrees(found)


@pytest.mark.parametrize(
    ("rows", "weight", "scales"),
    [
        ((4, 4), (4,), (4,)),
        ((3, 4), (4,), (3,)),
        ((4,), (4,), (2,)),
        ((4,), (4,), ()),
        ((4,), (4, 3), (3,)),
        ((2, 3, 4), (2, 4, 3), (3,)),
        ((3, 4), (4, 1), (1,)),
        ((3, 4), (4, 3), (3, 1)),
        ((3, 4), (4, 3), (2, 1, 3)),
    ],
    ids=str,
)
def test_scales__of_any_shape__give_the_references_integers(
    rows: tuple[int, ...], weight: tuple[int, ...], scales: tuple[int, ...]
) -> None:
    """Factors of rows, single factors and factors of other shapes do not scale the weight's columns."""
    rng = np.random.default_rng(3)
    constants = {"w": rng.integers(-9, 9, weight).astype(float), "s": rng.integers(2, 9, scales).astype(float)}
    nodes: list[Row] = [("Cast", "x", "f", {"to": 11}), ("MatMul", "f w", "p"), ("Mul", "p s", "y")]
    found = load_program(data(nodes, {"x": ("int16", rows)}, constants))
    x = rng.integers(-(2**15), 2**15, rows).astype(np.int16)
    np.testing.assert_array_equal(Engine(found).run({"x": x})["y"], reference.run(found, {"x": x})["y"])


def test_power_of_two__in_front_of_rounding__costs_nothing() -> None:
    nodes: list[Row] = [("Mul", "f down", "g"), ("Round", "g", "r"), ("Mul", "r up", "y")]
    found = program(nodes, down=np.float64(2.0**-3), up=np.float64(2.0**5))
    # Add and Sub round; one Mul brings the output back to its value.
    assert emitted(found) == {"Cast": 1, "Add": 1, "Sub": 1, "Mul": 1}
    agrees(found)


def test_round__largest_numbers_and_ties__to_even() -> None:
    largest = float(2**37 - 1)  # odd: halves of odd numbers are ties
    nodes: list[Row] = [("Mul", "f k", "g"), ("Mul", "g half", "h"), ("Round", "h", "y")]
    found = program(nodes, k=np.float64(largest), half=np.float64(0.5))
    assert max(map(abs, found.interval("y"))) > 2**50
    agrees(found)


def test_shifts__driven_up_product_by_product__never_leave_float64() -> None:
    nodes: list[Row] = [("Clip", "f low high", "a"), ("Mul", "a large", "b0")]
    for step in range(3):  # if scalings were never carried out, each square would double the shift
        nodes += [
            ("Mul", f"b{step} down", f"c{step}"),
            ("Mul", f"c{step} c{step}", f"d{step}"),
            ("Mul", f"d{step} up", f"b{step + 1}"),
        ]
    nodes.append(("Mul", "b3 down", "y"))
    constants = {"low": np.float64(-1), "high": np.float64(1), "large": np.float64(3 * 2.0**300)}
    found = program(nodes, down=np.float64(2.0**-300), up=np.float64(2.0**300), **constants)
    assert found.interval("y") == (-(3**8), 3**8)
    agrees(found)
