"""Resize and Upsample, axis by axis: each result is a sum of a few elements times constant weights.

The weights are those of onnxruntime, which resizes a unit matrix once for each axis. Therefore all of its modes,
coordinate transformations and roundings are available.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from verifier.exact.lowering.float_node import WIDE_BITS, FloatNode, Operand, as_constant, as_float, headroom_bits
from verifier.exact.lowering.float_session import message_of
from verifier.exact.program.values import Value

# Attributes that tell which axes are resized, and how far; all others belong to one axis.
SIZE_ATTRIBUTES = ("axes", "keep_aspect_ratio_policy", "scales")
# Maximum length of an axis that is interpolated: the unit matrix has as many rows, which is 64 MiB here.
MAX_LENGTH = 4096


@dataclass(frozen=True)
class AxisSize:
    """How an axis is resized: by a scale or to a size, of which one is None, and the part that `roi` crops."""

    axis: int
    scale: float | None
    size: int | None
    roi: tuple[float, float]


def lower_resize(node: FloatNode) -> list[Operand]:
    """Resize, Upsample by constant scales or to constant sizes; nearest only moves elements."""
    sizes = _axis_sizes(node)
    weights = [(item.axis, *_weights(node, item)) for item in sizes]
    moves = all(_is_selection(matrix, offset) for _, matrix, offset in weights)
    if moves:
        result = node.value(0)
        for axis, matrix, _ in weights:
            index = node.builder.constant(matrix.argmax(axis=0).astype(np.int32))
            result = node.builder.op("Gather", result, index, axis=axis)
        return [result]

    def emit(bits: int) -> Value:
        result, reach = as_float(node.builder, node.fitted(0, bits)), node.magnitude(0)
        for axis, matrix, offset in weights:
            result = _weighted(node, node.builder.fitted(result, reach, bits, headroom_bits(bits)), axis, matrix)
            if offset.any():
                shape = (-1, *([1] * (len(result.shape) - 1 - axis)))
                result = node.builder.op("Add", result, as_constant(node.builder, offset.reshape(shape)))
            reach = reach * float(np.abs(matrix).sum(axis=0).max()) + float(np.abs(offset).max())
        return result

    return [node.widest_provable(emit, WIDE_BITS)]


def _is_selection(matrix: NDArray[Any], offset: NDArray[Any]) -> bool:
    return bool(np.isin(matrix, (0, 1)).all() and (matrix.sum(axis=0) == 1).all() and not offset.any())


def _weighted(node: FloatNode, x: Value, axis: int, matrix: NDArray[Any]) -> Value:
    """Emit the sum over the elements that a result reads, of each times its weight; the matrix is [old, new]."""
    builder = node.builder
    reads = max(int((matrix != 0).sum(axis=0).max()), 1)
    # The elements with the largest weights come first; those that are left over have the weight 0.
    order = np.argsort(-np.abs(matrix), axis=0, kind="stable")[:reads]
    shape = (-1, *([1] * (len(x.shape) - 1 - axis)))
    total = None
    for index, weight in zip(order, np.take_along_axis(matrix, order, axis=0), strict=True):
        element = builder.op("Gather", x, builder.constant(index.astype(np.int32)), axis=axis)
        term = builder.op("Mul", element, as_constant(builder, weight.reshape(shape)))
        total = term if total is None else builder.op("Add", total, term)
    assert total is not None
    return total


def _axis_sizes(node: FloatNode) -> list[AxisSize]:
    """Return the axes whose length changes, or that are cropped."""
    shape = node.operand(0).shape
    newer = node.proto.op_type == "Resize" and node.context.opset >= 11
    listed = node.attributes.get("axes")
    axes = list(range(len(shape))) if listed is None else [axis % len(shape) for axis in listed]
    roi = _floats(node, 1, "its region of interest") if newer else []
    scales = node.attributes.get("scales") or _floats(node, 2 if newer else 1, "its list of scales")
    sizes = [int(item) for item in _floats(node, 3, "its list of sizes")] if newer else []
    policy = bytes(node.attributes.get("keep_aspect_ratio_policy", b"stretch"))
    if sizes and policy != b"stretch":
        ratios = [size / shape[axis] for axis, size in zip(axes, sizes, strict=True)]
        ratio = min(ratios) if policy == b"not_larger" else max(ratios)
        sizes = [round(shape[axis] * ratio) for axis in axes]
        if any(size != shape[axis] * ratio for axis, size in zip(axes, sizes, strict=True)):
            raise node.fail("its sizes that keep the aspect ratio are rounded: give the sizes themselves")
    transformation = bytes(node.attributes.get("coordinate_transformation_mode", b""))
    cropped = transformation == b"tf_crop_and_resize"
    found = []
    for number, axis in enumerate(axes):
        part = (roi[number], roi[len(axes) + number]) if cropped and roi else (0.0, 1.0)
        scale = float(scales[number]) if not sizes else None
        size = sizes[number] if sizes else None
        if transformation == b"align_corners" and scale is not None and not (scale * shape[axis]).is_integer():
            # ONNX aligns the corner of the scaled axis, onnxruntime that of its whole part.
            raise node.fail(
                f"its axis {axis} of {shape[axis]} elements is not whole at the scale {scale:g}, for which ONNX and "
                "onnxruntime align corners differently: give sizes instead of scales"
            )
        if (scale != 1.0 and size != shape[axis]) or part != (0.0, 1.0):
            found.append(AxisSize(axis, scale, size, part))
    return found


def _floats(node: FloatNode, index: int, description: str) -> list[float]:
    if not node.has(index):
        return []
    return [float(item) for item in node.require_constant(index, description).reshape(-1)]


def _weights(node: FloatNode, item: AxisSize) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights [old, new] of an axis, and what is added to each result, as onnxruntime computes them."""
    length = node.operand(0).shape[item.axis]
    if length > MAX_LENGTH:
        raise node.fail(f"its axis {item.axis} has {length} elements: resize axes of at most {MAX_LENGTH} elements")
    # Rows resize unit vectors; the last one, of zeros, shows what is added.
    rows = np.eye(length + 1, length, dtype=np.float32)[None, None]
    name = node.proto.op_type
    attributes = {key: value for key, value in node.attributes.items() if key not in SIZE_ATTRIBUTES}
    constants: dict[str, NDArray[Any]] = {}
    inputs = ["x"]
    if name == "Resize" and node.context.opset >= 11:
        constants["roi"] = np.array([0, 0, 0, item.roi[0], 1, 1, 1, item.roi[1]], np.float32)
        inputs += ["roi", "scales" if item.size is None else "", *(["sizes"] if item.size is not None else [])]
    elif node.context.opset >= 9:
        inputs.append("scales")
    scales = [1.0, 1.0, 1.0, 1.0 if item.scale is None else item.scale]
    if "scales" in inputs:
        constants["scales"] = np.array(scales, np.float32)
    elif "sizes" in inputs:
        constants["sizes"] = np.array([1, 1, length + 1, item.size], np.int64)
    else:
        attributes["scales"] = scales
    (resized,) = _run(node, helper.make_node(name, inputs, ["y"], **attributes), {"x": rows, **constants})
    offset = resized[0, 0, -1].astype(np.float64)
    return resized[0, 0, :-1].astype(np.float64) - offset, offset


def _run(node: FloatNode, proto: Any, constants: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
    """Compute one node of constants with onnxruntime."""
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([proto], "resize", [], [helper.make_empty_tensor_value_info("y")], initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.context.opset)], ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, {}))
    except Exception as error:  # onnxruntime raises exceptions of many classes
        raise node.fail(
            f"onnxruntime cannot resize one axis alone: {message_of(error)}: use other attributes"
        ) from error
