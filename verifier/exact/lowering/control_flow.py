"""Control flow that static shapes decide: an If whose condition is constant, and a Scan over a known number of steps.

An If becomes the branch that is taken, and a Scan one copy of its body for each step. All others are left as they are
and refused later. Exporters write such an If for `squeeze` and for optional inputs, and such a Scan for recurrences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from verifier.exact.errors import LoweringError

# Maximum number of nodes that the steps of one Scan become.
MAX_SCAN_NODES = 50_000
# Maximum number of elements of a constant from which a condition is computed.
MAX_CONDITION_ELEMENTS = 2**12
CONTROL_FLOW = ("If", "Loop", "Scan")


@dataclass
class KnownTensors:
    """What is known of a graph before it runs: the shapes of its tensors, and which of them are constant."""

    shapes: dict[str, tuple[int, ...]]
    producers: dict[str, onnx.NodeProto]
    opset: int
    constants: dict[str, NDArray[Any] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto, opset: int) -> KnownTensors:
        """Infer the shapes of a model's tensors."""
        try:
            graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except Exception:  # onnx raises exceptions of many classes; fewer shapes are known then
            graph = model.graph
        shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        for info in (*graph.input, *graph.value_info, *graph.output):
            tensor = info.type.tensor_type
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                shapes[info.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
        known = cls(shapes, {name: node for node in model.graph.node for name in node.output}, opset)
        known.constants.update((tensor.name, numpy_helper.to_array(tensor)) for tensor in model.graph.initializer)
        return known

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the array of a tensor that depends on constants and shapes alone, None for any other."""
        if name not in self.constants:
            self.constants[name] = None  # of a graph input
            node = self.producers.get(name)
            if node is not None:
                self._compute(node)
        return self.constants[name]

    def _compute(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Shape" and node.input[0] in self.shapes:
            attributes = {item.name: item.i for item in node.attribute}
            whole = np.array(self.shapes[node.input[0]], np.int64)
            self.constants[node.output[0]] = whole[attributes.get("start", 0) : attributes.get("end")]
            return
        arrays = {name: self.constant(name) for name in node.input if name}
        if node.op_type in CONTROL_FLOW or node.domain not in ("", "ai.onnx"):
            return
        if any(array is None or array.size > MAX_CONDITION_ELEMENTS for array in arrays.values()):
            return
        tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "condition", [], outputs, initializer=tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            results = session.run(None, {})
        except Exception:  # onnxruntime raises exceptions of many classes; the node counts as computed then
            return
        self.constants.update(zip((item.name for item in outputs), results, strict=True))


def expand_control_flow(model: onnx.ModelProto, opset: int) -> bool:
    """Expand every If and Scan that static shapes decide, in place; return whether there was any.

    Errors: LoweringError for a Scan that would become more than MAX_SCAN_NODES nodes.
    """
    expanded = False
    while any(node.op_type in ("If", "Scan") for node in model.graph.node):
        known = KnownTensors.of(model, opset)
        nodes: list[onnx.NodeProto] = []
        changed = False
        for node in model.graph.node:
            parts = _expanded(model.graph, known, node)
            nodes.extend([node] if parts is None else parts)
            changed |= parts is not None
        if not changed:
            break
        expanded = True
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return expanded


def _expanded(graph: onnx.GraphProto, known: KnownTensors, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """Return the nodes that an If or a Scan becomes, None for any other node and where shapes do not decide."""
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type == "If":
        condition = known.constant(node.input[0])
        if condition is None:
            return None
        branch = attributes["then_branch" if condition.reshape(-1)[0] else "else_branch"]
        return list(_copied(graph, branch, f"{node.output[0]}/", {}, list(node.output)))
    if node.op_type == "Scan" and "num_scan_inputs" in attributes and known.opset >= 9:
        return _unrolled(graph, known, node, attributes)
    return None


def _unrolled(
    graph: onnx.GraphProto, known: KnownTensors, node: onnx.NodeProto, attributes: Mapping[str, Any]
) -> list[onnx.NodeProto] | None:
    """Return one copy of a Scan's body for each step, the slices that it reads, and its stacked results."""
    body, scanned = attributes["body"], attributes["num_scan_inputs"]
    states, inputs = list(node.input[:-scanned]), list(node.input[-scanned:])
    axes = attributes.get("scan_input_axes") or [0] * scanned
    if any(name not in known.shapes for name in inputs):
        return None
    steps = known.shapes[inputs[0]][axes[0]]
    if steps * len(body.node) > MAX_SCAN_NODES:
        reason = f"its {steps} steps would become {steps * len(body.node)} nodes, more than {MAX_SCAN_NODES}"
        raise LoweringError(f"Scan node {node.name or node.output[0]!r}", f"{reason}: use shorter sequences")
    backward = attributes.get("scan_input_directions") or [0] * scanned
    nodes, stacked = [], [[] for _ in node.output[len(states) :]]  # type: ignore[var-annotated]
    for step in range(steps):
        prefix = f"{next(filter(None, node.output))}/step {step}/"
        slices: list[str] = []
        for name, axis, reverse in zip(inputs, axes, backward, strict=True):
            place = _constant(graph, f"{prefix}place {len(slices)}", steps - 1 - step if reverse else step)
            slices.append(f"{prefix}slice {len(slices)}")
            nodes.append(helper.make_node("Gather", [name, place], [slices[-1]], name=slices[-1], axis=axis))
        renamed = dict(zip((info.name for info in body.input), [*states, *slices], strict=True))
        results = [f"{prefix}result {number}" for number in range(len(body.output))]
        nodes.extend(_copied(graph, body, prefix, renamed, results))
        states = results[: len(states)]
        for rows, result in zip(stacked, results[len(states) :], strict=True):
            rows.append(result)
    for state, output in zip(states, node.output, strict=False):
        if output:
            nodes.append(helper.make_node("Identity", [state], [output], name=f"{output}/last"))
    nodes.extend(_stacked(graph, known.opset, node, attributes, stacked))
    return nodes


def _stacked(
    graph: onnx.GraphProto, opset: int, node: onnx.NodeProto, attributes: Mapping[str, Any], stacked: list[list[str]]
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that stack the results of all steps along a new axis."""
    axes = attributes.get("scan_output_axes") or [0] * len(stacked)
    backward = attributes.get("scan_output_directions") or [0] * len(stacked)
    outputs = node.output[len(node.output) - len(stacked) :]
    for output, rows, axis, reverse in zip(outputs, stacked, axes, backward, strict=True):
        if not output:
            continue
        for row in rows:
            if opset < 13:
                yield helper.make_node("Unsqueeze", [row], [f"{row}/row"], name=f"{row}/row", axes=[axis])
            else:
                listed = _constant(graph, f"{row}/axis", [axis])
                yield helper.make_node("Unsqueeze", [row, listed], [f"{row}/row"], name=f"{row}/row")
        ordered = [f"{row}/row" for row in (reversed(rows) if reverse else rows)]
        yield helper.make_node("Concat", ordered, [output], name=f"{output}/stacked", axis=axis)


def _constant(graph: onnx.GraphProto, name: str, number: int | list[int]) -> str:
    """Add an int64 initialiser; return its name."""
    graph.initializer.append(numpy_helper.from_array(np.array(number, np.int64), name))
    return name


def _copied(
    graph: onnx.GraphProto, body: onnx.GraphProto, prefix: str, renamed: dict[str, str], outputs: list[str]
) -> Iterator[onnx.NodeProto]:
    """Yield a subgraph's nodes, with `prefix` before its own names and `outputs` as the names of its results.

    `renamed` maps the subgraph's inputs to tensors of the graph. Its initialisers are added to the graph.
    """
    for tensor in body.initializer:
        renamed[tensor.name] = f"{prefix}{tensor.name}"
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = renamed[tensor.name]
    produced = {name for node in body.node for name in node.output if name}
    results = dict(zip(reversed([info.name for info in body.output]), reversed(outputs), strict=True))
    renamed |= {name: results.get(name) or f"{prefix}{name}" for name in produced}
    for node in body.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        _rename(copy, renamed)
        copy.name = f"{prefix}{node.name}" if node.name else ""
        yield copy
    for info, output in zip(body.output, outputs, strict=True):
        source = renamed.get(info.name, info.name)
        if output and source != output:
            yield helper.make_node("Identity", [source], [output], name=f"{output}/result")


def _rename(node: onnx.NodeProto, renamed: Mapping[str, str]) -> None:
    """Rename the tensors of a node and those that its subgraphs read from outside, in place."""
    for names in (node.input, node.output):
        names[:] = [renamed.get(name, name) for name in names]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
            for inner in graph.node:
                _rename(inner, renamed)
            for info in graph.output:
                info.name = renamed.get(info.name, info.name)
