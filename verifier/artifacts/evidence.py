"""Evidence: the files that a verdict's scores can be checked against, piece by piece.

The outputs of one run of the program are a file: the score, then the other outputs, as little-endian int64 in row
order, each padded with zeros to whole chunks. The evidence is a file of 64-byte records, one for every submission in
commit order and every batch: digest of the batch's outputs file, then the submission's running score after it. Two
neighbouring records show a wrong sum, one record and a chunk of the outputs show a wrong score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.digests import CHUNK_BYTES, DIGEST_BYTES, digest

SCORE_BYTES = 32  # int256, big-endian, as the EVM has it
RECORD_BYTES = DIGEST_BYTES + SCORE_BYTES


@dataclass(frozen=True)
class Record:
    """One batch of one submission: digest of the outputs file, and the sum of the scores up to and with this batch."""

    outputs: bytes
    running: int

    def to_bytes(self) -> bytes:
        """64 bytes. Errors: OverflowError when the score is no int256."""
        return self.outputs + self.running.to_bytes(SCORE_BYTES, "big", signed=True)


def outputs_file(outputs: Iterable[NDArray[np.int64]]) -> bytes:
    """The file of one run's outputs, the score first. Errors: TypeError when an output is not int64."""
    parts = []
    for values in outputs:
        if values.dtype != np.int64:
            raise TypeError(f"outputs are int64, not {values.dtype}")
        parts.append(_padded(values.astype("<i8", copy=False).tobytes()))
    return b"".join(parts)


def outputs_digest(outputs: Iterable[NDArray[np.int64]]) -> bytes:
    """The digest of one run's outputs file. Errors: TypeError when an output is not int64."""
    return digest(outputs_file(outputs))


def evidence_file(submissions: Sequence[Sequence[Record] | None], batches: int) -> bytes:
    """The records of all submissions in commit order, padded to whole chunks.

    None stands for a submission that was not evaluated (unscored or a misfit): its records are zeros.
    Errors: ValueError when an evaluated submission has not one record for each of the `batches`.
    """
    parts = []
    for index, records in enumerate(submissions):
        if records is None:
            parts.append(bytes(RECORD_BYTES * batches))
            continue
        if len(records) != batches:
            raise ValueError(f"submission {index} has {len(records)} records, the set has {batches} batches")
        parts.extend(record.to_bytes() for record in records)
    return _padded(b"".join(parts))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % CHUNK_BYTES)
