"""BatchNormalization after a product with a constant weight: it is folded into the weight and the bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.lowering.fusion.graph_index import GraphIndex, attribute

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FoldedProduct:
    """A product that includes a normalisation, whose output `node` produces; `constants` are its weight and bias."""

    node: onnx.NodeProto
    constants: dict[str, NDArray[np.float32]]


def find_folded_products(graph: GraphIndex) -> Iterator[FoldedProduct]:
    """Yield a folded product for each normalisation that is the only reader of a Conv, Gemm or MatMul."""
    for norm in graph.nodes:
        if norm.op_type != "BatchNormalization" or attribute(norm, "training_mode", 0):
            continue
        if not attribute(norm, "spatial", 1):  # it has parameters per element, not per channel
            continue
        product = graph.producer(norm.input[0], "Conv", "Gemm", "MatMul")
        if product is None or graph.only_reader(norm.input[0]) != norm:
            continue
        # A product of more dimensions is normalised along an axis other than its columns.
        if product.op_type == "MatMul" and graph.rank(norm.input[0]) != 2:
            continue
        parameters = [graph.array(name) for name in norm.input[1:5]]
        operands = [graph.array(name) if name else None for name in product.input[1:3]]
        given = [name for name in product.input[1:3] if name]
        if any(item is None for item in parameters) or sum(item is not None for item in operands) < len(given):
            continue
        scale, shift = _scale_and_shift(norm, [np.asarray(item, np.float64) for item in parameters])
        known = [np.asarray(item, np.float64) for item in operands if item is not None]
        folded = _folded(product, scale, shift, known)
        if folded is not None:
            yield _replacement(norm, product, *folded)


def _scale_and_shift(norm: onnx.NodeProto, parameters: list[Array]) -> tuple[Array, Array]:
    """Return the normalisation as one factor and one offset per channel."""
    weight, bias, mean, variance = parameters
    scale = weight / np.sqrt(variance + float(attribute(norm, "epsilon", 1e-5)))  # type: ignore[arg-type]
    return scale, bias - mean * scale


def _folded(product: onnx.NodeProto, scale: Array, shift: Array, operands: list[Array]) -> tuple[Array, Array] | None:
    """Return the weight and the bias of the product with the normalisation, None for a weight of other dimensions."""
    weight, bias = operands[0], operands[1] if len(operands) > 1 else np.zeros(1)
    if product.op_type == "Conv":
        return weight * scale.reshape(-1, *([1] * (weight.ndim - 1))), bias * scale + shift
    if weight.ndim != 2:
        return None
    transposed = product.op_type == "Gemm" and attribute(product, "transB", 0)
    if product.op_type == "Gemm":
        weight = weight * float(attribute(product, "alpha", 1.0))  # type: ignore[arg-type]
        bias = bias * float(attribute(product, "beta", 1.0))  # type: ignore[arg-type]
    return weight * (scale[:, None] if transposed else scale), bias * scale + shift


def _replacement(norm: onnx.NodeProto, product: onnx.NodeProto, weight: Array, bias: Array) -> FoldedProduct:
    output = norm.output[0]
    names = {f"{output}/weight": weight.astype(np.float32), f"{output}/bias": bias.astype(np.float32)}
    # A MatMul becomes a Gemm, because it needs a bias.
    node = onnx.helper.make_node(
        "Conv" if product.op_type == "Conv" else "Gemm", [product.input[0], *names], [output], name=product.name
    )
    node.attribute.extend(item for item in product.attribute if item.name not in ("alpha", "beta"))
    return FoldedProduct(node, names)
