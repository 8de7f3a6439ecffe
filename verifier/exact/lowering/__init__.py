"""Lowering: a float ONNX model, as exporters write it, becomes an exact one.

Calibrate every float tensor's range on sample feeds, then walk the graph: each operator has a lowering that emits
exact instructions, rounding operands to dyadic grids only where 53 bits would not hold the exact result, and saturating
at the calibrated range. The result need not be reproducible: it is what is pinned.
"""

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.graph import InputSpec, Lowered, lower, lower_graph
from verifier.exact.lowering.operators.logarithm import log_sum_exp

__all__ = ["Builder", "InputSpec", "Lowered", "log_sum_exp", "lower", "lower_graph"]
