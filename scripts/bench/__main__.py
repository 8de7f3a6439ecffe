"""`python -m scripts.bench`: exact evaluation against float32 on onnxruntime's own terms, paired in one run."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from scripts.bench import accuracy, measure, models
from verifier.cli.progress import progress_bar


@click.command()
@click.option("--threads", type=click.IntRange(1, 256), default=2, show_default=True, help="Threads of both.")
@click.option(
    "--accuracy", "accurate", is_flag=True, help="Instead of times: results on what calibration has not seen."
)
def main(threads: int, accurate: bool) -> None:
    """Print for each model the ratio of times, where the time goes, peak memory and load time.

    With --accuracy: cosines, next tokens, likelihoods and file sizes beside float32's; exit 1 where one misses its bar.
    """
    logging.disable(logging.WARNING)  # what the exporter does without
    warnings.simplefilter("ignore")
    click.echo("exporting and lowering; SmolLM2 takes some minutes")
    kept = True
    for prepare in (models.minilm, models.smollm2):
        with progress_bar() as show:
            files = prepare(show)
        if files is None:
            click.echo(models.MISSING)
        elif accurate:
            kept &= report_accuracy(files, threads)
        else:
            report(files, threads)
    if not kept:
        raise click.ClickException("not as accurate as it has to be")


def report_accuracy(files: models.Files, threads: int) -> bool:
    """What is kept of one model's results; whether each figure is within its bar."""
    with progress_bar() as show:
        figures = accuracy.measure(files, threads, show)
    click.echo(f"{files.name}, exact and fp32 on what calibration has not seen")
    for figure in figures:
        _line(figure.name, figure.text + ("" if figure.kept else "  MISSED"))
    return all(figure.kept for figure in figures)


def report(files: models.Files, threads: int) -> None:
    """Everything about one model."""
    load = os.getloadavg()[0]
    click.echo(f"{files.name}, {threads} threads, load of the machine {load:.1f}")
    # Memory first: these processes are measured alone.
    cost = measure.footprint(files, threads)
    found = measure.paired(files, threads)
    parts = measure.shares(files, threads)
    _line("time ratio", _ratio(found.exact / found.floating))
    _line("all in float64", _ratio(found.wide / found.floating))
    _line("cosine, lowest", f"{found.cosine_min:.7f}")
    if files.logits:
        _line("argmax alike", f"{found.argmax_agreement:.2%}")
    _line("digest", found.digest)
    click.echo(f"  {'':16} {'exact':>10} {'fp32':>10}")
    _pair("time", (np.median(found.exact), np.median(found.floating)), lambda value: f"{1000 * value:.1f} ms")
    for part in parts["exact"]:
        _pair(part, [parts[kind][part] for kind in ("exact", "float")], lambda value: f"{value:.0%}")
    _pair("peak memory", [cost[kind]["peak_bytes"] for kind in ("exact", "float")], _mib)
    _pair("load time", [cost[kind]["load_seconds"] for kind in ("exact", "float")], lambda value: f"{value:.2f} s")
    _pair("file", [file.stat().st_size for file in (files.exact_file, files.float_file)], _mib)


def _ratio(ratios: np.ndarray[Any, Any]) -> str:
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    return f"{middle:.2f}  (quartiles {low:.2f} to {high:.2f}, all {ratios.min():.2f} to {ratios.max():.2f})"


def _line(name: str, text: str) -> None:
    click.echo(f"  {name:16} {text}")


def _pair(name: str, values: Any, shown: Callable[[Any], str]) -> None:
    exact, floating = values
    click.echo(f"  {name:16} {shown(exact):>10} {shown(floating):>10}")


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**20:.0f} MiB"


if __name__ == "__main__":
    main()
