"""The `onnx` package's backend node tests: a model of one operator, its inputs, and the outputs that ONNX expects."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import node as node_tests
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

Array = NDArray[Any]

# Tests with more bytes of inputs and outputs do not fit, because the reference interpreter runs every test that fits,
# in Python. The largest test of onnx 1.23.2 has 750,708 bytes.
MAX_ARRAY_BYTES = 2**20
# Element types whose numbers a program's inputs and outputs can hold.
ELEMENT_TYPES = frozenset(
    getattr(TensorProto, name)
    for name in (
        *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL"),
        *("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
    )
)
TRAINING = "ai.onnx.preview.training"


@dataclass(frozen=True)
class NodeCase:
    """One backend node test.

    `operator` is the ONNX name of the operator under test, also for the test that holds the operator's function body
    ("…_expanded"). `model` is the serialised ModelProto; `inputs` and expected `outputs` are arrays by name. `obstacle`
    says why no exact program can compute the expected outputs; model, inputs and outputs are empty then.
    """

    name: str
    operator: str
    model: bytes
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    obstacle: str | None = None


def collect() -> list[NodeCase]:
    """Return every node test of the `onnx` package, in its order. Takes some seconds: onnx computes the outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx casts numbers beyond a type's range on purpose
        return _cases(load_model_tests(kind="node"))


def collect_from(modules: Iterable[str]) -> list[NodeCase]:
    """Return the node tests of some modules of `onnx.backend.test.case.node`, without computing all others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            importlib.import_module(f"{node_tests.__name__}.{module}")
        return _cases(node_tests._NodeTestCases)


def _cases(tests: Sequence[TestCase]) -> list[NodeCase]:
    operators = {test.name: test.model.graph.node[0].op_type for test in tests if test.model is not None}
    return [_case(test, operators) for test in tests]


def _case(test: TestCase, operators: Mapping[str, str]) -> NodeCase:
    assert test.model is not None
    assert test.data_sets is not None
    operator = operators.get(test.name.split("_expanded")[0], operators[test.name])
    obstacle = _type_obstacle(test.model)
    if obstacle is None:
        (data,) = test.data_sets
        inputs, outputs = (
            {info.name: _array(item) for info, item in zip(infos, items, strict=True)}
            for infos, items in zip((test.model.graph.input, test.model.graph.output), data, strict=True)
        )
        obstacle = _size_obstacle(test.model, inputs | outputs)
    if obstacle is not None:
        return NodeCase(test.name, operator, b"", {}, {}, obstacle)
    return NodeCase(test.name, operator, test.model.SerializeToString(), inputs, outputs)


def _type_obstacle(model: onnx.ModelProto) -> str | None:
    """Return why a model's inputs and outputs cannot be tensors of an exact program, or None when they can."""
    if any(item.domain == TRAINING for item in model.opset_import):
        return "it is a training operator"
    for info in (*model.graph.input, *model.graph.output):
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            return f"it has an input or output of type {kind.removesuffix('_type').upper()}"
        element = info.type.tensor_type.elem_type
        if element not in ELEMENT_TYPES:
            return f"it has an input or output of type {TensorProto.DataType.Name(element)}"
    return None


def _size_obstacle(model: onnx.ModelProto, arrays: Mapping[str, Array]) -> str | None:
    """Return why a test is too large or lacks a static shape, or None when neither holds."""
    for info in model.graph.input:
        shape = info.type.tensor_type.shape
        if tuple(dim.dim_value for dim in shape.dim) != arrays[info.name].shape:
            return "it has an input without a static shape"
    if sum(array.nbytes for array in arrays.values()) > MAX_ARRAY_BYTES:
        return f"it has more than {MAX_ARRAY_BYTES} bytes of inputs and outputs"
    return None


def _array(item: Any) -> Array:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)
