"""Lowering: a float ONNX model, as exporters write it, becomes an exact program.

Lowering calibrates the range of every float tensor on sample feeds and then walks over the graph. Each operator has a
lowering that emits exact instructions. It rounds operands to dyadic grids only where 53 bits would not hold the exact
result, and saturates them at the calibrated range. Lowering need not be reproducible on other machines, because its
output is what is pinned by digest.

The order in which the modules work: `canonicalise` (write out what exporters abbreviate; `control_flow` expands If and
Scan), `equalise` (outlier channels), `calibrate` (ranges), `fusion/` (patterns to single nodes), `graph` (the walk),
`operators/` (one function per float operator), `builder` (the exact graph). `float_model`, `dimensions` and
`input_quantisation` serve the commands: they load models, fix symbolic dimensions, and choose how inputs are encoded.
"""

from verifier.exact.lowering.builder import Builder
from verifier.exact.lowering.graph import InputSpec, Lowered, lower, lower_graph
from verifier.exact.lowering.operators.reductions import log_sum_exp

__all__ = ["Builder", "InputSpec", "Lowered", "log_sum_exp", "lower", "lower_graph"]
