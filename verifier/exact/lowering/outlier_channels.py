"""Outlier channels that no constant absorbs: a product's operand is scaled by channel before it is rounded.

The operand of a product has one grid of PRODUCT_BITS bits. Where one channel is thousands of times larger than the
others, and its weights are as small, that grid leaves the others next to no bits, although the result depends on them.
`equalise` moves such scales into the constants before the operand. Where there are none, a Mul by powers of two is
inserted here, and the weight's rows are divided by them. Only products that would lose much precision are changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from verifier.exact.errors import LoweringError
from verifier.exact.lowering.calibrate import Feeds, run_feeds
from verifier.exact.lowering.float_node import CONSTANT_BITS, PRODUCT_BITS
from verifier.exact.lowering.fusion.graph_index import attribute
from verifier.exact.lowering.operators.products import MAX_ROW_DOUBLINGS, MAX_UNSCALED_DOUBLINGS

Array = NDArray[Any]
# Maximum rounding error of a product's results, relative to them, for which its operand is left as it is: 1.6 %. A
# normal operand causes about 0.01 %.
MAX_ROUNDING_ERROR = 2.0**-6
# Maximum rounding error of a product that is lowered at all: 12.5 %.
MAX_ACCEPTED_ERROR = 2.0**-3
# The operand's range has twice its calibrated magnitude, so a step of its grid is this share of that magnitude.
STEP = 2.0 ** (2 - PRODUCT_BITS)
# Weights below this share of the largest one count as this share: a channel without weights must not stay an outlier.
MIN_WEIGHT_SHARE = 2.0**-30

# Maximum log2 of the ratio of two scales, which are constants of CONSTANT_BITS bits.
MAX_SCALE_OCTAVES = CONSTANT_BITS - 2


@dataclass
class Products:
    """The products [rows, channels] by constant weights that read one operand, and what calibration tells of them.

    `channels` are the peaks of the operand's channels, and `relative` those of its rows divided by each row's peak.
    `rows` are the peaks of all rows, and `results` the lengths of the results' rows, for each product.
    """

    nodes: list[onnx.NodeProto]
    weights: list[Array]
    channels: Array = field(default_factory=lambda: np.zeros(1))
    relative: Array = field(default_factory=lambda: np.zeros(1))
    rows: list[Array] = field(default_factory=list)
    results: list[list[Array]] = field(default_factory=list)

    def add(self, operand: Array, results: Sequence[Array]) -> None:
        """Take the operand and the results of one feed into account."""
        x = np.abs(operand.reshape(-1, operand.shape[-1])).astype(np.float64)
        rows = x.max(axis=1, initial=0)
        self.channels = np.maximum(self.channels, x.max(axis=0, initial=0))
        self.relative = np.maximum(self.relative, (x / np.where(rows > 0, rows, 1)[:, None]).max(axis=0, initial=0))
        self.rows.append(rows)
        self.results.append([np.linalg.norm(y.reshape(len(x), -1).astype(np.float64), axis=1) for y in results])

    def error(self) -> float:
        """Estimate the rounding error of the results, relative to them: the largest of the products' median rows."""
        rows = np.concatenate(self.rows)
        steps = np.maximum(rows, rows.max(initial=0) * 2.0**-MAX_ROW_DOUBLINGS) if self.row_scaled else rows.max()
        errors = []
        for weight, *results in zip(self.weights, *self.results, strict=True):
            lengths = np.concatenate(results)
            used = (lengths > 0) & (rows > 0)
            noise = np.broadcast_to(steps, rows.shape)[used] * STEP / math.sqrt(12) * _length(weight)
            errors.append(float(np.median(noise / lengths[used])) if used.any() else 0.0)
        return max(errors)

    @property
    def row_scaled(self) -> bool:
        """Whether the lowering scales the operand's rows, as the smallest one needs it."""
        rows = np.concatenate(self.rows)
        return bool(rows.min(initial=math.inf) * 2.0**MAX_UNSCALED_DOUBLINGS < rows.max(initial=0))

    def scales(self) -> Array:
        """Return the powers of two nearest to sqrt(weight peak / operand peak) of each channel, over their median."""
        peaks = self.relative if self.row_scaled else self.channels
        weights = np.max([np.abs(weight).max(axis=1) for weight in self.weights], axis=0).astype(np.float64)
        used = (peaks > 0) & (weights.max() > 0)
        if not used.any():
            return np.ones(len(peaks))
        weights = np.maximum(weights, weights.max() * MIN_WEIGHT_SHARE)
        logarithms = (np.log2(weights) - np.log2(np.where(used, peaks, 1))) / 2
        rounded = np.where(used, np.rint(logarithms - np.median(logarithms[used])), 0)
        return np.asarray(np.exp2(np.maximum(rounded, rounded.max() - MAX_SCALE_OCTAVES)))

    def error_with(self, scales: Array) -> float:
        """Estimate the rounding error after the operand's channels are multiplied by scales."""
        peaks = self.relative if self.row_scaled else self.channels
        wider = max(_length(w / scales[:, None]) / max(_length(w), 1e-30) for w in self.weights)
        return self.error() * float((peaks * scales).max() / peaks.max()) * wider


