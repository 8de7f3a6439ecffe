"""Evidence: the files from which every score of a verdict can be checked, piece by piece. This layout is normative.

The *outputs file* holds the outputs of one run of the program, on one submission and one batch. It is the
concatenation, in the order of the program's outputs (the score is the first), of each output's elements in row-major
(C) order, every element an int64 in two's complement, little-endian, 8 bytes; after each output follow zero bytes up
to the next multiple of 1,024. It has no header: the program determines the number of outputs and their shapes. The
*outputs digest* is the digest (verifier.artifacts.digests) of this file.

The *evidence file* holds one 64-byte record for each submission, in the order in which they were committed, and for
each batch of that submission, in the order of the evaluation set:

| bytes    | content                                                                                                |
|----------|--------------------------------------------------------------------------------------------------------|
| 0 to 31  | the outputs digest of that run                                                                         |
| 32 to 63 | the sum of the submission's scores up to and including that batch: int256, two's complement, big-endian |

All records of a submission that was not evaluated are zero bytes. After the last record follow zero bytes up to the
next multiple of 1,024. The digest of this file is the evidence digest of a verdict.

Two neighbouring records show a wrong sum; one record and the first chunk of its outputs file show a wrong score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.digests import CHUNK_BYTES, DIGEST_BYTES, digest

SCORE_BYTES = 32  # int256, the EVM's own integer
RECORD_BYTES = DIGEST_BYTES + SCORE_BYTES


@dataclass(frozen=True)
class Record:
    """One batch of one submission: the outputs digest, and the sum of the scores up to and including this batch."""

    outputs: bytes
    running: int

    def to_bytes(self) -> bytes:
        """Return the record's 64 bytes. Errors: OverflowError when the sum does not fit in an int256."""
        return self.outputs + self.running.to_bytes(SCORE_BYTES, "big", signed=True)


def outputs_file(outputs: Iterable[NDArray[np.int64]]) -> bytes:
    """Return the outputs file of one run, given its outputs in the program's order, the score first.

    Errors: TypeError when an output is not int64.
    """
    parts = []
    for values in outputs:
        if values.dtype != np.int64:
            raise TypeError(f"outputs are int64, not {values.dtype}")
        parts.append(_padded(values.astype("<i8", copy=False).tobytes()))
    return b"".join(parts)


def outputs_digest(outputs: Iterable[NDArray[np.int64]]) -> bytes:
    """Return the digest of one run's outputs file. Errors: TypeError when an output is not int64."""
    return digest(outputs_file(outputs))


def evidence_file(submissions: Sequence[Sequence[Record] | None], batches: int) -> bytes:
    """Return the evidence file, given each submission's records in commit order.

    None stands for a submission that was not evaluated (not scored, or a misfit).
    Errors: ValueError when an evaluated submission does not have exactly one record for each of the `batches`.
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
    """Append zero bytes up to the next multiple of CHUNK_BYTES."""
    return data + bytes(-len(data) % CHUNK_BYTES)
