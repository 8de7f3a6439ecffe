"""One node test, lowered, proven, run, and compared with the outputs that ONNX expects.

The test's own inputs calibrate it, and the program takes them as `touchstone lower` declares them by default: floats as
int16 on a grid that covers twice their largest magnitude, integers and bools as int32. Large floats are int32, on a
grid finer by 2**16: rounding them to int16 would exceed the tolerance by itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.onnx_nodes.cases import Array, NodeCase
from verifier.exact import Engine, ExactError, Program, SelfTestError, load_program, reference
from verifier.exact.lowering import lower
from verifier.exact.lowering.float_model import FloatInput, inputs_of, load_float_model
from verifier.exact.lowering.input_quantisation import integers, specs_for

# A float output passes when it is within ABSOLUTE + RELATIVE * |x| of every expected x, where x is finite: an exact
# program has no infinities and NaNs. `touchstone compare` leaves them out, too.
ABSOLUTE = 1e-3
RELATIVE = 1e-3
# The relative tolerance where bfloat16 holds the expected output: the distance between two of its numbers. ONNX rounds
# every step of such a test to bfloat16, and even float32 differs from that by up to 2.8 times the other tolerance (four
# attention tests measured; their exact programs are within 3e-5 of float32).
RELATIVE_BFLOAT16 = 2.0**-7
# Inputs of greater magnitude are int32: the grid that int16 gets by default rounds them by up to 2**-9, more than
# ABSOLUTE; up to this magnitude it is 2**-10, less than ABSOLUTE.
MAX_INT16_MAGNITUDE = 32.0
# The grid of an input that is zero throughout, as the message of `touchstone lower` suggests it.
ZERO_GRID = -9


class Outcome(StrEnum):
    """The outcome of a test."""

    PASS = "pass"  # every output is within the tolerance
    WRONG = "wrong"  # it is lowered, and an output differs
    REFUSED = "refused"  # lowering or the proof refuses it with a message
    CRASHED = "crashed"  # any other exception, a dead process, or no result within the time limit
    UNFIT = "does not fit"  # no exact program can compute the expected outputs


class Form(StrEnum):
    """Which of a test's inputs are inputs of the float model that is lowered; the others are its constants.

    ONNX feeds everything, also what exporters write into the model: axes, shapes, indices, weights. The forms are tried
    in this order until one is not refused. An input with infinities or NaNs, which no integer stands for, is a constant
    in all of them, as exporters write masks; the first input, which is always fed, is refused then.
    """

    FED = "all inputs fed"
    INTEGERS_CONSTANT = "integers and bools after the first input constant"
    OPERANDS_CONSTANT = "all inputs after the first constant"


@dataclass(frozen=True)
class Result:
    """The outcome of one test.

    `detail` is the message of what went wrong, empty for a pass. `form` is the form that was lowered, or refused last;
    `error` the largest distance of an output from an expected one, as a multiple of the tolerance.
    """

    name: str
    operator: str
    outcome: Outcome
    detail: str = ""
    form: Form = Form.FED
    error: float = 0.0
    infinite: int = 0  # expected elements that are infinite or NaN and were left out
    seconds: float = 0.0


@dataclass
class Comparison:
    """Differences between the outputs of an exact program and the expected ones."""

    faults: list[str]
    error: float = 0.0
    infinite: int = 0

    def add(self, name: str, exact: Array, expected: Array) -> None:
        """Take an output into account; `exact` holds its numbers in float64."""
        if exact.shape != expected.shape:
            self.faults.append(f"output {name!r} is {list(exact.shape)}, expected is {list(expected.shape)}")
        elif expected.dtype.kind in "iub":
            differing = int((exact != expected.astype(np.float64)).sum())
            if differing:
                self.faults.append(f"output {name!r} differs in {differing} of {expected.size} integers")
        else:
            relative = RELATIVE_BFLOAT16 if expected.dtype.name == "bfloat16" else RELATIVE
            finite = np.isfinite(expected.astype(np.float64))
            self.infinite += int((~finite).sum())
            wanted = expected.astype(np.float64)[finite]
            errors = np.abs(exact[finite] - wanted) / (ABSOLUTE + relative * np.abs(wanted))
            error = float(errors.max(initial=0.0))
            self.error = max(self.error, error)
            if error > 1:
                self.faults.append(f"output {name!r} is off by {error:.3g} times the tolerance")


def judge(case: NodeCase) -> Result:
    """Lower, prove, run and compare one test, in the first form that is not refused."""
    if case.obstacle is not None:
        return Result(case.name, case.operator, Outcome.UNFIT, case.obstacle)
    done: set[frozenset[str]] = set()
    result = None
    for form in Form:
        constants = _constants(case, form)
        if constants in done:
            continue
        done.add(constants)
        result = _judged(case, form, constants)
        if result.outcome != Outcome.REFUSED:
            break
    assert result is not None
    return result


def _judged(case: NodeCase, form: Form, constants: frozenset[str]) -> Result:
    try:
        comparison = _compared(case, constants)
    except Exception as error:  # whatever it is, the command reports it as a row of its table
        if isinstance(error, ExactError) and not isinstance(error, SelfTestError):
            return Result(case.name, case.operator, Outcome.REFUSED, str(error), form)
        return Result(case.name, case.operator, Outcome.CRASHED, f"{type(error).__name__}: {error}", form)
    outcome = Outcome.WRONG if comparison.faults else Outcome.PASS
    detail = "; ".join(comparison.faults)
    return Result(case.name, case.operator, outcome, detail, form, comparison.error, comparison.infinite)


def _constants(case: NodeCase, form: Form) -> frozenset[str]:
    """Return the names of those inputs that a form holds constant."""

    def constant(array: Array) -> bool:
        if form == Form.OPERANDS_CONSTANT:
            return True
        if array.dtype.kind in "iub":
            return form == Form.INTEGERS_CONSTANT
        return not np.isfinite(array.astype(np.float64)).all()

    return frozenset(name for name, array in list(case.inputs.items())[1:] if constant(array))


def _compared(case: NodeCase, constants: frozenset[str]) -> Comparison:
    """Compare engine, reference interpreter and expected outputs. Errors: ExactError for what is refused."""
    model = _float_model(case, constants)
    inputs = inputs_of(model)
    feed = {item.name: case.inputs[item.name].astype(item.dtype) for item in inputs}
    specs = specs_for(inputs, [feed], _declared(inputs, feed))
    program = load_program(lower(model, [feed], specs).SerializeToString())
    quantised = integers(program, inputs, feed, {name: spec.grid for name, spec in specs.items()})
    exact = Engine(program).run(quantised)
    comparison = Comparison(_engine_faults(program, quantised, exact))
    grids = {item.name: item.grid for item in program.outputs}
    for name, expected in case.outputs.items():
        comparison.add(name, np.ldexp(exact[name].astype(np.float64), grids[name]), expected)
    return comparison


def _float_model(case: NodeCase, constants: frozenset[str]) -> onnx.ModelProto:
    """Return the test's model as `touchstone lower` reads it from a file, with some inputs as initialisers."""
    model = onnx.load_model_from_string(case.model)
    fed = [info for info in model.graph.input if info.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(fed)
    model.graph.initializer.extend(numpy_helper.from_array(case.inputs[name], name) for name in sorted(constants))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(model.SerializeToString())
        return load_float_model(file)


def _declared(inputs: list[FloatInput], feed: Mapping[str, Array]) -> dict[str, tuple[str, int | None]]:
    """Declare the inputs that the defaults of `touchstone lower` are not made for: large numbers, and zeros alone."""
    limits = np.iinfo(np.int32)
    declared: dict[str, tuple[str, int | None]] = {}
    for item in inputs:
        array = feed[item.name]
        if item.real and not array.any():
            declared[item.name] = ("int16", ZERO_GRID)
        elif item.real and np.abs(array).max(initial=0) > MAX_INT16_MAGNITUDE:
            declared[item.name] = ("int32", None)
        elif array.dtype.kind in "iu" and array.size and (array.min() < limits.min or array.max() > limits.max):
            declared[item.name] = ("int64", None)
    return declared


def _engine_faults(program: Program, feeds: Mapping[str, Any], exact: Mapping[str, Array]) -> list[str]:
    """Name the outputs in which the engine does not agree with the reference interpreter to the bit."""
    wanted = reference.run(program, feeds)
    return [
        f"the engine and the reference interpreter differ in output {name!r}"
        for name, array in wanted.items()
        if not np.array_equal(array, exact[name])
    ]
