"""How large every float tensor gets on sample feeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

from verifier.exact.errors import LoweringError

# What is below is a mask's minus infinity, whatever its form: it says nothing of the numbers beside it.
MASKED = -1e4

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Range:
    """What calibration saw of a float tensor: its extremes, and the smallest of its rows' largest magnitudes."""

    lo: float = 0.0
    hi: float = 0.0
    quietest: float = 0.0  # a row is what the last axis holds

    @property
    def magnitude(self) -> float:
        """Largest absolute value."""
        return max(abs(self.lo), abs(self.hi))

    def joined(self, other: Range) -> Range:
        """Both together."""
        return Range(min(self.lo, other.lo), max(self.hi, other.hi), min(self.quietest, other.quietest))


def ranges(
    model: onnx.ModelProto, feeds: Sequence[Feeds], on_feed: Callable[[], None] = lambda: None
) -> dict[str, Range]:
    """The range of each float tensor over all feeds, masked entries left out.

    `on_feed` follows progress. Errors: LoweringError where onnxruntime cannot load the model or run it on a feed.
    """
    names = [name for node in model.graph.node for name in node.output if name]
    found: dict[str, Range] = {}
    for feed, results in _runs(model, names, feeds):
        for name, array in (results | dict(feed)).items():
            if np.issubdtype(array.dtype, np.floating):
                seen = _range(array)
                if seen is not None:
                    found[name] = found[name].joined(seen) if name in found else seen
        on_feed()
    return found


def channel_peaks(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feeds]
) -> dict[str, NDArray[np.float64]]:
    """The largest magnitude of each channel of those tensors, over all feeds; channels are the last axis.

    Errors: as of `ranges`.
    """
    peaks: dict[str, NDArray[np.float64]] = {}
    for _, results in _runs(model, names, feeds):
        for name, array in results.items():
            seen = np.abs(array).reshape(-1, array.shape[-1]).max(axis=0).astype(np.float64)
            peaks[name] = np.maximum(peaks[name], seen) if name in peaks else seen
    return peaks


def _runs(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feeds]
) -> Iterator[tuple[Feeds, dict[str, NDArray[Any]]]]:
    """Each feed with those tensors of the float model."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many kinds
        raise LoweringError("the float model", f"onnxruntime cannot load it: {str(error).splitlines()[0]}") from error
    for feed in feeds:
        try:
            results = session.run(list(names), dict(feed))
        except Exception as error:  # onnxruntime raises many kinds
            reason = f"onnxruntime cannot run it on a calibration feed: {str(error).splitlines()[0]}"
            raise LoweringError("the float model", reason) from error
        yield feed, dict(zip(names, results, strict=True))


def _range(array: NDArray[Any]) -> Range | None:
    """None when nothing of the tensor says anything."""
    telling = np.isfinite(array) & (array > MASKED)
    if not telling.any():
        return None
    seen = array[telling]
    rows = np.abs(np.where(telling, array, 0.0)).reshape(-1, array.shape[-1] if array.ndim else 1).max(axis=-1)
    return Range(float(seen.min()), float(seen.max()), float(rows.min()))
