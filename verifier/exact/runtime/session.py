"""The pinned configuration of onnxruntime, for programs and for the tests of a machine.

Import onnxruntime from this module: it first removes an environment variable that lets a model file override the
options of a session.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.pop("ORT_LOAD_CONFIG_FROM_MODEL", None)

import onnxruntime as ort  # type: ignore[import-untyped]

__all__ = ["PROVIDER", "ort", "session_options"]

# The only execution provider that programs run on.
PROVIDER = "CPUExecutionProvider"


def session_options(threads: int) -> Any:
    """Make the options with which every program runs; `threads` compute one operator in parallel."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Each tensor is freed after its last reader. A plan of reuse keeps buffers for tensors that come later, and the
    # second run allocates them once more as one block: up to four times the memory, and no faster.
    options.enable_mem_reuse = False
    options.enable_mem_pattern = False
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
