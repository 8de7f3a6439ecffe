"""ONNX bytes as plain Python, with every structural rule of the exact profile checked.

The bytes are a stranger's. They are parsed by protobuf, never handed to onnxruntime, and nothing here allocates more
than a small multiple of their length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from verifier.exact.errors import ExactError, NotExactError

OPSET = 18
IR_VERSIONS = (8, 9)  # so that old and new runtimes load the file
MAX_BYTES = 2**31 - 1
MAX_NODES = 200_000
MAX_RANK = 8
MAX_ELEMENTS = 2**31
MAX_NAME = 1_000

_PROTO = onnx.TensorProto
DTYPE_OF: dict[int, str] = {
    _PROTO.BOOL: "bool",
    _PROTO.INT8: "int8",
    _PROTO.UINT8: "uint8",
    _PROTO.INT16: "int16",
    _PROTO.INT32: "int32",
    _PROTO.INT64: "int64",
    _PROTO.DOUBLE: "float64",
}
PROTO_OF = {name: number for number, name in DTYPE_OF.items()}
_MALFORMED = ("corrupt", "MaxDepth", "UTF-8")  # how protobuf says that the bytes themselves are wrong
_INPUT_DTYPES = ("int8", "uint8", "int16", "int32", "int64")
_ATTRIBUTE = onnx.AttributeProto
_TYPED_FIELDS: tuple[Any, ...] = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")

Attribute = int | tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One node: `name` is for messages, unique or made so."""

    name: str
    op: str
    inputs: tuple[str, ...]  # "" where an optional input is left out
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Declared:
    """A graph input."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A graph in the exact profile as far as structure tells; grids and intervals come later."""

    inputs: tuple[Declared, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]
    nodes: tuple[Node, ...]


def parse(data: bytes) -> Graph:
    """Parse an ONNX file. Errors: NotExactError naming the part of the file and what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise NotExactError("the file", f"it has {len(data)} bytes, at most {MAX_BYTES} are read")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        # protobuf calls it a decode error, too, when memory runs out: no fact about the file.
        if not any(fact in str(error) for fact in _MALFORMED):
            raise ExactError(f"cannot tell whether the file is an ONNX model: {error}") from error
        raise NotExactError("the file", "it is no ONNX model") from error
    _check_model(model)
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise NotExactError("the graph", f"it has {len(graph.node)} nodes, at most {MAX_NODES} are allowed")
    constants = {}
    for tensor in graph.initializer:
        if tensor.name in constants or not _good_name(tensor.name):
            raise NotExactError(f"initialiser {tensor.name!r}", "its name is empty, too long or taken")
        constants[tensor.name] = _constant(tensor)
    inputs = tuple(_declared(info) for info in graph.input)
    names = [item.name for item in inputs]
    if len(set(names)) != len(names) or not all(_good_name(name) for name in names):
        raise NotExactError("the graph", "an input's name is empty, too long or given twice")
    for name in names:
        if name in constants:
            raise NotExactError(f"input {name!r}", "it is an initialiser too, so a feed could replace a constant")
    outputs = tuple(info.name for info in graph.output)
    if not outputs or len(set(outputs)) != len(outputs):
        raise NotExactError("the graph", "it has no outputs, or one twice")
    nodes = tuple(_node(node, number) for number, node in enumerate(graph.node))
    return Graph(inputs, outputs, constants, nodes)


def _good_name(name: str | bytes) -> bool:
    """Not bytes: what protobuf hands out for a name that is no UTF-8."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME


def _check_model(model: onnx.ModelProto) -> None:
    if model.ir_version not in IR_VERSIONS:
        raise NotExactError("the model", f"IR version {model.ir_version}: 8 or 9 is needed")
    opsets = [(item.domain, item.version) for item in model.opset_import]
    if opsets != [("", OPSET)]:
        raise NotExactError(
            "the model", f"operator sets {opsets}: only the default domain at version {OPSET} is allowed"
        )
    for field in ("functions", "metadata_props", "training_info"):
        if len(getattr(model, field, ())):
            raise NotExactError("the model", f"it has {field}")
    for field in ("sparse_initializer", "quantization_annotation", "metadata_props"):
        if len(getattr(model.graph, field, ())):
            raise NotExactError("the graph", f"it has {field}")


