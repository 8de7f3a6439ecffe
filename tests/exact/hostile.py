"""A good model to be spoiled, and what the check says of the spoiled one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.exact.graphs import model
from verifier.exact import NotExactError, load_program

DOUBLE = TensorProto.DOUBLE


def plain() -> onnx.ModelProto:
    """y = x * w, in floats that are proven whole: a good model, to be spoiled."""
    return model(
        [("Cast", "x", "f", {"to": DOUBLE}), ("Mul", "f w", "y")],
        {"x": ("int16", [2, 2])},
        {"w": np.array([[1.0, 2.0], [3.0, 4.0]])},
    )


def refused(file: onnx.ModelProto | bytes) -> str:
    """Node and reason."""
    with pytest.raises(NotExactError) as caught:
        load_program(file if isinstance(file, bytes) else file.SerializeToString())
    assert len(str(caught.value)) < 1000
    return f"{caught.value.node}: {caught.value.reason}"


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
