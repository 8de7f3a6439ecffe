"""How large every float tensor gets on sample feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

# What is below is a mask's minus infinity, whatever its form: it says nothing of the numbers beside it.
MASKED = -1e4

Feeds = Mapping[str, NDArray[Any]]


def ranges(
    model: onnx.ModelProto, feeds: Sequence[Feeds], on_feed: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Largest absolute value of each float tensor over all feeds, masked entries left out. `on_feed`: after each."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {info.name for info in probed.graph.output}
    for node in probed.graph.node:
        for name in node.output:
            if name and name not in known:
                probed.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    largest: dict[str, float] = {}
    for feed in feeds:
        for name, array in [*zip(names, session.run(names, dict(feed)), strict=True), *feed.items()]:
            if np.issubdtype(array.dtype, np.floating):
                seen = array[np.isfinite(array) & (array > MASKED)]
                largest[name] = max(largest.get(name, 0.0), float(np.abs(seen).max(initial=0)))
        on_feed()
    return largest
