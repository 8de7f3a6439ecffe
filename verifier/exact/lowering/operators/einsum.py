"""Sums of products by labels of axes.

Lowers Einsum of one or two operands: diagonals are taken and axes of one operand alone summed first; what is left is a
batched matrix product of rearranged operands, or a transposition.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence

import numpy as np

from verifier.exact.lowering.calibrate import Range
from verifier.exact.lowering.float_node import FloatNode, Operand, as_float
from verifier.exact.lowering.operators.products import matmul_of, transposed


def lower_einsum(node: FloatNode) -> list[Operand]:
    """Einsum: labels that the result lacks are summed over; "..." stands for the axes that have no label.

    Errors: LoweringError for more than two operands.
    """
    count = len(node.proto.input)
    if count > 2:
        raise node.fail(f"it multiplies {count} operands: write it as several Einsum nodes of two operands each")
    terms, result = _terms(node)
    operands: list[Operand] = []
    for index, term in enumerate(terms):
        others = result + "".join(terms[:index] + terms[index + 1 :])
        operand, terms[index] = _reduced(node, index, term, others)
        operands.append(operand)
    if len(operands) == 1:
        return [transposed(node, operands[0], [terms[0].index(label) for label in result])]
    return [_product(node, operands, terms, result)]


def _terms(node: FloatNode) -> tuple[list[str], str]:
    """Return the labels of each operand's axes, and of the result's, with a label for each axis of an ellipsis."""
    equation = bytes(node.attributes["equation"]).decode().replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    free = [label for label in string.ascii_letters if label not in equation]
    ranks = [len(node.operand(index).shape) - len(term.replace("...", "")) for index, term in enumerate(terms)]
    # Ellipses are aligned at their last axes.
    hidden = "".join(free[: max((rank for rank, term in zip(ranks, terms, strict=True) if "..." in term), default=0)])
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        result = hidden + "".join(sorted(label for label in set(letters) if letters.count(label) == 1))
    named = [
        term.replace("...", hidden[len(hidden) - rank :] if rank else "")
        for term, rank in zip(terms, ranks, strict=True)
    ]
    return named, result.replace("...", hidden)


def _reduced(node: FloatNode, index: int, term: str, others: str) -> tuple[Operand, str]:
    """Take an operand's diagonals, and sum over its labels that neither the other operand nor the result has."""
    builder, operand = node.builder, node.operand(index)
    labels = "".join(dict.fromkeys(term))
    if isinstance(operand, np.ndarray):
        kept = "".join(label for label in labels if label in others)
        return np.einsum(f"{term}->{kept}", operand), kept
    if labels != term:
        places = np.einsum(f"{term}->{labels}", np.arange(operand.size).reshape(operand.shape))
        flat = builder.reshape(operand, (operand.size,))
        operand = builder.op("Gather", flat, builder.constant(places.astype(np.int32)), axis=0)
    axes = [axis for axis, label in enumerate(labels) if label not in others]
    if axes:
        listed = builder.constant(np.array(axes, np.int64))
        operand = node.restore_integers(builder.op("ReduceSum", as_float(builder, operand), listed, keepdims=0))
    return operand, "".join(label for label in labels if label in others)


def _product(node: FloatNode, operands: Sequence[Operand], terms: Sequence[str], result: str) -> Operand:
    """Emit a batched matrix product: labels of both operands are batch axes if the result has them, else summed."""
    first, second = terms
    batch = [label for label in first if label in second and label in result]
    summed = [label for label in first if label in second and label not in result]
    rows, columns = [x for x in first if x not in second], [x for x in second if x not in first]
    size = dict(zip(first + second, operands[0].shape + operands[1].shape, strict=True))
    matrices: list[Operand] = []
    for operand, term, groups in (
        (operands[0], first, (batch, rows, summed)),
        (operands[1], second, (batch, summed, columns)),
    ):
        ordered = transposed(node, operand, [term.index(label) for group in groups for label in group])
        merged = (math.prod(size[label] for label in group) for group in groups[1:])
        shape = (*(size[label] for label in batch), *merged)
        if isinstance(ordered, np.ndarray):
            matrices.append(ordered.reshape(shape))
        else:
            matrices.append(node.builder.reshape(ordered, shape))
    made = [*batch, *rows, *columns]
    sums = [_count(node, index, operand) for index, operand in enumerate(operands)]
    product = matmul_of(node, matrices, [_times(node, index, count) for index, count in enumerate(sums)])
    split = node.builder.reshape(product, tuple(size[label] for label in made))
    return transposed(node, split, [made.index(label) for label in result])


def _count(node: FloatNode, index: int, operand: Operand) -> int:
    """Return how many elements of the node's operand are at most summed in an element of the reduced operand."""
    return max(int(node.operand(index).size) // max(int(operand.size), 1), 1)


def _times(node: FloatNode, index: int, count: int) -> Range:
    """Return the range of a sum of `count` numbers of an operand."""
    seen = node.context.range(node.proto.input[index])
    return Range(seen.lo * count, seen.hi * count, seen.min_row_peak)
