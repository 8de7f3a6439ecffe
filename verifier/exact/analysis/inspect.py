"""Look inside a program while it runs: its tensors beside the float model's, what saturates, and where time goes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from verifier.exact.analysis.compare import OnStep, float_session, run_floats
from verifier.exact.analysis.layer_map import Layer
from verifier.exact.analysis.saturation import Saturation, find_saturations
from verifier.exact.lowering.canonicalise import canonicalise
from verifier.exact.lowering.fusion import fuse
from verifier.exact.lowering.masks import find_masks
from verifier.exact.program import Program, Tensor
from verifier.exact.program.reference import check_feeds
from verifier.exact.runtime.emission import emit
from verifier.exact.runtime.engine import Engine
from verifier.exact.runtime.session import PROVIDER, session_options

Array = NDArray[Any]
Feeds = Mapping[str, Array]

# Bytes of tensors, exact and float, that one run returns at most. A model with more is run once for each group of them.
GROUP_BYTES = 2**30
# Bytes that an element takes in such a run: an int64 and a float32.
_ELEMENT_BYTES = 12


@dataclass
class LayerDistance:
    """The distance between a float tensor and the exact one in its place, over all feeds, and the float one's extremes.

    Elements that are not finite are left out, and those up to `threshold`, which stand for minus infinity. `undefined`
    counts the former, of `elements` in all. `whole` tells whether the float tensor holds integers or bools.
    """

    name: str
    layer: Layer
    threshold: float = -np.inf
    max_abs_error: float = 0.0
    lo: float = np.inf
    hi: float = -np.inf
    undefined: int = 0
    elements: int = 0
    whole: bool = False
    _errors: float = 0.0
    _products: float = 0.0
    _exact_squares: float = 0.0
    _squares: float = 0.0

    @property
    def relative(self) -> float:
        """The relative error: the root of the sum of squared errors over the sum of squares; 0 for exact zeros."""
        return float(np.sqrt(self._errors / max(self._squares, 1e-30)))

    @property
    def cosine(self) -> float | None:
        """The cosine of both tensors, each taken as one vector over all feeds; None where one of them is zero."""
        norms = np.sqrt(self._exact_squares * self._squares)
        return float(self._products / norms) if norms > 0 else None

    @property
    def scale(self) -> float | None:
        """The length of the exact tensor as a share of the float one's; None where the float one is zero."""
        return float(np.sqrt(self._exact_squares / self._squares)) if self._squares > 0 else None

    def add(self, exact: Array, real: Array) -> None:
        """Take another pair of tensors of one shape into account."""
        finite = np.isfinite(real)
        self.undefined += int((~finite).sum())
        self.elements += real.size
        self.whole = real.dtype.kind != "f"
        compared = finite & (real > self.threshold)
        if not compared.all():
            exact, real = exact[compared], real[compared]
        if real.size:
            seen, found = real.astype(np.float64).reshape(-1), exact.reshape(-1)
            error = found - seen
            self.max_abs_error = max(self.max_abs_error, float(np.abs(error).max()))
            self.lo, self.hi = min(self.lo, float(seen.min())), max(self.hi, float(seen.max()))
            self._errors += float(error @ error)
            self._products += float(found @ seen)
            self._exact_squares += float(found @ found)
            self._squares += float(seen @ seen)


@dataclass(frozen=True)
class OperatorTime:
    """The milliseconds that a feed takes in one operator of the engine's graph, for results of one shape."""

    op: str
    shape: str
    nodes: int
    milliseconds: float


