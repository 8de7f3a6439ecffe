"""The installed task kinds, and what a kind provides.

A kind is registered in one of two places: the table `_INCLUDED`, for the kinds of this package, or the entry-point
group `touchstone.kinds`, for the kinds of other packages:

    [project.entry-points."touchstone.kinds"]
    mykind = "my_package.kind:KIND"

Both map a name to "module:attribute", where the attribute is a `Kind`. The module is imported when the kind is used,
and must not import torch or onnx at that point: `touchstone task build mykind --help` reads it. The functions `build`
and `pack` of a kind therefore import their implementation when they are called.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from verifier.artifacts.errors import UriRefused
from verifier.artifacts.policy import check_server_url
from verifier.protocol.constants import MAX_URI_CHARACTERS
from verifier.tasks.errors import BuildError, KindError, ManifestError
from verifier.tasks.manifest import KIND_NAME, Manifest, problems

if TYPE_CHECKING:
    import click
    from numpy.typing import NDArray

GROUP = "touchstone.kinds"

# The kinds of this package: name -> "module:attribute".
_INCLUDED = {
    "classify": "verifier.tasks.kinds.classify.kind:KIND",
    "language": "verifier.tasks.kinds.language.kind:KIND",
    "pretrain": "verifier.tasks.kinds.pretrain.kind:KIND",
}
_THIS_PACKAGE = "touchstone-verifier"

OnStep = Callable[[str, int, int], None]  # (name of the step, parts done, parts in total)


class KindOptions(BaseModel):
    """Base class for the options of a kind's builder.

    The docstring is the help of `touchstone task build KIND`, and its first sentence fits on a line with the kind's
    name. Each field becomes a flag: its name is the flag, its description the help, its bounds are checked.
    `verifier.cli.model_options` lists the types that a field may have; the name `out` is taken.
    """

    # Defaults are checked, too, because some are made from the names of files.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


# Maximum length of the URL of a server, which leaves room in a URI for `/artifacts/` and a digest.
MAX_SERVER_URL_CHARACTERS = MAX_URI_CHARACTERS - len("/artifacts/0x") - 64


def _server_url(text: str) -> str:
    if len(text) > MAX_SERVER_URL_CHARACTERS:
        raise ValueError(f"a URL with more than {MAX_SERVER_URL_CHARACTERS} characters makes URIs that are too long")
    try:
        return check_server_url(text)
    except UriRefused as error:
        raise ValueError(str(error)) from error


# The URL of the server that will serve a task's files. It has no default: the manifest states it for good.
ServerUrl = Annotated[str, AfterValidator(_server_url)]


class KindSettings(BaseModel):
    """Base class for a kind's manifest settings: integers, texts, and tuples of these. Values are never converted."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


OptionsType = TypeVar("OptionsType", bound=KindOptions)
SettingsType = TypeVar("SettingsType", bound=KindSettings)


@dataclass(frozen=True)
class Packed:
    """A submission: the bytes of its tensor file, and what `pack` reports about making it, as JSON values."""

    data: bytes
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trainer(Generic[OptionsType]):
    """An example trainer, which `python -m scripts.train --task …` runs.

    `train(manifest, options, out)` writes what `pack` takes into the new folder `out` and returns a line that says what
    it did. Its options become flags as those of a builder do.
    """

    options: type[OptionsType]
    train: Callable[[Manifest, OptionsType, Path], str]


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[OptionsType, SettingsType]):
    """A kind of task: how it is built, and how submissions to it are made and read.

    `build(options, out, on_step)` writes a task into the new folder `out` and returns a summary of JSON values.
    `pack(path, manifest)` turns a file or folder into a submission. `describe(score, count, manifest)` puts the score
    on a set of `count` examples into words, for example "197 of 256 correct texts". `build` and `pack` raise a
    TaskError for wrong input. `score_range(examples, count, manifest)` returns the best score of a submission that
    ignores its input and the largest possible score, on a set with these tensors, of which the first `count` rows are
    examples; None when the kind cannot say.
    """

    name: str
    summary: str  # one line, for `touchstone kinds`
    options: type[OptionsType]
    settings: type[SettingsType]
    build: Callable[[OptionsType, Path, OnStep], dict[str, Any]]
    pack: Callable[[Path, Manifest], Packed]
    describe: Callable[[int, int, Manifest], str]
    score_range: Callable[[Mapping[str, NDArray[Any]], int, Manifest], tuple[int, int]] | None = None
    commands: click.Group | None = None  # further commands, reachable as `touchstone NAME …`
    trainer: Trainer[Any] | None = None


