"""Runs a bundle of programs with whatever NumPy and onnxruntime a folder has, and prints digests as JSON.

    python -S worker.py SITE_PACKAGES BUNDLE THREADS

It runs where nothing else of Touchstone can, so it reads what `bundle.py` wrote and needs no more than those two
packages. An exact program is a graph with constants and feeds, and the grid of each output (0 for integers); a vector
has the expected integers too; what is "float" runs as anybody would run it.
"""

import hashlib
import json
import os
import platform
import sys
from pathlib import Path

os.environ.pop("ORT_LOAD_CONFIG_FROM_MODEL", None)
sys.path.insert(0, sys.argv[1])

import numpy as np
import onnxruntime as ort


def pinned(described, threads):
    """Session options as the engine has them, from their names and values."""
    options = ort.SessionOptions()
    for name, value in described.items():
        kind = type(getattr(options, name))
        setattr(options, name, getattr(kind, value) if isinstance(value, str) else value)
    options.intra_op_num_threads = threads
    return options


def evaluate(path, options):
    """The arrays that come out of one file, and the integers that were expected of it (empty unless a vector)."""
    with np.load(path) as stored:
        parts = {name: stored[name] for name in stored.files}
    of = {
        kind: {name.partition("/")[2]: array for name, array in parts.items() if name.startswith(kind + "/")}
        for kind in ("feed", "grid", "expected")
    }
    session = ort.InferenceSession(parts["graph"].tobytes(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    results = session.run(names, of["feed"])
    if of["grid"]:
        # -0.0 becomes 0 here, before anything is hashed.
        results = [
            (np.ldexp(array, -int(of["grid"][name])) if array.dtype == np.float64 else array).astype("<i8")
            for name, array in zip(names, results)  # noqa: B905  (any Python may run this)
        ]
    return results, [of["expected"][name] for name in names if name in of["expected"]]


def digest(arrays):
    """SHA-256 over all arrays in order."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def main(bundle, threads):
    """Every vector and model of the bundle."""
    described = json.loads((bundle / "options.json").read_text("utf-8"))
    wrong = []
    vectors = sorted(bundle.glob("vector-*.npz"))
    for path in vectors:
        try:
            found, expected = evaluate(path, pinned(described, threads))
            right = all(a.shape == b.shape and bool((a == b).all()) for a, b in zip(found, expected))  # noqa: B905
        except Exception as error:
            print(path.name, error, file=sys.stderr)
            right = False
        if not right:
            wrong.append(path.stem)
    digests = {}
    for path in sorted(bundle.glob("exact-*.npz")):
        digests[path.stem] = digest(evaluate(path, pinned(described, threads))[0])
    for path in sorted(bundle.glob("float-*.npz")):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        digests[path.stem] = digest(evaluate(path, options)[0])
    print(
        json.dumps(
            {
                "onnxruntime": ort.__version__,
                "machine": platform.machine(),
                "vectors": len(vectors),
                "wrong": wrong,
                "digests": digests,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[2]), int(sys.argv[3]))
