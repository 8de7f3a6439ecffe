"""The lowering of a whole graph: canonicalise, equalise, calibrate, fuse, then lower node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from verifier.exact.errors import LoweringError, NotExactError
from verifier.exact.lowering.attributes import Attributes, check_unread
from verifier.exact.lowering.builder import NOT_FINITE, Builder
from verifier.exact.lowering.calibrate import Feeds, Range, ranges
from verifier.exact.lowering.canonicalise import MICROSOFT, canonicalise, node_description, opset_of, static_shape
from verifier.exact.lowering.equalise import equalise
from verifier.exact.lowering.float_node import FloatNode, LoweringContext, as_constant
from verifier.exact.lowering.float_session import message_of
from verifier.exact.lowering.fusion import UNIVARIATE, fuse
from verifier.exact.lowering.mask_readers import WholeCopies, check_masked_rows, with_whole_copies
from verifier.exact.lowering.masks import find_masks
from verifier.exact.lowering.operators import LOWERINGS
from verifier.exact.lowering.operators.elementwise import check_inference
from verifier.exact.lowering.outlier_channels import scale_outlier_channels
from verifier.exact.program.values import FLOAT, Value

# Tensors saturate at this multiple of their calibrated range, so that inputs unlike the calibration feeds have room.
DEFAULT_HEADROOM = 2.0
_DATA_DEPENDENT = (
    "its result's shape or its control flow depends on computed data: export the model with fixed shapes and simplify "
    "it, so that the node becomes constant"
)
_QUANTISED = "the model is quantised already: lower its float original, which lowering quantises itself"
_RANDOM = "its result is random: export the model in evaluation mode, or make the random numbers an input"
# Operators whose results are random. They are refused even where all of their operands are constant.
RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
# What to do about unsupported operators that real models contain.
REMEDIES = {
    **dict.fromkeys(
        (
            *("BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "If", "Loop", "MelWeightMatrix"),
            *("NonMaxSuppression", "NonZero", "Range", "Scan", "Unique"),
        ),
        _DATA_DEPENDENT,
    ),
    **dict.fromkeys(
        (
            *("ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention"),
            *("QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid"),
        ),
        _QUANTISED,
    ),
}


@dataclass(frozen=True)
class InputSpec:
    """How a graph input is encoded: integers q of `dtype` that mean q * 2**grid, clipped to lo..hi where given."""

    dtype: str
    grid: int = 0
    lo: int | None = None
    hi: int | None = None


@dataclass(frozen=True)
class Lowered:
    """A lowered graph to which more nodes can be added.

    `outputs` are the float graph's outputs, and `tensors` all tensors of the float graph that have an exact
    counterpart, each by its float name; tensors that equalisation scaled by channel have none. `ranges` are the
    calibrated ranges.
    """

    builder: Builder
    outputs: Mapping[str, Value]
    tensors: Mapping[str, Value]
    ranges: Mapping[str, Range]


def lower(
    model: onnx.ModelProto,
    calibration: Sequence[Feeds],
    inputs: Mapping[str, InputSpec],
    headroom: float = DEFAULT_HEADROOM,
) -> onnx.ModelProto:
    """Lower a float model to an exact model. Parameters and errors are those of `lower_graph`."""
    lowered = lower_graph(model, calibration, inputs, headroom)
    return lowered.builder.model(dict(lowered.outputs))


def lower_graph(
    model: onnx.ModelProto,
    calibration: Sequence[Feeds],
    inputs: Mapping[str, InputSpec],
    headroom: float = DEFAULT_HEADROOM,
    on_feed: Callable[[], None] = lambda: None,
) -> Lowered:
    """Lower every node of a float model; the model itself is not changed.

    `calibration` are feeds of the float model, as its inputs declare them. `inputs` tells how each input is encoded;
    integer inputs that it leaves out are int32. Tensors saturate at `headroom` times their calibrated range. `on_feed`
    is called after each calibration feed.

    Errors: LoweringError that names the node, tensor or input and what to change.
    """
    opset = opset_of(model)
    original = {name for node in model.graph.node for name in node.output} | {info.name for info in model.graph.input}
    _check_defaults(model, calibration)
    model = canonicalise(model)
    feeds = [_in_single_precision(feed) for feed in calibration]
    scaled = equalise(model, feeds)
    scale_outlier_channels(model, feeds)
    fused = fuse(model)
    for node, unread in fused.unread:
        check_unread(node, unread, opset)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} | fused.constants
    for node in fused.nodes:
        if node.op_type in RANDOM:
            raise LoweringError(node_description(node), _RANDOM)
    masks = find_masks(fused.nodes, constants, feeds)
    outputs_of_model = [info.name for info in model.graph.output]
    whole = with_whole_copies(fused.nodes, outputs_of_model, masks, constants)
    # Calibrate the model as it was before fusion: a fused node need not be an operator of the model's opset.
    sampled = {node.input[0] for node in whole.nodes if node.op_type == UNIVARIATE}
    seen = ranges(model, feeds, masks, on_feed, copies=whole.copies, sampled=sampled)
    check_masked_rows(fused.nodes, outputs_of_model, masks, seen)
    builder = Builder(reserved={info.name for info in (*model.graph.input, *model.graph.output)})
    context = LoweringContext(builder, opset, seen, headroom, fused.functions, masks)
    context.tensors.update(constants)
    for info in model.graph.input:
        if info.name not in context.tensors:
            spec = _spec(info, inputs)
            integers = builder.input(info.name, spec.dtype, static_shape(info))
            context.tensors[info.name] = _decoded(builder, integers, spec)
    for name, copy in whole.copies.items():
        if name in context.tensors:
            context.tensors[copy] = context.tensors[name]
    for proto in whole.nodes:
        _lower_node(context, proto)
    outputs = _outputs(model, context, whole)
    original -= scaled
    exact = {name: found for name, found in context.tensors.items() if isinstance(found, Value) and name in original}
    return Lowered(builder, outputs, exact, context.ranges)


def _outputs(model: onnx.ModelProto, context: LoweringContext, whole: WholeCopies) -> dict[str, Value]:
    """Return the exact values of the float graph's outputs. Errors: LoweringError for one that is not lowered."""
    outputs = {}
    for info in model.graph.output:
        found = context.tensors.get(whole.copies.get(info.name, info.name))
        if found is None or not found.size:
            producers = [node for node in whole.nodes if info.name in node.output]
            owner = "".join(f" of {node_description(node)}" for node in producers)
            reason = "it is not lowered" if found is None else "it has no elements"
            raise LoweringError(f"output {info.name!r}{owner}", f"{reason}: remove it from the model's outputs")
        outputs[info.name] = as_constant(context.builder, found) if isinstance(found, np.ndarray) else found
    return outputs


