"""Rows of prompts and answers: how they become tokens, which are held out, and which data sets are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.tasks.language.conftest import options, rows, write_rows
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.language.build import build
from verifier.tasks.kinds.language.examples import read_examples
from verifier.tasks.text.answers import PLACES, TOKENS, AnswerEncoding, PromptAnswer, read_answers, token_arrays

VOCABULARY = 1000  # more than the tiny tokenizers have


def spoiled(base: Path, folder: Path, **settings: Any) -> Path:
    """A copy of a model folder with other settings of its tokenizer."""
    shutil.copytree(base, folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return folder


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("what colour has the sky", "it is blue", " it is blue"),
        ("the sky is blue\n", "it is", "it is"),
        ("my", "sea: é 7", " sea: é 7"),
    ],
    ids=["space between", "line break instead", "rare characters"],
)
def test_encode__prompt_and_answer__are_one_text_of_which_the_answer_counts(
    bases: dict[str, Path], prompt: str, answer: str, expected: str
) -> None:
    base = bases["gpt2"]
    (row,) = AnswerEncoding(base, VOCABULARY).encode([PromptAnswer(prompt, answer)])
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert tokenizer.decode(row.tokens[: row.first]) == prompt
    assert tokenizer.decode(row.tokens[row.first : -1]) == expected
    assert row.tokens[-1] == tokenizer.eos_token_id
    assert row.places.tolist() == list(range(row.first, len(row.tokens)))


def test_encode__token_before_a_text__is_not_counted(bases: dict[str, Path]) -> None:
    (row,) = AnswerEncoding(bases["llama"], VOCABULARY).encode([PromptAnswer("the sky", "is blue")])
    assert row.tokens.tolist() == [0, 6, 12, 8, 20, 1]  # <s> the sky is blue </s>
    assert row.first == 3


def test_token_arrays__rows_of_different_length__are_padded_with_places_that_do_not_count(
    bases: dict[str, Path],
) -> None:
    pairs = [PromptAnswer("the sky", "is blue"), PromptAnswer("my sea", "is very very green")]
    arrays = token_arrays(AnswerEncoding(bases["llama"], VOCABULARY).encode(pairs), VOCABULARY, 9, 6, batch=4)
    assert arrays[TOKENS].dtype == arrays[PLACES].dtype == "int16"
    assert arrays[TOKENS].tolist()[0] == [0, 6, 12, 8, 20, 1, 0, 0, 0]
    assert arrays[PLACES].tolist() == [[3, 4, 5, 0, 0, 0], [3, 4, 5, 6, 7, 0], [0] * 6, [0] * 6]
    assert token_arrays([], 2**15 + 1, 9, 6)[TOKENS].dtype == "int32"


@pytest.mark.parametrize("name", ["rows.tsv", "rows.csv", "rows.jsonl"])
def test_read_answers__formats__keep_line_breaks_where_the_format_has_them(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    answer = "one" if name.endswith("tsv") else "one\n two"
    contents = {
        "rows.tsv": "id\tprompt\tanswer\n7\tsay\tone\n",
        "rows.csv": 'id,prompt,answer\n7,say,"one\n two"\n',
        "rows.jsonl": json.dumps({"prompt": "say", "answer": answer, "id": 7}) + "\n",
    }
    file.write_text(contents[name], "utf-8")
    assert list(read_answers(file)) == [PromptAnswer("say", answer)]


def test_read_answers__unknown_column__names_the_flags(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [{"question": "a", "answer": "b"}])
    with pytest.raises(
        BuildError, match="it has question|the file has question, answer: name its columns with"
    ) as caught:
        list(read_answers(file))
    assert str(caught.value).endswith("with --answer-column and --prompt-column")


def test_read_examples__prompts_that_repeat__are_in_one_set(bases: dict[str, Path], tmp_path: Path) -> None:
    base = rows(40)
    lines = [
        {"prompt": row["prompt"], "answer": f"{row['answer']}{more}"} for row in base for more in ("", " it", " is")
    ]
    file = write_rows(tmp_path / "rows.jsonl", [*lines, *lines[:5]])
    sets = read_examples(options(bases["gpt2"], file, sequence=24), VOCABULARY, 24)
    parts = [{row.text.prompt for row in part} for part in (sets.practice, sets.holdout, sets.train)]
    assert sets.by_prompt
    assert [len(sets.practice), len(sets.holdout)] == [8, 10]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    # ten and eight rows need four and three prompts of three rows
    assert sets.left_out == {"too_long": 0, "repeated": 5, "prompt_in_another_set": 2 + 1}
    assert len(sets.train) == len(lines) - 21


def test_read_examples__one_prompt_for_all_rows__is_split_by_row(bases: dict[str, Path], tmp_path: Path) -> None:
    lines = [{"prompt": "it", "answer": row["prompt"]} for row in rows(60)]
    sets = read_examples(options(bases["gpt2"], write_rows(tmp_path / "r.jsonl", lines)), VOCABULARY, 24)
    assert not sets.by_prompt
    assert len({row.group for row in sets.holdout}) == len(sets.holdout) == 10


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sequence": 25}, "the model takes at most 24 tokens, not 25"),
        ({"sequence": 8}, r"\d+ of 120 rows have more than 8 tokens, the longest has 1\d: raise --sequence"),
        ({"holdout": 200}, "too little for 200 of the holdout, 8 of practice and 24 of calibration: give more rows"),
        ({"targets": ("query",)}, "the model has no linear layer called 'query'"),
        ({"prompt_column": "question"}, "name its columns with --answer-column and --prompt-column"),
    ],
    ids=["positions", "long rows", "few rows", "no such layer", "no such column"],
)
def test_build__impossible_choice__is_refused_and_nothing_written(
    bases: dict[str, Path], dataset: Path, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BuildError, match=problem):
        build(options(bases["llama"], dataset, **changes), tmp_path / "task")
    assert not (tmp_path / "task").exists()


def test_build__empty_data_set__says_that_rows_are_missing(bases: dict[str, Path], tmp_path: Path) -> None:
    file = write_rows(tmp_path / "empty.jsonl", [])
    with pytest.raises(BuildError, match="the data set has 0 different rows of at most 14 tokens"):
        build(options(bases["llama"], file), tmp_path / "task")


def test_build__tokenizer_without_an_end__says_what_to_set(
    bases: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    base = spoiled(bases["llama"], tmp_path / "base", eos_token=None)
    with pytest.raises(BuildError, match=r"has no end token, which ends every answer: set `eos_token`"):
        build(options(base, dataset), tmp_path / "task")


def test_encode__texts_of_another_language__say_that_their_tokens_are_unknown(bases: dict[str, Path]) -> None:
    with pytest.raises(BuildError, match=r"67% of the data set's tokens are unknown to the tokenizer in .*: is it"):
        AnswerEncoding(bases["llama"], VOCABULARY).encode([PromptAnswer("der Himmel", "blue")])


def test_encode__token_without_an_embedding__names_the_text(bases: dict[str, Path]) -> None:
    with pytest.raises(BuildError, match="the text 'the sky is blue' has the token 20, but the model has embeddings"):
        AnswerEncoding(bases["llama"], 20).encode([PromptAnswer("the sky", "is blue")])
