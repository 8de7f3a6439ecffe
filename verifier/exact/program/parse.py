"""Parse an ONNX file into plain Python objects, and check every structural rule of the exact profile.

The bytes are untrusted. `wire.check_encoding` limits what protobuf builds from them, protobuf parses them, and they
never reach onnxruntime. `parse` itself copies no constant except bools: the arrays are views of protobuf's raw data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]
from numpy.typing import NDArray

from verifier.exact.errors import ExactError, NotExactError
from verifier.exact.program.wire import check_encoding

# The operator set whose definitions the instructions follow.
OPSET = 18
# IR versions of accepted files: those that old and new runtimes both load.
IR_VERSIONS = (8, 9)
# Maximum size of a file: protobuf serialises no larger message.
MAX_BYTES = 2**31 - 1
# Maximum number of nodes: about 30 times that of a lowered SmolLM2-135M.
MAX_NODES = 200_000
# Maximum number of dimensions of a tensor: the tests run every operator with up to this many.
MAX_RANK = 8
# Maximum number of elements of a tensor: 16 GiB of float64.
MAX_ELEMENTS = 2**31
# Maximum number of characters of a name.
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
# What protobuf's error says when the bytes are malformed, and not when it runs out of memory.
_MALFORMED = ("corrupt", "MaxDepth", "UTF-8")
_INPUT_DTYPES = ("int8", "uint8", "int16", "int32", "int64")
_ATTRIBUTE = onnx.AttributeProto
# The fields of each message that an exact file may use. All others are refused, and so are fields unknown to ONNX.
_USED: dict[Any, set[str]] = {
    onnx.ModelProto: {
        "ir_version", "opset_import", "producer_name", "producer_version", "domain", "model_version", "doc_string",
        "graph",
    },
    onnx.GraphProto: {"node", "name", "initializer", "doc_string", "input", "output", "value_info"},
    onnx.NodeProto: {"input", "output", "name", "op_type", "domain", "attribute", "doc_string"},
    onnx.AttributeProto: {"name", "doc_string", "type", "i", "ints"},
    onnx.TensorProto: {"name", "doc_string", "dims", "data_type", "raw_data", "data_location"},
}  # fmt: skip
_REFUSED: dict[Any, tuple[Any, ...]] = {
    message: tuple(field for field in message.DESCRIPTOR.fields if field.name not in used)
    for message, used in _USED.items()
}
_REASONS = {
    "external_data": "its data is in another file",
    "g": "it has a subgraph: control flow is not allowed",
    "graphs": "it has a subgraph: control flow is not allowed",
    "ref_attr_name": "it refers to an attribute of a function",
} | dict.fromkeys(
    ("segment", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data"),
    "its data is not raw bytes",
)

Attribute = int | tuple[int, ...]


@dataclass(frozen=True)
class ParsedNode:
    """One node of a graph. `name` is what error messages call it; an input left out has the name ""."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class DeclaredTensor:
    """A dtype and a shape that the file declares for a tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ParsedGraph:
    """A graph with the structure of the exact profile; grids and intervals are not known yet.

    `stated` are the types that the file states for outputs and intermediate tensors. The proof compares them with the
    types that it infers.
    """

    inputs: tuple[DeclaredTensor, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]
    nodes: tuple[ParsedNode, ...]
    stated: tuple[DeclaredTensor, ...]


def parse(data: bytes) -> ParsedGraph:
    """Parse an ONNX file.

    Errors: NotExactError names the part of the file and what is wrong with it. ExactError when this machine, for lack
    of memory, cannot tell whether the file is an ONNX model.
    """
    model = _model(data)
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise NotExactError("the graph", f"it has {len(graph.node)} nodes, at most {MAX_NODES} are allowed")
    constants = _constants(graph)
    inputs = tuple(_input(info) for info in graph.input)
    _check_names("an input", [item.name for item in inputs])
    for item in inputs:
        if item.name in constants:
            raise NotExactError(f"input {item.name!r}", "it is an initialiser too, so a feed could replace a constant")
    outputs = tuple(info.name for info in graph.output)
    if not outputs:
        raise NotExactError("the graph", "it has no outputs")
    _check_names("an output", outputs)
    nodes = tuple(_node(node, number) for number, node in enumerate(graph.node))
    stated = tuple(
        _declared(info, f"the type of {info.name!r}")
        for info in (*graph.output, *graph.value_info)
        if info.type.WhichOneof("value") is not None
    )
    return ParsedGraph(inputs, outputs, constants, nodes, stated)


def _model(data: bytes) -> onnx.ModelProto:
    """Let protobuf parse the bytes, and check the fields of the model and its graph."""
    if len(data) > MAX_BYTES:
        raise NotExactError("the file", f"it has {len(data)} bytes, at most {MAX_BYTES} are read")
    check_encoding(data)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        # protobuf raises a decode error when memory runs out, too: a fault of this machine and not of the file.
        if not any(fact in str(error) for fact in _MALFORMED):
            raise ExactError(f"cannot tell whether the file is an ONNX model: {error}") from error
        raise NotExactError("the file", "it is not an ONNX model") from error
    _check_fields(model, "the model")
    _check_fields(model.graph, "the graph")
    if model.ir_version not in IR_VERSIONS:
        raise NotExactError("the model", f"IR version {model.ir_version}: 8 or 9 is needed")
    if len(model.opset_import) != 1 or model.opset_import[0].domain or model.opset_import[0].version != OPSET:
        opsets = [(item.domain, item.version) for item in model.opset_import[:4]]
        raise NotExactError(
            "the model", f"operator sets {opsets}: only the default domain at version {OPSET} is allowed"
        )
    return model


def _good_name(name: str | bytes) -> bool:
    """Whether a name is text of an allowed length; protobuf returns a name that is not UTF-8 as bytes."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME


