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

import verifier.exact.lowering.operators  # noqa: F401  (fills the registry)
from verifier.exact.errors import LoweringError, NotExactError
from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.calibrate import Feeds, Range, ranges
from verifier.exact.lowering.canonicalise import MICROSOFT, opset_of, plain, static_shape
from verifier.exact.lowering.equalise import equalise
from verifier.exact.lowering.fusion import Function, fuse
from verifier.exact.lowering.registry import REGISTRY, Context, Node, number
from verifier.exact.program.values import FLOAT, Value

DEFAULT_HEADROOM = 2.0
# What to do about operators that people meet.
_FIXED = "it depends on what is computed: fix the shapes, then simplify the model so that it folds away"
_INDEX = "it makes an index of numbers: let the metric head compare the scores themselves"
_QUANTISED = "it quantises what is computed: lower the float model, which is quantised here"
REMEDIES = {
    **dict.fromkeys(("If", "Loop", "Scan", "NonZero", "Compress", "Unique"), _FIXED),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK"), _INDEX),
    **dict.fromkeys(("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"), _QUANTISED),
    "ReduceProd": "products of many numbers have no exact grid: multiply them by Mul",
}


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
    opset = opset_of(model)
    own = {name for node in model.graph.node for name in node.output} | {info.name for info in model.graph.input}
    model = plain(model)
    feeds = [_single(feed) for feed in calibration]
    equalise(model, feeds)
    # Ranges are of the model before fusion: what that makes may be no operator of its opset.
    seen = ranges(model, feeds, on_feed)
    fused = fuse(model)
    builder = Builder()
    context = Context(builder, opset, seen, headroom, fused.functions)
    for tensor in model.graph.initializer:
        context.items[tensor.name] = numpy_helper.to_array(tensor)
    context.items.update(fused.constants)
    arrived: dict[str, Value] = {}
    for info in model.graph.input:
        if info.name not in context.items:
            arrived[info.name] = builder.input(info.name, _spec(info, inputs).dtype, static_shape(info))
            context.items[info.name] = _interpreted(builder, arrived[info.name], _spec(info, inputs))
    for proto in fused.nodes:
        _lower_node(context, proto)
    outputs = {}
    for info in model.graph.output:
        item = context.items.get(info.name)
        if item is None:
            raise LoweringError(f"output {info.name!r}", "it is a result that is not lowered")
        outputs[info.name] = number(builder, item) if isinstance(item, np.ndarray) else item
    tensors = {name: item for name, item in context.items.items() if isinstance(item, Value) and name in own}
    return Lowered(builder, arrived, outputs, tensors, context.ranges)


def _lower_node(context: Context, proto: onnx.NodeProto) -> None:
    attributes = {item.name: helper.get_attribute_value(item) for item in proto.attribute}
    operands = [context.items.get(name) for name in proto.input if name]
    node = Node(context, proto, attributes)
    if all(isinstance(operand, np.ndarray) for operand in operands):
        for name, array in zip(filter(None, proto.output), _folded(node), strict=True):
            context.items[name] = array
        return
    lowering = REGISTRY.get(proto.op_type)
    if lowering is None:
        raise node.fail(_remedy(proto))
    try:
        results = lowering(node)
    except NotExactError as error:
        raise node.fail(f"its exact form is not proven: {error.reason}") from error
    for name, result in zip(proto.output, results, strict=False):
        context.items[name] = result


def _remedy(proto: onnx.NodeProto) -> str:
    """Why an operator is not lowered, and what to do."""
    if proto.op_type in REMEDIES:
        return REMEDIES[proto.op_type]
    if proto.domain == MICROSOFT:
        return "it is one of onnxruntime's fused operators: give the model as it was before onnxruntime optimised it"
    return f"{proto.op_type} has no lowering: express it by {', '.join(sorted(REGISTRY))}"


def _folded(node: Node) -> list[NDArray[Any]]:
    """The results of a node whose operands are all constant."""
    proto = node.proto
    if proto.op_type == "Univariate":
        return [_applied(node.context.functions[proto.output[0]], node.needed(0, "its operand"))]
    names = sorted({name for name in proto.input if name})
    constants = [numpy_helper.from_array(np.asarray(node.context.items[name]), name) for name in names]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = helper.make_graph([proto], "constant", [], outputs, initializer=constants)
    opsets = [helper.make_opsetid("", node.context.opset), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, {}))
    except Exception as error:  # onnxruntime raises many kinds
        raise node.fail(f"onnxruntime cannot compute this constant: {str(error).splitlines()[0]}") from error


def _applied(function: Function, array: NDArray[Any]) -> NDArray[Any]:
    """A fused function of a constant, as of the angles of a rotary embedding once shapes are fixed."""
    return np.asarray(function(array.astype(np.float64)), array.dtype)


def _spec(info: onnx.ValueInfoProto, inputs: Mapping[str, InputSpec]) -> InputSpec:
    spec = inputs.get(info.name)
    if spec is not None:
        return spec
    if info.type.tensor_type.elem_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
        return InputSpec("int32")
    raise LoweringError(f"input {info.name!r}", "say as which integer dtype and on which grid it arrives")


def _single(feed: Feeds) -> Feeds:
    """Half precision as the model in plain words takes it."""
    return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in feed.items()}


def _interpreted(builder: Builder, value: Value, spec: InputSpec) -> Value:
    """The input as the float graph means it."""
    if spec.lo is not None or spec.hi is not None:
        wide = builder.cast(value, "int32") if value.dtype != "int64" else value
        limits = (value.lo if spec.lo is None else spec.lo, value.hi if spec.hi is None else spec.hi)
        value = builder.op("Clip", wide, *(builder.constant(np.array(limit, wide.dtype)) for limit in limits))
    if spec.grid != 0:
        return builder.scale(builder.cast(value, FLOAT), spec.grid)
    return value
