"""Data sets as people have them: formats, columns, repeated and contradicted texts, labels, and their split."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from verifier.tasks.errors import BuildError
from verifier.tasks.sets import Split
from verifier.tasks.text.rows import Row, alike, distinct, encode_rows, labels_of, read_all_rows, read_rows
from verifier.tasks.text.tables import Columns

FINE, DULL = Row("good", 'a "fine", warm film'), Row("bad", "dull")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("d.csv", 'label,text\ngood,"a ""fine"", warm film"\nbad,dull\n'),
        ("d.csv", 'id;text;label\n1;"a ""fine"", warm film";good\n\n2;dull;bad\n'),
        ("d.csv", '\ufefflabel,text\r\ngood,"a ""fine"", warm film"\r\nbad,dull\r\n'),
        ("d.tsv", 'label\ttext\ngood\t"a ""fine"", warm film"\nbad\tdull\n'),
        ("d.tsv", 'label\ttext\ngood\ta "fine", warm film\nbad\tdull\n'),
        ("d.tsv", 'id\ttext\tlabel\n1\ta "fine", warm film\tgood\n2\tdull\tbad\n'),
        (
            "d.jsonl",
            '{"text": "a \\"fine\\", warm film", "label": "good"}\n\n{"label": "bad", "text": "dull", "n": 1}\n',
        ),
        ("d.csv", 'label,text\ngood,"a ""fine"",\n warm film"\nbad,dull\n'),
    ],
)
def test_read_rows__each_format_and_quoting__gives_the_same_rows(tmp_path: Path, name: str, data: str) -> None:
    (tmp_path / name).write_text(data, "utf-8", newline="")
    found = [Row(row.label, " ".join(row.text.split())) for row in read_rows(tmp_path / name)]
    assert found == [FINE, DULL]


def test_read_rows__own_columns__are_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("review,sentiment\na film,1\nthe film,0\n")
    assert read_rows(file, Columns(label="sentiment", text="review")) == [Row("1", "a film"), Row("0", "the film")]
    file = tmp_path / "d.jsonl"
    file.write_text('{"review": "a film", "sentiment": 1}\n{"review": "the film", "sentiment": true}\n')
    assert read_rows(file, Columns(label="sentiment", text="review")) == [Row("1", "a film"), Row("true", "the film")]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (
            "d.csv",
            b"review,sentiment\nfine,1\n",
            "d.csv, line 1: the header must name the columns `label` and `text`; the file has review, sentiment: name "
            "its columns with --label-column and --text-column",
        ),
        (
            "d.csv",
            b"label,text\ngood,fine, warm\n",
            "d.csv, line 2: 3 cells under a header of 2: quote a cell that",
        ),
        ("d.csv", b'label,text\ngood,"fine\n', "d.csv, line 2: not CSV: unexpected end of data"),
        ("d.csv", b"label,text\ngood,\n", "d.csv, line 2: `label` or `text` is empty"),
        ("d.csv", b"label,text\ngood," + b"x" * (2 << 20), "d.csv, line 2: not CSV: field larger than field limit"),
        (
            "d.tsv",
            b"review\tsentiment\nfine\t1\n",
            "the file has review, sentiment: name its columns with --label",
        ),
        (
            "d.jsonl",
            b'{"label": "good"}\n',
            "line 1: an object must have `label` and `text`; the file has label",
        ),
        (
            "d.jsonl",
            b'{"label": 1.5, "text": "x"}\n',
            "line 1: `label` must be a text or a whole number and `text` a",
        ),
        (
            "d.jsonl",
            b'{"label": 1, "text": ["x"]}\n',
            "line 1: `label` must be a text or a whole number and `text` a",
        ),
        ("d.jsonl", b"\n[1]\n", "d.jsonl, line 2: not a JSON object"),
        ("d.jsonl", b"{\n", "d.jsonl, line 1: not JSON"),
        ("d.jsonl", b"[" * 100_000, "d.jsonl, line 1: nested too deeply"),
        ("d.jsonl", b'{"label": 1, "text": "\\ud800"}\n', "line 1: half of a surrogate pair, which is not a character"),
        ("d.parquet", b"PAR1", r"\.parquet files are not read: convert it, .*pandas\.read_parquet\('d\.parquet'\)"),
        ("d.xlsx", b"PK", r"\.xlsx files are not read: convert it, .*pandas\.read_excel\('d\.xlsx'\)"),
        ("d.tsv", "label\ttext\n".encode("utf-16"), "the file is UTF-16: save it as UTF-8"),
    ],
)
def test_read_rows__file_that_cannot_be_read__says_where_and_what_to_do(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BuildError, match=reason):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    "texts",
    [
        ["plain", "another"],
        ['"quoted from end to end"', "plain"],
        ['"quoted" at the start', '"all"'],
        ['"with ""doubled"" marks"', '"'],
        ['""', "plain"],
    ],
)
def test_encode_rows__texts_with_quotation_marks__are_read_back_as_they_were(tmp_path: Path, texts: list[str]) -> None:
    rows = [Row("label", text) for text in texts]
    (tmp_path / "train.tsv").write_bytes(encode_rows(rows))
    assert read_rows(tmp_path / "train.tsv") == rows


def test_read_all_rows__texts_that_repeat__are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "d.tsv"
    file.write_text("label\ttext\ngood\tfine\nbad\tfine\n")
    assert list(read_all_rows(file)) == [Row("good", "fine"), Row("bad", "fine")]


def test_distinct__equal_tokens_or_texts_that_look_equal__are_one_example() -> None:
    texts = ["A fine film", "a fine\u00a0 film", "a\u200b fine film", "other words", "the last", "a film"]
    keys = [b"1", b"2", b"3", b"1", b"4", b"5"]
    found = distinct([Row("good", text) for text in texts], keys)
    assert [row.text for row in found.rows] == ["A fine film", "the last", "a film"]
    assert (found.repeated, found.contradicted) == (3, 0)


def test_distinct__text_with_two_labels__is_left_out_whole() -> None:
    rows = [Row("good", f"text {number}") for number in range(30)]
    rows += [Row("bad", "text 7"), Row("good", "text 8")]
    found = distinct(rows, [row.text.encode() for row in rows])
    assert [row.text for row in found.rows] == [f"text {number}" for number in range(30) if number != 7]
    assert (found.repeated, found.contradicted) == (1, 2)


def test_distinct__many_texts_with_two_labels__are_refused() -> None:
    rows = [Row(label, f"text {number}") for number in range(10) for label in ("good", "bad")]
    with pytest.raises(BuildError, match="^20 of 20 rows have a text that also has another label, for example 'text"):
        distinct(rows, [row.text.encode() for row in rows])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("10", "9", "2"), ("2", "9", "10")),
        (("1", "-2", "-10"), ("-10", "-2", "1")),
        (("10", "9", "two"), ("10", "9", "two")),
        (("01", "1"), ("01", "1")),
    ],
)
def test_labels_of__whole_numbers__are_ordered_by_value(labels: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert labels_of([Row(label, label) for label in labels]) == expected


def draw(items: list[str], practice: int, holdout: int, seed: int) -> Split[str]:
    return Split.draw(items, practice, holdout, 1, seed, class_of=lambda item: item[0])


def counts(items: list[str]) -> Counter[str]:
    return Counter(item[0] for item in items)


def test_draw__balanced_classes__are_the_sets_of_a_plain_shuffle() -> None:
    items = [f"{'ab'[number % 2]}{number}" for number in range(400)]
    same = sum(draw(items, 60, 40, seed) == Split.draw(items, 60, 40, 1, seed) for seed in range(50))
    assert same > 35  # chance exceeds two standard deviations in a tenth of these pairs of sets


@pytest.mark.parametrize("seed", range(40))
def test_draw__rare_class__is_in_every_set_in_proportion(seed: int) -> None:
    items = [f"a{number}" for number in range(180)] + [f"b{number}" for number in range(20)]
    random.Random(seed).shuffle(items)
    found = draw(items, 30, 20, seed)
    assert sorted(found.practice + found.holdout + found.train) == sorted(items)
    assert (len(found.practice), len(found.holdout)) == (30, 20)
    assert 1 <= counts(found.holdout)["b"] <= 4
    assert 1 <= counts(found.practice)["b"] <= 6
    assert counts(found.train)["b"] >= 10


@pytest.mark.parametrize("seed", range(20))
def test_draw__class_of_one_example__is_left_for_training(seed: int) -> None:
    items = [f"a{number}" for number in range(10)] + ["b0"]
    assert counts(draw(items, 4, 4, seed).train)["b"] == 1


def test_draw__same_seed__gives_the_same_sets() -> None:
    items = [f"{'aaaaaaaaab'[number % 10]}{number}" for number in range(100)]
    for seed in range(20):
        assert draw(items, 15, 12, seed) == draw(items, 15, 12, seed)
    assert len({tuple(sorted(draw(items, 15, 12, seed).holdout)) for seed in range(20)}) == 20


def test_draw__sets_so_large_that_a_class_is_not_trained__is_refused() -> None:
    items = [f"{name}{number}" for name in "abc" for number in range(2)]
    with pytest.raises(BuildError, match="^no example of '.' is left for training: choose smaller sets, or leave the"):
        draw(items, 2, 3, 1)


@pytest.mark.parametrize(
    ("name", "data", "column"),
    [
        ("d.tsv", "label\ttext\ttext\ngood\ta\tb\n", "text"),
        ("d.csv", "label,text,label\ngood,a,bad\n", "label"),
    ],
)
def test_read_rows__a_column_twice__is_refused(tmp_path: Path, name: str, data: str, column: str) -> None:
    (tmp_path / name).write_text(data)
    with pytest.raises(BuildError, match=f"{name}, line 1: 2 columns are called `{column}`: rename all but one$"):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("label", "reason"),
    [("g" * 201, "String should have at most 200 characters$"), ("\x1b[31m", "control characters are not allowed$")],
)
def test_labels__that_no_manifest_takes__are_named_at_once(label: str, reason: str) -> None:
    with pytest.raises(BuildError, match=f"^the label '.{{1,70}}': .*{reason}"):
        labels_of([Row(label, "a"), Row("bad", "b")])


def test_labels__that_people_cannot_tell_apart__are_remarked_on() -> None:
    found = alike(("Good", "bad", "caf\u00e9", "cafe\u0301", "good"))
    assert found == [
        f"the labels {one} and {other} differ only in case, spaces or the form of characters, and are two classes"
        for one, other in ((ascii("caf\u00e9"), ascii("cafe\u0301")), ("'Good'", "'good'"))
    ]
