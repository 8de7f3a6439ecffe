"""Outputs beyond the first of operators whose lowerings return only that, written out as nodes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

# From this opset on the axes of ReduceMean are an operand.
AXES_OPERAND_OPSET = 18
DEFAULT_EPSILON = 1e-5


def with_outputs(
    graph: onnx.GraphProto, node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]], opset: int
) -> Iterator[onnx.NodeProto]:
    """Yield a Dropout or LayerNormalization with its first output alone, and nodes that compute the others.

    The mask of Dropout, at inference, is true everywhere. LayerNormalization returns the mean of each row and the
    reciprocal of its standard deviation. Constants are added to the graph.
    """
    first = onnx.NodeProto()
    first.CopyFrom(node)
    del first.output[1:]
    yield first
    if node.op_type == "Dropout":
        yield from _mask(node)
    else:
        yield from _statistics(graph, node, shapes, opset)


def _mask(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    mask = node.output[1]
    true = numpy_helper.from_array(np.array([True]))
    yield helper.make_node("Shape", [node.input[0]], [f"{mask}/shape"], name=f"{mask}/shape")
    yield helper.make_node("ConstantOfShape", [f"{mask}/shape"], [mask], name=mask, value=true)


def _statistics(
    graph: onnx.GraphProto, node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]], opset: int
) -> Iterator[onnx.NodeProto]:
    mean, inverse = ([*node.output, ""])[1:3]
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    axis = attributes.get("axis", -1)
    if axis >= 0 and node.input[0] not in shapes:
        return  # without the rank the axes are unknown; whatever reads these outputs is refused
    axes = list(range(axis, 0)) if axis < 0 else list(range(axis, len(shapes[node.input[0]])))
    prefix = f"{node.output[0]}/statistics"
    mean = mean or f"{prefix}/mean"

    def mean_of(source: str, result: str) -> onnx.NodeProto:
        if opset < AXES_OPERAND_OPSET:
            return helper.make_node("ReduceMean", [source], [result], name=result, axes=axes)
        return helper.make_node("ReduceMean", [source, f"{prefix}/axes"], [result], name=result)

    epsilon = np.array(attributes.get("epsilon", DEFAULT_EPSILON), np.float32)
    graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), f"{prefix}/axes"))
    graph.initializer.append(numpy_helper.from_array(epsilon, f"{prefix}/epsilon"))
    yield mean_of(node.input[0], mean)
    if not inverse:
        return
    for op, inputs, result in (
        ("Sub", [node.input[0], mean], f"{prefix}/centred"),
        ("Mul", [f"{prefix}/centred", f"{prefix}/centred"], f"{prefix}/square"),
    ):
        yield helper.make_node(op, inputs, [result], name=result)
    yield mean_of(f"{prefix}/square", f"{prefix}/variance")
    for op, inputs, result in (
        ("Add", [f"{prefix}/variance", f"{prefix}/epsilon"], f"{prefix}/sum"),
        ("Sqrt", [f"{prefix}/sum"], f"{prefix}/deviation"),
        ("Reciprocal", [f"{prefix}/deviation"], inverse),
    ):
        yield helper.make_node(op, inputs, [result], name=result)
