"""Sums of products by labels, and Gemm with factors, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.lowering.compare import FloatGraph, both, node
from tests.lowering.test_operators_forms import graph
from verifier.exact import LoweringError

SQUARE = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)


def of_two(equation: str, *shapes: tuple[int, ...], **constants: Any) -> FloatGraph:
    """Einsum of x and y, or of x and the constant y."""
    inputs = dict(zip("xy", shapes, strict=False))
    return graph(node("Einsum", ["x", "y"], ["out"], equation=equation), inputs=inputs, **constants)


def of_one(equation: str, shape: tuple[int, ...]) -> FloatGraph:
    return graph(node("Einsum", ["x"], ["out"], equation=equation), inputs={"x": shape})


CASES = {
    "transposition": of_one("ij->ji", (3, 5)),
    "transposition without a result": of_one("ba", (3, 5)),
    "sum over an axis": of_one("ijk->ki", (3, 4, 5)),
    "sum over all axes": of_one("ij->", (3, 4)),
    "diagonal": of_one("ii->i", (4, 4)),
    "trace": of_one("ii", (4, 4)),
    "diagonals of a batch": of_one("...ii->...i", (2, 3, 4, 4)),
    "inner product": of_two("i,i->", (7,), (7,)),
    "outer product": of_two("i,j->ij", (3,), (4,)),
    "product of elements": of_two("ij,ij->ij", (3, 4), (3, 4)),
    "product without a result": of_two("ij,jk", (3, 4), (4, 5)),
    "axes summed in one operand": of_two("ij,ik->k", (3, 4), (3, 5)),
    "batches of an ellipsis": of_two("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
    "ellipsis of one operand": of_two("...ij,jk->...ik", (2, 3, 3, 4), (4, 5)),
    "diagonal of a constant": of_two("ij,jj->ij", (3, 4), y=SQUARE),
    "sum of a constant": of_two("ij,jk->ij", (3, 4), y=SQUARE),
    "sum of a constant first": graph(
        node("Einsum", ["y", "x"], ["out"], equation="ij,jk->jk"), inputs={"x": (4, 3)}, y=SQUARE
    ),
    "scaled product of two matrices": graph(
        node("Gemm", ["x", "y"], ["out"], transB=1, alpha=0.3), inputs={"x": (3, 6), "y": (4, 6)}
    ),
    "scaled product and scaled bias": graph(
        node("Gemm", ["x", "y", "z"], ["out"], alpha=-2.5, beta=0.7),
        inputs={"x": (3, 6), "y": (6, 4), "z": (4,)},
    ),
    "scaled product and large bias": graph(
        node("Mul", ["z", "k"], ["c"]),
        node("Gemm", ["x", "y", "c"], ["out"], alpha=0.01),
        inputs={"x": (3, 6), "y": (6, 4), "z": (4,)},
        k=np.float32(100),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_lower__sum_of_products__result_is_near_that_of_floats(name: str) -> None:
    for seed in (1, 2):
        exact, floats = both(CASES[name], seed)
        np.testing.assert_allclose(exact, floats, rtol=1e-5, atol=1e-4 * np.abs(floats).max())


def test_lower__einsum_of_three_operands__says_what_to_change() -> None:
    refused = graph(
        node("Einsum", ["x", "y", "x"], ["out"], equation="ij,jk,il->kl"), inputs={"x": (3, 4), "y": (4, 5)}
    )
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower Einsum node 'Einsum_out': it multiplies 3 operands: write it as several Einsum nodes of two "
        "operands each"
    )
