"""Lower a float model as `touchstone lower` does, and compare the exact program with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from verifier.exact import Engine, LoweringError, Program, load_program
from verifier.exact.analysis.compare import float_session
from verifier.exact.lowering import lower
from verifier.exact.lowering.float_model import batches, inputs_of
from verifier.exact.lowering.input_quantisation import integers, specs_for

Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Array]
Declared = Mapping[str, tuple[str, int | None]]  # (dtype, grid), as --input declares it

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def float_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[int]]],
    constants: Mapping[str, Array] | None = None,
    outputs: str = "y",
    opset: int = 18,
) -> onnx.ModelProto:
    """A float model. `inputs` maps a name to (element type, shape); `outputs` are separated by spaces."""
    graph = helper.make_graph(
        list(nodes),
        "float",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def lowered(
    model: onnx.ModelProto, calibration: Feeds, declared: Declared | None = None
) -> tuple[Program, dict[str, int]]:
    """The exact program, and the grid on which it takes each input. Errors: LoweringError."""
    expected = inputs_of(model)
    samples = batches(expected, calibration)
    specs = specs_for(expected, samples, declared or {})
    program = load_program(lower(model, samples, specs).SerializeToString())
    return program, {name: spec.grid for name, spec in specs.items()}


def exact_and_float(
    model: onnx.ModelProto, calibration: Feeds, feeds: Feeds, declared: Declared | None = None
) -> Iterator[tuple[Array, Array]]:
    """Each output on each batch of `feeds`: the exact program's values and the float model's, both in float64.

    The arrays of `calibration` and `feeds` hold batches stacked along the first axis. Errors: LoweringError.
    """
    program, grids = lowered(model, calibration, declared)
    engine, session = Engine(program), float_session(model, threads=1)
    expected = inputs_of(model)
    for feed in batches(expected, feeds):
        found = engine.run(integers(program, expected, feed, grids))
        floats = session.run([item.name for item in program.outputs], feed)
        for item, real in zip(program.outputs, floats, strict=True):
            yield np.ldexp(found[item.name].astype(np.float64), item.grid), real.astype(np.float64)


def assert_right(
    model: onnx.ModelProto, calibration: Feeds, feeds: Feeds, tolerance: float, declared: Declared | None = None
) -> None:
    """Every value of the exact program lies within `tolerance` of the float model's."""
    for exact, real in exact_and_float(model, calibration, feeds, declared):
        np.testing.assert_allclose(exact, real, rtol=0, atol=tolerance)


def assert_right_or_refused(
    model: onnx.ModelProto,
    calibration: Feeds,
    feeds: Feeds,
    tolerance: float,
    name: str,
    declared: Declared | None = None,
) -> None:
    """As `assert_right`, or the lowering refuses the model with a message that names the node or tensor `name`."""
    try:
        assert_right(model, calibration, feeds, tolerance, declared)
    except LoweringError as error:
        refusal = str(error)
    else:
        return
    assert repr(name) in refusal