def _shape(dims: list[int], what: str) -> tuple[int, ...]:
    if len(dims) > MAX_RANK or any(dim < 0 for dim in dims) or math.prod(dims) > MAX_ELEMENTS:
        raise NotExactError(what, f"shape {dims}: at most {MAX_RANK} dimensions and {MAX_ELEMENTS} elements")
    return tuple(dims)


def _constant(tensor: onnx.TensorProto) -> NDArray[Any]:
    what = f"initialiser {tensor.name!r}"
    if tensor.data_location != onnx.TensorProto.DEFAULT or len(tensor.external_data):
        raise NotExactError(what, "its data is in another file")
    if tensor.HasField("segment") or any(getattr(tensor, field) for field in _TYPED_FIELDS):
        raise NotExactError(what, "its data is not raw bytes")
    dtype = DTYPE_OF.get(tensor.data_type)
    if dtype is None:
        name = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in _PROTO.DataType.values() else "?"
        raise NotExactError(what, f"dtype {name}: integers, bool and float64 are allowed")
    shape = _shape(list(tensor.dims), what)
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(tensor.raw_data) != expected:
        raise NotExactError(what, f"it has {len(tensor.raw_data)} bytes of data where its shape needs {expected}")
    array = np.frombuffer(tensor.raw_data, np.dtype("uint8" if dtype == "bool" else dtype).newbyteorder("<"))
    if dtype == "bool":
        if array.size and array.max() > 1:
            raise NotExactError(what, "a bool byte is neither 0 nor 1")
        array = array.astype(np.bool_)
    return array.reshape(shape)


def _declared(info: onnx.ValueInfoProto) -> Declared:
    what = f"input {info.name!r}"
    if not info.type.HasField("tensor_type"):
        raise NotExactError(what, "it is no tensor")
    tensor = info.type.tensor_type
    dtype = DTYPE_OF.get(tensor.elem_type)
    if dtype not in _INPUT_DTYPES:
        raise NotExactError(what, "an input is int8, uint8, int16, int32 or int64, so that its range is known")
    dims = []
    for dim in tensor.shape.dim:
        if not dim.HasField("dim_value") or dim.dim_value < 1:
            raise NotExactError(what, "its shape is not static")
        dims.append(dim.dim_value)
    if not tensor.HasField("shape"):
        raise NotExactError(what, "its shape is not static")
    return Declared(info.name, str(dtype), _shape(dims, what))


def _node(node: onnx.NodeProto, number: int) -> Node:
    name = f"{node.op_type[:50]} node {node.name[:200] or f'number {number}'!r}"
    if node.domain:
        raise NotExactError(name, f"domain {node.domain!r}: only the default one is allowed")
    if len(getattr(node, "metadata_props", ())) or getattr(node, "overload", ""):
        raise NotExactError(name, "it has metadata or an overload")
    if not node.output or any(not _good_name(output) for output in node.output):
        raise NotExactError(name, "an output has no name")
    attributes: dict[str, Attribute] = {}
    for attribute in node.attribute:
        if attribute.type in (_ATTRIBUTE.GRAPH, _ATTRIBUTE.GRAPHS):
            raise NotExactError(name, "it has a subgraph: control flow is not allowed")
        if attribute.name in attributes or attribute.ref_attr_name:
            raise NotExactError(name, f"attribute {attribute.name!r} is given twice or refers to a function's")
        if attribute.type == _ATTRIBUTE.INT:
            attributes[attribute.name] = attribute.i
        elif attribute.type == _ATTRIBUTE.INTS:
            attributes[attribute.name] = tuple(attribute.ints)
        else:
            raise NotExactError(name, f"attribute {attribute.name!r} is no integer or list of integers")
    return Node(name, node.op_type, tuple(node.input), tuple(node.output), attributes)
