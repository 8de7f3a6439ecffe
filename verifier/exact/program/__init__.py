"""What an exact ONNX file means, and the proof that it is exact.

Read `values` first (grids and intervals), then `instructions` (the closed list of what a program may do), `proof` (how
every tensor's grid and interval is proven before anything runs) and `reference` (what a program computes). `depthwise`
finds convolutions among the instructions, and `memory` states what a run needs. `wire` and `parse` read untrusted bytes
within limits.
"""

from verifier.exact.program.proof import Instruction, Program, Tensor, load_program

__all__ = ["Instruction", "Program", "Tensor", "load_program"]