def _check_defaults(model: onnx.ModelProto, calibration: Sequence[Feeds]) -> None:
    """Check that no feed replaces the default of an input. Errors: LoweringError that names the input.

    An input with an initialiser is a constant of the program.
    """
    for tensor in model.graph.initializer:
        fed = [feed[tensor.name] for feed in calibration if tensor.name in feed]
        default = numpy_helper.to_array(tensor)
        if not all(np.array_equal(array, default, equal_nan=default.dtype.kind == "f") for array in fed):
            raise LoweringError(
                f"input {tensor.name!r}",
                "it is a constant of the program, because the file has an initialiser of that name, and a calibration "
                "feed holds other numbers: remove the initialiser, or leave the input out of the feeds",
            )


def _lower_node(context: LoweringContext, proto: onnx.NodeProto) -> None:
    """Lower one node, or compute it now if all of its operands are constant."""
    attributes = Attributes(proto)
    operands = [context.tensors.get(name) for name in proto.input if name]
    node = FloatNode(context, proto, attributes)
    if proto.op_type == "Dropout":
        check_inference(node)
    if all(isinstance(operand, np.ndarray) for operand in operands):
        for name, array in zip(filter(None, proto.output), _folded(node), strict=True):
            context.tensors[name] = array
        return
    lowering = LOWERINGS.get(proto.op_type)
    if lowering is None:
        raise node.fail(_remedy(proto))
    try:
        results = lowering(node)
    except NotExactError as error:
        raise node.fail(f"its exact form is not proven: {error.reason}: {_proof_remedy(error.reason)}") from error
    check_unread(proto, attributes.unread, context.opset)
    context.tensors.update((name, result) for name, result in zip(proto.output, results, strict=False) if name)
    context.note_count(proto)