def _check_names(what: str, names: Iterable[str]) -> None:
    seen = set()
    for name in names:
        if not _good_name(name) or name in seen:
            raise NotExactError("the graph", f"{what}'s name is empty, too long, not UTF-8 or given twice: {name!r}")
        seen.add(name)


def _check_fields(message: Any, what: str) -> None:
    """Refuse a message that uses a field outside `_USED`."""
    for field in _REFUSED[type(message)]:
        if len(getattr(message, field.name)) if field.is_repeated else message.HasField(field.name):
            reason = f"it has {field.name}, which an exact graph must not have"
            raise NotExactError(what, _REASONS.get(field.name, reason))
    if len(UnknownFieldSet(message)):
        raise NotExactError(what, "it has a field that ONNX does not define")


def _shape(dims: Any, what: str) -> tuple[int, ...]:
    if len(dims) > MAX_RANK:
        raise NotExactError(what, f"it has {len(dims)} dimensions, at most {MAX_RANK} are allowed")
    if any(dim < 0 for dim in dims) or math.prod(dims) > MAX_ELEMENTS:
        raise NotExactError(what, f"shape {list(dims)}: at most {MAX_ELEMENTS} elements are allowed")
    return tuple(dims)


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    constants: dict[str, NDArray[Any]] = {}
    for tensor in graph.initializer:
        if not _good_name(tensor.name) or tensor.name in constants:
            raise NotExactError(f"initialiser {tensor.name!r}", "its name is empty, too long, not UTF-8 or taken")
        constants[tensor.name] = _constant(tensor)
    return constants


def _constant(tensor: onnx.TensorProto) -> NDArray[Any]:
    """The array of an initialiser: little-endian raw data, of exactly the length that its shape needs."""
    what = f"initialiser {tensor.name!r}"
    _check_fields(tensor, what)
    if tensor.data_location != onnx.TensorProto.DEFAULT:
        raise NotExactError(what, "its data is in another file")
    dtype = DTYPE_OF.get(tensor.data_type)
    if dtype is None:
        name = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in _PROTO.DataType.values() else "?"
        raise NotExactError(what, f"dtype {name}: integers, bool and float64 are allowed")
    shape = _shape(tensor.dims, what)
    if 0 in shape and (dtype, shape) != ("int64", (0,)):
        raise NotExactError(what, f"shape {list(shape)}: only an int64 list may be empty")
    data = tensor.raw_data  # protobuf copies it each time it is read
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise NotExactError(what, f"it has {len(data)} bytes of data where its shape needs {expected}")
    array = np.frombuffer(data, np.dtype("uint8" if dtype == "bool" else dtype).newbyteorder("<"))
    if dtype == "bool":
        if array.max() > 1:
            raise NotExactError(what, "a bool byte is neither 0 nor 1")
        array = array.astype(np.bool_)
    return array.reshape(shape)


def _input(info: onnx.ValueInfoProto) -> DeclaredTensor:
    what = f"input {info.name!r}"
    declared = _declared(info, what)
    if declared.dtype not in _INPUT_DTYPES:
        raise NotExactError(
            what, f"it is {declared.dtype}: int8, uint8, int16, int32 or int64 is needed, which bound its values"
        )
    if 0 in declared.shape:
        raise NotExactError(what, f"shape {list(declared.shape)}: it is empty")
    return declared


def _declared(info: onnx.ValueInfoProto, what: str) -> DeclaredTensor:
    if info.type.WhichOneof("value") != "tensor_type":
        raise NotExactError(what, "it is not a tensor")
    tensor = info.type.tensor_type
    if not tensor.HasField("shape") or any(dim.WhichOneof("value") != "dim_value" for dim in tensor.shape.dim):
        raise NotExactError(what, "its shape is not static")
    dtype = DTYPE_OF.get(tensor.elem_type)
    if dtype is None:
        raise NotExactError(what, f"its dtype is number {tensor.elem_type}: integers, bool and float64 are allowed")
    return DeclaredTensor(info.name, dtype, _shape([dim.dim_value for dim in tensor.shape.dim], what))


def _node(node: onnx.NodeProto, number: int) -> ParsedNode:
    name = f"{node.op_type[:50]} node {node.name[:200] or f'number {number}'!r}"
    if node.domain:
        raise NotExactError(name, f"domain {node.domain!r}: only the default one is allowed")
    _check_fields(node, name)
    if not node.output or not all(map(_good_name, node.output)):
        raise NotExactError(name, "an output's name is empty, too long or not UTF-8")
    return ParsedNode(name, node.op_type, tuple(node.input), tuple(node.output), _attributes(node, name))


def _attributes(node: onnx.NodeProto, name: str) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {}
    for attribute in node.attribute:
        _check_fields(attribute, f"{name}, attribute {attribute.name!r}")
        if not _good_name(attribute.name) or attribute.name in attributes:
            raise NotExactError(name, f"attribute {attribute.name!r} is given twice, or its name is not UTF-8")
        if attribute.type == _ATTRIBUTE.INT and not attribute.ints:
            attributes[attribute.name] = attribute.i
        elif attribute.type == _ATTRIBUTE.INTS and 1 <= len(attribute.ints) <= MAX_RANK and not attribute.HasField("i"):
            attributes[attribute.name] = tuple(attribute.ints)
        else:
            raise NotExactError(
                name, f"attribute {attribute.name!r} is neither an integer nor a list of 1 to {MAX_RANK} integers"
            )
    return attributes
