"""The walk over a float graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import verifier.exact.lowering.nodes  # noqa: F401  (fills the registry)
from verifier.exact.errors import LoweringError, NotExactError
from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.calibration import Feeds, Range, ranges
from verifier.exact.lowering.fusion import fuse
from verifier.exact.lowering.registry import REGISTRY, Context, Node
from verifier.exact.values import FLOAT, Value

DEFAULT_HEADROOM = 2.0


@dataclass(frozen=True)
class InputSpec:
    """How a graph input arrives: as integers q of `dtype`, meaning q * 2**grid, within lo..hi (clipped) where given."""

    dtype: str
    grid: int = 0
    lo: int | None = None
    hi: int | None = None


@dataclass(frozen=True)
class Lowered:
    """A lowered graph that more can be added to: the builder, and the float graph's outputs by name.

    `tensors` are those float tensors that have an exact one in their place, `ranges` what calibration saw of them.
    """

    builder: Builder
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    tensors: Mapping[str, Value]
    ranges: Mapping[str, Range]


def lower(
    model: onnx.ModelProto,
    calibration: Sequence[Feeds],
    inputs: Mapping[str, InputSpec],
    headroom: float = DEFAULT_HEADROOM,
) -> onnx.ModelProto:
    """The exact model of a float one. See `lower_graph`."""
    lowered = lower_graph(model, calibration, inputs, headroom)
    return lowered.builder.model(dict(lowered.outputs))


def lower_graph(
    model: onnx.ModelProto,
    calibration: Sequence[Feeds],
    inputs: Mapping[str, InputSpec],
    headroom: float = DEFAULT_HEADROOM,
    on_feed: Callable[[], None] = lambda: None,
) -> Lowered:
    """Lower every node. `calibration` feeds the float model; `inputs` says how each of its inputs arrives.

    Tensors saturate at `headroom` times what calibration saw. Errors: LoweringError naming the node and what to change.
    """
    fused = fuse(model)
    builder = Builder()
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    # Ranges are of the model as it came: what fusion makes may be no operator of its opset.
    context = Context(builder, opset, ranges(model, calibration, on_feed), headroom, fused.functions)
    for tensor in model.graph.initializer:
        context.items[tensor.name] = numpy_helper.to_array(tensor)
    context.items.update(fused.constants)
    arrived: dict[str, Value] = {}
    for info in model.graph.input:
        if info.name not in context.items:
            arrived[info.name] = builder.input(info.name, _spec(info, inputs).dtype, _shape(info))
            context.items[info.name] = _interpreted(builder, arrived[info.name], _spec(info, inputs))
    for proto in fused.nodes:
        _lower_node(context, proto)
    outputs = {}
    for info in model.graph.output:
        item = context.items.get(info.name)
        if item is None:
            raise LoweringError(f"output {info.name!r}", "it is a result that is not lowered")
        outputs[info.name] = builder.constant(item) if isinstance(item, np.ndarray) else item
    tensors = {name: item for name, item in context.items.items() if isinstance(item, Value)}
    return Lowered(builder, arrived, outputs, tensors, context.ranges)


def _lower_node(context: Context, proto: onnx.NodeProto) -> None:
    attributes = {item.name: helper.get_attribute_value(item) for item in proto.attribute}
    operands = [context.items.get(name) for name in proto.input if name]
    node = Node(context, proto, attributes)
    if proto.op_type == "Shape":
        item = node.item(0)
        whole = np.array(item.shape, np.int64)
        context.items[proto.output[0]] = whole[attributes.get("start", 0) : attributes.get("end")]
        return
    if all(isinstance(operand, np.ndarray) for operand in operands):
        for name, array in zip(proto.output, _folded(node), strict=True):
            context.items[name] = array
        return
    lowering = REGISTRY.get(proto.op_type)
    if lowering is None:
        raise node.fail(f"{proto.op_type} has no lowering: express it by {', '.join(sorted(REGISTRY))}")
    try:
        results = lowering(node)
    except NotExactError as error:
        raise node.fail(f"its exact form is not proven: {error.reason}") from error
    for name, result in zip(proto.output, results, strict=False):
        context.items[name] = result


def _folded(node: Node) -> list[NDArray[Any]]:
    """The results of a node whose operands are all constant."""
    proto = node.proto
    constants = [numpy_helper.from_array(np.asarray(node.context.items[name]), name) for name in proto.input if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output]
    graph = helper.make_graph([proto], "constant", [], outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.context.opset)], ir_version=9)
    try:
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return list(session.run(None, {}))
    except Exception as error:  # onnxruntime raises many kinds
        raise node.fail(f"onnxruntime cannot compute this constant: {str(error).splitlines()[0]}") from error


def _spec(info: onnx.ValueInfoProto, inputs: Mapping[str, InputSpec]) -> InputSpec:
    spec = inputs.get(info.name)
    if spec is not None:
        return spec
    if info.type.tensor_type.elem_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
        return InputSpec("int32")
    raise LoweringError(f"input {info.name!r}", "say as which integer dtype and on which grid it arrives")


def _shape(info: onnx.ValueInfoProto) -> tuple[int, ...]:
    dims = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    if not all(dims):
        raise LoweringError(f"input {info.name!r}", "its shape is not static: export with fixed sizes")
    return tuple(dims)


def _interpreted(builder: Builder, value: Value, spec: InputSpec) -> Value:
    """The input as the float graph means it."""
    if spec.lo is not None or spec.hi is not None:
        wide = builder.cast(value, "int32") if value.dtype != "int64" else value
        limits = (value.lo if spec.lo is None else spec.lo, value.hi if spec.hi is None else spec.hi)
        value = builder.op("Clip", wide, *(builder.constant(np.array(limit, wide.dtype)) for limit in limits))
    if spec.grid != 0:
        return builder.scale(builder.cast(value, FLOAT), spec.grid)
    return value
