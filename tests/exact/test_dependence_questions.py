"""Questions about a decoder, its padding and its rows; what is refused; tensors that are too large to tell apart."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.exact.graphs import data
from tests.lowering.decoder import (
    CAUSAL_FORMS,
    PADDED_FORMS,
    ROWS,
    SHAPES,
    TOKENS,
    VOCABULARY,
    exact_file,
    extreme,
    program,
)
from verifier.cli.main import cli
from verifier.exact import DependenceError, Engine, load_program
from verifier.exact.dependence import (
    inputs_of_outputs,
    reach,
    reach_of_padding,
    require_causal,
    require_padding_ignored,
    require_separate,
)

LATER = np.triu(np.ones((TOKENS, TOKENS), np.bool_), 1)


@pytest.mark.parametrize("causal", CAUSAL_FORMS)
def test_reach__decoder__depends_on_earlier_tokens_and_its_own_row(causal: str) -> None:
    decoder = program(causal)
    tokens = reach(decoder, "input_ids", 1)["result"]
    assert np.array_equal(tokens.along(1), ~LATER)
    assert tokens.along(2).all()
    assert np.array_equal(reach(decoder, "input_ids", 0)["result"].along(0), np.eye(ROWS, dtype=np.bool_))
    assert inputs_of_outputs(decoder) == {"result": tuple(item.name for item in decoder.inputs)}
    require_causal(decoder, {"input_ids": 1}, {"result": 1})
    require_separate(decoder, {"input_ids": 0}, {"result": 0})


@pytest.mark.parametrize("causal", CAUSAL_FORMS)
@pytest.mark.parametrize("padded", PADDED_FORMS)
def test_reach__decoder_with_padding__ignores_padding_and_is_causal_behind_a_first_token(
    causal: str, padded: str
) -> None:
    decoder = program(causal, padded)
    found = reach_of_padding(decoder, "input_ids", "attention_mask")["result"].along(1)
    assert not (found & ~np.eye(TOKENS, dtype=np.bool_))[:, 1:].any()
    require_padding_ignored(decoder, "input_ids", "attention_mask", {"result": 1})
    require_causal(decoder, {"input_ids": 1}, {"result": 1}, unmasked="attention_mask")


def test_require_causal__row_that_can_be_masked_throughout__names_the_positions() -> None:
    with pytest.raises(DependenceError) as caught:
        require_causal(program("added -1e9", "added lowest"), {"input_ids": 1}, {"result": 1})
    assert str(caught.value) == (
        "output 'result' at position 0 of axis 1 may depend on position 1 of axis 1 of 'input_ids': it must not depend "
        "on later positions. Look for a mask that the model does not apply, or for scores that are not far above "
        "masked ones in calibration"
    )


def test_run__token_ids_beyond_the_vocabulary__are_clipped_before_they_gather() -> None:
    engine, rng = Engine(program("added -1e9")), np.random.default_rng(4)
    submission = extreme(rng)
    ids = rng.choice([-(2**15), -1, 0, VOCABULARY - 1, VOCABULARY, 2**15 - 1], (ROWS, TOKENS)).astype(np.int16)
    wild, clipped = (engine.run({"input_ids": given, **submission}) for given in (ids, ids.clip(0, VOCABULARY - 1)))
    assert np.array_equal(wild["result"], clipped["result"])


def test_inputs_of_outputs__more_inputs_than_one_pass_has_bits__names_each() -> None:
    count = 1100
    inputs = {f"x{number}": ("int32" if number in (0, 1024, 64, 1099) else "int8", (2,)) for number in range(count)}
    limited = [("Min", f"x{number} top", f"t{number}") for number in (0, 1024, 64, 1099)]
    limited += [("Max", f"t{number} low", f"l{number}") for number in (0, 1024, 64, 1099)]
    rows = [*limited, ("Add", "l0 l1024", "y"), ("Identity", "x63", "z"), ("Add", "l1099 l64", "w")]
    limits = {"top": np.int32(9), "low": np.int32(-9)}
    assert inputs_of_outputs(load_program(data(rows, inputs, limits, outputs="y z w"))) == {
        "y": ("x0", "x1024"),
        "z": ("x63",),
        "w": ("x64", "x1099"),
    }


def test_require__what_the_program_does_not_have__says_what_it_has() -> None:
    decoder = program("added -1e9", "added lowest")
    for call, message in (
        (lambda: reach(decoder, "ids", 1), "no input is called 'ids'; inputs are ['input_ids', "),
        (lambda: reach(decoder, "input_ids", 2), "input 'input_ids' has no axis 2: its shape is [2, 8]"),
        (lambda: reach_of_padding(decoder, "input_ids", "head"), "the mask 'head' has the shape [5, 16], it must have"),
        (
            lambda: require_causal(decoder, {"input_ids": 1}, {"y": 1}),
            "no output is called 'y'; outputs are ['result']",
        ),
        (
            lambda: require_separate(decoder, {"input_ids": 0}, {"result": 3}),
            "output 'result' has no axis 3: its shape",
        ),
    ):
        with pytest.raises(DependenceError) as caught:
            call()
        assert str(caught.value).startswith(message)


def test_reach__axis_that_is_too_long__is_refused() -> None:
    long = load_program(data([("Identity", "x", "y")], {"x": ("int8", (1, 8192))}))
    with pytest.raises(DependenceError, match=r"axis 1 of input 'x' has 8192 positions: 1 to 4096 can be told apart"):
        reach(long, "x", 1)


def test_reach__optional_lists_that_are_left_out__are_not_mistaken_for_others() -> None:
    rows = [
        ("Cast", "x", "a", {"to": 11}),
        ("Slice", "a start end - step", "b"),
        ("ReduceMax", "a -", "c", {"keepdims": 0}),
        ("Split", "a", "d e", {"axis": 1, "num_outputs": 2}),
        *(("Cast", name, f"{name}_", {"to": 6}) for name in "bcde"),
    ]
    lists = {"start": np.array([0, 3]), "end": np.array([4, -5]), "step": np.array([2, -1])}
    program = load_program(data(rows, {"x": ("int8", (4, 4))}, lists, outputs="b_ c_ d_ e_"))
    found = reach(program, "x", 1)
    assert found["b_"].along(1).astype(int).tolist() == np.eye(4, dtype=int)[::-1].tolist()
    assert found["c_"].positions.all()
    assert found["d_"].positions.tolist() == [True, True, False, False]
    assert found["e_"].along(1).tolist() == [[False, False, True, False], [False, False, False, True]]
    assert reach(program, "x", 0)["b_"].along(0).astype(int).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]


def test_reach__tensors_of_too_many_cells__takes_seconds_and_stays_sound() -> None:
    """Triples of positions, and pairs that a reshape cuts elsewhere, are more cells than are kept: they are joined."""
    rows = [
        ("Cast", "x", "a", {"to": 11}),
        ("Reshape", "a column", "b"),
        ("Reshape", "a block", "c"),
        ("Add", "a b", "pairs"),
        ("Add", "pairs c", "triples"),
        ("Reshape", "triples wide", "odd"),
        ("Transpose", "odd", "turned"),
        ("ReduceMax", "turned axes", "d", {"keepdims": 0}),
        ("Cast", "d", "y", {"to": 6}),
    ]
    constants = {
        "column": np.array([640, 1]),
        "block": np.array([640, 1, 1]),
        "wide": np.array([1280, 204800]),
        "axes": np.array([0]),
    }
    huge = load_program(data(rows, {"x": ("int8", (1, 640))}, constants))
    begin = time.monotonic()
    found = reach(huge, "x", 1)["y"]
    assert time.monotonic() - begin < 30
    assert found.positions.all()


def test_reach_of_padding__more_rows_than_a_plane_has_bits__tells_each_from_the_one_64_rows_away() -> None:
    rows = [
        ("Cast", "x", "a", {"to": 11}),
        ("Cast", "m", "mask", {"to": 11}),
        ("Clip", "mask zero one", "seen"),
        ("Slice", "a from64 end axes", "head"),
        ("Slice", "a start to64 axes", "tail"),
        ("Concat", "head tail", "other", {"axis": 0}),
        ("Mul", "a seen", "own"),
        ("Mul", "other seen", "away"),
        ("Cast", "own", "y", {"to": 6}),
        ("Cast", "away", "z", {"to": 6}),
    ]
    lists = {"from64": [64], "end": [130], "start": [0], "to64": [64], "axes": [0]}
    constants = {"zero": np.float64(0), "one": np.float64(1), **{name: np.array(item) for name, item in lists.items()}}
    inputs = {"x": ("int8", (130, 3)), "m": ("int8", (130, 3))}
    found = reach_of_padding(load_program(data(rows, inputs, constants, outputs="y z")), "x", "m")
    assert found["y"].positions.tolist() == [True, False, False]
    assert found["z"].positions.tolist() == [True, True, True]


def test_dependence_command__decoder_with_padding__prints_relations_and_sentences(tmp_path: Path) -> None:
    file = tmp_path / "exact.onnx"
    file.write_bytes(exact_file("added -1e9", "added lowest"))
    result = CliRunner().invoke(
        cli, ["dependence", str(file), "--axis", "input_ids:0", "--axis", "input_ids:1", "--mask", "attention_mask"]
    )
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    names = ["input_ids", "attention_mask", *SHAPES]
    assert printed["inputs"] == {"result": names}
    assert [item["along"] for item in printed["axes"]] == [
        ["same position", "all positions", "all positions"],
        ["all positions", "same or earlier positions", "all positions"],
    ]
    assert [item["along"] for item in printed["padding"]] == [["all positions", "same position", "all positions"]]
    assert printed["assumed"] == "attention_mask is 1 at the first position of each row"
    assert printed["statements"] == [
        f"result depends on {', '.join(names)}",
        "result depends along axis 0 on the same position of axis 0 of input_ids",
        "result depends along axis 1 on the same or earlier positions of axis 1 of input_ids",
        "result depends along axis 1 on the same position of axis 1 of input_ids where attention_mask is 0",
    ]


def test_dependence_command__unknown_axis__is_one_line_and_status_1(tmp_path: Path) -> None:
    file = tmp_path / "exact.onnx"
    file.write_bytes(data([("Identity", "x", "y")], {"x": ("int8", (1, 4))}))
    result = CliRunner().invoke(cli, ["dependence", str(file), "--axis", "z:1"])
    assert result.exit_code == 1
    assert "no input is called 'z'" in str(result.exception or result.output)
