"""Square roots of whole numbers, fine where the number is small."""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.registry import Item, Node, as_float, lowers
from verifier.exact.values import Value

# Bits of a radicand: floor(sqrt(a)) is exact below 2**52.
RADICAND_BITS = 52
# A root is given in steps of 2**-EXTRA_BITS.
EXTRA_BITS = 6


def root(builder: Builder, whole: Value) -> Value:
    """floor(sqrt(whole) * 2**6) for a whole number below 2**40, floor(sqrt(whole)) * 2**6 up to 2**52: a whole number.

    The larger of the two is right in both ranges: of one too large for the first, that saturates below the second.
    """
    small = 2 ** (RADICAND_BITS - 2 * EXTRA_BITS)
    fine = builder.scale(builder.clipped(whole, 0, small - 1), 2 * EXTRA_BITS)
    roots = [builder.op("Floor", builder.op("Sqrt", radicand)) for radicand in (fine, whole)]
    return builder.op("Max", roots[0], builder.scale(roots[1], EXTRA_BITS))


@lowers("Sqrt")
def lower_sqrt(node: Node) -> list[Item]:
    """Of numbers that are never negative: what is below zero counts as zero."""
    builder = node.builder

    def emit(bits: int) -> Value:
        x = as_float(builder, node.fitted(0, bits))
        if x.grid % 2:
            x = builder.rounded(x, x.grid + 1)
        positive = builder.op("Max", builder.scale(x, -x.grid), builder.constant(np.array(0.0)))
        return builder.scale(root(builder, positive), x.grid // 2 - EXTRA_BITS)

    return [node.narrowing(emit, RADICAND_BITS)]
