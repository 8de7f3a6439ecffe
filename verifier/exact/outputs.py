"""The digest of a run: the same 32 bytes on every honest machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def outputs_digest(outputs: Mapping[str, NDArray[np.int64]]) -> bytes:
    """SHA-256 over all outputs in graph order, each as its integers q, int64, little-endian, C order."""
    digest = hashlib.sha256()
    for array in outputs.values():
        digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return digest.digest()
