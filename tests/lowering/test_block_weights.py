"""Weights in few bits with a scale for each block, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.lowering.compare import Array, FloatGraph, both, node
from tests.lowering.test_operators_forms import graph
from verifier.exact import LoweringError

ROWS, COLUMNS, BLOCK = 40, 6, 16
BLOCKS = 3
RNG = np.random.default_rng(7)


def packed(numbers: Array, bits: int) -> Array:
    """Pack numbers along the last axis into bytes, the first one into the lowest bits."""
    each = 8 // bits
    padded = np.pad(numbers, [*[(0, 0)] * (numbers.ndim - 1), (0, -numbers.shape[-1] % each)])
    parts = padded.reshape(*padded.shape[:-1], -1, each).astype(np.uint8)
    return np.bitwise_or.reduce(parts << np.arange(0, 8, bits, dtype=np.uint8), axis=-1).astype(np.uint8)


def product(bits: int, *, points: str = "", bias: bool = False, **more: Any) -> FloatGraph:
    """A product with a weight of `bits` bits, with zero points that are packed or floats."""
    constants: dict[str, Array] = {
        "w": packed(RNG.integers(0, 2**bits, (COLUMNS, BLOCKS, BLOCK)), bits),
        "s": RNG.uniform(0.01, 0.2, COLUMNS * BLOCKS).astype(np.float32),
    }
    if points == "packed":
        constants["z"] = packed(RNG.integers(0, 2**bits, (COLUMNS, BLOCKS)), bits).reshape(-1)
    elif points == "floats":
        constants["z"] = RNG.uniform(0, 2**bits, COLUMNS * BLOCKS).astype(np.float32)
    if bias:
        constants["b"] = RNG.normal(size=COLUMNS).astype(np.float32)
    names = ["x", "w", "s", "z" if points else "", more.pop("groups", ""), "b" if bias else ""]
    while not names[-1]:
        names.pop()
    attributes = {"K": ROWS, "N": COLUMNS, "bits": bits, "block_size": BLOCK} | more.pop("attributes", {})
    operator = node("MatMulNBits", names, ["out"], domain="com.microsoft", **attributes)
    return graph(operator, inputs={"x": (2, 3, ROWS)}, **constants, **more)


CASES = {
    "8 bits": product(8),
    "4 bits": product(4),
    "8 bits, packed zero points": product(8, points="packed"),
    "4 bits, packed zero points": product(4, points="packed"),
    "4 bits, zero points in floats": product(4, points="floats"),
    "4 bits with a bias": product(4, bias=True),
    "4 bits of a lower accuracy level": product(4, attributes={"accuracy_level": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_lower__weight_in_few_bits__result_is_near_that_of_floats(name: str) -> None:
    for seed in (1, 2):
        exact, floats = both(CASES[name], seed)
        np.testing.assert_allclose(exact, floats, atol=2e-4 * np.abs(floats).max())


def test_lower__weight_grouped_by_an_index__says_what_to_change() -> None:
    refused = product(4, groups="g", g=np.arange(ROWS, dtype=np.int32) // BLOCK)
    with pytest.raises(LoweringError) as caught:
        refused.lowered()
    assert str(caught.value) == (
        "cannot lower MatMulNBits node 'MatMulNBits_out': its rows are grouped by an index (g_idx), which is not "
        "supported: export it without g_idx"
    )