def _length(weight: Array) -> float:
    """Return the square root of the sum of a weight's squares."""
    return float(np.linalg.norm(weight))


def scale_outlier_channels(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> None:
    """Scale the operands of a canonical model's products by channel in place, where they would lose much precision.

    Errors: LoweringError where onnxruntime cannot load the model or run it on a feed, and for a product that would lose
    more than MAX_ACCEPTED_ERROR.
    """
    weights = {item.name: item for item in model.graph.initializer if item.data_type == onnx.TensorProto.FLOAT}
    found = dict(_products(model, weights))
    inputs = {info.name for info in model.graph.input}
    outputs = [node.output[0] for products in found.values() for node in products.nodes]
    names = list(dict.fromkeys([*(name for name in found if name not in inputs), *outputs]))
    for feed, results in run_feeds(model, names, feeds) if names else ():
        arrays = {**feed, **results}
        for name, products in found.items():
            products.add(arrays[name], [arrays[node.output[0]] for node in products.nodes])
    added: dict[int, onnx.NodeProto] = {}
    for name, products in found.items():
        error = products.error()
        if not MAX_ROUNDING_ERROR < error < math.inf:
            continue
        scales = products.scales()
        after = products.error_with(scales)
        if after < error / 2:
            added[id(products.nodes[0])] = _scaled(model, name, products, scales)
            error = after
        if error > MAX_ACCEPTED_ERROR:
            raise LoweringError(
                f"{products.nodes[0].op_type} node {products.nodes[0].name or products.nodes[0].output[0]!r}",
                f"its operand {name!r} reaches {products.channels.max():g}, and its results are so small that rounding "
                f"it to {PRODUCT_BITS} bits makes them wrong by about {100 * error:.0f} %: scale its channels to like "
                "magnitudes, or subtract what they have in common",
            )
    if added:
        nodes = [part for node in model.graph.node for part in (added.get(id(node)), node) if part is not None]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)


def _products(model: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> Iterator[tuple[str, Products]]:
    """Yield the computed operands of products with constant weights, with these products."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or attribute(node, "transA", 0) or node.input[0] in weights:
            continue
        if node.input[1] in weights and len(weights[node.input[1]].dims) == 2:
            readers.setdefault(node.input[0], []).append(node)
    for name, nodes in readers.items():
        yield name, Products(nodes, [_by_channel(node, weights[node.input[1]]) for node in nodes])


def _by_channel(node: onnx.NodeProto, tensor: onnx.TensorProto) -> Array:
    """Return a product's weight [channels, out]."""
    array = numpy_helper.to_array(tensor)
    return array.T if attribute(node, "transB", 0) else array


def _scaled(model: onnx.ModelProto, name: str, products: Products, scales: Array) -> onnx.NodeProto:
    """Let the products read the operand times scales; return the Mul that computes it."""
    taken = {item for node in model.graph.node for item in (*node.input, *node.output)}
    scaled = f"{name}/scaled by channel"
    while scaled in taken:
        scaled += "_"
    factors = f"{scaled}/factors"
    model.graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), factors))
    for number, (node, weight) in enumerate(zip(products.nodes, products.weights, strict=True)):
        array = (weight / scales[:, None]).astype(np.float32)
        copied = f"{scaled}/weight {number}"
        array = array.T if attribute(node, "transB", 0) else array
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), copied))
        node.input[0], node.input[1] = scaled, copied
    return helper.make_node("Mul", [name, factors], [scaled], name=scaled)
