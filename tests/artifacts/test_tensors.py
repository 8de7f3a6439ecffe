"""Tensor files: exactly one file for each content, and every other file is a misfit."""

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from verifier.artifacts import tensors
from verifier.artifacts.errors import Misfit, SchemaError
from verifier.artifacts.tensors import TensorSpec

SCHEMA = (
    TensorSpec("query.lora_A", "int16", (2, 3), -12),
    TensorSpec("labels", "int64", (5,), 0),
    TensorSpec("key.lora_A", "int16", (3, 1), -12),
    TensorSpec("mask", "uint8", (3,), 0),
)


@pytest.fixture
def content() -> dict[str, Any]:
    return {
        "query.lora_A": np.array([[1, -2, 3], [-32768, 32767, 0]], np.int16),
        "labels": np.arange(5, dtype=np.int64) - 1,
        "key.lora_A": np.array([[7], [8], [9]], np.int16),
        "mask": np.array([0, 1, 255], np.uint8),
    }


def with_header(text: str, data: bytes) -> bytes:
    """A safetensors file with that header, padded as in a tensor file."""
    padded = text.encode() + b" " * (-(8 + len(text)) % 1024)
    return len(padded).to_bytes(8, "little") + padded + data


def test_header__schema__is_these_bytes() -> None:
    text = (
        '{"labels":{"dtype":"I64","shape":[5],"data_offsets":[0,40]},'
        '"key.lora_A":{"dtype":"I16","shape":[3,1],"data_offsets":[40,46]},'
        '"query.lora_A":{"dtype":"I16","shape":[2,3],"data_offsets":[46,58]},'
        '"mask":{"dtype":"U8","shape":[3],"data_offsets":[58,61]}}'
    )
    assert tensors.header(SCHEMA) == (1016).to_bytes(8, "little") + text.ljust(1016).encode()


def test_header__many_tensors__ends_at_a_chunk() -> None:
    schema = tuple(TensorSpec(f"layer.{number}", "int8", (1,), 0) for number in range(100))
    assert len(tensors.header(schema)) % 1024 == 0
    assert len(tensors.header(schema)) > 1024


def test_header__schema_in_another_order__is_the_same() -> None:
    assert tensors.header(SCHEMA[::-1]) == tensors.header(SCHEMA)


def test_encode__file__is_loaded_by_safetensors(content: dict[str, Any]) -> None:
    loaded = load(tensors.encode(SCHEMA, content))
    assert loaded.keys() == content.keys()
    for name, array in content.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize("dtype", tensors.DTYPES)
def test_encode__extreme_values_of_every_dtype__come_back(dtype: str) -> None:
    schema = (TensorSpec("values", dtype, (3,), 0),)
    limits = np.iinfo(dtype)
    values = np.array([limits.min, limits.max, 1], dtype)
    data = tensors.encode(schema, {"values": values})
    np.testing.assert_array_equal(tensors.decode(schema, data)["values"], values)
    np.testing.assert_array_equal(load(data)["values"], values)


def test_encode__transposed_view__is_written_in_row_order() -> None:
    schema = (TensorSpec("matrix", "int16", (3, 2), 0),)
    matrix = np.arange(6, dtype=np.int16).reshape(2, 3).T
    data = tensors.encode(schema, {"matrix": matrix})
    assert data[-12:] == np.array([0, 3, 1, 4, 2, 5], "<i2").tobytes()


def test_encode__scalar__is_allowed() -> None:
    schema = (TensorSpec("scalar", "int32", (), 0),)
    data = tensors.encode(schema, {"scalar": np.array(-5, np.int32)})
    assert tensors.decode(schema, data)["scalar"] == -5
    assert load(data)["scalar"] == -5


