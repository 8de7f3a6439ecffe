"""What an exact file means, and the proof that it is exact.

`wire` and `parse` read untrusted ONNX within limits, `instructions` is the closed list of what a program may do,
`proof` derives every tensor's grid and interval before anything runs, and `reference` interprets a program on integers.
"""

from verifier.exact.program.proof import Instruction, Program, Tensor, load_program

__all__ = ["Instruction", "Program", "Tensor", "load_program"]
