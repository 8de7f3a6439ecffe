"""The exact evaluation program of a `pretrain` task: calibrated, lowered, and compared with the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray

from verifier.exact import Engine, Program
from verifier.exact.lowering import InputSpec, lower_graph
from verifier.exact.runtime.session import PROVIDER
from verifier.tasks.metrics import token_log_likelihoods, total_score
from verifier.tasks.models.export import ExportedModel, export
from verifier.tasks.models.language_models import ByteModel, weight_specs
from verifier.tasks.thresholds import NAT_BITS

# Factor by which the calibrated range of an activation is widened: longer training drives activations further than the
# short training of the builder does.
HEADROOM = 4.0
# The input of a row's bytes, and a number that no byte has, for rows that fill the last batch.
TEXT, PADDING = "text", -1
# Name of the exported output, which no module of a model has.
_LOGITS = "exported.logits"

Weights = Mapping[str, NDArray[np.float32]]  # by the names of a submission's tensors
Rows = NDArray[np.int16]  # [rows, context]


def weights_of(model: ByteModel) -> dict[str, NDArray[np.float32]]:
    """Return the model's weights by the names that they have in a submission."""
    specs = weight_specs(model)
    return {specs[name].name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def export_model(model: ByteModel, batch: int, context: int) -> ExportedModel:
    """Export the model for `batch` rows of `context` bytes, with all its weights as inputs. Errors: BuildError."""
    text = torch.zeros((batch, context), dtype=torch.long)
    return export(model, {TEXT: text}, [_LOGITS], weight_specs(model))


def evaluation_program(
    exported: ExportedModel,
    rows: Rows,
    weights: Sequence[Weights],
    batch: int,
    on_batch: Callable[[], None] = lambda: None,
) -> bytes:
    """Lower the float model and add the metric: outputs `score` and `bytes`, log-likelihoods in units of 2**-16 nat.

    `score` [1] is the sum of `bytes` [batch, context], int64. `rows` are whole batches for calibration, of which each
    runs with the next of `weights`; `on_batch` is called after each. Errors: LoweringError.
    """
    feeds: list[Mapping[str, NDArray[Any]]] = [
        {TEXT: text.astype(np.int64), **weights[number % len(weights)]}
        for number, text in enumerate(_batches(rows, batch))
    ]
    inputs = {spec.name: InputSpec(spec.dtype, spec.grid) for spec in exported.submission}
    inputs[TEXT] = InputSpec("int16", lo=PADDING, hi=255)
    lowered = lower_graph(exported.graph, feeds, inputs, HEADROOM, on_batch)
    builder = lowered.builder
    each = token_log_likelihoods(builder, lowered.outputs[_LOGITS], lowered.tensors[TEXT])
    model = builder.model({"score": total_score(builder, each), "bytes": builder.cast(each, "int64")})
    data: bytes = model.SerializeToString()
    return data


def exact_log_likelihoods(program: Program, submission: Mapping[str, NDArray[Any]], rows: Rows) -> NDArray[np.float64]:
    """Return the log-likelihood of each row in nat, as the program computes it; whole batches."""
    batch = program.inputs[0].shape[0]
    engine = Engine(program)
    found = [engine.run({TEXT: text, **submission})["bytes"].sum(axis=1) for text in _batches(rows, batch)]
    nats: NDArray[np.float64] = np.ldexp(np.concatenate(found).astype(np.float64), -NAT_BITS)
    return nats


def float_log_likelihoods(exported: ExportedModel, weights: Weights, rows: Rows) -> NDArray[np.float64]:
    """Return the log-likelihood of each row in nat, as onnxruntime computes it in float32; whole batches."""
    session = ort.InferenceSession(exported.graph.SerializeToString(), providers=[PROVIDER])
    batch = session.get_inputs()[0].shape[0]
    found = []
    for text in _batches(rows, batch):
        (logits,) = session.run([_LOGITS], {TEXT: text.astype(np.int64), **weights})
        logits = logits.astype(np.float64)
        largest = logits.max(axis=2, keepdims=True)
        log_sum = np.log(np.exp(logits - largest).sum(axis=2)) + largest[..., 0]
        own = np.take_along_axis(logits, np.maximum(text, 0).astype(np.int64)[..., None], axis=2)[..., 0]
        found.append(np.where(text >= 0, own - log_sum, 0.0).sum(axis=1))
    return np.concatenate(found)


def _batches(rows: Rows, batch: int) -> Iterator[Rows]:
    for start in range(0, len(rows), batch):
        yield rows[start : start + batch]