@dataclass(frozen=True)
class Registration:
    """Where a kind is registered: its name, "module:attribute", and the distribution that provides it."""

    name: str
    target: str
    package: str

    def load(self) -> Kind[Any, Any]:
        """Import the kind. Errors: KindError naming the package, whatever the import raises."""
        where = f"the kind {self.name!r} of the package {self.package!r}"
        module, _, attribute = self.target.partition(":")
        try:
            found = importlib.import_module(module)
            for step in attribute.split("."):
                found = getattr(found, step)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a package of somebody else may raise anything, SystemExit included
            reason = str(error).splitlines()[0] if str(error) else "no message"
            raise KindError(f"{where} cannot be imported: {type(error).__name__}: {reason}") from error
        if not isinstance(found, Kind):
            raise KindError(f"{where}: {self.target} is of the type {type(found).__name__}, not a verifier.tasks.Kind")
        if found.name != self.name:
            raise KindError(f"{where} calls itself {found.name!r}: both names have to be the same")
        for problem in _problems(found):
            raise KindError(f"{where}: {problem}")
        return found


def _problems(kind: Kind[Any, Any]) -> Iterator[str]:
    """Yield what is wrong with the fields of a kind, which Python does not check."""
    import click

    if not re.fullmatch(KIND_NAME, kind.name):
        yield f"the name {kind.name!r} is not one that a manifest can have: small letters, digits and hyphens"
    if not isinstance(kind.summary, str) or not kind.summary.strip() or len(kind.summary.splitlines()) != 1:
        yield "summary is not a line of text"
    trainer = kind.trainer
    if trainer is not None and not isinstance(trainer, Trainer):
        yield f"trainer is of the type {type(trainer).__name__}, not a verifier.tasks.Trainer"
        return
    models = [("options", kind.options, KindOptions), ("settings", kind.settings, KindSettings)]
    models += [("trainer.options", trainer.options, KindOptions)] if trainer is not None else []
    for name, model, base in models:
        if not isinstance(model, type) or not issubclass(model, base):
            yield f"{name} is not a class derived from verifier.tasks.{base.__name__}"
    functions = {name: getattr(kind, name) for name in ("build", "pack", "describe")}
    functions |= {"score_range": kind.score_range} if kind.score_range is not None else {}
    functions |= {"trainer.train": trainer.train} if trainer is not None else {}
    for name, function in functions.items():
        if not callable(function):
            yield f"{name} is of the type {type(function).__name__}, not a function"
    if kind.commands is not None and not isinstance(kind.commands, click.Group):
        yield f"commands is of the type {type(kind.commands).__name__}, not a click.Group"


def registrations() -> dict[str, Registration]:
    """Return where each installed kind is registered, by name in order; imports none of them.

    Errors: KindError when two packages register the same name.
    """
    entries = [Registration(name, target, _THIS_PACKAGE) for name, target in _INCLUDED.items()]
    for point in entry_points(group=GROUP):
        package = "unknown" if point.dist is None else point.dist.name
        entries.append(Registration(point.name, point.value, package))
    found: dict[str, Registration] = {}
    for entry in sorted(set(entries), key=lambda entry: entry.name):
        if entry.name in found:
            packages = " and ".join(sorted(repr(each.package) for each in (found[entry.name], entry)))
            raise KindError(f"the kind {entry.name!r} is registered twice, by {packages}: uninstall one of them")
        found[entry.name] = entry
    return found


def find_kind(name: str) -> Kind[Any, Any]:
    """Return the installed kind of that name. Errors: KindError when there is none or it cannot be used."""
    installed = registrations()
    if name not in installed:
        raise KindError(
            f"no installed kind is called {name!r}; installed: {', '.join(installed)}. "
            f"Other packages add kinds through the entry-point group {GROUP}"
        )
    return installed[name].load()


def read_settings(model: type[SettingsType], kind: str, manifest: Manifest) -> SettingsType:
    """Return the settings of a manifest as the kind's model. Errors: KindError for another kind; ManifestError."""
    if manifest.kind != kind:
        raise KindError(f"the task is of the kind {manifest.kind!r}, not {kind!r}")
    try:
        return model.model_validate(manifest.settings)
    except ValidationError as error:
        raise ManifestError(f"manifest: settings: {problems(error)}") from error


def pack(path: Path, manifest: Manifest) -> Packed:
    """Turn a file or folder into a submission to the task, as the task's kind does it.

    Errors: KindError when the kind is not installed; PackError naming what does not fit the task.
    """
    return find_kind(manifest.kind).pack(path, manifest)


def build(kind: str, options: Mapping[str, Any], out: Path, on_step: OnStep = lambda *_: None) -> dict[str, Any]:
    """Build a task of that kind into the new folder `out` and return a summary of what was written.

    `options` are the fields of the kind's model of options. Errors: KindError; BuildError naming a wrong option, and
    whatever the kind's builder documents.
    """
    found = find_kind(kind)
    try:
        chosen = found.options.model_validate(options, by_alias=False, by_name=True)
    except ValidationError as error:
        raise BuildError(f"{kind}: {problems(error)}") from error
    return found.build(chosen, out, on_step)
