"""The exact evaluation program of a `language` task: calibrated, lowered, and compared with the original model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel

from verifier.artifacts.tensors import Schema
from verifier.exact import Engine, Program
from verifier.exact.lowering import InputSpec, lower_graph
from verifier.tasks.metrics import token_log_likelihoods, total_score
from verifier.tasks.models.adapters import trained_tensors
from verifier.tasks.models.export import ExportedModel, export
from verifier.tasks.models.grids import balanced, saturated
from verifier.tasks.models.original import OriginalLanguageModel
from verifier.tasks.text.answers import PLACES, TOKENS, TokenRow
from verifier.tasks.thresholds import NAT_BITS

# Factor by which the calibrated range of an activation is widened, because a submission's tensors may drive it further
# than the adapters of the calibration do.
HEADROOM = 4.0
# Name of the exported output, which no module of a model has.
_LOGITS = "exported.logits"

Adapter = Mapping[str, NDArray[Any]]  # by the names of a submission's tensors
Arrays = Mapping[str, NDArray[Any]]  # TOKENS and PLACES


def export_decoder(model: PeftModel, batch: int, sequence: int, answers: int) -> ExportedModel:
    """Export the adapted decoder for `batch` rows of `sequence` tokens, `answers` of which count. Errors: BuildError.

    There is no mask of padding: it stands behind a row's last counted token, and the model is causal.
    """
    tokens = torch.zeros((batch, sequence), dtype=torch.long)
    places = torch.ones((batch, answers), dtype=torch.long)
    return export(model, {TOKENS: tokens, PLACES: places}, [_LOGITS], trained_tensors(model))


def evaluation_program(
    exported: ExportedModel,
    examples: Arrays,
    adapters: Sequence[Adapter],
    batch: int,
    vocabulary: int,
    on_batch: Callable[[], None] = lambda: None,
) -> bytes:
    """Lower the float model and add the metric: outputs `score` and `answers`, log-likelihoods in units of 2**-16 nat.

    `score` [1] is the sum of `answers` [batch, places], int64; an answer's token counts where its place is not 0. The
    targets are the tokens at the places, so a set has no targets of its own that could contradict its tokens.
    `examples` are whole batches for calibration, of which each runs with the next of `adapters`; `on_batch` is called
    after each. `vocabulary` bounds the token ids. Errors: LoweringError.
    """
    feeds: list[Mapping[str, NDArray[Any]]] = [
        {name: array.astype(np.int64) for name, array in part.items()} | dict(adapters[number % len(adapters)])
        for number, part in enumerate(_batches(examples, batch))
    ]
    inputs = {spec.name: InputSpec(spec.dtype, spec.grid) for spec in exported.submission}
    inputs[TOKENS] = InputSpec(examples[TOKENS].dtype.name, lo=0, hi=vocabulary - 1)
    inputs[PLACES] = InputSpec("int16", lo=0, hi=examples[TOKENS].shape[1] - 1)
    lowered = lower_graph(exported.graph, feeds, inputs, HEADROOM, on_batch)
    builder, tokens, places = lowered.builder, lowered.tensors[TOKENS], lowered.tensors[PLACES]
    read = builder.op("GatherElements", tokens, builder.cast(places, "int32"), axis=1)
    counts = builder.op("Greater", builder.cast(places, "float64"), builder.constant(np.float64(0)))
    targets = builder.op("Where", counts, builder.cast(read, "float64"), builder.constant(np.float64(-1)))
    each = token_log_likelihoods(builder, lowered.outputs[_LOGITS], targets)
    model = builder.model({"score": total_score(builder, each), "answers": builder.cast(each, "int64")})
    data: bytes = model.SerializeToString()
    return data


def quantised(schema: Schema, adapter: Adapter) -> dict[str, NDArray[Any]]:
    """Return an adapter on the submission's grids, balanced as `pack` does it."""
    specs = {spec.name: spec for spec in schema}
    floats = {name: np.asarray(array, np.float64) for name, array in adapter.items()}
    return saturated(schema, balanced(floats, specs))


def exact_log_likelihoods(program: Program, submission: Adapter, examples: Arrays) -> NDArray[np.float64]:
    """Return the log-likelihood of each row's answer in nat, as the program computes it; whole batches."""
    batch = program.inputs[0].shape[0]
    engine = Engine(program)
    found = [engine.run({**part, **submission})["answers"].sum(axis=1) for part in _batches(examples, batch)]
    nats: NDArray[np.float64] = np.ldexp(np.concatenate(found).astype(np.float64), -NAT_BITS)
    return nats


def original_log_likelihoods(
    base: Path, schema: Schema, submission: Adapter, rows: Sequence[TokenRow]
) -> NDArray[np.float64]:
    """Return the log-likelihood of each row's answer in nat, as transformers' own model computes it.

    It has B·A of the submission added to its weights and gets each row without padding. Errors: BuildError.
    """
    adapter = {spec.name: np.ldexp(submission[spec.name].astype(np.float64), spec.grid) for spec in schema}
    model = OriginalLanguageModel(base, adapter)
    return np.array([model.log_likelihood(row.tokens, row.first) for row in rows])


def _batches(examples: Arrays, batch: int) -> Iterator[dict[str, NDArray[Any]]]:
    for start in range(0, len(examples[TOKENS]), batch):
        yield {name: array[start : start + batch] for name, array in examples.items()}
