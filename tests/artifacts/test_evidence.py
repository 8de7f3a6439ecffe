"""Outputs files and evidence files, compared byte by byte with their specification."""

import numpy as np
import pytest

from verifier.artifacts.digests import digest
from verifier.artifacts.evidence import Record, evidence_file, outputs_digest, outputs_file


def test_outputs_file__score_and_logits__are_little_endian_int64_padded_to_chunks() -> None:
    logits = np.arange(-100, 100, dtype=np.int64).reshape(2, 100)
    data = outputs_file([np.array([-7], np.int64), logits])
    expected = b"".join(value.to_bytes(8, "little", signed=True) for value in range(-100, 100))
    assert data[:8] == (-7).to_bytes(8, "little", signed=True)
    assert data[8:1024] == bytes(1016)
    assert data[1024:] == expected + bytes(2048 - 1600)
    assert outputs_digest([np.array([-7], np.int64), logits]) == digest(data)


def test_outputs_file__output_of_whole_chunks__is_not_padded() -> None:
    assert len(outputs_file([np.zeros(128, np.int64)])) == 1024


def test_outputs_file__transposed_view__is_in_row_order() -> None:
    matrix = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert outputs_file([matrix.T]) == outputs_file([np.ascontiguousarray(matrix.T)])


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.float64])
def test_outputs_file__other_dtype__is_refused(dtype: type) -> None:
    with pytest.raises(TypeError, match="outputs are int64, not"):
        outputs_file([np.zeros(1, dtype)])


def test_evidence_file__two_submissions_and_an_unscored_one__are_records_in_commit_order() -> None:
    first = [Record(b"\x01" * 32, 5), Record(b"\x02" * 32, 3)]
    third = [Record(b"\x03" * 32, -1), Record(b"\x04" * 32, -(2**96))]
    data = evidence_file([first, None, third], batches=2)
    assert len(data) == 1024
    assert data[:64] == b"\x01" * 32 + bytes(31) + b"\x05"
    assert data[64:128] == b"\x02" * 32 + bytes(31) + b"\x03"
    assert data[128:256] == bytes(128)
    assert data[256:320] == b"\x03" * 32 + b"\xff" * 32
    assert data[320:384] == b"\x04" * 32 + b"\xff" * 19 + b"\xff" + bytes(12)
    assert data[384:] == bytes(640)


def test_evidence_file__sixteen_records__are_one_chunk() -> None:
    assert len(evidence_file([[Record(bytes(32), 0)] * 16], batches=16)) == 1024
    assert len(evidence_file([[Record(bytes(32), 0)] * 17], batches=17)) == 2048


def test_evidence_file__submission_with_too_few_records__is_refused() -> None:
    with pytest.raises(ValueError, match=r"^submission 1 has 1 records, the set has 2 batches$"):
        evidence_file([None, [Record(bytes(32), 0)]], batches=2)
