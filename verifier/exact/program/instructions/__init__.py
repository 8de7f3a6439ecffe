"""The closed list of instructions: what each means, on integers, and when it is proven exact.

Each module registers, per ONNX operator, `infer` (dtype, shape, grid and interval of the results, or NotExactError) and
`compute` (the same on integers q, which is the specification). onnxruntime runs the operator of that name.
"""

from verifier.exact.program.instructions import arithmetic, casts, products, rounding, selection, views
from verifier.exact.program.instructions.registry import REGISTRY, Budget, Operator, Site

__all__ = [
    "REGISTRY",
    "Budget",
    "Operator",
    "Site",
    "arithmetic",
    "casts",
    "products",
    "rounding",
    "selection",
    "views",
]
