"""Measures one model in its own process: `python -m scripts.bench.footprint exact|float FILE FEEDS THREADS`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from verifier.exact import Engine, load_program

STATUS = Path("/proc/self/status")


def main(kind: str, file: Path, feeds_file: Path, threads: int) -> None:
    """Load and run once; print JSON with `load_seconds` and `peak_bytes`, the process's largest resident size."""
    with np.load(feeds_file) as stored:
        feeds = {name: stored[name] for name in stored.files}
    start = time.perf_counter()
    if kind == "exact":
        engine = Engine(load_program(file.read_bytes()), threads)
        loaded = time.perf_counter()
        engine.run(feeds)
    else:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        loaded = time.perf_counter()
        session.run(None, feeds)
    print(json.dumps({"load_seconds": loaded - start, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int | None:
    """Return the largest resident size so far, None on systems other than Linux.

    ru_maxrss would not do: Linux starts a process with its parent's.
    """
    if not STATUS.exists():
        return None
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
