"""How near an exact program's results are to float32's, on what calibration has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from scripts.bench.models import Files
from verifier.cli.progress import Show
from verifier.exact import Engine, load_program
from verifier.exact.analysis.compare import OutputError, float_session
from verifier.exact.lowering.float_model import batches, inputs_of
from verifier.exact.lowering.input_quantisation import integers

Array = np.ndarray[Any, Any]

# What a model has to keep.
COSINE = 0.99995
AGREEMENT = 0.997
NLL_DIFFERENCE = 1e-4
FILE = 0.55


@dataclass(frozen=True)
class Figure:
    """One measured number, how it reads, and whether it is within its bar."""

    name: str
    text: str
    kept: bool


def measure(files: Files, threads: int, show: Show) -> list[Figure]:
    """Run both on all unseen batches: an encoder's cosines, a decoder's next tokens and likelihoods, and the sizes."""
    model = onnx.load(files.float_file)
    program = load_program(files.exact_file.read_bytes())
    inputs = inputs_of(model)
    with np.load(files.unseen) as stored:
        feeds = batches(inputs, dict(stored))
    engine, session = Engine(program, threads), float_session(model, threads)
    (output,) = program.outputs
    error = OutputError(output.name, output.shape)
    losses: tuple[list[Array], list[Array]] = ([], [])
    for done, feed in enumerate(feeds, 1):
        q = engine.run(integers(program, inputs, feed, {item.name: 0 for item in inputs}))[output.name]
        results = np.ldexp(q.astype(np.float64), output.grid), session.run([output.name], feed)[0].astype(np.float64)
        error.add(*results)
        if files.logits:
            for kept, logits in zip(losses, results, strict=True):
                kept.append(surprises(logits, feed["input_ids"]))
        show(f"compare {files.name}", done, len(feeds))
    return [
        *(decoder_figures(error, *map(np.concatenate, losses)) if files.logits else encoder_figures(error, len(feeds))),
        _file(files),
    ]


def surprises(logits: Array, ids: Array) -> Array:
    """Negative log-likelihoods in nats of the tokens [rows, tokens] that follow: [rows * (tokens - 1)]."""
    before, after = logits[:, :-1], ids[:, 1:, None]
    peaks = before.max(axis=-1, keepdims=True)
    normalisers = peaks + np.log(np.exp(before - peaks).sum(axis=-1, keepdims=True))
    return np.asarray((normalisers - np.take_along_axis(before, after, axis=-1)).reshape(-1))


def encoder_figures(error: OutputError, feeds: int) -> list[Figure]:
    """Of embeddings [rows, width], compared over so many feeds."""
    assert error.cosine_min is not None
    text = f"{error.cosine_min:.7f} over {feeds * error.shape[0]:,} sentences (at least {COSINE})"
    return [Figure("cosine, lowest", text, error.cosine_min >= COSINE)]


def decoder_figures(error: OutputError, exact: Array, floating: Array) -> list[Figure]:
    """Of logits [rows, tokens, vocabulary], with the `surprises` of both."""
    assert error.argmax_agreement is not None
    positions = len(exact) // (error.shape[1] - 1) * error.shape[1]
    agreeing = round(error.argmax_agreement * positions)
    nll, expected = float(exact.mean()), float(floating.mean())
    difference = abs(nll / expected - 1)
    return [
        Figure(
            "argmax alike",
            f"{agreeing:,} of {positions:,}, {error.argmax_agreement:.2%} (at least {AGREEMENT:.1%})",
            error.argmax_agreement >= AGREEMENT,
        ),
        Figure(
            "NLL",
            f"{nll:.6f} exact, {expected:.6f} fp32 over {len(exact):,} tokens: "
            f"{difference:.4%} apart (at most {NLL_DIFFERENCE:.2%})",
            difference <= NLL_DIFFERENCE,
        ),
    ]


def _file(files: Files) -> Figure:
    exact, floating = (file.stat().st_size for file in (files.exact_file, files.float_file))
    sizes = f"{exact / 2**20:.1f} MiB exact, {floating / 2**20:.1f} MiB fp32"
    return Figure("file", f"{sizes}: {exact / floating:.1%} (at most {FILE:.0%})", exact <= FILE * floating)
