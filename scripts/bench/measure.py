"""Measures paired times, time by kind of operator, peak memory and load time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from scripts.bench.models import FOLDER, ROOT, ModelFiles
from verifier.artifacts.digests import to_hex
from verifier.artifacts.evidence import outputs_digest
from verifier.exact import Engine, Program, load_program
from verifier.exact.runtime.byte_products import exact_here
from verifier.exact.runtime.convolution_kernels import block_here
from verifier.exact.runtime.emission import emit, never
from verifier.exact.runtime.session import session_options

PRODUCTS = frozenset(
    ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "DynamicQuantizeMatMul", "Attention", "Conv")
)
MOVEMENTS = frozenset(
    (
        *("Reshape", "Transpose", "Slice", "Split", "Concat", "Expand", "Squeeze", "Unsqueeze"),
        *("Gather", "GatherElements", "ReorderInput", "ReorderOutput"),
    )
)
# Rounds that are run but not counted, rounds that are counted, and profiled runs.
WARM_UP = 2
ROUNDS = 15
PROFILED = 5
# Seconds before each timed run: onnxruntime's threads spin for a while after a run and would slow the next one down.
REST = 0.05
CPU = ["CPUExecutionProvider"]


@dataclass(frozen=True)
class PairedTimes:
    """Seconds of each round of the three engines, which run in turn, and the agreement of their results.

    `exact` is the engine as it runs here, `without_bytes` the engine with every product in float64, as on processors
    without byte dot products, and `floating` is float32 onnxruntime. `digest` is that of the exact outputs.
    """

    exact: np.ndarray[Any, Any]
    without_bytes: np.ndarray[Any, Any]
    floating: np.ndarray[Any, Any]
    cosine_min: float
    argmax_agreement: float
    digest: str


def paired(files: ModelFiles, threads: int) -> PairedTimes:
    """Load the engines in this process and run them in turn, so that other load on the machine affects all alike."""
    program = load_program(files.exact_file.read_bytes())
    engine, without_bytes = Engine(program, threads), Engine(program, threads, never)
    session = ort.InferenceSession(files.float_file, default_options(threads), providers=CPU)
    exact_feeds, float_feeds = _feeds(files.exact_feeds), _feeds(files.float_feeds)
    outputs = engine.run(exact_feeds)
    (floats,) = session.run(None, float_feeds)
    if outputs_digest(without_bytes.run(exact_feeds).values()) != outputs_digest(outputs.values()):
        raise SystemExit("products in bytes and in float64 differ on this machine: do not sign verdicts with it")
    times = in_turn(
        lambda: engine.run(exact_feeds),
        lambda: without_bytes.run(exact_feeds),
        lambda: session.run(None, float_feeds),
    )
    ((output, result),) = zip(program.outputs, outputs.values(), strict=True)
    reals = np.ldexp(result.astype(np.float64), output.grid)
    cosines = (reals * floats).sum(-1) / np.linalg.norm(reals, axis=-1) / np.linalg.norm(floats, axis=-1)
    return PairedTimes(
        *times,
        float(cosines.min()),
        float((reals.argmax(-1) == floats.argmax(-1)).mean()),
        to_hex(outputs_digest(outputs.values())),
    )


def in_turn(*runs: Callable[[], Any]) -> list[np.ndarray[Any, Any]]:
    """Run functions one after another, round by round; returns the seconds of each in the rounds that count."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(WARM_UP + ROUNDS):
        for collected, run in zip(times, runs, strict=True):
            seconds = _timed(run)
            if number >= WARM_UP:
                collected.append(seconds)
    return [np.array(collected) for collected in times]


def shares(files: ModelFiles, threads: int) -> dict[str, dict[str, float]]:
    """Return the shares of kernel time in products, elementwise operators and data movement, for exact and float."""
    program = load_program(files.exact_file.read_bytes())
    return {
        "exact": _profile_exact(program, _feeds(files.exact_feeds), threads),
        "float": _profile(files.float_file, default_options(threads), _feeds(files.float_feeds)),
    }


def footprint(files: ModelFiles, threads: int) -> dict[str, dict[str, Any]]:
    """Return `load_seconds` and `peak_bytes` of a process that loads and runs one batch, for exact and float."""
    found = {}
    for kind, file, feeds in (
        ("exact", files.exact_file, files.exact_feeds),
        ("float", files.float_file, files.float_feeds),
    ):
        command = [sys.executable, "-m", "scripts.bench.footprint", kind, str(file), str(feeds), str(threads)]
        found[kind] = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    return found


def _timed(run: Callable[[], Any]) -> float:
    time.sleep(REST)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def default_options(threads: int) -> Any:
    """Make onnxruntime's default options with that number of threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return options


def _feeds(path: Path) -> dict[str, Any]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def _profile_exact(program: Program, feeds: dict[str, Any], threads: int) -> dict[str, float]:
    model, constants = emit(program, partial(exact_here, threads=threads), partial(block_here, threads=threads))
    numbered = {f"in{number}": feeds[item.name] for number, item in enumerate(program.inputs)}
    return _profile(model.SerializeToString(), session_options(threads), numbered | constants)


def _profile(model: bytes | Path, options: Any, feeds: dict[str, Any]) -> dict[str, float]:
    options.enable_profiling = True
    options.profile_file_prefix = str(FOLDER / "profile")
    session = ort.InferenceSession(model, options, providers=CPU)
    for _ in range(PROFILED):
        session.run(None, feeds)
    written = Path(session.end_profiling())
    spent: Counter[str] = Counter()
    for event in json.loads(written.read_text("utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[_kind(event["args"]["op_name"])] += event["dur"]
    written.unlink()
    total = spent.total()
    return {part: spent[part] / total for part in ("GEMM", "elementwise", "data movement")}


def _kind(operator: str) -> str:
    if operator in PRODUCTS:
        return "GEMM"
    return "data movement" if operator in MOVEMENTS else "elementwise"
