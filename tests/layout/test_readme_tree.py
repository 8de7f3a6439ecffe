"""The tree in the README is the tree on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.layout.source import ROOT

# Folders whose direct subfolders the README has to name.
PARENTS = ("contracts", "verifier", "verifier/exact", "verifier/tasks", "scripts", "tests")
# A path as the tree writes it: a folder ends with a slash, a file has a suffix or is one of two without.
PATH = re.compile(r"(?:[\w.-]+/)*(?:[\w-]+/|[\w.-]*\.\w+|LICENSE|Makefile)")


def tree() -> list[str]:
    """The lines of the code block under the heading "The tree"."""
    section = (ROOT / "README.md").read_text("utf-8").partition("\n## The tree\n")[2]
    return section.partition("```\n")[2].partition("```")[0].splitlines()


def paths(lines: list[str]) -> Iterator[str]:
    """Every path that the tree names, from the root; a folder ends with a slash.

    A line names one or several paths, then says what they are. Deeper lines lie in the last folder of the line above.
    """
    folders: list[tuple[int, str]] = []  # indentation and path of the folders that the line can lie in
    for line in filter(str.strip, lines):
        indentation = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indentation:
            folders.pop()
        parent = folders[-1][1] if folders else ""
        named = [parent + word for word in leading_paths(line.split())]
        assert named, f"no path in the line {line!r}"
        yield from named
        folders.extend((indentation, name) for name in named if name.endswith("/"))


def leading_paths(words: list[str]) -> Iterator[str]:
    """The words up to the first that is not a path; remarks in parentheses are passed over."""
    for word in words:
        if PATH.fullmatch(word):
            yield word
        elif not (word.startswith("(") and word.endswith(")")):
            return


def subfolders(parent: str) -> set[str]:
    """The folders in `parent` that hold source."""
    return {
        f"{parent}/{entry.name}/"
        for entry in (ROOT / parent).iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "__")) and any(_source(entry))
    }


def _source(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def test_readme_tree__every_path__exists() -> None:
    named = list(paths(tree()))
    assert named
    missing = [
        name for name in named if not ((ROOT / name).is_dir() if name.endswith("/") else (ROOT / name).is_file())
    ]
    assert not missing, "\n".join(missing)


def test_readme_tree__every_folder_on_disk__is_named() -> None:
    unnamed = set().union(*map(subfolders, PARENTS)) - set(paths(tree()))
    assert not unnamed, "\n".join(sorted(unnamed))


def test_readme_tree__no_path__is_named_twice() -> None:
    named = list(paths(tree()))
    assert sorted(named) == sorted(set(named))
