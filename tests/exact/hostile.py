"""A valid model to alter, and the reason for which the altered one is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.exact.graphs import model
from verifier.exact import NotExactError, load_program

DOUBLE = TensorProto.DOUBLE


def valid_model() -> onnx.ModelProto:
    """y = x * w in float64 on whole numbers: a model that is proven, to be altered."""
    return model(
        [("Cast", "x", "f", {"to": DOUBLE}), ("Mul", "f w", "y")],
        {"x": ("int16", [2, 2])},
        {"w": np.array([[1.0, 2.0], [3.0, 4.0]])},
    )


def refused(file: onnx.ModelProto | bytes) -> str:
    """The node and the reason for which a file is refused."""
    with pytest.raises(NotExactError) as caught:
        load_program(file if isinstance(file, bytes) else file.SerializeToString())
    assert len(str(caught.value)) < 1000
    return f"{caught.value.node}: {caught.value.reason}"


def field(number: int, payload: bytes) -> bytes:
    """Encode a length-delimited field of protobuf."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
