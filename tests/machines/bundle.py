"""What is carried to a machine: the engine's own graphs with constants, feeds and grids, for `worker.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.machines.models import Model
from verifier.exact import Program, load_program, outputs_digest, reference
from verifier.exact.runtime.emission import emit
from verifier.exact.runtime.session import session_options
from verifier.exact.vectors import load_vectors

# The options that the engine sets; threads are each machine's own.
OPTIONS = ("graph_optimization_level", "execution_mode", "inter_op_num_threads", "log_severity_level")
Arrays = Mapping[str, np.ndarray[Any, Any]]


def write(folder: Path, models: Sequence[Model]) -> dict[str, str]:
    """A fresh bundle of all vectors and these models; returns each exact digest as the reference computes it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = session_options(threads=1)
    described = {name: getattr(options, name) for name in OPTIONS}
    (folder / "options.json").write_text(
        json.dumps({name: getattr(value, "name", value) for name, value in described.items()})
    )
    for number, vector in enumerate(load_vectors()):
        _exact(folder / f"vector-{number:03}.npz", load_program(vector.model()), vector.feeds(), vector.expected())
    digests = {}
    for model in models:
        _exact(folder / f"exact-{model.name}.npz", model.program, model.feeds)
        _write(
            folder / f"float-{model.name}.npz",
            model.float_model.SerializeToString(),
            {f"feed/{name}": array for name, array in model.float_feeds.items()},
        )
        digests[f"exact-{model.name}"] = outputs_digest(reference.run(model.program, model.feeds)).hex()
    return digests


def _exact(path: Path, program: Program, feeds: Arrays, expected: Arrays | None = None) -> None:
    graph, constants = emit(program)
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
