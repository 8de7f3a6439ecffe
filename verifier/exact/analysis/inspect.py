"""A look inside a program while it runs: its layers beside the float model's, what saturates, and where time goes."""

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

from verifier.exact.analysis.compare import OnStep, float_session
from verifier.exact.analysis.layer_map import Layer
from verifier.exact.lowering.calibrate import MASKED
from verifier.exact.program import Instruction, Program, Tensor
from verifier.exact.program.reference import check_feeds
from verifier.exact.runtime.emission import emit
from verifier.exact.runtime.engine import Engine
from verifier.exact.runtime.session import PROVIDER, session_options

Array = NDArray[Any]
Feeds = Mapping[str, Array]

# So much of what a model computes is held at once; larger ones are run again for the rest.
GROUP_BYTES = 2**29


@dataclass
class LayerError:
    """A float tensor over all feeds: its distance from the exact one in its place, and its extremes.

    relative is the root of the summed squared errors over that of the summed squares. Masked elements are left out.
    """

    name: str
    layer: Layer
    max_abs_error: float = 0.0
    lo: float = np.inf
    hi: float = -np.inf
    _errors: float = 0.0
    _squares: float = 0.0

    @property
    def relative(self) -> float:
        """0 for a tensor of zeros that is met."""
        return float(np.sqrt(self._errors / max(self._squares, 1e-30)))

    def add(self, exact: Array, real: Array) -> None:
        """Take another pair into account."""
        telling = np.isfinite(real) & (real > MASKED)
        if telling.any():
            seen = real[telling].astype(np.float64)
            error = exact[telling] - seen
            self.max_abs_error = max(self.max_abs_error, float(np.abs(error).max()))
            self.lo, self.hi = min(self.lo, float(seen.min())), max(self.hi, float(seen.max()))
            self._errors += float((error**2).sum())
            self._squares += float((seen**2).sum())


@dataclass
class Saturation:
    """How many elements a Clip left at a limit that its operand could pass."""

    node: str
    tensor: str  # the nearest float tensor before it, or the exact one where none is known
    low: int = 0
    high: int = 0
    elements: int = 0


@dataclass(frozen=True)
class OperatorTime:
    """Milliseconds that a feed takes in one operator of the engine's graph, for results of one shape."""

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
) -> tuple[list[LayerError], list[Saturation]]:
    """Run both with everything they compute as outputs. `feeds` are pairs: of the float model, of the program."""
    errors = {name: LayerError(name, layer) for name, layer in layers.items()}
    clips = {item.outputs[0]: item for item in program.live_instructions if _saturates(program, item)}
    origins = _origins(program, layers)
    found = {name: Saturation(clip.node, origins[clip.inputs[0]]) for name, clip in clips.items()}
    groups = list(_groups(program, dict.fromkeys([layer.exact for layer in layers.values()] + list(clips))))
    for done, group in enumerate(groups, 1):
        names = [name for name, layer in layers.items() if layer.exact in group]
        engine = Engine(replace(program, outputs=tuple(_tensor(program, name) for name in group)))
        session = float_session(_probed(model, names), 1)
        for floats, arrived in feeds:
            exact = engine.run(arrived)
            reals = {name: floats[name] for name in names if name in floats}
            asked = [name for name in names if name not in floats]
            if asked:
                reals |= zip(asked, session.run(asked, dict(floats)), strict=True)
            for name, real in reals.items():
                q, grid = exact[layers[name].exact], program.values[layers[name].exact].grid
                if q.shape == real.shape:
                    errors[name].add(np.ldexp(q.astype(np.float64), grid), real)
            for name in group:
                if name in clips:
                    low, high = _limits(program, clips[name])
                    found[name].low += int((exact[name] == low).sum())
                    found[name].high += int((exact[name] == high).sum())
                    found[name].elements += exact[name].size
        on_step("look inside", done, len(groups))
    compared = [error for error in errors.values() if error.lo <= error.hi]
    return compared, list(found.values())


def operator_times(program: Program, feeds: Sequence[Feeds], threads: int) -> list[OperatorTime]:
    """Where the engine's time goes, by onnxruntime's own profile; the longest first. The first feed warms up."""
    graph, constants = emit(program)
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "engine")
        session = ort.InferenceSession(graph.SerializeToString(), options, providers=[PROVIDER])
        for feed in (feeds[0], *feeds):
            arrived = {f"in{at}": array for at, array in enumerate(check_feeds(program, feed).values())}
            session.run(None, arrived | constants)
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


def _tensor(program: Program, name: str) -> Tensor:
    value = program.values[name]
    return Tensor(name, value.dtype, value.shape, value.grid)


def _limits(program: Program, clip: Instruction) -> tuple[int | None, int | None]:
    """A Clip's limits in steps of its result's grid; None where it has none."""
    grid = program.values[clip.outputs[0]].grid
    limits: list[int | None] = [None, None]
    for at, name in enumerate(clip.inputs[1:]):
        if name:
            limits[at] = program.values[name].aligned(grid)[0]
    return limits[0], limits[1]


def _saturates(program: Program, item: Instruction) -> bool:
    """Whether it is a Clip whose limits are constant and can be passed by its operand."""
    if item.op != "Clip" or any(name and program.values[name].constant is None for name in item.inputs[1:]):
        return False
    operand, result = (program.values[name] for name in (item.inputs[0], item.outputs[0]))
    return operand.aligned(result.grid) != (result.lo, result.hi)


def _origins(program: Program, layers: Mapping[str, Layer]) -> dict[str, str]:
    """For every exact tensor the float tensor that it is or that it was computed from, else its own name."""
    origins = {layer.exact: name for name, layer in reversed(list(layers.items()))}
    for item in program.live_instructions:
        origin = next((origins[name] for name in item.inputs if name in origins), None)
        if origin is not None:
            for name in item.outputs:
                origins.setdefault(name, origin)
    return {name: origins.get(name, name) for name in program.values}


def _groups(program: Program, names: Mapping[str, None]) -> Iterator[list[str]]:
    """The names in parts whose tensors take GROUP_BYTES, exact and float."""
    group: list[str] = []
    size = 0
    for name in names:
        needed = 12 * program.values[name].size
        if group and size + needed > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += needed
    if group:
        yield group


def _probed(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with more outputs."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {info.name for info in (*probed.graph.output, *probed.graph.input)}
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return probed
