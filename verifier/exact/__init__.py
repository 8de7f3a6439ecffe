"""Exact evaluation: integer arithmetic inside ONNX that gives the same bits on every machine.

Pure: no chain, no network. `load_program` proves a file exact, `Engine` runs it on onnxruntime, `reference.run` on
integers, `lower` (of verifier.exact.lowering) makes an exact file from a float one, and `self_test` tells whether this
machine may sign what it computes.
"""

from verifier.exact.errors import ExactError, FeedError, LoweringError, NotExactError, SelfTestError
from verifier.exact.program import Instruction, Program, Tensor, load_program, reference
from verifier.exact.runtime.engine import Engine
from verifier.exact.runtime.self_test import self_test

__all__ = [
    "Engine",
    "ExactError",
    "FeedError",
    "Instruction",
    "LoweringError",
    "NotExactError",
    "Program",
    "SelfTestError",
    "Tensor",
    "load_program",
    "reference",
    "self_test",
]
