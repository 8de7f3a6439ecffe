"""Keeps masked scores apart from all others, for any inputs.

A softmax gives a masked score a weight of exactly 0 where it is far enough below the maximum of its row. Calibrated
scores are, but an input such as an adapter can drive scores much further, until a masked one exceeds the others.
Therefore the scores are clipped where a mask is added to them or selected in their place, so that even their extremes
stay apart from the mask. Nothing is emitted where the proven interval of the scores shows that they do.
"""

from __future__ import annotations

import math

from verifier.exact.lowering.float_node import FloatNode, as_float
from verifier.exact.lowering.masks import MASK_FLOOR, MASKED
from verifier.exact.program.values import Value

# Minimum distance of masked scores from all others. The weights of a softmax are 0 from a distance of 20 on, and those
# of a log-softmax from 28 on; the rest is for biases of positions, which are added to masks as well.
MASK_MARGIN = 256.0


def masked_operand(node: FloatNode, index: int, bits: int) -> Value:
    """Return an operand of an Add, Sub or Where as float64 of at most `bits` bits, clipped if the node masks it.

    Scores whose calibrated range exceeds the limit are not clipped: in float32, too, a mask is not far below them.
    """
    value = as_float(node.builder, node.fitted(index, bits))
    masks = node.context.masks
    if masks.threshold(node.proto.output[0]) != MASKED or node.is_mask(index):
        return value
    # To a masked sum the scores can add as much as they can lack elsewhere in the row.
    limit = min(-masks.weakest / 2, -MASK_FLOOR) - MASK_MARGIN
    if node.context.range(node.proto.input[index]).magnitude > limit:
        return value
    steps = math.floor(math.ldexp(limit, -value.grid))
    return node.builder.clipped(value, -steps, steps)
