"""Square roots of whole numbers, fine where the number is small."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.registry import Item, Node, as_float, lowers
from verifier.exact.program.values import Value

# Bits of a radicand: floor(sqrt(a)) is exact below 2**52.
RADICAND_BITS = 52
# A root is given in steps of 2**-EXTRA_BITS.
EXTRA_BITS = 6


def root(builder: Builder, whole: Value) -> Value:
    """floor(sqrt(whole) * 2**6) for a whole number below 2**40, floor(sqrt(whole)) * 2**6 up to 2**52: a whole number.

    The larger of the two is right in both ranges: of one too large for the first, that saturates below the second.
    """
    small = 2 ** (RADICAND_BITS - 2 * EXTRA_BITS) >> max(whole.grid, 0)
    fine = builder.scale(builder.clipped(whole, 0, small - 1), 2 * EXTRA_BITS)
    roots = [builder.op("Floor", builder.op("Sqrt", radicand)) for radicand in (fine, whole)]
    return builder.op("Max", roots[0], builder.scale(roots[1], EXTRA_BITS))


def square_root(builder: Builder, x: Value) -> Value:
    """Of a number below 2**52 steps; what is below zero counts as zero. Errors: NotExactError."""
    # On the finest even grid: the root has half as many bits as there are.
    grid = x.grid - max(0, RADICAND_BITS - x.magnitude.bit_length())
    grid += grid % 2
    positive = builder.op("Max", builder.scale(x, -grid), builder.constant(np.array(0.0)))
    return builder.scale(root(builder, positive), grid // 2 - EXTRA_BITS)


@lowers("Sqrt")
def lower_sqrt(node: Node) -> list[Item]:
    """Of numbers that are never negative."""
    builder = node.builder
    return [node.narrowing(lambda bits: square_root(builder, as_float(builder, node.fitted(0, bits))), RADICAND_BITS)]
