"""Calibration: the range of every float tensor on sample feeds, measured by onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from verifier.exact.lowering.calibration_checks import check_results
from verifier.exact.lowering.canonicalise import MAX_INFERRED_WEIGHT
from verifier.exact.lowering.float_session import refusal, session_of
from verifier.exact.lowering.masks import MASK_FLOOR, MASKED, Masks

Feeds = Mapping[str, NDArray[Any]]
# Maximum difference of the masked numbers of a row that count as equal. Beyond ABSORBING, steps of
# float32 are about as large.
MAX_MASK_DIFFERENCE = 1.0
# Maximum number of samples of a tensor from one feed, and from all.
MAX_FEED_SAMPLES = 2**12
MAX_SAMPLES = 2**16


@dataclass(frozen=True)
class Range:
    """The calibrated range of a float tensor: its extremes, and the minimum over its rows of the row's peak.

    A row is what the last axis holds, and its peak is the largest magnitude in it. `binary` tells whether the tensor
    held only 0 and 1, and `uneven_masks` whether a row held nothing but masks, and not all of one size.
    `samples` are some of the numbers, of tensors for which `ranges` is asked for them.
    """

    lo: float = 0.0
    hi: float = 0.0
    min_row_peak: float = 0.0
    binary: bool = False
    uneven_masks: bool = False
    samples: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), compare=False)

    @property
    def magnitude(self) -> float:
        """The largest magnitude."""
        return max(abs(self.lo), abs(self.hi))

    def joined(self, other: Range) -> Range:
        """Return the range of both together."""
        return Range(
            min(self.lo, other.lo),
            max(self.hi, other.hi),
            min(self.min_row_peak, other.min_row_peak),
            self.binary and other.binary,
            self.uneven_masks or other.uneven_masks,
            np.concatenate([self.samples, other.samples])[-MAX_SAMPLES:],
        )


def ranges(
    model: onnx.ModelProto,
    feeds: Sequence[Feeds],
    masks: Masks,
    on_feed: Callable[[], None] = lambda: None,
    *,
    copies: Mapping[str, str],
    sampled: Collection[str] = (),
) -> dict[str, Range]:
    """Measure the range of each float tensor over all feeds, without the numbers that are masked.

    `copies` maps masked tensors to the names of their whole copies, whose ranges include these numbers, and
    `sampled` names the tensors of which samples are kept. `on_feed` is called after each feed. A
    tensor of which every number is masked has no range. Errors: LoweringError where onnxruntime cannot load the model
    or run it on a feed.
    """
    names = [name for node in model.graph.node for name in node.output if name]
    found: dict[str, Range] = {}
    light = {
        item.name: numpy_helper.to_array(item)
        for item in model.graph.initializer
        if math.prod(item.dims) <= MAX_INFERRED_WEIGHT
    }
    for feed, results in run_feeds(model, names, feeds):
        check_results(model.graph.node, {**light, **feed, **results}, masks)
        for name, array in (results | dict(feed)).items():
            if np.issubdtype(array.dtype, np.floating):
                _add_range(found, name, array, masks.threshold(name))
                if name in sampled and name in found:
                    found[name] = found[name].joined(replace(found[name], samples=_samples(array)))
                if name in copies:
                    _add_range(found, copies[name], array, -np.inf)
        on_feed()
    return found


def channel_peaks(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feeds]
) -> dict[str, NDArray[np.float64]]:
    """Measure the largest magnitude of each channel, which is the last axis, of those tensors over all feeds.

    Errors: LoweringError where onnxruntime cannot load the model or run it on a feed.
    """
    peaks: dict[str, NDArray[np.float64]] = {}
    for _, results in run_feeds(model, names, feeds):
        for name, array in results.items():
            seen = np.abs(array).reshape(-1, array.shape[-1]).max(axis=0).astype(np.float64)
            peaks[name] = np.maximum(peaks[name], seen) if name in peaks else seen
    return peaks


def run_feeds(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Feeds]
) -> Iterator[tuple[Feeds, dict[str, NDArray[Any]]]]:
    """Run the float model on each feed; yield the feed with the tensors of those names."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = session_of(probed)
    for feed in feeds:
        try:
            results = session.run(list(names), dict(feed))
        except Exception as error:  # onnxruntime raises exceptions of many classes
            raise refusal(probed, error, "run it on a calibration feed") from error
        yield feed, dict(zip(names, results, strict=True))


def _add_range(found: dict[str, Range], name: str, array: NDArray[Any], threshold: float) -> None:
    seen = _range(array, threshold)
    if seen is not None:
        found[name] = found[name].joined(seen) if name in found else seen


def _samples(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return at most MAX_FEED_SAMPLES of the finite numbers of a tensor, evenly spread over it."""
    flat = array.reshape(-1)
    spread = flat[:: max(1, flat.size // MAX_FEED_SAMPLES)].astype(np.float64)
    return np.asarray(spread[np.isfinite(spread)])


def _range(array: NDArray[Any], threshold: float) -> Range | None:
    """Return the range of the numbers that are finite and above a threshold, None where there are none."""
    valid = np.isfinite(array) & (array > threshold)
    uneven = threshold == MASKED and _has_uneven_masks(array)
    if not valid.any():
        return Range(uneven_masks=True) if uneven else None
    seen = array[valid]
    peaks = np.abs(np.where(valid, array, 0.0)).reshape(-1, array.shape[-1] if array.ndim else 1).max(axis=-1)
    binary = bool(np.isin(seen, (0, 1)).all()) if seen.min() >= 0 and seen.max() <= 1 else False
    return Range(float(seen.min()), float(seen.max()), float(peaks.min()), binary, uneven)


def _has_uneven_masks(array: NDArray[Any]) -> bool:
    """Return whether all numbers of a row are below MASK_FLOOR, one of them is finite, and they differ."""
    rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    largest = rows.max(axis=-1)
    uneven = rows.min(axis=-1) < largest - MAX_MASK_DIFFERENCE
    return bool(((largest < MASK_FLOOR) & (largest > -np.inf) & uneven).any())
