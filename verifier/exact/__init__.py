"""Exact evaluation: ONNX programs in integer arithmetic, which give the same bits on every machine.

From a float model to the digest of a result:

    >>> import numpy as np, onnx
    >>> from verifier.artifacts.evidence import outputs_digest
    >>> from verifier.exact import Engine, InputSpec, load_program, lower, reference
    >>> model = onnx.parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["": 18]>
    ...     example (float[2, 3] x) => (float[2, 1] y) <float[3, 1] w = {0.5, -1.0, 2.0}> { y = MatMul(x, w) }
    ... ''')
    >>> samples = [{"x": np.array([[1, 2, 3], [4, 5, 6]], np.float32)}]
    >>> exact = lower(model, samples, {"x": InputSpec("int16", grid=-8)}).SerializeToString()
    >>> program = load_program(exact)  # proves that the file is exact
    >>> feeds = {"x": np.array([[256, 512, 768], [0, 0, 1]], np.int16)}  # [[1, 2, 3], [0, 0, 1 / 256]]
    >>> outputs = Engine(program).run(feeds)
    >>> (outputs["y"] * 2.0 ** program.outputs[0].grid).round(3).tolist()
    [[4.5], [0.008]]
    >>> outputs_digest(outputs.values()) == outputs_digest(reference.run(program, feeds).values())
    True

What this module exports is public:

- `lower`, `InputSpec`: lower a float ONNX model to an exact one.
- `load_program`, `Program`, `Tensor`, `Instruction`: prove that an ONNX file is exact, and what it means.
- `Engine`: run a program on onnxruntime. `reference`: interpret it on integers (`reference.run`), the specification.
- `compare`: how far a program is from its float model, and how much longer it takes.
- `self_test`: whether this machine computes exactly, before it signs anything.
- `ExactError` and its subclasses `NotExactError`, `FeedError`, `LoweringError`, `DependenceError` and `SelfTestError`.

The package uses no chain and no network. Read `program` first: what a file means and how it is proven. `runtime` runs
it, `lowering` makes it, `dependence` proves which positions its outputs can depend on, `analysis` compares it with its
float model, and `vectors` holds what every implementation must compute.
"""

from typing import TYPE_CHECKING, Any

from verifier.exact.errors import DependenceError, ExactError, FeedError, LoweringError, NotExactError, SelfTestError
from verifier.exact.program import Instruction, Program, Tensor, load_program, reference
from verifier.exact.runtime.engine import Engine
from verifier.exact.runtime.self_test import self_test

if TYPE_CHECKING:
    from verifier.exact.analysis.compare import compare
    from verifier.exact.lowering import InputSpec, lower

__all__ = [
    "DependenceError",
    "Engine",
    "ExactError",
    "FeedError",
    "InputSpec",
    "Instruction",
    "LoweringError",
    "NotExactError",
    "Program",
    "SelfTestError",
    "Tensor",
    "compare",
    "load_program",
    "lower",
    "reference",
    "self_test",
]


def __getattr__(name: str) -> Any:
    """Import what a verifier does not need only when it is used (PEP 562)."""
    if name == "compare":
        from verifier.exact.analysis.compare import compare

        return compare
    if name in ("InputSpec", "lower"):
        from verifier.exact import lowering

        return getattr(lowering, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
