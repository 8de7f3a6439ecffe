"""Find the products whose columns a program scales by constants: the engine multiplies those scales into the weight.

A lowered linear layer computes MatMul(x, weight) and multiplies each column of the result by a constant scale. Where
nothing else reads the product, one MatMul by the scaled weight gives the same integers and saves a pass over the
result. It is exact for the same reason as the program: the proof bounds the scaled product by the largest sum of
|x| * |weight| * |scale|, and that sum also bounds every scaled weight and every partial sum of the one MatMul.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.exact.program import Program


@dataclass(frozen=True)
class ScaledProduct:
    """A MatMul by a constant weight, and the constant scales that its only reader, a Mul, applies to its columns.

    All are names of tensors: operand [..., depth], weight [..., depth, columns], scales [columns], and the product
    [..., columns] that the MatMul computes before it is scaled.
    """

    operand: str
    weight: str
    scales: str
    product: str


def scaled_products(program: Program) -> dict[str, ScaledProduct]:
    """Match every product with the Mul that scales its columns; the key is the name of that Mul's result."""
    found = {}
    for instruction in program.live_instructions:
        if instruction.op != "MatMul":
            continue
        operand, weight = instruction.inputs
        (product,) = instruction.outputs
        reader = program.only_readers.get(product)
        if reader is None or reader.op != "Mul":
            continue
        (scales,) = (name for name in reader.inputs if name != product)
        if _scales_columns(program, weight, scales):
            found[reader.outputs[0]] = ScaledProduct(operand, weight, scales, product)
    return found


def _scales_columns(program: Program, weight: str, scales: str) -> bool:
    """Whether both are constants, and there is one scale for each of the weight's two or more columns.

    A weight of one dimension is a single column: what multiplies its product scales rows, or is one number.
    """
    known, factors = program.values[weight], program.values[scales]
    if known.constant is None or factors.constant is None or len(known.shape) < 2:
        return False
    return known.shape[-1] > 1 and factors.shape == known.shape[-1:]
