"""The closed list of instructions: for each ONNX operator its proof and its meaning on integers.

REGISTRY is the list. A rule's `infer_…` gets the proven values of a node's inputs and proves dtype, shape, grid and
interval of its outputs, or refuses the node. Its `compute_…` computes the outputs' integers from the inputs' and is the
specification: onnxruntime, which runs the operator of that name, must give the same integers.
"""

import numpy as np

from verifier.exact.program.instructions import arithmetic, casts, products, rounding, selection, views
from verifier.exact.program.instructions.site import InstructionRule, InstructionSite, Operands, ProofBudget

REGISTRY: dict[str, InstructionRule] = {
    "Add": InstructionRule(arithmetic.infer_sum, arithmetic.compute_add),
    "Sub": InstructionRule(arithmetic.infer_sum, arithmetic.compute_sub),
    "Mul": InstructionRule(arithmetic.infer_mul, arithmetic.compute_mul),
    "Neg": InstructionRule(arithmetic.infer_neg, arithmetic.compute_neg),
    "Max": InstructionRule(arithmetic.infer_extreme, arithmetic.compute_max),
    "Min": InstructionRule(arithmetic.infer_extreme, arithmetic.compute_min),
    "Clip": InstructionRule(arithmetic.infer_clip, arithmetic.compute_clip),
    "Round": InstructionRule(rounding.infer_round, rounding.compute_round),
    "Floor": InstructionRule(rounding.infer_floor, rounding.compute_floor),
    "Div": InstructionRule(rounding.infer_div, rounding.compute_div),
    "Sqrt": InstructionRule(rounding.infer_sqrt, rounding.compute_sqrt),
    "MatMul": InstructionRule(products.infer_matmul, products.compute_matmul),
    "ReduceSum": InstructionRule(products.infer_reduce_sum, products.compute_reduce_sum),
    "ReduceMax": InstructionRule(products.infer_reduce_extreme, products.compute_reduce_max),
    "ReduceMin": InstructionRule(products.infer_reduce_extreme, products.compute_reduce_min),
    "Gather": InstructionRule(selection.infer_gather, selection.compute_gather),
    "GatherElements": InstructionRule(selection.infer_gather_elements, selection.compute_gather_elements),
    "Where": InstructionRule(selection.infer_where, selection.compute_where),
    "Equal": InstructionRule(selection.infer_comparison, selection.compute_comparison(np.equal)),
    "Less": InstructionRule(selection.infer_comparison, selection.compute_comparison(np.less)),
    "Greater": InstructionRule(selection.infer_comparison, selection.compute_comparison(np.greater)),
    "LessOrEqual": InstructionRule(selection.infer_comparison, selection.compute_comparison(np.less_equal)),
    "GreaterOrEqual": InstructionRule(selection.infer_comparison, selection.compute_comparison(np.greater_equal)),
    "And": InstructionRule(selection.infer_logic, selection.compute_logic(np.logical_and)),
    "Or": InstructionRule(selection.infer_logic, selection.compute_logic(np.logical_or)),
    "Not": InstructionRule(selection.infer_logic, selection.compute_logic(np.logical_not)),
    "Cast": InstructionRule(casts.infer_cast, casts.compute_cast),
    "Identity": InstructionRule(views.infer_identity, views.compute_reshape),
    "Reshape": InstructionRule(views.infer_reshape, views.compute_reshape),
    "Transpose": InstructionRule(views.infer_transpose, views.compute_transpose),
    "Slice": InstructionRule(views.infer_slice, views.compute_slice),
    "Split": InstructionRule(views.infer_split, views.compute_split),
    "Concat": InstructionRule(views.infer_concat, views.compute_concat),
    "Expand": InstructionRule(views.infer_expand, views.compute_expand),
    "Squeeze": InstructionRule(views.infer_squeeze, views.compute_reshape),
    "Unsqueeze": InstructionRule(views.infer_unsqueeze, views.compute_reshape),
}

__all__ = ["REGISTRY", "InstructionRule", "InstructionSite", "Operands", "ProofBudget"]
