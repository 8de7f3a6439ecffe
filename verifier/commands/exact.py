"""Commands for exact programs: check, eval, selftest."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("program", metavar="EXACT.onnx", type=_FILE, required=False)
@click.option("--config", "config_file", type=_FILE, help="Examine a service's configuration instead.")
def check(program: Path | None, config_file: Path | None) -> None:
    """Prove that EXACT.onnx is exact, without running it; or examine a service before it is trusted with a stake.

    Prints JSON: `exact`, and `instructions`, `macs`, `peak_bits`, `peak_node`, `memory_bytes`, or `node` and `reason`.
    Exit status 1 for a graph that is not exact, and for a service with anything amiss.
    """
    if (program is None) == (config_file is None):
        raise click.UsageError("name a program, or a configuration with --config")
    if config_file is not None:
        from verifier.commands.service import preflight

        passed = preflight(config_file)
    else:
        assert program is not None
        passed = _prove(program)
    if not passed:
        sys.exit(1)


def _prove(file: Path) -> bool:
    from verifier.exact import NotExactError, load_program

    try:
        program = load_program(file.read_bytes())
    except NotExactError as error:
        _print(exact=False, node=error.node, reason=error.reason)
        return False
    _print(
        exact=True,
        instructions=program.instruction_counts,
        macs=program.macs,
        peak_bits=program.peak_bits,
        peak_node=program.peak_node,
        memory_bytes=program.memory_bytes,
    )
    return True


@click.command(name="eval")
@click.argument("program", metavar="EXACT.onnx", type=_FILE)
@click.option("--feeds", type=_FILE, required=True, help="An npz file with an array for each input, by name.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 256), help="They cannot change a bit.")
def evaluate(program: Path, feeds: Path, threads: int) -> None:
    """Run EXACT.onnx. Prints JSON: `outputs` (name, shape, grid) and `outputs_sha256`.

    The digest is over all outputs in graph order, each as its integers value / 2**grid: int64, little-endian, C order.
    """
    from verifier.exact import Engine, load_program, outputs_digest

    proven = load_program(program.read_bytes())
    outputs = Engine(proven, threads).run(_read(feeds))
    _print(
        outputs=[{"name": item.name, "shape": list(item.shape), "grid": item.grid} for item in proven.outputs],
        outputs_sha256=outputs_digest(outputs).hex(),
    )


@click.command()
def selftest() -> None:
    """Run the literal vectors on the installed onnxruntime. Prints JSON: `onnxruntime`, `vectors`."""
    import onnxruntime  # type: ignore[import-untyped]

    from verifier.exact import self_test

    _print(vectors=self_test(), onnxruntime=onnxruntime.__version__)


def _read(feeds: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file. Errors: FeedError."""
    from verifier.exact import FeedError

    try:
        with np.load(feeds, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise FeedError(f"{feeds} is no npz file of plain arrays: {error}") from error


def _print(**fields: Any) -> None:
    click.echo(json.dumps(fields, indent=2))