def inspect(
    model: onnx.ModelProto,
    program: Program,
    layers: Mapping[str, Layer],
    feeds: Sequence[tuple[Feeds, Feeds]],
    on_step: OnStep,
    others: Sequence[tuple[Feeds, Feeds]] = (),
) -> tuple[list[LayerDistance], list[Saturation]]:
    """Run both with their intermediate tensors as outputs; returns the layers that could be compared, and the Clips.

    `layers` maps float tensors to exact ones; outputs need not be among them. `feeds` are pairs of a feed of the float
    model and the same feed of the program; on `others` only the outputs are compared. The Clips are those by which
    lowering keeps tensors to a range, and of inputs; a Clip of the float model, and one of an index of a table, is no
    saturation.
    """
    known = {info.name for info in model.graph.output}
    outputs = {item.name: Layer(item.name) for item in program.outputs if item.name in known}
    layers = outputs | dict(layers)
    canonical = canonicalise(model)
    fused = fuse(canonical)
    constants = {item.name: numpy_helper.to_array(item) for item in canonical.graph.initializer} | fused.constants
    masks = find_masks(fused.nodes, constants, [floats for floats, _ in feeds])
    distances = {name: LayerDistance(name, layer, masks.threshold(name)) for name, layer in layers.items()}
    found = find_saturations(program, layers)
    wanted = [layer.exact for layer in layers.values()] + [operand for operand, _ in found]
    groups = list(_groups(program, dict.fromkeys(wanted)))
    total = len(groups) * len(feeds) + len(others)
    for number, group in enumerate(groups):
        names = [name for name, layer in layers.items() if layer.exact in group]
        engine = Engine(replace(program, outputs=tuple(_tensor(program, name) for name in group)))
        session = float_session(_with_outputs(model, names), 1)
        for done, (floats, quantised) in enumerate(feeds):
            on_step("look inside", number * len(feeds) + done, total)
            exact = engine.run(quantised)
            for name, real in _float_tensors(model, session, names, floats).items():
                _add(distances[name], program, layers[name].exact, exact, real)
            for operand, saturation in found:
                if operand in group:
                    saturation.add(exact[operand])
    if others:
        engine, session = Engine(program), float_session(model, 1)
        for done, (floats, quantised) in enumerate(others, total - len(others)):
            on_step("look inside", done, total)
            exact = engine.run(quantised)
            for name, real in _float_tensors(model, session, list(outputs), floats).items():
                _add(distances[name], program, name, exact, real)
    on_step("look inside", total, total)
    seen = [item for item in distances.values() if item.lo <= item.hi or item.undefined]
    return seen, [saturation for _, saturation in found]


def _add(distance: LayerDistance, program: Program, name: str, exact: Feeds, real: Array) -> None:
    """Take a float tensor and the exact tensor `name` in its place into account, if they have one shape."""
    q, grid = exact[name], program.values[name].grid
    if q.shape == np.shape(real):
        distance.add(np.ldexp(q.astype(np.float64), grid), np.asarray(real))


def operator_times(program: Program, feeds: Sequence[Feeds], threads: int) -> list[OperatorTime]:
    """Measure where the engine's time goes, by onnxruntime's profile; the longest first. The first feed warms up.

    Every product is computed in float64.
    """
    graph, constants = emit(program)
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "engine")
        session = ort.InferenceSession(graph.SerializeToString(), options, providers=[PROVIDER])
        for feed in (feeds[0], *feeds):
            inputs = {f"in{number}": array for number, array in enumerate(check_feeds(program, feed).values())}
            session.run(None, inputs | constants)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    kernels = [event for event in events if event.get("name", "").endswith("_kernel_time")]
    nodes = len(kernels) // (len(feeds) + 1)
    for event in kernels[nodes:]:
        shapes = [next(iter(shape.values())) for shape in event["args"].get("output_type_shape", [])]
        key = (event["args"]["op_name"], "×".join(map(str, shapes[0])) if shapes else "")
        found.setdefault(key, []).append(event["dur"] / 1000)
    times = [
        OperatorTime(op, shape, len(spent) // len(feeds), sum(spent) / len(feeds))
        for (op, shape), spent in found.items()
    ]
    return sorted(times, key=lambda item: -item.milliseconds)


def _float_tensors(model: onnx.ModelProto, session: Any, names: Sequence[str], feed: Feeds) -> Feeds:
    """The float tensors of these names for one feed: inputs as they are fed, others computed."""
    fed = {name: feed[name] for name in names if name in feed}
    computed = [name for name in names if name not in feed]
    return fed | dict(zip(computed, run_floats(model, session, computed, feed), strict=True)) if computed else fed


def _tensor(program: Program, name: str) -> Tensor:
    value = program.values[name]
    return Tensor(name, value.dtype, value.shape, value.grid)


def _groups(program: Program, names: Mapping[str, None]) -> Iterator[list[str]]:
    """Cut the names of exact tensors into groups that take at most GROUP_BYTES, or are one tensor."""
    group: list[str] = []
    size = 0
    for name in names:
        needed = _ELEMENT_BYTES * program.values[name].size
        if group and size + needed > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += needed
    if group:
        yield group


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model in which these tensors are outputs too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {info.name for info in (*copy.graph.output, *copy.graph.input)}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return copy
