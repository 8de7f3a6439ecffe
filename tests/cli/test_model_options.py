"""Options that follow from a pydantic model: each type a field may have, defaults, bounds, and errors by flag."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel, Field, field_validator, model_validator

from verifier.cli.model_options import options_of, read_options


class Shape(enum.Enum):
    """Values that a flag may have."""

    ROUND = "round"
    SQUARE = "square"


class Level(enum.IntEnum):
    """Numbers that a flag may have."""

    LOW = 1
    HIGH = 10


class Everything(BaseModel):
    """A field of each type."""

    source: Path = Field(description="A folder.")
    label: str = Field("none", max_length=5, description="A text.")
    max_size: int = Field(8, ge=1, le=16, description="An integer in closed bounds.")
    step: int = Field(3, gt=0, lt=10, description="An integer in open bounds.")
    names: tuple[str, ...] = Field(("query", "value"), description="Texts.")
    counts: tuple[int, ...] = Field((), description="Integers.")
    shape: Shape = Field(Shape.ROUND, description="One of two.")
    shapes: tuple[Shape, ...] = Field((Shape.SQUARE,), description="Some of two.")
    fast: bool = Field(False, description="A switch.")
    limit: int | None = Field(None, ge=1, description="An integer that may be left out.")
    level: Level = Field(Level.LOW, description="One of two numbers.")
    bounded: Annotated[int, Field(ge=2)] | None = Field(None, description="An integer with bounds of its type.")
    sizes: tuple[Annotated[int, Field(le=9)], ...] = Field((1, 2), description="Integers with bounds of their type.")
    pieces: tuple[str, ...] = Field(("a,b", "c"), description="Texts that may have commas.")
    minutes: float = Field(1.5, gt=0, description="A number.")
    renamed: int = Field(1, alias="another-name", description="An integer with an alias.")
    twice: int = Field(default_factory=lambda fields: 2 * fields["max_size"], description="Twice the size.")

    @field_validator("label")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError("a label has no spaces")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Everything:
        if self.step > self.max_size:
            raise ValueError("the step is larger than the size")
        return self


def run(model: type[BaseModel], *words: str) -> tuple[BaseModel | None, Result]:
    """Parse WORDS by a command with the model's options; returns the model, or None after an error."""
    made: list[BaseModel] = []
    command = click.Command(
        "command", callback=lambda **values: made.append(read_options(model, values)), params=list(options_of(model))
    )
    result = CliRunner(mix_stderr=False).invoke(command, words)
    return (made[0] if made else None), result


def test_read_options__nothing_optional_is_given__has_the_models_defaults() -> None:
    found, result = run(Everything, "--source", "here")
    assert result.exit_code == 0
    assert found == Everything(source=Path("here"))


def test_read_options__everything_is_given__is_converted_to_the_fields_types() -> None:
    found, result = run(
        Everything,
        *("--source", "here", "--label", "a", "--max-size", "16", "--step", "9", "--names", "key, dense,"),
        *("--counts", "1,2", "--shape", "square", "--shapes", "round,square", "--fast", "--limit", "5", "--twice", "7"),
        *("--level", "10", "--bounded", "2", "--sizes", "9,0", "--pieces", '"x, y",z', "--minutes", "0.5"),
        *("--renamed", "4"),
    )
    assert result.exit_code == 0, result.stderr
    assert found == Everything(
        source=Path("here"),
        label="a",
        max_size=16,
        step=9,
        names=("key", "dense"),
        counts=(1, 2),
        shape=Shape.SQUARE,
        shapes=(Shape.ROUND, Shape.SQUARE),
        fast=True,
        limit=5,
        twice=7,
        level=Level.HIGH,
        bounded=2,
        sizes=(9, 0),
        pieces=("x, y", "z"),
        minutes=0.5,
        **{"another-name": 4},
    )


