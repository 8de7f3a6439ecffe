"""Compares the tensors of a task's program with the float model's, and tells a sponsor what calibration did not see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from verifier.exact import Program
from verifier.exact.analysis.findings import inspected, spread
from verifier.exact.analysis.input_feeds import calibration_warnings, seen_inputs
from verifier.exact.analysis.layer_map import LayerMap
from verifier.exact.lowering import InputSpec, Lowered
from verifier.exact.lowering.float_model import inputs_of
from verifier.tasks.registry import OnStep

Feeds = Mapping[str, NDArray[Any]]
# Number of batches of evaluated rows, the longest ones, whose tensors are compared with the float model's.
INSPECTED_BATCHES = 2


@dataclass(frozen=True)
class Calibrated:
    """A float model of texts as it was lowered: with which inputs, on which feeds, and with which headroom."""

    model: onnx.ModelProto
    lowered: Lowered
    inputs: Mapping[str, InputSpec]
    feeds: Sequence[Feeds]
    headroom: float


def longest_batches(rows: Feeds, batch: int) -> list[dict[str, NDArray[Any]]]:
    """Return INSPECTED_BATCHES of the rows with the most tokens, as int64, as the float model takes them."""
    order = np.argsort(-rows["attention_mask"].sum(axis=1), kind="stable")[: INSPECTED_BATCHES * batch]
    return [
        {name: rows[name][order[start : start + batch]].astype(np.int64) for name in ("input_ids", "attention_mask")}
        for start in range(0, len(order), batch)
    ]


def examine(
    made: Calibrated, program: Program, evaluated: Sequence[Feeds], longest: int, on_step: OnStep
) -> dict[str, Any]:
    """Compare both on calibration batches and on `evaluated` batches, of rows that the task evaluates.

    `longest` is the number of tokens of the longest evaluated row. Returns what `touchstone task build` prints:
    `longest_row` (in tokens, of `calibration` and `evaluated` rows), `inside` (the figures for both) and `warnings`.
    """
    seen = seen_inputs(inputs_of(made.model), made.feeds)
    known = LayerMap.of(made.lowered, made.inputs, program, seen)
    batches = {"calibration": spread(made.feeds), "evaluated": evaluated}
    found = {
        name: inspected(made.model, program, known.layers, feeds, known.grids, on_step)
        for name, feeds in batches.items()
    }
    tokens = {"calibration": seen["attention_mask"].longest, "evaluated": longest}
    warnings = [*calibration_warnings(seen, math.inf)]
    if tokens["evaluated"] > made.headroom * tokens["calibration"]:
        warnings.append(
            f"the longest row of calibration has {tokens['calibration']} tokens and the longest evaluated row "
            f"{tokens['evaluated']}, so tensors can saturate: add long texts to the data set, or choose another --seed"
        )
    for name, inspection in found.items():
        warnings += [f"on {name} rows, {sentence}" for sentence in inspection.warnings()]
    return {
        "longest_row": tokens,
        "inside": {name: inspection.summary() for name, inspection in found.items()},
        "warnings": warnings,
    }
