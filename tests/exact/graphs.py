"""Write small ONNX graphs in a few lines, and run files on stock onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from verifier.exact.program.parse import PROTO_OF

# (operator, inputs, outputs, attributes); inputs and outputs are separated by spaces, "-" is an input left out.
Row = tuple[str, str, str] | tuple[str, str, str, dict[str, Any]]


def model(
    nodes: Sequence[Row],
    inputs: Mapping[str, tuple[str, Sequence[Any]]] | None = None,
    constants: Mapping[str, Any] | None = None,
    outputs: str = "y",
    opset: int = 18,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Make a model; inputs are name: (dtype, shape), constants name: array. The outputs' types are left out."""
    protos = []
    for op, reads, writes, *rest in nodes:
        names = ["" if name == "-" else name for name in reads.split()]
        protos.append(helper.make_node(op, names, writes.split(), **(rest[0] if rest else {})))
    graph = helper.make_graph(
        protos,
        "test",
        [
            helper.make_tensor_value_info(name, PROTO_OF[dtype], shape)
            for name, (dtype, shape) in (inputs or {}).items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs.split()],
        [constant(name, np.asarray(array)) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def constant(name: str, array: np.ndarray[Any, Any]) -> onnx.TensorProto:
    """Make an initialiser with raw bytes."""
    return helper.make_tensor(name, PROTO_OF[array.dtype.name], array.shape, array.tobytes(), raw=True)


def data(*arguments: Any, **named: Any) -> bytes:
    """Make a model and return it as the bytes of a file."""
    return bytes(model(*arguments, **named).SerializeToString())


def stock_run(
    file: bytes, feeds: Mapping[str, np.ndarray[Any, Any]], optimised: bool = False, threads: int = 1
) -> list[Any]:
    """Run the file itself on stock onnxruntime; returns its outputs in order."""
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def digest_of_stock_run(
    file: bytes, grids: Sequence[int], feeds: Mapping[str, np.ndarray[Any, Any]], **how: Any
) -> bytes:
    """The digest of the outputs file that stock onnxruntime's outputs make, computed without the package."""
    parts = []
    for grid, array in zip(grids, stock_run(file, feeds, **how), strict=True):
        q = np.ldexp(array, -grid) if array.dtype == np.float64 else array
        parts.append(np.ascontiguousarray(q.astype("<i8")).tobytes())
    return digest_of_outputs(parts)


def digest_of_outputs(outputs: Sequence[bytes]) -> bytes:
    """The digest of an outputs file, by its definition: each output in whole chunks, a Merkle tree, the length."""
    content = b"".join(output + bytes(-len(output) % 1024) for output in outputs)
    chunks = [content[start : start + 1024] for start in range(0, len(content), 1024)]

    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return sha256(b"\x00" + leaves[0]).digest()
        left = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below their number
        return sha256(b"\x01" + tree(leaves[:left]) + tree(leaves[left:])).digest()

    return sha256(b"\x02" + len(content).to_bytes(8, "big") + tree(chunks)).digest()
