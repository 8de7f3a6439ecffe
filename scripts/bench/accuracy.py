"""Accuracy of an exact program against float32, on data that calibration has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from scripts.bench.models import ModelFiles
from verifier.cli.progress import Show
from verifier.exact import Engine, load_program
from verifier.exact.analysis.compare import OutputDistance, float_session
from verifier.exact.lowering.float_model import batches, inputs_of
from verifier.exact.lowering.input_quantisation import integers

Array = np.ndarray[Any, Any]

# Limits that every model must meet: lowest cosine of an embedding, share of equal next tokens, relative difference of
# the negative log-likelihood, and size of the exact file as a share of the float32 file.
MIN_COSINE = 0.99995
MIN_AGREEMENT = 0.997
MAX_NLL_DIFFERENCE = 1e-4
MAX_FILE_SHARE = 0.55


@dataclass(frozen=True)
class Figure:
    """One measured number: its name, its text with the limit, and whether it is within the limit."""

    name: str
    text: str
    passed: bool


def measure(files: ModelFiles, threads: int, show: Show) -> list[Figure]:
    """Run both models on all unseen batches; return the figures of an encoder or a decoder, and of the file sizes."""
    model = onnx.load(files.float_file)
    program = load_program(files.exact_file.read_bytes())
    inputs = inputs_of(model)
    with np.load(files.unseen) as stored:
        feeds = batches(inputs, dict(stored))
    engine, session = Engine(program, threads), float_session(model, threads)
    (output,) = program.outputs
    error = OutputDistance(output.name, output.shape)
    losses: tuple[list[Array], list[Array]] = ([], [])
    for done, feed in enumerate(feeds, 1):
        q = engine.run(integers(program, inputs, feed, {item.name: 0 for item in inputs}))[output.name]
        results = np.ldexp(q.astype(np.float64), output.grid), session.run([output.name], feed)[0].astype(np.float64)
        error.add(*results)
        if files.logits:
            for collected, logits in zip(losses, results, strict=True):
                collected.append(token_losses(logits, feed["input_ids"]))
        show(f"compare {files.name}", done, len(feeds))
    return [
        *(decoder_figures(error, *map(np.concatenate, losses)) if files.logits else encoder_figures(error, len(feeds))),
        _file_size(files),
    ]


def token_losses(logits: Array, ids: Array) -> Array:
    """Return the negative log-likelihood in nats of each token but the first of a row: [rows * (tokens - 1)].

    `logits` is [rows, tokens, vocabulary], `ids` is [rows, tokens].
    """
    before, after = logits[:, :-1], ids[:, 1:, None]
    peaks = before.max(axis=-1, keepdims=True)
    normalisers = peaks + np.log(np.exp(before - peaks).sum(axis=-1, keepdims=True))
    return np.asarray((normalisers - np.take_along_axis(before, after, axis=-1)).reshape(-1))


def encoder_figures(error: OutputDistance, feeds: int) -> list[Figure]:
    """Return the figures of embeddings [rows, width] that were compared over `feeds` feeds."""
    assert error.cosine_min is not None
    text = f"{error.cosine_min:.7f} over {feeds * error.shape[0]:,} sentences (at least {MIN_COSINE})"
    return [Figure("lowest cosine", text, error.cosine_min >= MIN_COSINE)]


def decoder_figures(error: OutputDistance, exact: Array, floating: Array) -> list[Figure]:
    """Return the figures of logits [rows, tokens, vocabulary], with the `token_losses` of both models."""
    assert error.argmax_agreement is not None
    positions = len(exact) // (error.shape[1] - 1) * error.shape[1]
    agreeing = round(error.argmax_agreement * positions)
    nll, expected = float(exact.mean()), float(floating.mean())
    difference = abs(nll / expected - 1)
    return [
        Figure(
            "argmax agreement",
            f"{agreeing:,} of {positions:,}, {error.argmax_agreement:.2%} (at least {MIN_AGREEMENT:.1%})",
            error.argmax_agreement >= MIN_AGREEMENT,
        ),
        Figure(
            "NLL",
            f"{nll:.6f} exact, {expected:.6f} fp32 over {len(exact):,} tokens: "
            f"{difference:.4%} apart (at most {MAX_NLL_DIFFERENCE:.2%})",
            difference <= MAX_NLL_DIFFERENCE,
        ),
    ]


def _file_size(files: ModelFiles) -> Figure:
    exact, floating = (file.stat().st_size for file in (files.exact_file, files.float_file))
    sizes = f"{exact / 2**20:.1f} MiB exact, {floating / 2**20:.1f} MiB fp32"
    return Figure(
        "file", f"{sizes}: {exact / floating:.1%} (at most {MAX_FILE_SHARE:.0%})", exact <= MAX_FILE_SHARE * floating
    )
