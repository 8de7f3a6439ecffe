"""The smallest useful task: a linear scorer over integers, evaluated in a moment."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from verifier.artifacts import digests, tensors
from verifier.artifacts.tensors import TensorSpec
from verifier.exact import load_program
from verifier.tasks.manifest import Manifest

FEATURES = 4
BATCH = 2
COUNT = 5  # not a multiple of the batch: the last row is padding
ROWS = 6

GOOD = [-9, 3, -2, -5]  # scores 92 on the holdout that tests use
BAD = [0, 0, 0, 0]

SUBMISSION = (TensorSpec("w", "int16", (FEATURES,), 0),)
EXAMPLES = (TensorSpec("x", "int16", (BATCH, FEATURES), 0),)
SET = (TensorSpec("x", "int16", (ROWS, FEATURES), 0),)


def linear_program() -> bytes:
    """score = sum over the batch of x·w; a second output holds the products row by row."""
    nodes = [
        helper.make_node("Cast", ["w"], ["w_float"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.DOUBLE),
        helper.make_node("Reshape", ["w_float", "column"], ["w_column"]),
        helper.make_node("MatMul", ["x_float", "w_column"], ["logits"]),
        helper.make_node("ReduceSum", ["logits", "axes"], ["score"], keepdims=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([FEATURES, 1]), "column"),
        numpy_helper.from_array(np.array([0, 1]), "axes"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("w", TensorProto.INT16, [FEATURES]),
            helper.make_tensor_value_info("x", TensorProto.INT16, [BATCH, FEATURES]),
        ],
        [
            helper.make_tensor_value_info("score", TensorProto.DOUBLE, [1, 1]),
            helper.make_tensor_value_info("logits", TensorProto.DOUBLE, [BATCH, 1]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def float_program() -> bytes:
    """The same in float32: not exact."""
    model = onnx.load_from_string(linear_program())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    del model.graph.node[:2]
    model.graph.node[0].input[0] = "w"
    model.graph.node[1].input[0] = "x"
    data: bytes = model.SerializeToString()
    return data


class Program:
    """The program's bytes and the files that go with it."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data or linear_program()
        self.cost = load_program(linear_program()).macs * (ROWS // BATCH)  # multiply-accumulates over the set

    def examples(self, seed: int) -> np.ndarray:
        """A set: small integers, the padding row zero."""
        rows = np.random.default_rng(seed).integers(-9, 10, (ROWS, FEATURES)).astype(np.int16)
        rows[COUNT:] = 0
        return rows

    def examples_file(self, seed: int) -> bytes:
        return tensors.encode(SET, {"x": self.examples(seed)})

    def submission_file(self, weights: list[int]) -> bytes:
        return tensors.encode(SUBMISSION, {"w": np.array(weights, np.int16)})

    def score(self, weights: list[int], seed: int) -> int:
        """What an honest verifier finds, computed in another way."""
        return int((self.examples(seed).astype(object) @ np.array(weights, dtype=object)).sum())

    def manifest(self, uri: Callable[[bytes], str], practice: bytes, ciphertext: bytes, **changes: object) -> bytes:
        """A manifest over these files; `changes` replace fields."""

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
            "adapter": {},
        }
        return Manifest.from_fields({**fields, **changes}).to_bytes()
