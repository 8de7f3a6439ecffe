"""How onnxruntime is run: one provider and one configuration, for programs and for the probes of a machine.

Import onnxruntime from this module: a variable that would let a model file override the options goes first.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.pop("ORT_LOAD_CONFIG_FROM_MODEL", None)

import onnxruntime as ort  # type: ignore[import-untyped]

__all__ = ["PROVIDER", "ort", "session_options"]

PROVIDER = "CPUExecutionProvider"


def session_options(threads: int) -> Any:
    """The one configuration in which programs are run."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
