"""ConvTranspose in its forms, and LpPool, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.lowering.compare import FloatGraph, both, node
from tests.lowering.test_operators_forms import graph
from verifier.exact import LoweringError

RNG = np.random.default_rng(5)
IMAGE = {"x": (2, 4, 5, 6)}


def transposed(*shape: int, inputs: dict[str, tuple[int, ...]] = IMAGE, bias: int = 0, **attributes: Any) -> FloatGraph:
    """A ConvTranspose whose weight has that shape."""
    constants = {"w": RNG.normal(size=shape).astype(np.float32)}
    names = ["x", "w"]
    if bias:
        constants["b"] = RNG.normal(size=bias).astype(np.float32)
        names.append("b")
    return graph(node("ConvTranspose", names, ["out"], **attributes), inputs=inputs, scale=1.0, **constants)


def pooled(**attributes: Any) -> FloatGraph:
    return graph(node("LpPool", ["x"], ["out"], kernel_shape=[2, 3], **attributes), inputs=IMAGE)


CASES = {
    "one stride": transposed(4, 3, 3, 3, bias=3),
    "strides, pads and output padding": transposed(
        4, 3, 3, 3, strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 2]
    ),
    "groups and dilations": transposed(4, 2, 2, 3, group=2, dilations=[2, 1], strides=[1, 2]),
    "given result, padding at the end": transposed(
        4, 3, 3, 3, strides=[2, 2], output_shape=[10, 12], auto_pad="SAME_UPPER"
    ),
    "padded to the stride": transposed(4, 3, 3, 3, strides=[2, 2], auto_pad="SAME_LOWER"),
    "one axis": transposed(4, 3, 4, inputs={"x": (1, 4, 7)}, strides=[2], pads=[1, 1]),
    "sums of magnitudes": pooled(p=1),
    "roots of sums of squares": pooled(p=2, strides=[2, 1], pads=[1, 1, 0, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_lower__transposed_convolution_or_pooling__result_is_near_that_of_floats(name: str) -> None:
    exact, floats = both(CASES[name])
    np.testing.assert_allclose(exact, floats, rtol=1e-3, atol=2e-3)


def test_lower__pooling_of_another_power__is_refused_by_name() -> None:
    with pytest.raises(LoweringError) as caught:
        pooled(p=3).lowered()
    assert str(caught.value) == "cannot lower LpPool node 'LpPool_out': its p is 3: use a p of 1 or 2"


def test_lower__stride_beyond_the_kernel_without_pads__is_refused_by_name() -> None:
    with pytest.raises(LoweringError) as caught:
        transposed(4, 3, 2, 2, strides=[3, 3], auto_pad="SAME_UPPER").lowered()
    assert str(caught.value) == (
        "cannot lower ConvTranspose node 'ConvTranspose_out': its windows give 14 elements, fewer than the 15 of its "
        "result: give its pads"
    )
