"""Commands for exact programs: lower, check, eval, compare, selftest."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.new_files import check_new, write_new
from verifier.cli.progress import progress_bar, warn

if TYPE_CHECKING:
    from verifier.exact import Program
    from verifier.exact.analysis.compare import Comparison

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_THREADS = click.IntRange(1, 256)


class _Input(click.ParamType):
    """The encoding of an input: NAME=DTYPE or NAME=DTYPE:GRID."""

    name = "NAME=DTYPE[:GRID]"
    _FORM = re.compile(r"(.+)=(int8|uint8|int16|int32)(?::(-?[0-9]{1,4}))?")

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str, int | None]:
        """Return name, dtype and grid; the grid is None where it is left out."""
        form = self._FORM.fullmatch(value)
        if form is None:
            self.fail(f"{value!r} is not like x=int16:-10, with int8, uint8, int16 or int32", param, ctx)
        name, dtype, grid = form.groups()
        return name, dtype, None if grid is None else int(grid)


class _Dimension(click.ParamType):
    """The size of a symbolic dimension: NAME=N."""

    name = "NAME=N"
    _FORM = re.compile(r"(.+)=([1-9][0-9]{0,8})")

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int]:
        """Return name and size."""
        form = self._FORM.fullmatch(value)
        if form is None:
            self.fail(f"{value!r} is not like sequence=128", param, ctx)
        return form[1], int(form[2])


@click.command()
@click.argument("model", metavar="FLOAT.onnx", type=_FILE)
@click.option("--calibrate", "feeds", type=_FILE, required=True, help="An npz file of sample inputs, by name.")
@click.option("--input", "inputs", type=_Input(), multiple=True, help="How an input is encoded. Repeatable.")
@click.option("--batch", type=click.IntRange(1), help="The size of every symbolic leading dimension.")
@click.option("--dim", "dims", type=_Dimension(), multiple=True, help="The size of a symbolic dimension. Repeatable.")
@click.option("--out", type=_NEW_FILE, required=True, help="The exact program, a new file.")
@click.option(
    "--map", "map_file", type=_NEW_FILE, help="A new file that maps float tensors to exact ones, for compare."
)
def lower(
    model: Path,
    feeds: Path,
    inputs: tuple[tuple[str, str, int | None], ...],
    batch: int | None,
    dims: tuple[tuple[str, int], ...],
    out: Path,
    map_file: Path | None,
) -> None:
    """Lower FLOAT.onnx to an exact program, prove it, and write it.

    FLOAT.onnx has at most 2 GiB of weights. External data is read from its folder.

    An exact program has static shapes. --batch gives symbolic leading dimensions a size, and --dim any symbolic
    dimension, by its name or, without a name, as in --dim x[1]=128. The others get the size that they have in the
    samples; only for leading dimensions of more than one row the samples leave a choice, so give --batch.

    The npz file for --calibrate holds an array for each graph input: several batches stacked along the first axis, or
    one batch, which is used with all batches of the others. Tensors saturate at twice the range that they reach on
    these samples, so give some dozens that look like what will be evaluated.

    An exact program takes integers q that mean q * 2**GRID. By default floats are encoded as int16 on a grid that
    covers twice the samples' range, and token ids, masks and bools as int32. Those that are only 0 or 1 in the samples
    are clipped to 0..1; other integers are not clipped. --input x=int8:-6 declares another encoding, also for adapters
    and weights that are graph inputs: the proof then holds for all integers of that dtype.

    Prints JSON: `file`, `bytes`, `share_of_float` (of the float model's bytes), `inputs` (name, dtype, shape, grid),
    `dimensions` (the sizes of the symbolic dimensions), what `touchstone check` prints, `calibration` (what the samples
    show of each input), `inside` (on two of the sample batches, the tensors that saturate and the worst relative
    errors, with cosine and scale), `warnings`, and `seconds`. Warnings are printed on stderr too. They name tensors
    that saturate or are off by more than 1 %, inputs that are constant in the samples, and rows that are too short. A
    program of which an output is off by more than 50 % on the samples is refused.
    """
    from verifier.exact import load_program
    from verifier.exact.analysis.findings import inspected, spread
    from verifier.exact.analysis.input_feeds import calibration_warnings, seen_inputs
    from verifier.exact.analysis.layer_map import LayerMap
    from verifier.exact.lowering import lower_graph
    from verifier.exact.lowering.dimensions import fix_dimensions
    from verifier.exact.lowering.float_model import batches, inputs_of, load_float_model
    from verifier.exact.lowering.input_quantisation import specs_for

    start = time.monotonic()
    check_new(out, map_file)
    declared = {name: (dtype, grid) for name, dtype, grid in inputs}
    floats = load_float_model(model)
    arrays = _read(feeds)
    dimensions = fix_dimensions(floats, _shapes(arrays), batch, dict(dims))
    expected = inputs_of(floats)
    samples = batches(expected, arrays)
    specs = specs_for(expected, samples, declared)
    with progress_bar() as show:
        calibrated = 0

        def on_feed() -> None:
            nonlocal calibrated
            calibrated += 1
            show("calibrate", calibrated, len(samples))
            if calibrated == len(samples):
                show("lower", 0, 1)

        show("calibrate", 0, len(samples))
        lowered = lower_graph(floats, samples, specs, on_feed=on_feed)
        data = lowered.builder.model(dict(lowered.outputs)).SerializeToString()
        show("prove", 0, 1)
        program = load_program(data)
        known = LayerMap.of(lowered, specs, program, seen_inputs(expected, samples))
        whole = spread(samples)
        others = [sample for sample in samples if not any(sample is item for item in whole)]
        inside = inspected(floats, program, known.layers, whole, known.grids, show, others)
        inside.require_close_outputs()
    write_new(out, data)
    if map_file is not None:
        write_new(map_file, known.to_json().encode())
    warnings = [*calibration_warnings(known.inputs), *inside.warnings()]
    warn(warnings)
    _print(
        file=str(out),
        bytes=len(data),
        share_of_float=round(len(data) / floats.ByteSize(), 4),
        inputs=[
            {"name": item.name, "dtype": item.dtype, "shape": list(item.shape), "grid": specs[item.name].grid}
            for item in program.inputs
        ],
        dimensions=dimensions,
        **_facts(program),
        calibration={
            "batches": len(samples),
            "inputs": [{"name": name, **asdict(seen)} for name, seen in known.inputs.items()],
        },
        inside=inside.summary(),
        warnings=warnings,
        seconds=round(time.monotonic() - start, 2),
    )


@click.command()
@click.argument("program", metavar="EXACT.onnx", type=_FILE)
def check(program: Path) -> None:
    """Prove that EXACT.onnx is exact, without running it.

    Prints JSON. For an exact program: `exact` true, `instructions` (how often each operator occurs), `macs`
    (multiply-accumulates of one run), `peak_bits` (of the largest intermediate integer) with its `peak_node`, and
    `memory_bytes` (of one run). Otherwise: `exact` false, the `node` at fault and the `reason`; the exit status is 1.
    """
    from verifier.exact import NotExactError

    try:
        proven = load_proven(program)
    except NotExactError as error:
        _print(exact=False, node=error.node, reason=error.reason)
        sys.exit(1)
    _print(exact=True, **_facts(proven))


def _facts(program: Program) -> dict[str, Any]:
    """The figures of a proven program that `check` and `lower` print."""
    return {
        "instructions": program.instruction_counts,
        "macs": program.macs,
        "peak_bits": program.peak_bits,
        "peak_node": program.peak_node,
        "memory_bytes": program.memory_bytes,
    }


def load_proven(program: Path) -> Program:
    """Prove an exact program. Errors: NotExactError, which says of a float model how to lower it."""
    from verifier.exact import NotExactError, load_program

    data = program.read_bytes()
    try:
        return load_program(data)
    except NotExactError as error:
        from verifier.exact.lowering.float_model import is_float_model

        if is_float_model(data):
            remedy = f"touchstone lower {program} --calibrate feeds.npz --out exact.onnx"
            raise NotExactError("the model", f"it is a float model: run `{remedy}` first") from error
        raise


@click.command(name="eval")
@click.argument("program", metavar="EXACT.onnx", type=_FILE)
@click.option("--feeds", type=_FILE, required=True, help="An npz file of inputs, by name.")
@click.option("--threads", default=1, show_default=True, type=_THREADS, help="Threads for one operator.")
def evaluate(program: Path, feeds: Path, threads: int) -> None:
    """Run EXACT.onnx and print the digest of its outputs.

    The feeds may be those of `touchstone compare`: one batch, or several stacked along the first axis. Arrays of
    integers and bools are the program's own integers, in any dtype, if its inputs' dtypes hold them. Arrays of floats
    are rounded to the grid by which the program first multiplies the input, and saturate at its dtype, with a warning.

    Prints JSON: `outputs` (name, shape, grid), `digest` and `outputs_sha256`. Both digests are over all outputs in
    graph order, each as its integers value / 2**grid: int64, little-endian, C order. `digest` is the one that a
    verdict's evidence records for a batch: the digest (see `touchstone digest`) of the outputs file, in which each
    output is padded with zeros to a multiple of 1,024 bytes. `outputs_sha256` is the SHA-256 of the integers without
    padding. For several batches, `batches` has both digests of each in their place.
    """
    from verifier.artifacts.digests import to_hex
    from verifier.artifacts.evidence import outputs_digest
    from verifier.exact import Engine
    from verifier.exact.analysis.findings import MAX_ERROR, input_sentence
    from verifier.exact.analysis.input_feeds import saturated_inputs
    from verifier.exact.lowering.float_model import FloatInput
    from verifier.exact.lowering.input_quantisation import batches_of, grids_of_inputs

    proven = load_proven(program)
    arrays = _read(feeds)
    batches = batches_of(proven, arrays)
    given = [FloatInput(name, array.dtype, array.shape, name) for name, array in arrays.items()]
    saturated = saturated_inputs(proven, given, [arrays], grids_of_inputs(proven))
    warn(input_sentence(item) for item in saturated if item["excess"] > MAX_ERROR)
    engine = Engine(proven, threads)
    digests = []
    with progress_bar() as show:
        for done, batch in enumerate(batches, 1):
            outputs = engine.run(batch)
            digests.append({"digest": to_hex(outputs_digest(outputs.values())), "outputs_sha256": _sha256(outputs)})
            show("evaluate", done, len(batches))
    described = [{"name": item.name, "shape": list(item.shape), "grid": item.grid} for item in proven.outputs]
    _print(outputs=described, **(digests[0] if len(batches) == 1 else {"batches": digests}))


@click.command()
@click.argument("model", metavar="FLOAT.onnx", type=_FILE)
@click.argument("program", metavar="EXACT.onnx", type=_FILE)
@click.option("--feeds", type=_FILE, required=True, help="An npz file of inputs of the float model, by name.")
@click.option("--threads", default=1, show_default=True, type=_THREADS, help="Threads of both, for the time ratio.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 1000), help="Pairs of timed runs.")
@click.option("--map", "map_file", type=_FILE, help="The file of `lower --map`, so that the report shows every layer.")
@click.option("--report", type=_NEW_FILE, help="A new HTML file with plots of layers, ranges, saturation and time.")
def compare(
    model: Path, program: Path, feeds: Path, threads: int, runs: int, map_file: Path | None, report: Path | None
) -> None:
    """Compare EXACT.onnx with the FLOAT.onnx that it was lowered from.

    Both run on the same feeds: inputs of the float model in an npz file as for `touchstone lower`. Symbolic dimensions
    have the sizes of the program's inputs. Without --map the grids of the program's inputs are read from the program,
    which first multiplies each input by its grid; for float inputs declared on grid 0 give the map.

    Prints JSON with figures over all batches, each the worst of the `outputs`: `cosine_min` (the smallest cosine of two
    rows along an output's last axis), `scale_error` (the largest difference of their lengths, as a share of the float
    row's, which a cosine does not show), `max_abs_error`, and `argmax_agreement` (the share of rows with the same
    largest element); cosine, scale error and agreement are null where rows have one element. `time_ratio` is the time
    of a batch, exact to float32 onnxruntime with its default options: the median over pairs of runs, one right after
    the other.

    `inside` lists the tensors that saturate and those with the largest relative errors, with cosine and scale;
    `warnings`, also on stderr, name those that matter and say what to do. With --map they are all tensors, by their
    names in the float model, and feeds that go beyond what calibration saw are told.
    """
    from verifier.exact import compare as compare_models
    from verifier.exact.analysis.findings import inspected
    from verifier.exact.analysis.input_feeds import difference_warnings, seen_inputs
    from verifier.exact.analysis.inspect import operator_times
    from verifier.exact.analysis.layer_map import LayerMap
    from verifier.exact.analysis.report import page
    from verifier.exact.lowering.dimensions import fix_to_shapes
    from verifier.exact.lowering.float_model import batches, inputs_of, load_float_model
    from verifier.exact.lowering.input_quantisation import grids_of_inputs, integers

    check_new(report)
    proven = load_proven(program)
    known = LayerMap.from_json(map_file.read_text("utf-8", "replace"), proven) if map_file is not None else None
    grids = known.grids if known is not None else grids_of_inputs(proven)
    floats = load_float_model(model)
    fix_to_shapes(floats, {item.name: item.shape for item in proven.inputs})
    inputs = inputs_of(floats)
    samples = batches(inputs, _read(feeds))
    with progress_bar() as show:
        found = compare_models(floats, proven, samples, grids=grids, threads=threads, runs=runs, on_step=show)
        inside = inspected(floats, proven, known.layers if known is not None else {}, samples, grids, show)
        differences = difference_warnings(known.inputs, seen_inputs(inputs, samples)) if known is not None else ()
        warnings = [*differences, *inside.warnings()]
        summary = _summary(found, len(samples), runs, threads) | {"inside": inside.summary(), "warnings": warnings}
        if report is not None:
            times = operator_times(proven, [integers(proven, inputs, sample, grids) for sample in samples], threads)
            html = page(f"{program.name} against {model.name}", summary, inside, times, known is not None)
            write_new(report, html.encode())
    warn(warnings)
    _print(**summary)


def _summary(found: Comparison, batches: int, runs: int, threads: int) -> dict[str, Any]:
    """The fields that `compare` prints."""
    import onnxruntime  # type: ignore[import-untyped]

    return {
        "cosine_min": found.cosine_min,
        "scale_error": found.scale_error,
        "max_abs_error": found.max_abs_error,
        "argmax_agreement": found.argmax_agreement,
        "time_ratio": round(found.timing.ratio, 3),
        "outputs": [
            {
                "name": item.name,
                "shape": list(item.shape),
                "cosine_min": item.cosine_min,
                "scale_error": item.scale_error,
                "max_abs_error": item.max_abs_error,
                "argmax_agreement": item.argmax_agreement,
            }
            for item in found.outputs
        ],
        "measured": {
            "batches": batches,
            "runs": runs,
            "threads": threads,
            "float_seconds": found.timing.float_seconds,
            "exact_seconds": found.timing.exact_seconds,
            "onnxruntime": onnxruntime.__version__,
        },
    }


@click.command()
def selftest() -> None:
    """Check that this machine's onnxruntime computes exactly.

    Runs the literal vectors. Prints JSON: `onnxruntime` (its version) and `vectors` (how many passed).
    """
    import onnxruntime

    from verifier.exact import self_test

    _print(vectors=self_test(), onnxruntime=onnxruntime.__version__)


def _read(feeds: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file. Errors: FeedError."""
    from verifier.exact import FeedError

    try:
        with np.load(feeds, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise FeedError(f"{feeds} is not an npz file of numeric arrays: {error}") from error


def _shapes(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _sha256(outputs: Mapping[str, NDArray[np.int64]]) -> str:
    """SHA-256, in hex, of all outputs in order, each as little-endian int64 in C order, without padding."""
    found = hashlib.sha256()
    for array in outputs.values():
        found.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return found.hexdigest()


def _print(**fields: Any) -> None:
    click.echo(json.dumps(fields, indent=2))
