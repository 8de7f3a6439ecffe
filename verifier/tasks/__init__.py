"""Tasks: what solvers are asked to reach, and the exact program that scores them.

This module is the public surface; what is not listed here is private. Importing it imports neither torch nor onnx.

- `build(kind, options, out)` writes a task, `pack(path, manifest)` makes a submission, `score(…)` computes its exact
  score. All sizes are bytes; a score is an integer in the unit that the manifest's metric states.
- `load_manifest(file)` reads a `Manifest`.
- `Kind` is what a package provides to add a kind; its options and settings derive from `KindOptions` and
  `KindSettings`, its `pack` returns a `Packed`. `find_kind` and `registrations` look at the kinds that are installed.
- `TaskDraft`, `ExampleSet`, `write_task` and `summarise` write the files of a task from what a builder has decided.

Errors are in `verifier.tasks.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifier.tasks.judge import EvaluationLimits, score
    from verifier.tasks.manifest import Manifest, load_manifest, padded_rows
    from verifier.tasks.registry import (
        Kind,
        KindOptions,
        KindSettings,
        OnStep,
        Packed,
        Registration,
        ServerUrl,
        Trainer,
        build,
        find_kind,
        pack,
        read_settings,
        registrations,
    )
    from verifier.tasks.sets import ExampleSet
    from verifier.tasks.writing import TaskDraft, summarise, write_task

# Where each public name is defined. It is imported on first use, because scoring and writing need onnx.
_MODULES = {
    "EvaluationLimits": "judge",
    "ExampleSet": "sets",
    "Kind": "registry",
    "KindOptions": "registry",
    "KindSettings": "registry",
    "Manifest": "manifest",
    "OnStep": "registry",
    "Packed": "registry",
    "Registration": "registry",
    "ServerUrl": "registry",
    "TaskDraft": "writing",
    "Trainer": "registry",
    "build": "registry",
    "find_kind": "registry",
    "load_manifest": "manifest",
    "pack": "registry",
    "padded_rows": "manifest",
    "read_settings": "registry",
    "registrations": "registry",
    "score": "judge",
    "summarise": "writing",
    "write_task": "writing",
}

__all__ = [
    "EvaluationLimits",
    "ExampleSet",
    "Kind",
    "KindOptions",
    "KindSettings",
    "Manifest",
    "OnStep",
    "Packed",
    "Registration",
    "ServerUrl",
    "TaskDraft",
    "Trainer",
    "build",
    "find_kind",
    "load_manifest",
    "pack",
    "padded_rows",
    "read_settings",
    "registrations",
    "score",
    "summarise",
    "write_task",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
