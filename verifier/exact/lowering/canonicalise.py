"""Canonicalisation: the float model as few kinds of nodes in single precision, before anything is calibrated.

Functions are inlined, those of the file as well as operators that ONNX itself defines as functions; control flow that
static shapes decide is expanded; half precision becomes single; onnxruntime's fused operators are split where they
contain an addition or an activation; and the shape of every tensor is inferred, as far as the file determines it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
import onnx.defs
import onnx.inliner
import onnx.shape_inference
from onnx import TensorProto, helper, numpy_helper

from verifier.exact.errors import LoweringError
from verifier.exact.lowering.compound import is_compound, write_out
from verifier.exact.lowering.computed_affine import split_computed_affine
from verifier.exact.lowering.control_flow import KnownTensors, expand_control_flow
from verifier.exact.lowering.fused_attention import FUSED_ATTENTION, written_out
from verifier.exact.lowering.secondary_outputs import with_outputs

# The domain of onnxruntime's own operators.
MICROSOFT = "com.microsoft"
# The domain of ONNX's operators of classical machine learning.
MACHINE_LEARNING = "ai.onnx.ml"
DOMAINS = ("", "ai.onnx", MICROSOFT, MACHINE_LEARNING)
# The opset of ONNX's own operators in a file that contains operators of other domains alone.
DEFAULT_OPSET = 18
# Maximum number of elements of a tensor of a float graph: 1 GiB in single precision. Calibration allocates every tensor
# of the graph, so a larger one is refused before that.
MAX_ELEMENTS = 2**28
# Weights of more elements are taken out while onnx inlines and infers, which copy the model. No shape depends on them.
MAX_INFERRED_WEIGHT = 2**10
# Minimum IR version: from 8 on a file may hold functions, and its weights need not be inputs.
MIN_IR = 8
# Element types of half precision, which become single.
HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
# Operators that ONNX defines as functions of others, and that have no lowering of their own.
DEFINED = (
    "AffineGrid",
    "Attention",
    "CausalConvWithState",
    "Celu",
    "CenterCropPad",
    "GroupNormalization",
    "LinearAttention",
    "MeanVarianceNormalization",
    "NegativeLogLikelihoodLoss",
    "ReduceLogSum",
    "RotaryEmbedding",
    "Shrink",
    "SoftmaxCrossEntropyLoss",
    "SwiGLU",
    "Swish",
)


def canonicalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the canonical form of a model, which itself is not changed. Errors: LoweringError that names the node."""
    heavy = [tensor for tensor in model.graph.initializer if math.prod(tensor.dims) > MAX_INFERRED_WEIGHT]
    known = {tensor.name for tensor in heavy}
    light = _without(model, known)
    # Inference and inlining need the types of weights, not their values.
    light.graph.input.extend(_type_of(tensor) for tensor in heavy)
    light.graph.value_info.extend(_type_of(tensor) for tensor in light.graph.initializer)
    light = _inlined(light)
    if expand_control_flow(light, opset_of(light)):
        light = _inlined(light)
    _check_domains(light)
    _split_fused(light)
    widen(light)
    _infer(light)
    inputs = [info for info in light.graph.input if info.name not in known]
    del light.graph.input[:]
    light.graph.input.extend(inputs)
    light.graph.initializer.extend(_widened(tensor) for tensor in heavy)
    split_computed_affine(light.graph)
    return light