def _proof_remedy(reason: str) -> str:
    """Return what to do about a node whose exact form is not proven."""
    if reason == NOT_FINITE:
        return "replace these by finite numbers"
    if "elements are allowed" in reason:
        return "export the model with other sizes, or remove the node and what reads it"
    return "clip its operands to the range that matters"


def _remedy(proto: onnx.NodeProto) -> str:
    """Return why an operator is not lowered, and what to do."""
    if proto.op_type in REMEDIES:
        return REMEDIES[proto.op_type]
    if proto.domain == MICROSOFT:
        return (
            "this fused operator of onnxruntime is not supported: lower the model as it was before onnxruntime "
            "optimised it"
        )
    supported = sorted(set(LOWERINGS) - {UNIVARIATE})
    return f"this operator is not supported: express it by {', '.join(supported)}"


def _folded(node: FloatNode) -> list[NDArray[Any]]:
    """Compute a node whose operands are all constant."""
    proto = node.proto
    if proto.op_type == UNIVARIATE:
        # For example the angles of a rotary embedding, once shapes are fixed.
        array = node.require_constant(0, "its operand")
        return [np.asarray(node.context.functions[proto.output[0]](array.astype(np.float64)), array.dtype)]
    arrays = {name: np.asarray(node.context.tensors[name]) for name in proto.input if name}
    if proto.op_type == "Range":  # onnxruntime takes operands of one element only where it does not know their shapes
        arrays = {name: array.reshape(()) if array.size == 1 else array for name, array in arrays.items()}
    constants = [numpy_helper.from_array(array, name) for name, array in sorted(arrays.items())]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = helper.make_graph([proto], "constant", [], outputs, initializer=constants)
    opsets = [helper.make_opsetid("", node.context.opset), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, {}))
    except Exception as error:  # onnxruntime raises exceptions of many classes
        reason = f"onnxruntime cannot compute this constant node: {message_of(error)}"
        raise node.fail(f"{reason}: change its operands or attributes so that the model runs in onnxruntime") from error


def _spec(info: onnx.ValueInfoProto, inputs: Mapping[str, InputSpec]) -> InputSpec:
    spec = inputs.get(info.name)
    if spec is not None:
        return spec
    if info.type.tensor_type.elem_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
        return InputSpec("int32")
    raise LoweringError(f"input {info.name!r}", "its encoding is not declared: give its integer dtype and its grid")


def _in_single_precision(feed: Feeds) -> Feeds:
    """Convert half precision to single, which is what a canonical model takes."""
    return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in feed.items()}


def _decoded(builder: Builder, value: Value, spec: InputSpec) -> Value:
    """Emit the number that an integer input means to the float graph."""
    if spec.lo is not None or spec.hi is not None:
        wide = builder.cast(value, "int32") if value.dtype != "int64" else value
        limits = (value.lo if spec.lo is None else spec.lo, value.hi if spec.hi is None else spec.hi)
        value = builder.op("Clip", wide, *(builder.constant(np.array(limit, wide.dtype)) for limit in limits))
    if spec.grid != 0:
        return builder.scale(builder.cast(value, FLOAT), spec.grid)
    return value
