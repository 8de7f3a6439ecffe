"""BatchNormalization after a product with a constant weight: the weight and the bias take it up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact.lowering.fusion.view import View, attribute

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Folded:
    """A product that does the normalisation too: `node` makes what it made, of new constants."""

    node: onnx.NodeProto
    constants: dict[str, NDArray[np.float32]]


def find(view: View) -> Iterator[Folded]:
    """All normalisations of what nothing else reads."""
    for norm in view.nodes:
        if norm.op_type != "BatchNormalization" or attribute(norm, "training_mode", 0):
            continue
        product = view.maker(norm.input[0], "Conv", "Gemm", "MatMul")
        if product is None or view.only_reader(norm.input[0]) != norm:
            continue
        # Of more dimensions the normalised axis is not the product's columns.
        if product.op_type == "MatMul" and view.rank(norm.input[0]) != 2:
            continue
        parameters = [view.array(name) for name in norm.input[1:5]]
        operands = [view.array(name) if name else None for name in product.input[1:3]]
        given = [name for name in product.input[1:3] if name]
        if any(item is None for item in parameters) or sum(item is not None for item in operands) < len(given):
            continue
        scale, shift = _affine(norm, [np.asarray(item, np.float64) for item in parameters])
        folded = _folded(product, scale, shift, [np.asarray(item, np.float64) for item in operands if item is not None])
        if folded is not None:
            yield _replacement(norm, product, *folded)


def _affine(norm: onnx.NodeProto, parameters: list[Array]) -> tuple[Array, Array]:
    weight, bias, mean, variance = parameters
    scale = weight / np.sqrt(variance + float(attribute(norm, "epsilon", 1e-5)))  # type: ignore[arg-type]
    return scale, bias - mean * scale


def _folded(product: onnx.NodeProto, scale: Array, shift: Array, operands: list[Array]) -> tuple[Array, Array] | None:
    """The weight and the bias that do both."""
    weight, bias = operands[0], operands[1] if len(operands) > 1 else np.zeros(1)
    if product.op_type == "Conv":
        return weight * scale.reshape(-1, *([1] * (weight.ndim - 1))), bias * scale + shift
    if weight.ndim != 2:
        return None
    turned = product.op_type == "Gemm" and attribute(product, "transB", 0)
    if product.op_type == "Gemm":
        weight = weight * float(attribute(product, "alpha", 1.0))  # type: ignore[arg-type]
        bias = bias * float(attribute(product, "beta", 1.0))  # type: ignore[arg-type]
    return weight * (scale[:, None] if turned else scale), bias * scale + shift


def _replacement(norm: onnx.NodeProto, product: onnx.NodeProto, weight: Array, bias: Array) -> Folded:
    output = norm.output[0]
    names = {f"{output}/weight": weight.astype(np.float32), f"{output}/bias": bias.astype(np.float32)}
    # A MatMul becomes a Gemm, which has a bias.
    node = onnx.helper.make_node(
        "Conv" if product.op_type == "Conv" else "Gemm", [product.input[0], *names], [output], name=product.name
    )
    node.attribute.extend(item for item in product.attribute if item.name not in ("alpha", "beta"))
    return Folded(node, names)
