"""How far an exact program is from its float model, and how much longer it takes."""

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

from verifier.exact.errors import FeedError, LoweringError
from verifier.exact.lowering.float_model import FloatInput, inputs_of
from verifier.exact.lowering.input_quantisation import integers
from verifier.exact.program import Program
from verifier.exact.runtime.engine import Engine
from verifier.exact.runtime.session import PROVIDER

Array = NDArray[Any]
OnStep = Callable[[str, int, int], None]  # (what is being done, steps done, steps in all)


@dataclass
class OutputError:
    """The distance of one output over all feeds; a row is what the last axis holds.

    cosine_min: of the rows, the least cosine between exact and float. argmax_agreement: the share of rows whose largest
    element is the same. Both are None where rows have fewer than two elements. What is infinite or NaN in the float
    output is left out.
    """

    name: str
    shape: tuple[int, ...]
    cosine_min: float | None = None
    max_abs_error: float = 0.0
    argmax_agreement: float | None = None
    _rows: int = 0
    _agreeing: int = 0

    def add(self, exact: Array, real: Array) -> None:
        """Take another pair of float64 results of the output's shape into account."""
        telling = np.isfinite(real)
        exact, real = np.where(telling, exact, 0.0), np.where(telling, real, 0.0)
        self.max_abs_error = max(self.max_abs_error, float(np.abs(exact - real).max(initial=0)))
        if not self.shape or self.shape[-1] < 2:
            return
        exact, real = (array.reshape(-1, self.shape[-1]) for array in (exact, real))
        cosine = float(_cosines(exact, real).min())
        self.cosine_min = cosine if self.cosine_min is None else min(self.cosine_min, cosine)
        self._rows += len(real)
        self._agreeing += int((exact.argmax(axis=-1) == real.argmax(axis=-1)).sum())
        self.argmax_agreement = self._agreeing / self._rows


@dataclass(frozen=True)
class Timing:
    """Seconds of one feed, and their ratio: medians over paired runs, the float model right before the program."""

    float_seconds: float
    exact_seconds: float
    ratio: float


def _cosines(a: Array, b: Array) -> Array:
    """Of each row; two rows of zeros are alike, zeros and others are not."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    alike = ((a == 0).all(axis=-1) & (b == 0).all(axis=-1)).astype(np.float64)
    return np.asarray(np.where(norms > 0, (a * b).sum(axis=-1) / np.where(norms > 0, norms, 1.0), alike))


class Pair:
    """A float model and its exact program, both loaded into onnxruntime with as many threads."""

    def __init__(self, model: onnx.ModelProto, program: Program, grids: Mapping[str, int], threads: int = 1) -> None:
        """`grids`: of the program's inputs. Errors: LoweringError where onnxruntime cannot load the float model."""
        self.inputs: Sequence[FloatInput] = inputs_of(model)
        self.program, self.grids, self.threads = program, grids, threads
        names = [item.name for item in program.outputs]
        strangers = sorted(set(names) - {info.name for info in model.graph.output})
        if strangers:
            raise FeedError(f"the float model has no output {strangers[0]!r}: the program was lowered from another")
        self._names = names
        self._float = float_session(model, threads)
        self._engine = Engine(program, threads)

    def errors(self, feeds: Sequence[Mapping[str, Array]], on_step: OnStep) -> list[OutputError]:
        """Run both on every feed; one result for each output. Errors: FeedError."""
        found = [OutputError(item.name, item.shape) for item in self.program.outputs]
        for done, feed in enumerate(feeds, 1):
            exact = self._engine.run(self.arrived(feed))
            floats = self._float.run(self._names, dict(feed))
            for error, item, real in zip(found, self.program.outputs, floats, strict=True):
                if np.shape(real) != item.shape:
                    raise FeedError(f"output {item.name!r} is {list(item.shape)}, of floats it is {list(real.shape)}")
                error.add(np.ldexp(exact[item.name].astype(np.float64), item.grid), np.asarray(real, np.float64))
            on_step("compare", done, len(feeds))
        return found

    def timing(self, feeds: Sequence[Mapping[str, Array]], runs: int, on_step: OnStep) -> Timing:
        """Both on the same feed, one right after the other, `runs` times over feeds that have been run before."""
        pairs = []
        for run in range(runs):
            feed = dict(feeds[run % len(feeds)])
            arrived = self.arrived(feed)
            start = time.perf_counter()
            self._float.run(self._names, feed)
            between = time.perf_counter()
            self._engine.run(arrived)
            pairs.append((between - start, time.perf_counter() - between))
            on_step("time", run + 1, runs)
        return Timing(
            median(floats for floats, _ in pairs),
            median(exact for _, exact in pairs),
            median(exact / floats for floats, exact in pairs),
        )

    def arrived(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """A feed of the float model as the program takes it."""
        return integers(self.program, self.inputs, feed, self.grids)


def float_session(model: onnx.ModelProto, threads: int) -> Any:
    """onnxruntime as people run float models: its default options, all optimisations on."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime raises many kinds
        raise LoweringError("the float model", f"onnxruntime cannot load it: {str(error).splitlines()[0]}") from error
