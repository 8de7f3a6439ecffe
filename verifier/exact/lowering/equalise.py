"""Equalisation across layers: the channels of a product's operand get about equal magnitudes before quantisation.

All channels of a tensor share one grid, and outlier channels can be a hundred times larger than the rest. But x·W is
(x·s)·(W/s) for a scale s of each channel, so the scale moves the difficulty from the operand to the weight. Where x
ends in a multiplication by constants, or is a product of something with x'·W', those absorb s at no cost. The scales
are powers of two, so no float result changes.

This is the idea of SmoothQuant (Xiao et al. 2022, arXiv 2211.10438, whose migration strength is 1/2 here) and of
cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721), with scales rounded to powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from verifier.exact.lowering.calibrate import Feeds, channel_peaks
from verifier.exact.lowering.fusion.graph_index import GraphIndex, attribute, both_orders

Channels = NDArray[np.float64]
# Maximum |log2| of a scale. A channel that would need more had almost no signal in calibration.
MAX_SCALE_LOG2 = 8


@dataclass(frozen=True)
class ScalingSite:
    """A tensor that can be scaled by channel: only products with weights [in, out] read it, and constants precede it.

    `weights` are those products' weights, which are divided by the scales. `vectors`, with one entry for each channel,
    and `columns`, weights with one column for each channel, are multiplied by them.
    """

    tensor: str
    weights: tuple[str, ...]
    vectors: tuple[str, ...]
    columns: tuple[str, ...]


def equalise(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> set[str]:
    """Rewrite the initialisers of a canonical model in place, scaling every ScalingSite by channel.

    Returns the names of the tensors that are scaled: they are no longer those of the model. Errors: LoweringError where
    onnxruntime cannot load the model or run it on a feed.
    """
    sites = list(_find_sites(model))
    if not sites:
        return set()
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    arrays: dict[str, NDArray[np.float32]] = {}
    peaks = channel_peaks(model, [site.tensor for site in sites], feeds)
    for site in sites:
        for name in (*site.weights, *site.vectors, *site.columns):
            arrays.setdefault(name, numpy_helper.to_array(tensors[name]).copy())
        weight_peaks = np.max([np.abs(arrays[name]).max(axis=1) for name in site.weights], axis=0)
        scales = _scales(peaks[site.tensor], weight_peaks.astype(np.float64))
        for name in (*site.vectors, *site.columns):
            arrays[name] = arrays[name] * scales
        for name in site.weights:
            arrays[name] = arrays[name] / scales[:, np.newaxis]
    for name, array in arrays.items():
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    scaling = {name for site in sites for name in (*site.vectors, *site.columns)}
    scaled = {name for node in model.graph.node if scaling & set(node.input) for name in node.output}
    return scaled | {site.tensor for site in sites}


def _scales(peaks: Channels, weight_peaks: Channels) -> NDArray[np.float32]:
    """Return the powers of two nearest to sqrt(weight peak / operand peak) of each channel, over their median."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = (np.log2(weight_peaks) - np.log2(peaks)) / 2
    finite = np.isfinite(logarithms)
    if not finite.any():
        return np.ones(len(peaks), np.float32)
    logarithms = np.where(finite, logarithms - np.median(logarithms[finite]), 0.0)
    return np.asarray(np.exp2(np.clip(np.rint(logarithms), -MAX_SCALE_LOG2, MAX_SCALE_LOG2)), np.float32)


def _find_sites(model: onnx.ModelProto) -> Iterator[ScalingSite]:
    graph = GraphIndex(model)
    shapes = {
        tensor.name: tuple(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and graph.only_reader(tensor.name) is not None
    }
    for node in graph.nodes:
        (tensor, *others) = node.output or ("",)
        weights = _reading_weights(graph, shapes, tensor) if not any(others) else ()
        if weights:
            channels = shapes[weights[0]][0]
            for vectors, columns in _scaling_constants(graph, shapes, node):
                if all(shapes[name][-1:] == (channels,) and math.prod(shapes[name]) == channels for name in vectors):
                    yield ScalingSite(tensor, weights, vectors, columns)
                    break


def _reading_weights(graph: GraphIndex, shapes: dict[str, tuple[int, ...]], tensor: str) -> tuple[str, ...]:
    """Return the weights of the products that read a tensor; none where anything else reads it."""
    readers = graph.readers(tensor)
    if not readers or tensor in graph.outputs:
        return ()
    for reader in readers:
        transposed = attribute(reader, "transA", 0) or attribute(reader, "transB", 0)
        if reader.op_type not in ("MatMul", "Gemm") or transposed or reader.input[0] != tensor:
            return ()
        if len(shapes.get(reader.input[1], ())) != 2:
            return ()
    return tuple(reader.input[1] for reader in readers)


def _scaling_constants(
    graph: GraphIndex, shapes: dict[str, tuple[int, ...]], node: onnx.NodeProto
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield the sets of constants that scale a node's output by channel, as (vectors, weights by columns)."""
    if node.op_type == "LayerNormalization":
        parameters = tuple(name for name in node.input[1:] if name)
        if parameters and all(name in shapes for name in parameters):
            yield parameters, ()
    if node.op_type == "Add":
        for bias, computed in both_orders(node):
            scaled = graph.producer(computed, "Mul")
            if bias in shapes and scaled is not None and graph.only_reader(computed) is not None:
                found = _scaling_constants(graph, shapes, scaled)
                yield from (((bias, *vectors), ()) for vectors, columns in found if not columns)
    if node.op_type == "Mul":
        for one, other in both_orders(node):
            if one in shapes and other not in shapes:
                yield (one,), ()
            product = graph.producer(one, "MatMul")
            only = product is not None and graph.only_reader(one) is not None
            if product is not None and only and len(shapes.get(product.input[1], ())) == 2:
                yield (), (product.input[1],)