def test_decode__file__is_what_was_encoded(content: dict[str, Any]) -> None:
    data = tensors.encode(SCHEMA, content)
    assert len(data) == tensors.size(SCHEMA)
    decoded = tensors.decode(SCHEMA, data)
    for name, array in content.items():
        np.testing.assert_array_equal(decoded[name], array)
        assert not decoded[name].flags.writeable


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": None}, "tensors are missing: mask"),
        ({"bias": np.zeros(1, np.int8)}, "tensors that the schema does not have: bias"),
        ({"mask": np.zeros(3, np.int8)}, "mask: dtype int8, the schema says uint8"),
        ({"mask": np.zeros(3, np.float32)}, "mask: dtype float32, the schema says uint8"),
        ({"mask": np.zeros((3, 1), np.uint8)}, r"mask: shape \[3, 1\], the schema says \[3\]"),
    ],
)
def test_encode__tensors_of_another_schema__are_refused(
    content: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    changed = {name: array for name, array in {**content, **change}.items() if array is not None}
    with pytest.raises(Misfit, match=f"^{message}$"):
        tensors.encode(SCHEMA, changed)


def test_decode__file_of_floats__is_a_misfit(content: dict[str, Any]) -> None:
    schema = (TensorSpec("values", "int32", (4,), 0),)
    good = tensors.encode(schema, {"values": np.zeros(4, np.int32)})
    floats = good.replace(b'"I32"', b'"F32"')
    assert load(floats)["values"].dtype == np.float32
    with pytest.raises(Misfit, match=r"^the header is not the one that the schema implies$"):
        tensors.decode(schema, floats)


def test_decode__header_of_the_safetensors_package__is_a_misfit(content: dict[str, Any]) -> None:
    with pytest.raises(Misfit, match=r"^the file has \d+ bytes, its schema says 1085$"):
        tensors.decode(SCHEMA, save(content))


def test_decode__metadata_in_the_header__is_a_misfit(content: dict[str, Any]) -> None:
    good = tensors.encode(SCHEMA, content)
    text = good[8:1024].decode().rstrip()
    changed = with_header('{"__metadata__":{"author":"x"},' + text[1:], good[1024:])
    assert len(changed) == len(good)
    assert load(changed).keys() == content.keys()
    with pytest.raises(Misfit, match=r"^the header is not the one that the schema implies$"):
        tensors.decode(SCHEMA, changed)


def test_decode__two_tensors_swapped_in_the_header__is_a_misfit(content: dict[str, Any]) -> None:
    good = tensors.encode(SCHEMA, content)
    entries = json.loads(good[8:1024])
    text = json.dumps(dict(reversed(entries.items())), separators=(",", ":"))
    with pytest.raises(Misfit, match=r"^the header is not the one that the schema implies$"):
        tensors.decode(SCHEMA, with_header(text, good[1024:]))


def test_decode__wrong_shape_of_the_same_size__is_a_misfit(content: dict[str, Any]) -> None:
    good = tensors.encode(SCHEMA, content)
    with pytest.raises(Misfit, match=r"^the header is not the one that the schema implies$"):
        tensors.decode(SCHEMA, good.replace(b'"shape":[2,3]', b'"shape":[3,2]'))


@pytest.mark.parametrize(("cut", "extra"), [(1, b""), (61, b""), (1000, b""), (0, b"\x00"), (0, bytes(1024))])
def test_decode__too_short_or_trailing_bytes__is_a_misfit(content: dict[str, Any], cut: int, extra: bytes) -> None:
    good = tensors.encode(SCHEMA, content)
    with pytest.raises(Misfit, match=f"^the file has {1085 - cut + len(extra)} bytes, its schema says 1085$"):
        tensors.decode(SCHEMA, good[: len(good) - cut] + extra)


def test_decode__empty_file__is_a_misfit() -> None:
    with pytest.raises(Misfit, match=r"^the file has 0 bytes, its schema says 1085$"):
        tensors.decode(SCHEMA, b"")


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "grid", "message"),
    [
        ("__metadata__", "int8", (1,), 0, "cannot name a tensor"),
        ("", "int8", (1,), 0, "cannot name a tensor"),
        ("a b", "int8", (1,), 0, "cannot name a tensor"),
        ("naïve", "int8", (1,), 0, "cannot name a tensor"),
        ("x" * 201, "int8", (1,), 0, "cannot name a tensor"),
        ("x", "float32", (1,), 0, "x: dtype 'float32' is not one of int8"),
        ("x", "bool", (1,), 0, "x: dtype 'bool' is not one of int8"),
        ("x", "uint64", (1,), 0, "x: dtype 'uint64' is not one of int8"),
        ("x", "<i2", (1,), 0, "x: dtype '<i2' is not one of int8"),
        ("x", "int8", (0,), 0, "each at least 1"),
        ("x", "int8", (-1,), 0, "each at least 1"),
        ("x", "int8", (1,) * 9, 0, "at most 8 dimensions"),
        ("x", "int64", (1 << 62, 1 << 62), 0, "x: larger than the maximum of 68719476736 bytes for a file"),
        ("x", "int8", (1,), 1075, "the grid exponent must be within ±1074"),
    ],
)
def test_tensor_spec__impossible__is_refused(
    name: str, dtype: str, shape: tuple[int, ...], grid: int, message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        TensorSpec(name, dtype, shape, grid)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ((), "1 to 65536 tensors"),
        ((SCHEMA[0], SCHEMA[0]), "two tensors have the same name"),
        (
            tuple(TensorSpec(f"x{n}", "int8", (1 << 35,), 0) for n in range(3)),
            "larger than the maximum of 68719476736 bytes for a file",
        ),
    ],
)
def test_layout__impossible_schema__is_refused(schema: tensors.Schema, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        tensors.layout(schema)
