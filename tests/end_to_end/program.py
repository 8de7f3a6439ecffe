"""The smallest useful task: a linear scorer over integers, which is evaluated quickly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from verifier.artifacts import digests, tensors
from verifier.artifacts.tensors import TensorSpec
from verifier.exact import load_program
from verifier.tasks.manifest import Manifest

FEATURES = 4
BATCH = 2
COUNT = 5  # not a multiple of the batch, so the last row is padding
ROWS = 6

GOOD = [-9, 3, -2, -5]  # scores 92 on the holdout of the tests
BAD = [0, 0, 0, 0]

SUBMISSION = (TensorSpec("w", "int16", (FEATURES,), 0),)
EXAMPLES = (TensorSpec("x", "int16", (BATCH, FEATURES), 0),)
SET = (TensorSpec("x", "int16", (ROWS, FEATURES), 0),)


def linear_program() -> bytes:
    """An exact program: the score is the sum of x·w over the batch, a second output has the product of each row."""
    nodes = [
        helper.make_node("Cast", ["w"], ["w_float"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.DOUBLE),
        helper.make_node("Reshape", ["w_float", "column"], ["w_column"]),
        helper.make_node("MatMul", ["x_float", "w_column"], ["logits"]),
        helper.make_node("ReduceSum", ["logits", "axes"], ["score"], keepdims=1),
    ]
    constants = {"column": np.array([FEATURES, 1]), "axes": np.array([0, 1])}
    return model(nodes, [TensorProto.INT16, TensorProto.INT16], {"score": [1, 1], "logits": [BATCH, 1]}, constants)


def float_program() -> bytes:
    """The same program in float32, which is not exact."""
    nodes = [
        helper.make_node("Reshape", ["w", "column"], ["w_column"]),
        helper.make_node("MatMul", ["x", "w_column"], ["logits"]),
        helper.make_node("ReduceSum", ["logits", "axes"], ["score"], keepdims=1),
    ]
    constants = {"column": np.array([FEATURES, 1]), "axes": np.array([0, 1])}
    return model(nodes, [TensorProto.FLOAT, TensorProto.FLOAT], {"score": [1, 1]}, constants)


def slow_program(steps: int = 300, width: int = 600) -> bytes:
    """An exact program that takes about a minute: it multiplies a matrix made from the inputs `steps` times."""
    nodes = [
        helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["w"], ["w_float"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["x_float", "w_float"], ["sum"]),
        helper.make_node("Reshape", ["sum", "column"], ["tall"]),
        helper.make_node("MatMul", ["tall", "row"], ["wide"]),
        helper.make_node("Transpose", ["wide"], ["wide_t"], perm=[1, 0]),
        helper.make_node("MatMul", ["wide_t", "wide"], ["square"]),
        helper.make_node("Clip", ["square", "low", "high"], ["m0"]),
    ]
    for step in range(steps):
        nodes.append(helper.make_node("MatMul", [f"m{step}", "k"], [f"p{step}"]))
        nodes.append(helper.make_node("Clip", [f"p{step}", "low", "high"], [f"m{step + 1}"]))
    nodes.append(helper.make_node("ReduceSum", [f"m{steps}", "axes"], ["score"], keepdims=1))
    # The values need more than two bytes, because some processors multiply two-byte values many times faster.
    mixing = 40_001.0 * np.random.default_rng(0).integers(-1, 2, (width, width))
    constants = {
        "column": np.array([BATCH * FEATURES, 1]),
        "axes": np.array([0, 1]),
        "row": np.ones((1, width)),
        "k": mixing,
        "low": np.array(-100.0),
        "high": np.array(100.0),
    }
    return model(nodes, [TensorProto.INT16, TensorProto.INT16], {"score": [1, 1]}, constants)


def model(nodes: list[Any], dtypes: list[int], outputs: dict[str, list[int]], constants: dict[str, Any]) -> bytes:
    """Build a model with the inputs w and x of those ONNX dtypes; `outputs` maps names to shapes."""
    inputs = [
        helper.make_tensor_value_info("w", dtypes[0], [FEATURES]),
        helper.make_tensor_value_info("x", dtypes[1], [BATCH, FEATURES]),
    ]
    shown = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape) for name, shape in outputs.items()]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "task", inputs, shown, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def cost_of(data: bytes) -> int:
    """The multiply-accumulates of one submission over the evaluation set."""
    return load_program(data).macs * (ROWS // BATCH)


class Program:
    """A program's bytes, and the files of a task with this program."""

    def __init__(self, data: bytes | None = None, cost: int | None = None) -> None:
        """`cost` is the number of MACs that the sponsor declares; the default is the linear program's real cost."""
        self.data = data or linear_program()
        self.cost = cost or cost_of(linear_program())

    def examples(self, seed: int) -> np.ndarray:
        """An evaluation set of small integers, whose padding row is zero."""
        rows = np.random.default_rng(seed).integers(-9, 10, (ROWS, FEATURES)).astype(np.int16)
        rows[COUNT:] = 0
        return rows

    def examples_file(self, seed: int) -> bytes:
        return tensors.encode(SET, {"x": self.examples(seed)})

    def submission_file(self, weights: list[int]) -> bytes:
        return tensors.encode(SUBMISSION, {"w": np.array(weights, np.int16)})

    def score(self, weights: list[int], seed: int) -> int:
        """The score that an honest verifier finds, computed independently of the program."""
        return int((self.examples(seed).astype(object) @ np.array(weights, dtype=object)).sum())

    def manifest(self, uri: Callable[[bytes], str], practice: bytes, ciphertext: bytes, **changes: object) -> bytes:
        """The manifest of a task with these files; `changes` replace fields."""

        def tensor(spec: TensorSpec) -> dict[str, object]:
            return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "grid": spec.grid}

        fields: dict[str, object] = {
            "version": 1,
            "kind": "linear",
            "title": "A linear scorer",
            "program": {
                "digest": digests.to_hex(digests.digest(self.data)),
                "size": len(self.data),
                "uris": [uri(self.data)],
            },
            "submission": [tensor(spec) for spec in SUBMISSION],
            "examples": [tensor(spec) for spec in EXAMPLES],
            "practice": {
                "digest": digests.to_hex(digests.digest(practice)),
                "size": len(practice),
                "count": COUNT,
                "uris": [uri(practice)],
            },
            "holdout": {
                "sealed_digest": digests.to_hex(digests.digest(ciphertext)),
                "size": len(ciphertext),
                "count": COUNT,
                "uris": [uri(ciphertext)],
            },
            "batch": BATCH,
            "metric": {"name": "sum", "unit": "points", "bound": ROWS * FEATURES * (1 << 30)},
            "macs": self.cost,
            "base": {"model": "none", "tokenizer": "none"},
            "settings": {},
        }
        return Manifest.from_fields({**fields, **changes}).to_bytes()
