"""Measure how far an exact program is from its float model, and how much longer it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

from verifier.exact.errors import FeedError
from verifier.exact.lowering.float_model import FloatInput, inputs_of
from verifier.exact.lowering.float_session import refusal
from verifier.exact.lowering.input_quantisation import grids_of_inputs, integers
from verifier.exact.program import Program
from verifier.exact.runtime.engine import Engine
from verifier.exact.runtime.session import PROVIDER

Array = NDArray[Any]
OnStep = Callable[[str, int, int], None]  # (what is being done, steps done, steps in all)


@dataclass
class OutputDistance:
    """The distance between exact and float results of one output, over all feeds; a row is along the last axis.

    cosine_min: the smallest cosine between an exact row and the float row. scale_error: the largest difference of their
    lengths, as a share of the float row's, which a cosine does not show; rows of zeros in the float output are left
    out. argmax_agreement: the share of rows whose largest element is at the same place. All three are None where rows
    have fewer than two elements. Elements that are infinite or NaN in the float output are left out.
    """

    name: str
    shape: tuple[int, ...]
    cosine_min: float | None = None
    scale_error: float | None = None
    max_abs_error: float = 0.0
    argmax_agreement: float | None = None
    _rows: int = 0
    _agreeing: int = 0

    def add(self, exact: Array, real: Array) -> None:
        """Take another pair of results into account, both float64 in the output's shape."""
        finite = np.isfinite(real)
        exact, real = np.where(finite, exact, 0.0), np.where(finite, real, 0.0)
        self.max_abs_error = max(self.max_abs_error, float(np.abs(exact - real).max(initial=0)))
        if not self.shape or self.shape[-1] < 2:
            return
        exact, real = (array.reshape(-1, self.shape[-1]) for array in (exact, real))
        cosine = float(_cosines(exact, real).min())
        self.cosine_min = cosine if self.cosine_min is None else min(self.cosine_min, cosine)
        self.scale_error = max(self.scale_error or 0.0, _scale_error(exact, real))
        self._rows += len(real)
        self._agreeing += int((exact.argmax(axis=-1) == real.argmax(axis=-1)).sum())
        self.argmax_agreement = self._agreeing / self._rows


@dataclass(frozen=True)
class Timing:
    """Seconds for one feed, and their ratio, exact to float.

    All are medians over pairs of runs, in each of which the float model runs right before the program.
    """

    float_seconds: float
    exact_seconds: float
    ratio: float


@dataclass(frozen=True)
class Comparison:
    """The distance of every output, and the times of both."""

    outputs: tuple[OutputDistance, ...]
    timing: Timing

    @property
    def cosine_min(self) -> float | None:
        """The smallest of the outputs' cosines; None where none has rows of two elements."""
        return min((item.cosine_min for item in self.outputs if item.cosine_min is not None), default=None)

    @property
    def scale_error(self) -> float | None:
        """The largest of the outputs' scale errors; None where none has rows of two elements."""
        return max((item.scale_error for item in self.outputs if item.scale_error is not None), default=None)

    @property
    def max_abs_error(self) -> float:
        """The largest absolute error of any output."""
        return max(item.max_abs_error for item in self.outputs)

    @property
    def argmax_agreement(self) -> float | None:
        """The smallest agreement of any output; None where none has rows of two elements."""
        return min((item.argmax_agreement for item in self.outputs if item.argmax_agreement is not None), default=None)


def compare(
    model: onnx.ModelProto,
    program: Program,
    feeds: Sequence[Mapping[str, Array]],
    *,
    grids: Mapping[str, int] | None = None,
    threads: int = 1,
    runs: int = 5,
    on_step: OnStep = lambda what, done, total: None,
) -> Comparison:
    """Run a float model and the program lowered from it on the same feeds.

    `feeds` are feeds of the float model: an array for each input, in the dtype and shape that the model declares.
    `grids` are the exponents of the grids on which the program takes its inputs, by name; by default they are read from
    the program (see `grids_of_inputs`). `runs` pairs of runs are timed, and `threads` compute one operator in both.

    Errors: FeedError when the feeds are not the model's, or the program was lowered from another model. LoweringError
    when onnxruntime cannot load the float model.
    """
    pair = Pair(model, program, grids_of_inputs(program) if grids is None else grids, threads)
    return Comparison(tuple(pair.errors(feeds, on_step)), pair.timing(feeds, runs, on_step))


