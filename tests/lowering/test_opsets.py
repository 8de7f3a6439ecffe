"""One transformer block as exporters of each opset write it, and as onnxruntime rewrites it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.lowering.compare import FloatGraph, both, node

OPSETS = [11, 12, 13, 14, 16, 17, 18, 20, 21, 22, 23]
BATCH, TOKENS, HEADS, WIDTH = 2, 5, 2, 8
HIDDEN = 3 * WIDTH


def weights() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(5)
    shapes = {"qkv_w": (WIDTH, 3 * WIDTH), "out_w": (WIDTH, WIDTH), "up_w": (WIDTH, HIDDEN), "down_w": (HIDDEN, WIDTH)}
    drawn = {name: rng.normal(0, shape[0] ** -0.5, shape) for name, shape in shapes.items()}
    drawn |= {f"{name}_b": rng.normal(0, 0.2, size) for name, size in (("qkv", 3 * WIDTH), ("up", HIDDEN))}
    drawn |= {f"{norm}_{part}": rng.normal(1, 0.2, WIDTH) for norm in ("first", "second") for part in ("g", "b")}
    return {name: array.astype(np.float32) for name, array in drawn.items()}


class Block:
    """The nodes of a block at an opset. Its methods write operands or attributes, whichever the opset has."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = weights()

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        (name,) = self.ops(op, inputs, 1, **attributes)
        return name

    def ops(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        names = [f"{op}{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(node(op, inputs, names, **attributes))
        return names

    def constant(self, *numbers: float, dtype: Any = np.float32) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.array(numbers if len(numbers) > 1 else numbers[0], dtype)
        return name

    def listed(self, *integers: int) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.array(integers, np.int64)
        return name

    def mean(self, x: str) -> str:
        if self.opset < 18:
            return self.op("ReduceMean", x, axes=[-1], keepdims=1)
        return self.op("ReduceMean", x, self.listed(-1), keepdims=1)

    def norm(self, x: str, name: str) -> str:
        if self.opset >= 17:
            return self.op("LayerNormalization", x, f"{name}_g", f"{name}_b", epsilon=1e-5, axis=-1)
        centred = self.op("Sub", x, self.mean(x))
        variance = self.mean(self.op("Pow", centred, self.constant(2)))
        root = self.op("Sqrt", self.op("Add", variance, self.constant(1e-5)))
        scaled = self.op("Mul", self.op("Div", centred, root), f"{name}_g")
        return self.op("Add", scaled, f"{name}_b")

    def gelu(self, x: str) -> str:
        if self.opset >= 20:
            return self.op("Gelu", x)
        grown = self.op("Add", self.op("Erf", self.op("Div", x, self.constant(2**0.5))), self.constant(1))
        return self.op("Mul", self.op("Mul", x, grown), self.constant(0.5))

    def heads(self, x: str, perm: list[int]) -> str:
        # The shape is computed from the operand's shape, as in traces of dynamic models.
        shape = self.op("Shape", x)
        rows = self.op("Gather", shape, self.listed(0))
        wanted = self.op("Concat", rows, self.listed(TOKENS, HEADS, WIDTH // HEADS), axis=0)
        return self.op("Transpose", self.op("Reshape", x, wanted), perm=perm)

    def mask(self, seen: str) -> str:
        """Return the mask along the keys: 0 where a token is seen, a large negative number elsewhere."""
        for axis in (1, 2):
            seen = (
                self.op("Unsqueeze", seen, axes=[axis])
                if self.opset < 13
                else self.op("Unsqueeze", seen, self.listed(axis))
            )
        return self.op(
            "Mul", self.op("Sub", self.constant(1), seen), self.constant(-1e9 if self.opset < 18 else -3.4e38)
        )

    def attention(self, x: str, seen: str) -> str:
        joint = self.op("Add", self.op("MatMul", x, "qkv_w"), "qkv_b")
        if self.opset < 13:
            q, k, v = self.ops("Split", [joint], 3, axis=2, split=[WIDTH] * 3)
        elif self.opset < 18:
            q, k, v = self.ops("Split", [joint, self.listed(WIDTH, WIDTH, WIDTH)], 3, axis=2)
        else:
            q, k, v = self.ops("Split", [joint], 3, axis=2, num_outputs=3)
        q, k, v = self.heads(q, [0, 2, 1, 3]), self.heads(k, [0, 2, 3, 1]), self.heads(v, [0, 2, 1, 3])
        scores = self.op("Div", self.op("MatMul", q, k), self.constant((WIDTH // HEADS) ** 0.5))
        shares = self.op("Softmax", self.op("Add", scores, self.mask(seen)), axis=3 if self.opset < 13 else -1)
        mixed = self.op("Transpose", self.op("MatMul", shares, v), perm=[0, 2, 1, 3])
        return self.op("MatMul", self.op("Reshape", mixed, self.listed(0, 0, WIDTH)), "out_w")

    def pooled(self, x: str, seen: str) -> str:
        """Return the mean over seen tokens."""
        weight = self.op("Unsqueeze", seen, axes=[2]) if self.opset < 13 else self.op("Unsqueeze", seen, self.listed(2))
        kept = self.op("Mul", x, weight)
        sums = [
            self.op("ReduceSum", item, axes=[1], keepdims=0)
            if self.opset < 13
            else self.op("ReduceSum", item, self.listed(1), keepdims=0)
            for item in (kept, weight)
        ]
        return self.op("Div", sums[0], self.op("Clip", sums[1], self.constant(1e-9)))


def block(opset: int) -> FloatGraph:
    """Return a graph from x [batch, tokens, width] and y [batch, tokens] to the pooled output of the block.

    A token is seen where its y exceeds -1.5.
    """
    made = Block(opset)
    seen = made.op("Cast", made.op("Greater", "y", made.constant(-1.5)), to=onnx.TensorProto.FLOAT)
    x = made.norm(made.op("Add", "x", made.attention("x", seen)), "first")
    inner = made.op("Add", made.op("MatMul", x, "up_w"), "up_b")
    x = made.norm(made.op("Add", x, made.op("MatMul", made.gelu(inner), "down_w")), "second")
    made.nodes.append(node("Identity", [made.pooled(x, seen)], ["out"]))
    used = {name for item in made.nodes for name in item.input}
    constants = {name: array for name, array in made.constants.items() if name in used}
    return FloatGraph(made.nodes, {"x": (BATCH, TOKENS, WIDTH), "y": (BATCH, TOKENS)}, constants, 1.0, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_lower__transformer_block_of_each_opset__is_close_to_float32(opset: int) -> None:
    for seed in (1, 2):
        exact, floats = both(block(opset), seed)
        assert np.abs(floats).max() > 0.5
        assert np.abs(exact - floats).max() <= 5e-4


@dataclass(frozen=True)
class OptimisedGraph(FloatGraph):
    """A graph as onnxruntime writes it after its own optimisations."""

    def model(self) -> onnx.ModelProto:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        with TemporaryDirectory() as folder:
            options.optimized_model_filepath = f"{folder}/optimised.onnx"
            ort.InferenceSession(super().model().SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(options.optimized_model_filepath)


def optimised_graph(graph: FloatGraph) -> OptimisedGraph:
    return OptimisedGraph(graph.nodes, graph.inputs, graph.constants, graph.scale, graph.opset)


def perceptron() -> FloatGraph:
    """Return a graph of products and activations that onnxruntime fuses."""
    rng = np.random.default_rng(6)
    constants = {
        name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in (("v", (3, 2, 2, 2)), ("w", (27, 4)))
    }
    nodes = [
        node("Conv", ["x", "v"], ["image"]),
        node("Relu", ["image"], ["seen"]),
        node("Flatten", ["seen"], ["flat"]),
        node("Gemm", ["flat", "w"], ["product"]),
        node("Relu", ["product"], ["out"]),
    ]
    return FloatGraph(nodes, {"x": (2, 2, 4, 4)}, constants, 1.0)


@pytest.mark.parametrize(
    ("graph", "fused"),
    [
        (block(13), {"SkipLayerNormalization", "Gelu", "FusedMatMul"}),
        (block(20), {"SkipLayerNormalization", "FusedMatMul"}),
        (perceptron(), {"FusedConv", "FusedGemm"}),
    ],
    ids=["block, opset 13", "block, opset 20", "convolution and perceptron"],
)
def test_lower__model_optimised_by_onnxruntime__is_close_to_float32(graph: FloatGraph, fused: set[str]) -> None:
    optimised = optimised_graph(graph)
    assert {item.op_type for item in optimised.model().graph.node if item.domain == "com.microsoft"} == fused
    exact, floats = both(optimised)
    assert np.abs(floats).max() > 0.5
    assert np.abs(exact - floats).max() <= 5e-4
