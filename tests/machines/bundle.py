"""Write a bundle for `worker.py`, and compute the digests of the outputs that it reports.

A bundle holds the engine's own graphs with their constants, feeds and grids, and float models with their feeds. Small
programs that use each instruction in many forms are in it twice: as the engine's graph, and as the file itself.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.exact.programs import feeds_of
from tests.exact.test_depthwise import LAYERS
from tests.exact.test_depthwise import feeds_of as depthwise_feeds
from tests.exact.variants import variant
from tests.machines.models import Model
from verifier.artifacts.digests import digest
from verifier.artifacts.evidence import outputs_digest
from verifier.exact import NotExactError, Program, load_program, reference
from verifier.exact.program.instructions import REGISTRY
from verifier.exact.runtime.convolution_kernels import UNBLOCKED
from verifier.exact.runtime.emission import emit
from verifier.exact.runtime.session import session_options
from verifier.exact.vectors import load_vectors

# The session options that the engine sets and a machine must copy; the number of threads is each machine's own.
OPTIONS = ("graph_optimization_level", "execution_mode", "inter_op_num_threads", "log_severity_level")
Arrays = Mapping[str, np.ndarray[Any, Any]]


def write(folder: Path, models: Sequence[Model], variants: int) -> dict[str, str]:
    """Write a new bundle of all vectors, that many variants of each instruction, and these models.

    Returns the outputs digest of each exact program, in hex, as the reference interpreter computes it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = session_options(threads=1)
    described = {name: getattr(options, name) for name in OPTIONS}
    (folder / "options.json").write_text(
        json.dumps({name: getattr(value, "name", value) for name, value in described.items()})
    )
    for number, vector in enumerate(load_vectors()):
        _exact(folder / f"vector-{number:03}.npz", load_program(vector.model()), vector.feeds(), vector.expected())
    for op in sorted(REGISTRY):
        _variants(folder, op, variants)
    _convolutions(folder)
    expected = {}
    for model in models:
        _exact(folder / f"exact-{model.name}.npz", model.program, model.feeds)
        _write(
            folder / f"float-{model.name}.npz",
            model.float_model.SerializeToString(),
            {f"feed/{name}": array for name, array in model.float_feeds.items()},
        )
        expected[f"exact-{model.name}"] = outputs_digest(reference.run(model.program, model.feeds).values()).hex()
    return expected


def _variants(folder: Path, op: str, count: int) -> None:
    """Write that many proven variants of an instruction."""
    written = number = 0
    while written < count:
        model, number = variant(op, number), number + 1
        if model is None:
            continue
        try:
            load_program(model.SerializeToString())
        except NotExactError:  # a quotient that two nodes read, for example
            continue
        (feeds, *_) = feeds_of(model, number)
        _both(folder, f"{op}-{number:03}", model, feeds)
        written += 1


def _convolutions(folder: Path) -> None:
    """Write depthwise convolutions, in the engine's graph as float32 convolutions without blocks."""
    for number, layer in enumerate(LAYERS.values()):
        model = onnx.load_from_string(layer.lowered())
        program = load_program(model.SerializeToString())
        (feeds, *_) = depthwise_feeds(program)
        _both(folder, f"Conv-{number:03}", model, feeds)


def _both(folder: Path, name: str, model: onnx.ModelProto, feeds: Arrays) -> None:
    """Write a program as the engine's graph and as the file itself, with the reference's integers."""
    program = load_program(model.SerializeToString())
    expected = reference.run(program, feeds)
    _exact(folder / f"variant-{name}-engine.npz", program, feeds, expected)
    parts: dict[str, Any] = {f"feed/{key}": array for key, array in feeds.items()}
    for item in program.outputs:
        parts[f"grid/{item.name}"] = np.array(item.grid)
        parts[f"expected/{item.name}"] = expected[item.name]
    _write(folder / f"variant-{name}-file.npz", model.SerializeToString(), parts)


def digests_of(outputs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Compute the digest of every program's outputs, in hex. Equal digests mean equal bits.

    `outputs` holds, for each program of the bundle, the bytes of its outputs in base64. The digest of an exact program
    is the one that evidence records; the digest of a float model is over the bytes of its outputs, one after another.
    """
    digests = {}
    for name, encoded in outputs.items():
        arrays = [base64.b64decode(text) for text in encoded]
        if name.startswith("exact-"):
            digests[name] = outputs_digest(np.frombuffer(array, "<i8") for array in arrays).hex()
        else:
            digests[name] = digest(b"".join(arrays)).hex()
    return digests


def _exact(path: Path, program: Program, feeds: Arrays, expected: Arrays | None = None) -> None:
    graph, constants = emit(program, find_block=lambda shape: UNBLOCKED)
    parts: dict[str, Any] = {f"feed/{name}": array for name, array in constants.items()}
    for number, item in enumerate(program.inputs):
        parts[f"feed/in{number}"] = feeds[item.name]
    for number, item in enumerate(program.outputs):
        parts[f"grid/out{number}"] = np.array(item.grid)
        if expected is not None:
            parts[f"expected/out{number}"] = expected[item.name]
    _write(path, graph.SerializeToString(), parts)


def _write(path: Path, graph: bytes, parts: Arrays) -> None:
    np.savez(path, graph=np.frombuffer(graph, np.uint8), **parts)
