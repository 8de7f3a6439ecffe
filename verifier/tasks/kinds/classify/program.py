"""The exact evaluation program of a `classify` task: calibrated, lowered, and compared with the float model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel

from verifier.exact import Engine, Program, Tensor
from verifier.exact.analysis.compare import OutputDistance
from verifier.exact.lowering import InputSpec, lower_graph
from verifier.tasks.metrics import accuracy
from verifier.tasks.models.adapters import sample_adapter, trained_tensors
from verifier.tasks.models.export import ExportedModel, export
from verifier.tasks.models.grids import saturated
from verifier.tasks.models.inspection import Calibrated, longest_batches
from verifier.tasks.models.original import OriginalModel
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import Row

# Factor by which the calibrated range of an activation is widened, because a submission's tensors may drive it further
# than the random adapters of the calibration do.
HEADROOM = 4.0
# Names of the exported outputs, which no module of a model has.
_OUTPUTS = ("exported.logits", "exported.embedding")
_TEXT_INPUTS = ("input_ids", "attention_mask")
# Seed of the adapter that the exact program is compared with: calibration uses small seeds only.
_COMPARISON_SEED = 1_000_003

Feeds = Mapping[str, NDArray[Any]]


def export_classifier(model: PeftModel, batch: int, sequence: int) -> ExportedModel:
    """Export the adapted classifier for `batch` rows of `sequence` tokens. Errors: BuildError."""
    ids = torch.zeros((batch, sequence), dtype=torch.long)
    mask = torch.ones((batch, sequence), dtype=torch.long)
    return export(model, dict(zip(_TEXT_INPUTS, (ids, mask), strict=True)), _OUTPUTS, trained_tensors(model))


@dataclass(frozen=True)
class EvaluationProgram:
    """An exact evaluation program as a file, the name of its value that is the pooled embedding, and its origin."""

    data: bytes
    embedding: str
    calibrated: Calibrated


@dataclass(frozen=True)
class Fidelity:
    """How close the exact program is to the original model on `count` texts, with the same adapter and head.

    `agreement`: the share of texts that get the same class. `cosine_min`: the smallest cosine between the embeddings of
    a text. `scale_error`: the largest difference of their lengths, as a share. `batch_seconds`: the median time of one
    run of the program here.
    """

    count: int
    agreement: float
    cosine_min: float
    scale_error: float
    batch_seconds: float


def evaluation_program(
    exported: ExportedModel,
    examples: Feeds,
    batch: int,
    vocabulary: int,
    on_batch: Callable[[], None] = lambda: None,
) -> EvaluationProgram:
    """Lower the float model and add the metric: outputs `score` (correct rows) and `logits` [batch, classes].

    `examples` are encoded rows for calibration, whole batches; each batch runs with a random adapter of another
    strength, and `on_batch` is called after each. `vocabulary` bounds the token ids. Errors: LoweringError.
    """
    feeds: list[Feeds] = [
        {**texts, **sample_adapter(exported.submission, number % 3, number)}
        for number, texts in enumerate(_batches(examples, batch))
    ]
    inputs = {spec.name: InputSpec(spec.dtype, spec.grid) for spec in exported.submission}
    inputs["input_ids"] = InputSpec(examples["input_ids"].dtype.name, lo=0, hi=vocabulary - 1)
    inputs["attention_mask"] = InputSpec("int8", lo=0, hi=1)
    lowered = lower_graph(exported.graph, feeds, inputs, HEADROOM, on_batch)
    label = lowered.builder.input("label", "int16", (batch,))
    logits, embedding = (lowered.outputs[name] for name in _OUTPUTS)
    score = accuracy(lowered.builder, logits, label)
    model = lowered.builder.model({"score": score, "logits": logits})
    calibrated = Calibrated(exported.graph, lowered, inputs, feeds, HEADROOM)
    return EvaluationProgram(model.SerializeToString(), embedding.name, calibrated)


def longest_evaluated(exported: ExportedModel, rows: Feeds, batch: int) -> list[Feeds]:
    """Return feeds of the float model with the longest of these rows, and the adapter of the comparison."""
    adapter = sample_adapter(exported.submission, 1.0, _COMPARISON_SEED)
    return [{**texts, **adapter} for texts in longest_batches(rows, batch)]


def compare_with_original(
    base: Path,
    exported: ExportedModel,
    program: Program,
    embedding: str,
    rows: Sequence[Row],
    encoding: Encoding,
) -> Fidelity:
    """Run the program and the model of the folder `base` on the same texts, with the same random adapter and head.

    The original model gets the texts as its tokenizer encodes them, without padding. `embedding` names the program's
    value that is the pooled embedding. Errors: BuildError.
    """
    taken = {item.name: item for item in program.inputs}
    batch = taken["label"].shape[0]
    sample = sample_adapter(exported.submission, 1.0, _COMPARISON_SEED)
    packed = saturated(exported.submission, sample)
    adapter = {spec.name: np.ldexp(packed[spec.name].astype(np.float64), spec.grid) for spec in exported.submission}
    value = program.values[embedding]
    watched = replace(
        program, outputs=(*program.outputs, Tensor(embedding, value.dtype, tuple(value.shape), value.grid))
    )
    engine = Engine(watched)
    arrays = encoding.encode(rows, batch)
    found: dict[str, list[NDArray[np.float64]]] = {"logits": [], embedding: []}
    seconds = []
    for start in range(0, len(arrays["label"]), batch):
        began = time.perf_counter()
        outputs = engine.run({**packed, **{name: array[start : start + batch] for name, array in arrays.items()}})
        seconds.append(time.perf_counter() - began)
        for item in watched.outputs[1:]:
            found[item.name].append(np.ldexp(outputs[item.name].astype(np.float64), item.grid))

    real = OriginalModel(base, adapter).embed([row.text for row in rows], arrays["input_ids"].shape[1])
    logits = real @ adapter["classifier.weight"].T + adapter["classifier.bias"]
    embeddings = OutputDistance("embedding", real.shape)
    embeddings.add(np.concatenate(found[embedding])[: len(rows)], real)
    classes = OutputDistance("logits", logits.shape)
    classes.add(np.concatenate(found["logits"])[: len(rows)], logits)
    return Fidelity(
        count=len(rows),
        agreement=classes.argmax_agreement or 0.0,
        cosine_min=embeddings.cosine_min or 0.0,
        scale_error=embeddings.scale_error or 0.0,
        batch_seconds=float(np.median(seconds)),
    )


def _batches(examples: Feeds, batch: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The texts of encoded rows, batch by batch, in the dtype that the float model takes."""
    for start in range(0, len(examples["input_ids"]), batch):
        yield {name: examples[name][start : start + batch].astype(np.int64) for name in _TEXT_INPUTS}