def _check_domains(model: onnx.ModelProto) -> None:
    """Refuse operators of unknown domains, which are left over once functions are inlined."""
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain not in DOMAINS:
            reason = (
                f"its domain {node.domain!r} is unknown and it is not a function of the file: export the model with "
                "ONNX's own operators"
            )
            if (node.domain, node.op_type) in functions:
                reason = "its function has another opset than the model: export both with the same opset"
            raise LoweringError(f"{node.op_type} node {node.name or node.output[0]!r}", reason)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators. Errors: LoweringError where the file uses them and imports none."""
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not versions:
        node = next((item for item in model.graph.node if item.domain in ("", "ai.onnx")), None)
        if node is None:
            return DEFAULT_OPSET
        raise LoweringError(
            node_description(node), "the model does not import ONNX's own operators: export it with an opset"
        )
    return int(versions[0])


def node_description(node: onnx.NodeProto) -> str:
    """Return how messages call a node: by its operator and its name or, without one, its first output that is read."""
    return f"{node.op_type} node {node.name or next(filter(None, node.output), '')!r}"


def static_shape(info: onnx.ValueInfoProto, description: str = "") -> tuple[int, ...]:
    """Return an input's shape. Errors: LoweringError for one that is not static or has no elements.

    `description` is what the message calls the input, by default its name.
    """
    tensor = info.type.tensor_type
    name = description or f"input {info.name!r}"
    if not tensor.HasField("shape"):
        raise LoweringError(name, "its shape is missing: export the model with fixed sizes")
    for axis, dim in enumerate(tensor.shape.dim):
        if not dim.HasField("dim_value") or dim.dim_value < 0:
            key = dim.dim_param or f"{info.name}[{axis}]"
            fix = f"fix it with --dim {key}=N" if axis else f"fix it with --batch N, or with --dim {key}=N"
            raise LoweringError(name, f"its shape is not static at dimension {axis} ({key}): {fix}")
        if dim.dim_value == 0:
            fix = "export the model with larger sizes, or remove the input"
            raise LoweringError(name, f"its dimension {axis} is 0, so it has no elements: {fix}")
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _without(model: onnx.ModelProto, weights: set[str]) -> onnx.ModelProto:
    """Return the model without those weights, and without the shapes that the file states of computed tensors.

    Those can be stale: some tools change a model's inputs and leave them as they were. Onnx's inference would keep
    them where they contradict the inputs, so every shape is inferred anew.
    """
    outputs = []
    for info in model.graph.output:
        outputs.append(onnx.ValueInfoProto(name=info.name))
        if info.type.HasField("tensor_type"):
            outputs[-1].type.tensor_type.elem_type = info.type.tensor_type.elem_type
    graph = onnx.GraphProto(
        name=model.graph.name,
        node=model.graph.node,
        input=[info for info in model.graph.input if info.name not in weights],
        output=outputs,
        initializer=[tensor for tensor in model.graph.initializer if tensor.name not in weights],
    )
    functions = []
    for function in model.functions:
        functions.append(onnx.FunctionProto())
        functions[-1].CopyFrom(function)
        del functions[-1].value_info[:]
    light = onnx.ModelProto(
        ir_version=max(model.ir_version, MIN_IR),
        opset_import=model.opset_import,
        functions=functions,
        graph=graph,
    )
    if not any(item.domain in ("", "ai.onnx") for item in light.opset_import):
        light.opset_import.add(domain="", version=opset_of(model))
    return light


def _type_of(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    _add_default_attributes(model)
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        if any(node.op_type in DEFINED and node.domain == "" for node in model.graph.node):
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
            # The inliner asks for the type of an operand that is left out, which has the empty name.
            model.graph.value_info.add(name="").type.tensor_type.elem_type = TensorProto.FLOAT
            model = onnx.inliner.inline_selected_functions(
                model, [("", name) for name in DEFINED], inline_schema_functions=True
            )
            named = [info for info in model.graph.value_info if info.name]
            del model.graph.value_info[:]
            model.graph.value_info.extend(named)
    except Exception as error:  # onnx raises exceptions of many classes
        raise LoweringError(
            "the model's functions", f"onnx cannot inline them: {str(error).splitlines()[0]}"
        ) from error
    return model


def _add_default_attributes(model: onnx.ModelProto) -> None:
    """Add default attributes to calls that are about to be inlined, because onnx's inliner ignores defaults."""
    opset = opset_of(model)
    defaults = {(function.domain, function.name): list(function.attribute_proto) for function in model.functions}
    for name in DEFINED:
        if onnx.defs.has(name, opset):
            described = onnx.defs.get_schema(name, opset).attributes.values()
            defaults["", name] = [item.default_value for item in described if item.default_value.type]
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        given = {item.name for item in node.attribute}
        node.attribute.extend(item for item in defaults.get((node.domain, node.op_type), []) if item.name not in given)