class Pair:
    """A float model and its exact program, both loaded into onnxruntime with the same number of threads."""

    def __init__(self, model: onnx.ModelProto, program: Program, grids: Mapping[str, int], threads: int = 1) -> None:
        """Load both; `grids` are those of the program's inputs.

        Errors: LoweringError when onnxruntime cannot load the float model. FeedError when it lacks an output.
        """
        self.inputs: Sequence[FloatInput] = inputs_of(model)
        self.program, self.grids, self.threads = program, grids, threads
        self._model = model
        names = [item.name for item in program.outputs]
        missing = sorted(set(names) - {info.name for info in model.graph.output})
        if missing:
            raise FeedError(f"the float model has no output {missing[0]!r}: the program was lowered from another model")
        self._names = names
        self._float = float_session(model, threads)
        self._engine = Engine(program, threads)

    def errors(self, feeds: Sequence[Mapping[str, Array]], on_step: OnStep) -> list[OutputDistance]:
        """Run both on every feed; returns one distance for each output. Errors: FeedError, LoweringError."""
        found = [OutputDistance(item.name, item.shape) for item in self.program.outputs]
        for done, feed in enumerate(feeds, 1):
            exact = self._engine.run(self.quantised(feed))
            floats = run_floats(self._model, self._float, self._names, feed)
            for distance, item, real in zip(found, self.program.outputs, floats, strict=True):
                if np.shape(real) != item.shape:
                    raise FeedError(
                        f"output {item.name!r} has shape {list(item.shape)}, in the float model {list(real.shape)}"
                    )
                distance.add(np.ldexp(exact[item.name].astype(np.float64), item.grid), np.asarray(real, np.float64))
            on_step("compare", done, len(feeds))
        return found

    def timing(self, feeds: Sequence[Mapping[str, Array]], runs: int, on_step: OnStep) -> Timing:
        """Time both on the same feed, one right after the other, `runs` times over feeds that have run before."""
        pairs = []
        for run in range(runs):
            feed = dict(feeds[run % len(feeds)])
            quantised = self.quantised(feed)
            start = time.perf_counter()
            self._float.run(self._names, feed)
            between = time.perf_counter()
            self._engine.run(quantised)
            pairs.append((between - start, time.perf_counter() - between))
            on_step("time", run + 1, runs)
        return Timing(
            median(floats for floats, _ in pairs),
            median(exact for _, exact in pairs),
            median(exact / floats for floats, exact in pairs),
        )

    def quantised(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Convert a feed of the float model to integers that the program takes. Errors: FeedError."""
        return integers(self.program, self.inputs, feed, self.grids)


def float_session(model: onnx.ModelProto, threads: int) -> Any:
    """Load a float model into onnxruntime with its default options, all optimisations on. Errors: LoweringError."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime raises exceptions of many types
        raise refusal(model, error, "load it") from error


def run_floats(model: onnx.ModelProto, session: Any, names: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
    """Return the tensors of these names for one feed. Errors: LoweringError where onnxruntime cannot run the model."""
    try:
        return list(session.run(list(names), dict(feed)))
    except Exception as error:  # onnxruntime raises exceptions of many types
        raise refusal(model, error, "run it on a feed") from error


def _scale_error(exact: Array, real: Array) -> float:
    """The largest difference of the lengths of two rows, as a share of the second one's; 0 where that is zero."""
    found, expected = (np.linalg.norm(array, axis=-1) for array in (exact, real))
    return float((np.abs(found - expected) / np.where(expected > 0, expected, np.inf)).max(initial=0))


def _cosines(a: Array, b: Array) -> Array:
    """The cosine of each pair of rows: 1 where both are zero, 0 where one of them is."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    both_zero = ((a == 0).all(axis=-1) & (b == 0).all(axis=-1)).astype(np.float64)
    return np.asarray(np.where(norms > 0, (a * b).sum(axis=-1) / np.where(norms > 0, norms, 1.0), both_zero))
