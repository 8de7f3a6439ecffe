"""What an inspection found, in figures and in sentences: tensors that saturate, and tensors that are far off.

The limits follow from measured errors. Where nothing saturates, no tensor of the models in the tests has a relative
error above 0.3 % (52 layers with random weights), and none of all-MiniLM-L6-v2 above 0.15 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from verifier.exact.analysis.compare import OnStep
from verifier.exact.analysis.input_feeds import Feeds, input_remedy, saturated_inputs
from verifier.exact.analysis.inspect import LayerDistance, inspect
from verifier.exact.analysis.layer_map import Layer
from verifier.exact.analysis.saturation import Saturation
from verifier.exact.errors import LoweringError
from verifier.exact.lowering.float_model import inputs_of
from verifier.exact.lowering.input_quantisation import integers
from verifier.exact.program import Program

# Largest relative error of a tensor, and largest share of a limit by which an element passes it, without a warning:
# three times the largest error that rounding alone makes in the measured models.
MAX_ERROR = 0.01
# Largest relative error of an output on the calibration feeds with which a program is written. These feeds cannot pass
# the calibrated ranges, so a result of which half is error is a fault of the lowering or of the declared inputs.
MAX_OUTPUT_ERROR = 0.5
# Number of calibration batches of which all tensors are compared: each takes about as long as ten runs of the program.
# Of the others, `lower` compares the outputs, because what is rare can be wrong in any batch.
CALIBRATION_BATCHES = 2
# What to do about tensors that are off though nothing saturates.
_TOO_COARSE = (
    ". Nothing saturates, so the numbers of the first differ too much in size for one grid: calibrate without "
    "outliers, or scale its channels in the model"
)
# Maximum number of tensors that a list names, and that the warnings name of each kind.
MAX_LISTED = 25
MAX_WARNED = 5


@dataclass(frozen=True)
class Inspection:
    """What `inspect` and `saturated_inputs` found on some batches; `outputs` are the names of the model's outputs."""

    batches: int
    layers: Sequence[LayerDistance]
    saturations: Sequence[Saturation]
    inputs: Sequence[dict[str, Any]]
    outputs: frozenset[str]

    @property
    def saturated(self) -> list[Saturation]:
        """The tensors of which elements saturate, each with its worst Clip; the furthest beyond its limit first."""
        worst: dict[str, Saturation] = {}
        for item in sorted((item for item in self.saturations if item.low + item.high), key=lambda item: -item.excess):
            worst.setdefault(item.tensor, item)
        return list(worst.values())

    @property
    def compared(self) -> list[LayerDistance]:
        """The tensors that have a relative error, the largest first."""
        return sorted((item for item in self.layers if item.scale is not None), key=lambda item: -item.relative)

    def summary(self) -> dict[str, Any]:
        """The figures as JSON, with lists of at most MAX_LISTED tensors, the worst first, and the tensors in all."""
        saturated, compared = self.saturated, self.compared
        return {
            "batches": self.batches,
            "saturated_inputs": list(self.inputs),
            "saturated": [
                {
                    "tensor": item.tensor,
                    "node": item.node,
                    "share": item.share,
                    "reached": item.reached,
                    "limit": item.limit,
                }
                for item in saturated[:MAX_LISTED]
            ],
            "saturated_in_all": len(saturated),
            "tensors": [
                {
                    "tensor": item.name,
                    "relative_error": item.relative,
                    "cosine": item.cosine,
                    "scale": item.scale,
                    "max_abs_error": item.max_abs_error,
                }
                for item in compared[:MAX_LISTED]
            ],
            "tensors_in_all": len(compared),
        }

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each kind of fault, with the tensor, the figures and what to do."""
        for given in self.inputs:
            if given["excess"] > MAX_ERROR:
                yield input_sentence(given)
        saturated = [item for item in self.saturated if item.excess > MAX_ERROR]
        for item in saturated[:MAX_WARNED]:
            yield (
                f"{'tensor' if item.direct else 'a tensor computed from'} {item.tensor!r} saturates: "
                f"{_percent(item.share)} of its elements pass the limit {item.limit:g}, and the largest is "
                f"{item.reached:g}, {item.reached / item.limit:.3g} times the limit: lower the model again, calibrated "
                "with feeds that reach this"
            )
        if len(saturated) > MAX_WARNED:
            yield f"{len(saturated) - MAX_WARNED} more tensors saturate"
        yield from self._errors()

    def _errors(self) -> Iterator[str]:
        far = [item for item in self.compared if item.relative > MAX_ERROR]
        outputs = [item for item in far if item.name in self.outputs]
        for item in [item for item in self.layers if item.undefined and item.name in self.outputs][:MAX_WARNED]:
            yield (
                f"output {item.name!r} is NaN or infinite in the float model, in {item.undefined} of {item.elements} "
                "elements, for which the exact program has numbers: the figures leave these elements out"
            )
        for item in outputs[:MAX_WARNED]:
            yield f"output {item.name!r} is off by {described(item)}"
        if len(outputs) > MAX_WARNED:
            yield f"{len(outputs) - MAX_WARNED} more outputs are off by more than {MAX_ERROR:.0%}"
        inner = [item for item in far if item.name not in self.outputs]
        if inner:
            first = next(item for item in self.layers if item in inner)
            yield (
                f"{len(inner)} of {len(self.compared)} tensors are off by more than {MAX_ERROR:.0%}: in the model's "
                f"order the first is {first.name!r}, off by {described(first)}, and the worst is {inner[0].name!r}, "
                f"off by {described(inner[0])}{'' if self.inputs or self.saturated else _TOO_COARSE}"
            )

    def require_close_outputs(self) -> None:
        """Check the outputs on the calibration feeds. Errors: LoweringError for one that is off by MAX_OUTPUT_ERROR."""
        for item in self.compared:
            # Integers can be far off for a good reason: of two classes that are nearly equal, either can be chosen.
            if item.name in self.outputs and item.relative > MAX_OUTPUT_ERROR and not item.whole:
                first = next(layer for layer in self.layers if layer.scale is not None and layer.relative > MAX_ERROR)
                where = ""
                if first is not item:
                    where = f"; in the model's order {first.name!r} is the first, off by {described(first)}"
                raise LoweringError(
                    f"output {item.name!r}",
                    f"on the calibration feeds its exact result is off by {described(item)}{where}: change the part of "
                    "the model that computes it, or declare inputs with finer grids",
                )


def inspected(
    model: onnx.ModelProto,
    program: Program,
    layers: Mapping[str, Layer],
    feeds: Sequence[Feeds],
    grids: Mapping[str, int],
    on_step: OnStep,
    others: Sequence[Feeds] = (),
) -> Inspection:
    """Inspect a program on feeds of its float model; `grids` are those of the program's inputs.

    Of the `others`, which are more feeds, only the outputs are compared.
    Inputs that the float model does not have, such as labels, are zeros. Errors: FeedError.
    """
    inputs = inputs_of(model)
    known = {item.name for item in inputs}
    shared = replace(program, inputs=tuple(item for item in program.inputs if item.name in known))
    zeros = {item.name: np.zeros(item.shape, item.dtype) for item in program.inputs if item.name not in known}
    pairs, more = (
        [(feed, zeros | integers(shared, inputs, feed, grids)) for feed in batches] for batches in (feeds, others)
    )
    found = inspect(model, program, layers, pairs, on_step, more)
    outputs = frozenset(info.name for info in model.graph.output)
    return Inspection(len(feeds), *found, saturated_inputs(program, inputs, feeds, grids), outputs)


def spread(feeds: Sequence[Feeds]) -> list[Feeds]:
    """Return CALIBRATION_BATCHES of the feeds, the first and the last among them, or all if there are fewer."""
    if len(feeds) <= CALIBRATION_BATCHES:
        return list(feeds)
    return [feeds[round(at * (len(feeds) - 1) / (CALIBRATION_BATCHES - 1))] for at in range(CALIBRATION_BATCHES)]


def input_sentence(given: Mapping[str, Any]) -> str:
    """Return a sentence about an input that `saturated_inputs` found, with what to do."""
    return (
        f"input {given['name']!r} saturates: {_percent(given['share'])} of its numbers pass {given['limit']:g}, the "
        f"limit of {given['dtype']} on grid {given['grid']}, and the largest is {given['reached']:g}: lower the model "
        f"again, calibrated with such feeds or with {input_remedy(given)}"
    )


def described(item: LayerDistance) -> str:
    """Return a tensor's error in words: how large it is, and how much of it is direction and how much is scale."""
    cosine = "none" if item.cosine is None else f"{item.cosine:.6g}"
    return f"{_percent(item.relative)} (cosine {cosine}, scale {item.scale:.4g})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
