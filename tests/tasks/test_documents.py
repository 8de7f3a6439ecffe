"""Texts read document by document, and cut into rows."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from verifier.tasks.errors import BuildError
from verifier.tasks.text import documents
from verifier.tasks.text.documents import Document, read_documents


def test_read_documents__folder__is_a_document_a_file(tmp_path: Path) -> None:
    for name, text in (("b.txt", "second"), ("a.txt", "first"), (".hidden", "no"), ("c.txt", "first"), ("d.txt", " ")):
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    assert read_documents(tmp_path) == [Document("a.txt", b"first"), Document("b.txt", b"second")]


def test_read_documents__file_with_a_separator__keeps_every_byte(tmp_path: Path) -> None:
    file = tmp_path / "all.txt"
    file.write_bytes(b"ACT\r\none\n ACT \nmore\nACT\ntwo")
    found = read_documents(file, "ACT")
    assert [document.data for document in found] == [b"ACT\r\none\n ACT \nmore\n", b"ACT\ntwo"]


def test_read_documents__many_parts__are_compared_in_linear_time(tmp_path: Path) -> None:
    file = tmp_path / "all.txt"
    file.write_text("".join(f"ACT\n{number}\n" for number in range(50_000)))
    began = time.process_time()
    found = read_documents(file, "ACT")
    assert time.process_time() - began < 5.0  # comparing each with all others takes minutes
    assert [found[0].data, found[-1].data, len(found)] == [b"ACT\n0\n", b"ACT\n49999\n", 50_000]


def test_rows__text_is_no_multiple_of_the_context__the_rest_is_dropped() -> None:
    np.testing.assert_array_equal(Document("a", b"abcdefgh").rows(3), [list(b"abc"), list(b"def")])


@pytest.mark.parametrize(
    ("spoil", "separator", "problem"),
    [
        (lambda folder: None, None, "has no text"),
        (lambda folder: (folder / "a").write_text("text"), "ACT", "a separator has no meaning there"),
        (lambda folder: (folder / "a").write_bytes(b"x" * 101), None, "at most 100 are read"),
    ],
    ids=["empty", "folder and separator", "too large"],
)
def test_read_documents__unusable__is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: object, separator: str | None, problem: str
) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 100)
    assert callable(spoil)
    spoil(tmp_path)
    with pytest.raises(BuildError, match=problem):
        read_documents(tmp_path, separator)


def test_read_documents__file_does_not_exist__is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot read .*nothing\.txt"):
        read_documents(tmp_path / "nothing.txt")