def _split_fused(model: onnx.ModelProto) -> None:
    """Split onnxruntime's fused operators into a core and the additions or the activation that they contain."""
    nodes = [part for node in _written_out(model) for part in _parts(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _written_out(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes of the graph, with attention, secondary outputs and compound operators written out."""
    if not any(_is_fused_attention(node) or _has_more_outputs(node) or is_compound(node) for node in model.graph.node):
        return list(model.graph.node)
    opset = opset_of(model)
    known = KnownTensors.of(model, opset)
    shapes = known.shapes
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if _is_fused_attention(node):
            nodes.extend(written_out(model.graph, node, shapes, opset))
        elif _has_more_outputs(node):
            nodes.extend(with_outputs(model.graph, node, shapes, opset))
        elif is_compound(node):
            nodes.extend(write_out(model.graph, node, known))
        else:
            nodes.append(node)
    return nodes


def _is_fused_attention(node: onnx.NodeProto) -> bool:
    return node.domain == MICROSOFT and node.op_type in FUSED_ATTENTION


def _has_more_outputs(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in ("Dropout", "LayerNormalization") and any(node.output[1:])


# Minimum number of operands of fused operators that are split. One with fewer is invalid; it is left as it is, so that
# onnxruntime reports it.
MIN_OPERANDS = {
    **dict.fromkeys(("BiasGelu", "FastGelu", "Gelu"), 1),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), 3),
}


def _parts(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    if node.domain != MICROSOFT or len(node.input) < MIN_OPERANDS.get(node.op_type, 0):
        yield node
    elif node.op_type in ("BiasGelu", "FastGelu", "Gelu"):
        source = node.input[0]
        if len(node.input) > 1 and node.input[1]:
            source = f"{node.output[0]}/biased"
            yield helper.make_node("Add", list(node.input), [source], name=f"{node.name}/bias")
        operator = "FastGelu" if node.op_type == "FastGelu" else "Gelu"
        yield helper.make_node(operator, [source], list(node.output), name=node.name, domain=MICROSOFT)
    elif node.op_type in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"):
        yield from _split_skip_norm(node)
    elif node.op_type in ("FusedConv", "FusedGemm") and len(node.input) < 4:
        yield from _split_activation(node)
    else:
        yield node


def _split_activation(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a product and its activation; the fused node itself if the activation has parameters."""
    own = [item for item in node.attribute if not item.name.startswith("activation")]
    (activation,) = (item.s.decode() for item in node.attribute if item.name == "activation")
    if any(item.name.startswith("activation_") for item in node.attribute):
        yield node
        return
    between = f"{node.output[0]}/product"
    product = helper.make_node(node.op_type.removeprefix("Fused"), list(node.input), [between], name=node.name)
    product.attribute.extend(own)
    yield product
    yield helper.make_node(activation, [between], list(node.output), name=f"{node.name}/activation")


def _split_skip_norm(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield the additions x + skip [+ bias] and the normalisation of the sum, which is the node's fourth output."""
    centred = node.op_type == "SkipLayerNormalization"
    x, skip, weight, *more = node.input
    beta, bias = (more if centred else ["", *more])[:1], (more if centred else ["", *more])[1:]
    total = node.output[3] if len(node.output) > 3 and node.output[3] else f"{node.output[0]}/sum"
    if bias and bias[0]:
        partial = f"{total}/skipped"
        yield helper.make_node("Add", [x, skip], [partial], name=f"{node.name}/skip")
        yield helper.make_node("Add", [partial, bias[0]], [total], name=f"{node.name}/bias")
    else:
        yield helper.make_node("Add", [x, skip], [total], name=f"{node.name}/skip")
    norm = helper.make_node(
        "LayerNormalization" if centred else "SimplifiedLayerNormalization",
        [total, weight, *(name for name in beta if name)],
        [node.output[0]],
        name=node.name,
        axis=-1,
    )
    norm.attribute.extend(item for item in node.attribute if item.name == "epsilon")
    yield norm


def widen(model: onnx.ModelProto) -> None:
    """Replace half precision by single in place: onnxruntime has kernels of few operators for half precision."""
    graph = model.graph
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type in HALVES:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in graph.initializer:
        if tensor.data_type in HALVES:
            tensor.CopyFrom(_widened(tensor))
    for node in (*graph.node, *(node for function in model.functions for node in function.node)):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in HALVES:
                attribute.t.CopyFrom(_widened(attribute.t))
            elif attribute.name in ("to", "dtype") and attribute.i in HALVES:
                attribute.i = TensorProto.FLOAT


def _widened(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if tensor.data_type not in HALVES:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _infer(model: onnx.ModelProto) -> None:
    """Add every shape that follows from the inputs. Errors: LoweringError for more than MAX_ELEMENTS elements."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # onnx raises exceptions of many classes; without shapes fusion matches fewer patterns
        return
    producers = {name: node for node in inferred.graph.node for name in node.output}
    for info in (*inferred.graph.value_info, *inferred.graph.output):
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        if math.prod(shape) > MAX_ELEMENTS and info.name in producers:
            producer = producers[info.name]
            raise LoweringError(
                f"{producer.op_type} node {producer.name or info.name!r}",
                f"its result has shape {shape}, more than {MAX_ELEMENTS} elements: use smaller sizes",
            )
    model.graph.CopyFrom(inferred.graph)
