"""Float graphs on onnxruntime, and what it refuses, as errors that name the node and say what to do."""

from __future__ import annotations

import re
from typing import Any

import onnx
import onnxruntime as ort  # type: ignore[import-untyped]

from verifier.exact.errors import LoweringError

# How onnxruntime's messages name a node: its operator and its name, which can be empty.
_NODES = (
    re.compile(r"Could not find an implementation for (?P<op>\w+)\(\d+\) node with name '(?P<name>[^']*)'"),
    re.compile(r"while running (?P<op>\w+) node\. Name:'(?P<name>[^']*)'"),
    re.compile(r"Node ?\((?P<name>[^)]*)\) Op \((?P<op>\w+)\)"),
    re.compile(r"of operator \((?P<op>\w+)\) in node \((?P<name>[^)]*)\)"),
    re.compile(r'In Node, \("(?P<name>[^"]*)", (?P<op>\w+),'),
)
# The code before onnxruntime's message, and the places of its source in it.
_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ ")
_MISSING = "Could not find an implementation for"


def session_of(model: onnx.ModelProto) -> Any:
    """Load a float graph as it is written, without optimisations. Errors: LoweringError that names the node."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises exceptions of many classes
        raise refusal(model, error, "load it") from error


def refusal(model: onnx.ModelProto, error: Exception, action: str) -> LoweringError:
    """Return the error that says that onnxruntime cannot do something with a float model, such as "load it".

    It names the node where onnxruntime's message does.
    """
    text = message_of(error)
    found = next(filter(None, (pattern.search(text) for pattern in _NODES)), None)
    if found is None:
        remedy = "check the model with onnx.checker, and run it in onnxruntime by itself"
        return LoweringError("the float model", f"onnxruntime cannot {action}: {text}: {remedy}")
    op, name = found["op"], found["name"]
    node = f"{op} node {name or _output_of(model, op)!r}"
    if _MISSING in text:
        return LoweringError(
            node,
            "onnxruntime, on which its results are calibrated, does not implement this operator in this opset for "
            "these types: export the model with an older opset and in single precision, or express it by other "
            "operators",
        )
    remedy = "change its operands or attributes so that the model runs in onnxruntime"
    return LoweringError(node, f"onnxruntime cannot {action}: {text}: {remedy}")


def message_of(error: Exception) -> str:
    """Return the first line of what onnxruntime says, without its code and the places of its source."""
    return _NOISE.sub("", str(error).splitlines()[0]).rstrip(". ")


def _output_of(model: onnx.ModelProto, op: str) -> str:
    """Return the first output of the first node of an operator, by which a node without a name is called."""
    return next((name for node in model.graph.node if node.op_type == op for name in node.output if name), "")
