"""Operators of quantised models, written out: integers become the numbers they stand for, and numbers the integers.

Writes out DequantizeLinear, DynamicQuantizeLinear, MatMulInteger, QLinearMatMul and QuantizeLinear. Their scales and
zero points hold for a whole tensor or for each element of an axis. A quantised model computes with 8 bits, and its
exact program repeats that; the program of the float original is more accurate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from verifier.exact.lowering.node_writer import CompoundNode

MICROSOFT = "com.microsoft"
# Operators that onnxruntime has in its own domain, too, for types that ONNX once lacked.
OWN = frozenset(("DequantizeLinear", "QuantizeLinear"))
# The types to which numbers are quantised.
TYPES = tuple(getattr(TensorProto, name) for name in ("INT8", "UINT8", "INT16", "UINT16"))


def is_own(node: onnx.NodeProto) -> bool:
    """Return whether a node is one of these operators in onnxruntime's own domain."""
    return node.domain == MICROSOFT and node.op_type in OWN


def _quantize(node: CompoundNode) -> None:
    """Clip round(x / scale) + zero point to the type."""
    element = _type_of(node, 2)
    scale, point = _by_axis(node, 1), _by_axis(node, 2)
    _quantised(node, node.proto.input[0], (scale, point), element)


def _dequantize(node: CompoundNode) -> None:
    """(x - zero point) * scale."""
    _check_blocks(node)
    node.writer.op("Mul", _centred(node, 0, _by_axis(node, 2)), _by_axis(node, 1), output=node.output)


def _dynamic_quantize(node: CompoundNode) -> None:
    """Quantise to bytes without a sign, with the scale by which the numbers and 0 fit into them."""
    writer, x = node.writer, node.proto.input[0]
    outputs = [*node.proto.output, "", ""]
    zero, last = writer.constant(0, np.float32), writer.constant(255, np.float32)
    least = writer.op("Min", writer.op("ReduceMin", x, keepdims=0), zero)
    most = writer.op("Max", writer.op("ReduceMax", x, keepdims=0), zero)
    reach = writer.op("Sub", most, least)
    if outputs[1]:
        writer.op("Div", reach, last, output=outputs[1])
    # Divided by the range instead of the scale, which is rounded twice.
    raw = writer.op("Div", writer.op("Mul", writer.op("Neg", least), last), reach)
    point = writer.op("Clip", writer.op("Round", raw), zero, last)
    if outputs[2]:
        writer.op("Cast", point, output=outputs[2], to=TensorProto.UINT8)
    if outputs[0]:
        _quantised(node, writer.op("Mul", x, last), (reach, point), TensorProto.UINT8)


def _matmul_integer(node: CompoundNode) -> None:
    """(a - its zero point) * (b - its zero point), in integers."""
    factors = []
    for index in (0, 1):
        factor = node.writer.op("Cast", node.proto.input[index], to=TensorProto.INT32)
        if _has(node, index + 2):
            if index == 0 and len(node.shape(2)) > 0 and node.shape(2) != (1,):
                raise node.fail("its first operand has a zero point for each row: use one for the whole operand")
            point = node.writer.op("Cast", node.proto.input[index + 2], to=TensorProto.INT32)
            factor = node.writer.op("Sub", factor, point)
        factors.append(factor)
    node.writer.op("MatMul", *factors, output=node.output)


def _qlinear_matmul(node: CompoundNode) -> None:
    """The product of what both operands stand for, quantised."""
    names = list(node.proto.input)
    for place in (1, 2, 4, 5, 6, 7):
        if node.shape(place) not in ((), (1,)):
            raise node.fail("it has a scale or zero point for each row or column: use one for a whole operand")
    factors = [
        node.writer.op("Mul", _centred(node, place, _as_float(node, place + 2)), _as_float(node, place + 1))
        for place in (0, 3)
    ]
    product = node.writer.op("MatMul", *factors)
    _quantised(node, product, (names[6], _as_float(node, 7)), _type_of(node, 7))


def _quantised(node: CompoundNode, x: str, scale_and_point: tuple[str, str], element: int) -> None:
    """Emit the first output: x divided by the scale, plus the zero point, in a type.

    Errors: LoweringError where the integers are an output of the model and the scale is computed, because float32
    rounds that scale: a number half-way between two steps can become the other one.
    """
    scale, point = scale_and_point
    if node.is_output and node.known.constant(scale) is None:
        raise node.fail(
            "its integers are an output of the model, and by the rounding of its computed scale they can differ by one "
            "from those in floats: make the dequantised numbers the output"
        )
    writer, limits = node.writer, np.iinfo(helper.tensor_dtype_to_np_dtype(element).name)
    steps = writer.op("Round", writer.op("Div", x, scale))
    if point:
        steps = writer.op("Add", steps, point)
    bounds = [writer.constant(limit, np.float32) for limit in (limits.min, limits.max)]
    writer.op("Cast", writer.op("Clip", steps, *bounds), output=node.proto.output[0], to=element)


def _centred(node: CompoundNode, index: int, point: str) -> str:
    """Emit an operand as floats, minus a zero point where there is one."""
    numbers = _as_float(node, index)
    return node.writer.op("Sub", numbers, point) if point else numbers


def _as_float(node: CompoundNode, index: int) -> str:
    return node.writer.op("Cast", node.proto.input[index], to=TensorProto.FLOAT)


def _by_axis(node: CompoundNode, index: int) -> str:
    """Return a scale or zero point as floats that broadcast with the first operand; the empty name without one."""
    _check_blocks(node)
    if not _has(node, index):
        return ""
    rank, axis = len(node.shape(0)), node.attributes.get("axis", 1)
    numbers = _as_float(node, index)
    if len(node.shape(index)) == 0 or rank == 0:
        return numbers
    if len(node.shape(index)) > 1:
        raise node.fail("it has a scale for each block of elements: use one for each element of an axis")
    if node.shape(index) == (1,):
        axis = rank - 1
    shape = [-1 if at == axis % rank else 1 for at in range(rank)]
    return node.writer.op("Reshape", numbers, node.writer.constant(shape))


def _check_blocks(node: CompoundNode) -> None:
    if node.attributes.get("block_size"):
        raise node.fail("it has a scale for each block of elements: use one for each element of an axis")


def _type_of(node: CompoundNode, index: int) -> int:
    """Return the type to which a node quantises: that of its zero point, or the one that it names."""
    element = int(node.attributes.get("output_dtype", 0)) or TensorProto.UINT8
    if _has(node, index):
        name = node.proto.input[index]
        point, producer = node.known.constant(name), node.known.producers.get(name)
        if point is not None:
            element = helper.np_dtype_to_tensor_dtype(point.dtype)
        elif producer is not None and producer.op_type == "Cast":
            element = next(item.i for item in producer.attribute if item.name == "to")
        else:
            raise node.fail("its zero point must be constant, but it is computed: export it as an initializer")
    if element not in TYPES:
        name = TensorProto.DataType.Name(element)
        raise node.fail(f"it quantises to {name}: use INT8, UINT8, INT16 or UINT16")
    return element


def _has(node: CompoundNode, index: int) -> bool:
    return len(node.proto.input) > index and node.proto.input[index] != ""


WRITERS: Mapping[str, Callable[[CompoundNode], Any]] = {
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMulInteger": _matmul_integer,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize,
}
