"""Run a bundle of programs with the NumPy and onnxruntime of a folder, and print their outputs as JSON.

    python -S worker.py SITE_PACKAGES BUNDLE THREADS

The worker runs where the rest of Touchstone cannot: it reads what `bundle.py` wrote and needs only those two packages.
An exact program is a graph with constants and feeds, and the grid of each output (0 for integers); a vector or variant
has the expected integers too; a "float" model runs with onnxruntime's default options. The worker computes no digest:
it prints the bytes of every output in base64, and `environments.Place.run` computes the digests where the package is
installed.
"""

import base64
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
    """The engine's session options, from their names and values."""
    options = ort.SessionOptions()
    for name, value in described.items():
        kind = type(getattr(options, name))
        setattr(options, name, getattr(kind, value) if isinstance(value, str) else value)
    options.intra_op_num_threads = threads
    return options


def evaluate(path, options):
    """Run one file. Returns its output arrays, and the integers expected of them (empty unless it is a vector)."""
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


def encoded(arrays):
    """The bytes of each array in C order, in base64."""
    return [base64.b64encode(array.tobytes()).decode("ascii") for array in arrays]


def main(bundle, threads):
    """Run every vector, variant and model of the bundle, and print the report."""
    described = json.loads((bundle / "options.json").read_text("utf-8"))
    wrong = []
    vectors, variants = (sorted(bundle.glob(f"{kind}-*.npz")) for kind in ("vector", "variant"))
    for path in [*vectors, *variants]:
        try:
            found, expected = evaluate(path, pinned(described, threads))
            right = all(a.shape == b.shape and bool((a == b).all()) for a, b in zip(found, expected))  # noqa: B905
        except Exception as error:
            print(path.name, error, file=sys.stderr)
            right = False
        if not right:
            wrong.append(path.stem)
    outputs = {}
    for path in sorted(bundle.glob("exact-*.npz")):
        outputs[path.stem] = encoded(evaluate(path, pinned(described, threads))[0])
    for path in sorted(bundle.glob("float-*.npz")):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        outputs[path.stem] = encoded(evaluate(path, options)[0])
    print(
        json.dumps(
            {
                "onnxruntime": ort.__version__,
                "machine": platform.machine(),
                "vectors": len(vectors),
                "variants": len(variants),
                "wrong": wrong,
                "outputs": outputs,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[2]), int(sys.argv[3]))
