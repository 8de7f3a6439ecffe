"""Normalisations whose weight or bias is an input, against onnxruntime."""

from __future__ import annotations

import pytest

from tests.lowering.compare import FloatGraph, both, node

WIDTH = 16


@pytest.mark.parametrize(
    ("operator", "inputs", "opset"),
    [
        ("LayerNormalization", ["x", "w"], 18),
        ("LayerNormalization", ["x", "w", "b"], 18),
        ("RMSNormalization", ["x", "w"], 23),
    ],
)
@pytest.mark.parametrize("computed", [False, True], ids=["input", "computed"])
def test_normalisation__affine_is_an_input__is_close_to_float(
    operator: str, inputs: list[str], opset: int, computed: bool
) -> None:
    operands = [f"{name}2" if computed and name != "x" else name for name in inputs]
    doubled = [node("Add", [name, name], [f"{name}2"]) for name in inputs[1:] if computed]
    shapes = {name: (3, WIDTH) if name == "x" else (WIDTH,) for name in inputs}
    graph = FloatGraph([*doubled, node(operator, operands, ["out"])], shapes, opset=opset)
    found, expected = both(graph)
    assert abs(found - expected).max() < 2e-4 * abs(expected).max()
