"""Equalising: some channels of a product's operand are a hundred times louder than others, and share its grid.

x·W is (x·s)·(W/s) for a scale s of each channel. Where x ends in a multiplication by constants, or is a product of
something with x'·W', the scale goes into those and costs nothing. With powers of two no float result changes.
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
from verifier.exact.lowering.fusion.view import View, attribute, commuted

Channels = NDArray[np.float64]
# A channel is scaled by at most 2**±this: more says that it was hardly heard in calibration.
MOST = 8


@dataclass(frozen=True)
class Site:
    """A tensor that only products with weights [in, out] read, and the constants that it can be scaled by.

    `vectors` have an entry for each channel, `columns` one column for each.
    """

    tensor: str
    weights: tuple[str, ...]
    vectors: tuple[str, ...]
    columns: tuple[str, ...]


def equalise(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> None:
    """Rewrite the initialisers of a plain model so that the channels of what products read are about equally loud."""
    sites = list(_sites(model))
    if not sites:
        return
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    arrays: dict[str, NDArray[np.float32]] = {}
    peaks = channel_peaks(model, [site.tensor for site in sites], feeds)
    for site in sites:
        for name in (*site.weights, *site.vectors, *site.columns):
            arrays.setdefault(name, numpy_helper.to_array(tensors[name]).copy())
        rows = np.max([np.abs(arrays[name]).max(axis=1) for name in site.weights], axis=0)
        scales = _scales(peaks[site.tensor], rows.astype(np.float64))
        for name in (*site.vectors, *site.columns):
            arrays[name] = arrays[name] * scales
        for name in site.weights:
            arrays[name] = arrays[name] / scales[:, np.newaxis]
    for name, array in arrays.items():
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))


def _scales(loud: Channels, heavy: Channels) -> NDArray[np.float32]:
    """Powers of two that leave what each channel carries half to the operand and half to the weight."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = (np.log2(heavy) - np.log2(loud)) / 2
    telling = np.isfinite(logarithms)
    if not telling.any():
        return np.ones(len(loud), np.float32)
    logarithms = np.where(telling, logarithms - np.median(logarithms[telling]), 0.0)
    return np.asarray(np.exp2(np.clip(np.rint(logarithms), -MOST, MOST)), np.float32)


def _sites(model: onnx.ModelProto) -> Iterator[Site]:
    view = View(model)
    shapes = {
        tensor.name: tuple(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and view.only_reader(tensor.name) is not None
    }
    for node in view.nodes:
        (tensor, *others) = node.output or ("",)
        weights = _weights(view, shapes, tensor) if not any(others) else ()
        if weights:
            channels = shapes[weights[0]][0]
            for vectors, columns in _makers(view, shapes, node):
                if all(shapes[name][-1:] == (channels,) and math.prod(shapes[name]) == channels for name in vectors):
                    yield Site(tensor, weights, vectors, columns)
                    break


def _weights(view: View, shapes: dict[str, tuple[int, ...]], tensor: str) -> tuple[str, ...]:
    """The weights of the products that read a tensor; none where anything else reads it."""
    readers = view.readers(tensor)
    if not readers or tensor in view.outputs:
        return ()
    for reader in readers:
        turned = attribute(reader, "transA", 0) or attribute(reader, "transB", 0)
        if reader.op_type not in ("MatMul", "Gemm") or turned or reader.input[0] != tensor:
            return ()
        if len(shapes.get(reader.input[1], ())) != 2:
            return ()
    return tuple(reader.input[1] for reader in readers)


def _makers(
    view: View, shapes: dict[str, tuple[int, ...]], node: onnx.NodeProto
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The vectors and the weights by columns that scale what a node makes."""
    if node.op_type == "LayerNormalization":
        parameters = tuple(name for name in node.input[1:] if name)
        if parameters and all(name in shapes for name in parameters):
            yield parameters, ()
    if node.op_type == "Add":
        for bias, computed in commuted(node):
            scaled = view.maker(computed, "Mul")
            if bias in shapes and scaled is not None and view.only_reader(computed) is not None:
                yield from (((bias, *vectors), ()) for vectors, columns in _makers(view, shapes, scaled) if not columns)
    if node.op_type == "Mul":
        for one, other in commuted(node):
            if one in shapes and other not in shapes:
                yield (one,), ()
            product = view.maker(one, "MatMul")
            if product is not None and view.only_reader(one) is not None and len(shapes.get(product.input[1], ())) == 2:
                yield (), (product.input[1],)
