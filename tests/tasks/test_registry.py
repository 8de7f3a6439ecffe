"""Installed kinds: where they are registered, and what is said about one that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from verifier.cli.main import cli
from verifier.tasks import Registration, ServerUrl, build, find_kind, registrations
from verifier.tasks.errors import BuildError, KindError

KIND = """
from verifier.tasks import Kind, KindOptions, KindSettings

KIND = Kind(
    name={name!r},
    summary="A kind of a test.",
    options=KindOptions,
    settings=KindSettings,
    build=lambda options, out, on_step: {{}},
    pack=lambda path, manifest: None,
    describe=lambda score, count, manifest: str(score),
)
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(site: Path, package: str, kind: str, source: str, target: str | None = None) -> None:
    """Install a package of one module that registers a kind."""
    module = package.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    sys.modules.pop(module, None)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[touchstone.kinds]\n{kind} = {target or f'{module}:KIND'}\n")


def test_registrations__nothing_else_installed__are_the_kinds_of_this_package() -> None:
    assert registrations() == {
        "classify": Registration("classify", "verifier.tasks.kinds.classify.kind:KIND", "touchstone-verifier"),
        "language": Registration("language", "verifier.tasks.kinds.language.kind:KIND", "touchstone-verifier"),
        "pretrain": Registration("pretrain", "verifier.tasks.kinds.pretrain.kind:KIND", "touchstone-verifier"),
    }


def test_find_kind__of_another_package__is_found_by_its_name(site: Path) -> None:
    install(site, "other-kinds", "other", KIND.format(name="other"))
    assert list(registrations()) == ["classify", "language", "other", "pretrain"]
    assert find_kind("other").summary == "A kind of a test."


def test_find_kind__not_installed__names_the_installed_ones(site: Path) -> None:
    install(site, "other-kinds", "other", KIND.format(name="other"))
    with pytest.raises(KindError) as caught:
        find_kind("unknown")
    assert str(caught.value) == (
        "no installed kind is called 'unknown'; installed: classify, language, other, pretrain. "
        "Other packages add kinds through the entry-point group touchstone.kinds"
    )


def test_registrations__two_kinds_of_one_name__names_both_packages(site: Path) -> None:
    install(site, "other-kinds", "classify", KIND.format(name="classify"))
    with pytest.raises(KindError) as caught:
        registrations()
    assert str(caught.value) == (
        "the kind 'classify' is registered twice, by 'other-kinds' and 'touchstone-verifier': uninstall one of them"
    )


BROKEN = "the kind 'broken' of the package 'broken-kinds'"


def with_field(field: str, value: str) -> str:
    """The source of a kind called `broken` one of whose fields is wrong."""
    return f"{KIND.format(name='broken')}\nobject.__setattr__(KIND, {field!r}, {value})\n"


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (
            "import a_module_that_is_missing",
            None,
            f"{BROKEN} cannot be imported: ModuleNotFoundError: No module named 'a_module_that_is_missing'",
        ),
        ("raise ValueError('first line\\nsecond')", None, f"{BROKEN} cannot be imported: ValueError: first line"),
        ("raise SystemExit(3)", None, f"{BROKEN} cannot be imported: SystemExit: 3"),
        ("raise GeneratorExit", None, f"{BROKEN} cannot be imported: GeneratorExit: no message"),
        *(
            (with_field(field, value), None, f"{BROKEN}: {reason}")
            for field, value, reason in (
                ("commands", "[]", "commands is of the type list, not a click.Group"),
                ("commands", "lambda: None", "commands is of the type function, not a click.Group"),
                ("options", "{}", "options is not a class derived from verifier.tasks.KindOptions"),
                ("options", "KindSettings", "options is not a class derived from verifier.tasks.KindOptions"),
                ("settings", "KindOptions()", "settings is not a class derived from verifier.tasks.KindSettings"),
                ("build", "None", "build is of the type NoneType, not a function"),
                ("score_range", "1", "score_range is of the type int, not a function"),
                ("summary", "'two\\nlines'", "summary is not a line of text"),
                ("trainer", "len", "trainer is of the type builtin_function_or_method, not a verifier.tasks.Trainer"),
            )
        ),
        ("raise ValueError", None, f"{BROKEN} cannot be imported: ValueError: no message"),
        (
            "",
            None,
            f"{BROKEN} cannot be imported: AttributeError: module 'broken_kinds' has no attribute 'KIND'",
        ),
        ("KIND = 1", None, f"{BROKEN}: broken_kinds:KIND is of the type int, not a verifier.tasks.Kind"),
        (KIND.format(name="whole"), None, f"{BROKEN} calls itself 'whole': both names have to be the same"),
        (
            "",
            "another_module:KIND",
            f"{BROKEN} cannot be imported: ModuleNotFoundError: No module named 'another_module'",
        ),
    ],
)
def test_find_kind__that_cannot_be_used__names_package_and_reason(
    site: Path, source: str, target: str | None, reason: str
) -> None:
    install(site, "broken-kinds", "broken", source, target)
    with pytest.raises(KindError) as caught:
        find_kind("broken")
    assert str(caught.value) == reason


