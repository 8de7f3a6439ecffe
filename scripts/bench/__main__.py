"""`python -m scripts.bench`: exact programs against float32 onnxruntime with its default options, paired in one run."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from scripts.bench import accuracy, depthwise, measure, models
from verifier.cli.progress import progress_bar


@click.command()
@click.option("--threads", type=click.IntRange(1, 256), default=2, show_default=True, help="Threads of each engine.")
@click.option(
    "--accuracy", "accurate", is_flag=True, help="Compare results on data not seen in calibration, instead of times."
)
def main(threads: int, accurate: bool) -> None:
    """Print for each model the ratio of times, the time by kind of operator, peak memory and load time.

    Then print the ratio of times for depthwise convolutions, as they run here and as products of gathered windows.

    With --accuracy, print cosines or next tokens and likelihoods, and file sizes, against float32; exit status 1 where
    one of them exceeds its limit.
    """
    logging.disable(logging.WARNING)  # the exporter warns about optional packages that it does not find
    warnings.simplefilter("ignore")
    click.echo("exporting and lowering the models; SmolLM2 takes some minutes")
    passed = True
    for prepare in (models.minilm, models.smollm2):
        with progress_bar() as show:
            files = prepare(show)
        if files is None:
            click.echo(models.MISSING)
        elif accurate:
            passed &= report_accuracy(files, threads)
        else:
            report(files, threads)
    if not accurate:
        report_depthwise(depthwise.layers(), threads)
    if not passed:
        raise click.ClickException("a figure exceeds its limit")


def report_accuracy(files: models.ModelFiles, threads: int) -> bool:
    """Print the accuracy figures of one model; return whether all are within their limits."""
    with progress_bar() as show:
        figures = accuracy.measure(files, threads, show)
    click.echo(f"{files.name}, exact and fp32 on data not seen in calibration")
    for figure in figures:
        _line(figure.name, figure.text + ("" if figure.passed else "  FAILED"))
    return all(figure.passed for figure in figures)


def report(files: models.ModelFiles, threads: int) -> None:
    """Print the times, memory and sizes of one model."""
    load = os.getloadavg()[0]
    click.echo(f"{files.name}, {threads} threads, load average {load:.1f}")
    # Memory first: its processes must not compete with the timed runs for memory.
    cost = measure.footprint(files, threads)
    found = measure.paired(files, threads)
    parts = measure.shares(files, threads)
    _line("time ratio", _ratio(found.exact / found.floating))
    _line("all in float64", _ratio(found.without_bytes / found.floating))
    _line("lowest cosine", f"{found.cosine_min:.7f}")
    if files.logits:
        _line("argmax agreement", f"{found.argmax_agreement:.2%}")
    _line("digest", found.digest)
    click.echo(f"  {'':16} {'exact':>10} {'fp32':>10}")
    _pair("time", (np.median(found.exact), np.median(found.floating)), lambda value: f"{1000 * value:.1f} ms")
    for part in parts["exact"]:
        _pair(part, [parts[kind][part] for kind in ("exact", "float")], lambda value: f"{value:.0%}")
    _pair("peak memory", [cost[kind]["peak_bytes"] for kind in ("exact", "float")], _mib)
    _pair("load time", [cost[kind]["load_seconds"] for kind in ("exact", "float")], lambda value: f"{value:.2f} s")
    _pair("file", [file.stat().st_size for file in (files.exact_file, files.float_file)], _mib)


def report_depthwise(layers: list[depthwise.FloatLayer], threads: int) -> None:
    """Print a row of median times and ratios for each depthwise layer or block."""
    click.echo(f"depthwise convolutions, {threads} threads, load average {os.getloadavg()[0]:.1f}")
    click.echo(f"  {'':34} {'exact':>10} {'fp32':>10} {'ratio':>6}   as products")
    for layer in layers:
        times = depthwise.timed(layer, threads)
        exact, floating = (f"{1000 * np.median(seconds):.2f} ms" for seconds in (times.exact, times.floating))
        ratios = [np.median(seconds / times.floating) for seconds in (times.exact, times.products)]
        click.echo(f"  {layer.name:34} {exact:>10} {floating:>10} {ratios[0]:>6.1f} {ratios[1]:>13.1f}")


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
