"""Command-line options that follow from a pydantic model: one per field, with its description, default and bounds.

| field's type     | option                                                            |
|------------------|-------------------------------------------------------------------|
| `str`            | `--name TEXT`                                                     |
| `int`, `float`   | `--name INTEGER` or `FLOAT`, with the bounds of the field         |
| `Path`           | `--name PATH`                                                     |
| `bool`           | `--name / --no-name`                                              |
| `Enum`           | `--name [a|b|…]`, the values of the members                       |
| `tuple[X, ...]`  | `--name a,b,…`, each part an X; "a,b" in quotes is one part       |
| `X | None`       | as X; without the flag, the default                               |
| `Annotated[X, …]`| as X, with the bounds that it states                              |

Flags follow the fields' names, not their aliases. A field without a default is a required option. A default factory is
called when the model is made, so the field's description has to state the value. A constraint that click cannot express
is checked by the model, and the error names the flag.
"""

from __future__ import annotations

import csv
import io
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)


class CommaSeparated(click.ParamType):
    """Values of one type with commas between them. Spaces around a value are dropped; an empty text has no values.

    A value that has a comma is quoted, as in a CSV file.
    """

    def __init__(self, part: click.ParamType) -> None:
        self.part = part
        self.name = f"{part.name},…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Split the text and convert each part. Errors: click.BadParameter."""
        if isinstance(value, tuple):
            return value
        try:
            parts = next(csv.reader([value], skipinitialspace=True, strict=True), [])
        except csv.Error as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return tuple(self.part.convert(part.strip(), param, ctx) for part in parts if part.strip())


class MemberOf(click.Choice):
    """A member of an Enum, typed as its value."""

    def __init__(self, members: type[Enum]) -> None:
        self.members = {str(member.value): member for member in members}
        super().__init__(list(self.members))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the member with that value. Errors: click.BadParameter."""
        return value if isinstance(value, Enum) else self.members[super().convert(value, param, ctx)]


def options_of(model: type[BaseModel]) -> list[click.Option]:
    """Return an option for each field of the model, in the order of the fields.

    Errors: TypeError naming a field that has no description, whose type no option can express, or whose name is taken.
    """
    if "out" in model.model_fields:
        raise TypeError("out: the name is taken by the option for the new folder")
    return [_option(name, field) for name, field in model.model_fields.items()]


def read_options(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Make the model from what click parsed. Errors: click.BadParameter naming the flag; click.UsageError.

    An option that was not given is None in `values`; the model's own default applies to it.
    """
    try:
        given = {name: value for name, value in values.items() if value is not None}
        return model.model_validate(given, by_alias=False, by_name=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            raise click.UsageError(message) from error
        raise click.BadParameter(message, param_hint=f"'{flag(str(problem['loc'][0]))}'") from error


def flag(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")


def _option(name: str, field: FieldInfo) -> click.Option:
    if not field.description:
        raise TypeError(f"{name}: an option needs a description, which is its help")
    kind, metadata = _bare(field.annotation, field.metadata)
    declared = f"{flag(name)}/--no-{flag(name)[2:]}" if kind is bool else flag(name)
    default = None if field.is_required() or field.default_factory is not None else _typed(field.default)
    return click.Option(
        [declared, name],
        type=None if kind is bool else _click_type(name, kind, metadata),
        required=field.is_required(),
        default=default,
        show_default=default not in (None, ""),
        help=field.description,
    )


def _bare(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """Return X for `X | None` and `Annotated[X, …]`, with all metadata, and the annotation itself otherwise."""
    if get_origin(annotation) is Annotated:
        inner, *stated = get_args(annotation)
        for item in stated:  # what `Field(ge=1)` states is in its own list
            metadata = [*metadata, *(item.metadata if isinstance(item, FieldInfo) else [item])]
        return _bare(inner, metadata)
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        if len(parts) == 1:
            return _bare(parts[0], metadata)
    return annotation, metadata


def _click_type(name: str, kind: Any, metadata: list[Any]) -> click.ParamType:
    if get_origin(kind) is tuple and len(get_args(kind)) == 2 and get_args(kind)[1] is Ellipsis:
        return CommaSeparated(_click_type(name, *_bare(get_args(kind)[0], [])))
    if isinstance(kind, type):
        if issubclass(kind, Enum):
            return MemberOf(kind)
        if kind in (int, float):
            return _number(kind, metadata)
        if kind is str:
            return click.STRING
        if kind is Path:
            return click.Path(path_type=Path)
    raise TypeError(f"{name}: no option can express the type {kind!r}")


def _number(kind: type, metadata: list[Any]) -> click.ParamType:
    """An integer or a float within the field's bounds."""
    bounds: dict[str, Any] = {}
    for item in metadata:
        match item:
            case annotated_types.Ge():
                bounds["min"] = item.ge
            case annotated_types.Gt():
                bounds |= {"min": item.gt, "min_open": True}
            case annotated_types.Le():
                bounds["max"] = item.le
            case annotated_types.Lt():
                bounds |= {"max": item.lt, "max_open": True}
    if kind is float:
        return click.FloatRange(**bounds) if bounds else click.FLOAT
    return click.IntRange(**bounds) if bounds else click.INT


def _typed(default: Any) -> Any:
    """The default in the form in which it is typed."""
    if isinstance(default, tuple):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([_typed(part) for part in default])
        return line.getvalue()
    return str(default.value) if isinstance(default, Enum) else default
