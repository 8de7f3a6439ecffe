"""FusedMatMul, as onnxruntime leaves it, and Einsum of two operands: MatMul of operands that are turned."""

from __future__ import annotations

import math

import numpy as np
from onnx import helper

from verifier.exact.lowering.operators.linear import lower_matmul
from verifier.exact.lowering.registry import WIDE_BITS, Item, Node, lowers, number

TINY = 1e-12


@lowers("FusedMatMul")
def lower_fused_matmul(node: Node) -> list[Item]:
    """alpha * A' * B'; alpha is folded into a constant operand."""
    if node.attributes.get("transBatchA") or node.attributes.get("transBatchB"):
        raise node.fail("it turns its batch axes: give the model as it was before onnxruntime optimised it")
    alpha = float(node.attributes.get("alpha", 1.0))
    items = []
    for index, turned in enumerate(("transA", "transB")):
        item = node.item(index)
        if node.attributes.get(turned):
            rank = len(item.shape)
            item = _transposed(node, item, [*range(rank - 2), rank - 1, rank - 2])
        if isinstance(item, np.ndarray):
            item, alpha = item * np.float32(alpha), 1.0
        items.append(item)
    product = _product(node, items)
    if alpha == 1.0 or isinstance(product, np.ndarray):
        return [product]
    wide = node.builder.fitted(product, node.context.magnitude(node.proto.output[0]) / max(abs(alpha), TINY), WIDE_BITS)
    return [node.builder.op("Mul", wide, number(node.builder, np.array(alpha)))]


@lowers("Einsum")
def lower_einsum(node: Node) -> list[Item]:
    """Of two operands: shared axes that stay are batches, shared ones that do not are summed over."""
    terms, _, result = bytes(node.attributes["equation"]).decode().replace(" ", "").partition("->")
    first, _, second = terms.partition(",")
    if not _is_product(first, second, result):
        raise node.fail(f"equation {terms}->{result}: write it as MatMul, Transpose and ReduceSum")
    batch = [label for label in first if label in second and label in result]
    summed = [label for label in first if label in second and label not in result]
    rows, columns = [x for x in first if x not in second], [x for x in second if x not in first]
    items = [node.item(index) for index in (0, 1)]
    size = dict(zip(first + second, items[0].shape + items[1].shape, strict=True))
    parted = []
    for item, term, order in ((items[0], first, (batch, rows, summed)), (items[1], second, (batch, summed, columns))):
        turned = _transposed(node, item, [term.index(label) for part in order for label in part])
        shape = (*(size[label] for label in batch), *(math.prod(size[label] for label in part) for part in order[1:]))
        parted.append(turned.reshape(shape) if isinstance(turned, np.ndarray) else node.builder.reshape(turned, shape))
    product = _product(node, parted)
    made = [*batch, *rows, *columns]
    assert not isinstance(product, np.ndarray)
    spread = node.builder.reshape(product, tuple(size[label] for label in made))
    return [_transposed(node, spread, [made.index(label) for label in result])]


def _is_product(first: str, second: str, result: str) -> bool:
    """Whether no label stands twice in a term, and those of one operand alone are all in the result."""
    once = all(len(set(term)) == len(term) and term.isalpha() for term in (first, second, result))
    return once and set(first) ^ set(second) <= set(result) <= set(first) | set(second)


def _transposed(node: Node, item: Item, order: list[int]) -> Item:
    if order == sorted(order):
        return item
    return item.transpose(order) if isinstance(item, np.ndarray) else node.builder.op("Transpose", item, perm=order)


def _product(node: Node, items: list[Item]) -> Item:
    """MatMul of what became of the node's operands."""
    context, output = node.context, node.proto.output[0]
    names = [f"{output}/{index}" for index in range(2)]
    for name, source, item in zip(names, node.proto.input, items, strict=True):
        context.items[name], context.ranges[name] = item, context.range(source)
    return lower_matmul(Node(context, helper.make_node("MatMul", names, [output], name=node.proto.name), {}))[0]