def test_read_options__empty_list__has_no_values() -> None:
    found, _ = run(Everything, "--source", "here", "--names", "", "--no-fast")
    assert isinstance(found, Everything)
    assert found.names == ()
    assert not found.fast


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--max-size", "17"), "Invalid value for '--max-size': 17 is not in the range 1<=x<=16."),
        (("--step", "10"), "Invalid value for '--step': 10 is not in the range 0<x<10."),
        (("--max-size", "many"), "Invalid value for '--max-size': 'many' is not a valid integer range."),
        (("--limit", "0"), "Invalid value for '--limit': 0 is not in the range x>=1."),
        (("--counts", "1,two"), "Invalid value for '--counts': 'two' is not a valid integer."),
        (("--shape", "oval"), "Invalid value for '--shape': 'oval' is not one of 'round', 'square'."),
        (("--shapes", "round,oval"), "Invalid value for '--shapes': 'oval' is not one of 'round', 'square'."),
        (("--label", "longer"), "Invalid value for '--label': String should have at most 5 characters"),
        (("--label", "a b"), "Invalid value for '--label': a label has no spaces"),
        (("--level", "2"), "Invalid value for '--level': '2' is not one of '1', '10'."),
        (("--bounded", "1"), "Invalid value for '--bounded': 1 is not in the range x>=2."),
        (("--sizes", "1,10"), "Invalid value for '--sizes': 10 is not in the range x<=9."),
        (("--minutes", "0"), "Invalid value for '--minutes': 0.0 is not in the range x>0."),
        (("--renamed", "x"), "Invalid value for '--renamed': 'x' is not a valid integer."),
        (("--pieces", '"a'), "Invalid value for '--pieces': '\"a': unexpected end of data"),
        (("--max-size", "2"), "Error: the step is larger than the size"),
    ],
)
def test_read_options__wrong_value__is_an_error_that_names_the_flag(words: tuple[str, ...], reason: str) -> None:
    found, result = run(Everything, "--source", "here", *words)
    assert found is None
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].removeprefix("Error: ") == reason.removeprefix("Error: ")


def test_read_options__required_field_is_missing__is_named() -> None:
    found, result = run(Everything)
    assert found is None
    assert result.stderr.splitlines()[-1] == "Error: Missing option '--source'."


def test_options_of__model__helps_with_descriptions_bounds_and_defaults() -> None:
    _, result = run(Everything, "--help")
    text = " ".join(result.stdout.split())
    for expected in (
        "--source PATH A folder. [required]",
        "--label TEXT A text. [default: none]",
        "--max-size INTEGER RANGE An integer in closed bounds. [default: 8; 1<=x<=16]",
        "--names TEXT,… Texts. [default: query,value]",
        "--shape [round|square] One of two. [default: round]",
        "--fast / --no-fast A switch. [default: no-fast]",
        "--limit INTEGER RANGE An integer that may be left out. [x>=1]",
        "--twice INTEGER Twice the size.",
        "--level [1|10] One of two numbers. [default: 1]",
        '--pieces TEXT,… Texts that may have commas. [default: "a,b",c]',
        "--minutes FLOAT RANGE A number. [default: 1.5; x>0]",
        "--renamed INTEGER An integer with an alias. [default: 1]",
    ):
        assert expected in text


@pytest.mark.parametrize("annotation", [complex, dict[str, int], tuple[str, int], list[str], int | str, Any])
def test_options_of__type_that_no_option_has__is_named(annotation: Any) -> None:
    model = type("Odd", (BaseModel,), {"__annotations__": {"odd": annotation}, "odd": Field(description="Odd.")})
    with pytest.raises(TypeError, match="^odd: no option can express the type "):
        options_of(model)


def test_read_options__aliased_field_that_the_model_refuses__is_named_by_its_flag() -> None:
    class Aliased(BaseModel):
        first_name: str = Field("a", alias="firstName", max_length=3, description="A name.")

    _, result = run(Aliased, "--first-name", "longer")
    assert result.stderr.splitlines()[-1] == (
        "Error: Invalid value for '--first-name': String should have at most 3 characters"
    )


def test_options_of__name_that_is_taken__is_named() -> None:
    class Taken(BaseModel):
        out: int = Field(1, description="Taken.")

    with pytest.raises(TypeError, match="^out: the name is taken by the option for the new folder$"):
        options_of(Taken)


def test_options_of__field_without_a_description__is_named() -> None:
    class Silent(BaseModel):
        silent: int = 1

    with pytest.raises(TypeError, match="^silent: an option needs a description, which is its help$"):
        options_of(Silent)