def test_kinds_command__with_a_broken_kind__lists_all_and_exits_with_1(site: Path) -> None:
    install(site, "broken-kinds", "broken", "KIND = 1")
    install(site, "other-kinds", "other", KIND.format(name="other"))
    result = CliRunner().invoke(cli, ["kinds"])
    assert result.exit_code == 1
    assert [line.split(maxsplit=2) for line in result.output.splitlines()] == [
        ["broken", "broken-kinds", f"error: {BROKEN}: broken_kinds:KIND is of the type int, not a verifier.tasks.Kind"],
        ["classify", "touchstone-verifier", "Text classification by LoRA adapters and a head."],
        ["language", "touchstone-verifier", "LoRA adapters of a language model, by the likelihood of answers."],
        ["other", "other-kinds", "A kind of a test."],
        ["pretrain", "touchstone-verifier", "All weights of a small language model of bytes."],
    ]


ODD_OPTION = """
class Options(KindOptions):
    "Options of a test."
    odd: dict[str, int] = {}

object.__setattr__(KIND, "options", Options)
"""


@pytest.mark.parametrize(
    "source",
    [
        "KIND = 1",
        "raise SystemExit(3)",
        with_field("commands", "[]"),
        with_field("options", "KindSettings"),
        KIND.format(name="broken") + ODD_OPTION,
    ],
    ids=["not a kind", "exits", "commands", "options", "option that is no flag"],
)
def test_help__with_a_broken_kind__is_printed(site: Path, source: str) -> None:
    install(site, "broken-kinds", "broken", source)
    assert CliRunner().invoke(cli, ["--help"]).exit_code == 0
    listed = CliRunner().invoke(cli, ["task", "build", "--help"])
    assert listed.exit_code == 0
    assert "classify" in listed.output
    assert "broken" not in listed.output
    said = CliRunner().invoke(cli, ["kinds"])
    assert said.exit_code == 1
    assert f"error: {BROKEN}" in said.output


def test_find_kind__name_that_no_manifest_can_have__is_refused(site: Path) -> None:
    install(site, "broken-kinds", "My_Kind", KIND.format(name="My_Kind"))
    with pytest.raises(
        KindError, match="the name 'My_Kind' is not one that a manifest can have: small letters, digits"
    ):
        find_kind("My_Kind")


def test_task_build__kind_that_cannot_be_used__is_the_kinds_error(site: Path) -> None:
    install(site, "broken-kinds", "broken", "KIND = 1")
    result = CliRunner().invoke(cli, ["task", "build", "broken", "--help"])
    assert isinstance(result.exception, KindError)
    assert str(result.exception) == f"{BROKEN}: broken_kinds:KIND is of the type int, not a verifier.tasks.Kind"


def test_task_build__kind_that_is_not_installed__is_a_usage_error() -> None:
    result = CliRunner(mix_stderr=False).invoke(cli, ["task", "build", "unknown"])
    assert result.exit_code == 2
    assert "No such command 'unknown'." in result.stderr


def test_build__wrong_option__is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BuildError, match="^classify: base: Field required; dataset: Field required; rank: Input should"
    ):
        build("classify", {"rank": 0}, tmp_path / "task")


def test_included_kinds__url_of_the_files__has_no_default_and_is_checked() -> None:
    for name in registrations():
        url = find_kind(name).options.model_fields["url"]
        assert url.is_required(), name
        assert url.metadata == list(get_args(ServerUrl)[1:]), name
