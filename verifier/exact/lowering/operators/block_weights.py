"""Products with weights that are stored in few bits, with a scale for each block of them.

Lowers MatMulNBits (of onnxruntime). The weights are constant, so that they are dequantised now, and the product is
lowered as that with any other constant weight.
"""

from __future__ import annotations

import numpy as np

from verifier.exact.lowering.float_node import Array, FloatNode, Operand
from verifier.exact.lowering.operators.products import constant_bias_at, product_with_weight
from verifier.exact.program.values import Value

# Bits of a weight that are supported: those of which a byte holds a whole number.
SUPPORTED_BITS = (2, 4, 8)


def lower_matmul_n_bits(node: FloatNode) -> list[Operand]:
    """MatMulNBits: x [..., K] times a weight [K, N] in blocks along K, plus a bias [N] where one is given.

    Errors: LoweringError for other numbers of bits, and for groups by index.
    """
    bits, block = (int(node.attributes[name]) for name in ("bits", "block_size"))
    rows, columns = int(node.attributes["K"]), int(node.attributes["N"])
    # It chooses the precision of onnxruntime's own product.
    node.attributes.get("accuracy_level")
    if bits not in SUPPORTED_BITS:
        raise node.fail(f"its weights have {bits} bits: use 2, 4 or 8 bits")
    if node.has(4):
        raise node.fail("its rows are grouped by an index (g_idx), which is not supported: export it without g_idx")
    blocks = -(-rows // block)
    packed = node.require_constant(1, "its weight").reshape(columns, blocks, -1)
    numbers = _unpacked(packed, bits)[:, :, :block].astype(np.float64)
    scales = node.require_constant(2, "its list of scales").astype(np.float64).reshape(columns, blocks, 1)
    zero_points: Array | float = float(2 ** (bits - 1))
    if node.has(3):
        given = node.require_constant(3, "its list of zero points")
        if given.dtype == np.uint8:
            zero_points = _unpacked(given.reshape(columns, -1), bits)[:, :blocks, None].astype(np.float64)
        else:
            zero_points = given.astype(np.float64).reshape(columns, blocks, 1)
    weight = ((numbers - zero_points) * scales).reshape(columns, -1)[:, :rows]

    def with_bias(result: Value) -> Value:
        return node.builder.op("Add", result, constant_bias_at(node, 5)) if node.has(5) else result

    return [product_with_weight(node, np.ascontiguousarray(weight.T), with_bias)]


def _unpacked(data: Array, bits: int) -> Array:
    """Return the numbers that bytes hold along the last axis, the one in the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (data[..., None] >> shifts) & np.uint8(2**bits - 1)
    return np.asarray(numbers.reshape(*data.shape[:-1], -1))
