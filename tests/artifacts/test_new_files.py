"""New files and folders: nothing that exists is overwritten, and no partial file is left behind."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.layout.source import modules
from verifier.artifacts.errors import ArtifactError, TargetExistsError
from verifier.artifacts.new_files import check_new, new_file, new_folder, write_new

EXISTS = "exists and is not overwritten: choose another name, or move it away"


def write(path: Path) -> None:
    write_new(path, b"new")


def folder(path: Path) -> None:
    with new_folder(path) as partial:
        (partial / "file").touch()


@pytest.mark.parametrize("create", [write, folder, check_new])
def test_every_helper__path_exists__leaves_it_untouched(tmp_path: Path, create: Callable[[Path], None]) -> None:
    file, existing = tmp_path / "file", tmp_path / "folder"
    file.write_bytes(b"precious")
    existing.mkdir()
    for path in (file, existing):
        with pytest.raises(TargetExistsError) as refused:
            create(path)
        assert str(refused.value) == f"{path} {EXISTS}"
        assert refused.value.path == path
    assert file.read_bytes() == b"precious"
    assert list(existing.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_write_new__dangling_link__is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TargetExistsError):
        write_new(tmp_path / "link", b"new")
    assert not (tmp_path / "elsewhere").exists()


def test_write_new__secret_file__belongs_to_its_owner_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        write_new(tmp_path / "secret", b"new", secret=True)
        write_new(tmp_path / "public", b"new")
    finally:
        os.umask(umask)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "public").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bad")])
def test_new_file__block_raises__leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    expected = ArtifactError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with new_file(tmp_path / "file") as file:
            file.write(b"half")
            raise error

    with pytest.raises(expected) as raised:
        fail()
    assert not (tmp_path / "file").exists()
    if isinstance(error, OSError):
        assert str(raised.value) == f"cannot write {tmp_path / 'file'}: No space left on device"


def test_write_new__missing_folder__says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as refused:
        write_new(tmp_path / "missing" / "file", b"new")
    assert str(refused.value) == f"cannot create {tmp_path / 'missing' / 'file'}: No such file or directory"


def test_new_folder__missing_parents__are_created(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        folder(tmp_path / "a" / "b")
    finally:
        os.umask(umask)
    assert (tmp_path / "a" / "b" / "file").is_file()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_new_folder__under_a_file__says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError) as refused:
        folder(tmp_path / "file" / "folder")
    assert str(refused.value) == f"cannot create {tmp_path / 'file' / 'folder'}: Not a directory"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bad")])
def test_new_folder__block_raises__leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    expected = ArtifactError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with new_folder(tmp_path / "folder") as partial:
            write_new(partial / "file", b"half")
            assert not (tmp_path / "folder").exists()
            raise error

    with pytest.raises(expected) as raised:
        fail()
    assert list(tmp_path.iterdir()) == []
    if isinstance(error, OSError):
        assert str(raised.value) == f"cannot write {tmp_path / 'folder'}: No space left on device"


def test_new_folder__path_appears_meanwhile__is_left_untouched(tmp_path: Path) -> None:
    def race() -> None:
        with new_folder(tmp_path / "folder"):
            (tmp_path / "folder").mkdir()

    with pytest.raises(TargetExistsError):
        race()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def creates_exclusively(node: ast.AST) -> bool:
    """Whether that is the flag O_EXCL, or a call of `open` with a mode that has an x."""
    if isinstance(node, ast.Attribute):
        return node.attr == "O_EXCL"
    if not isinstance(node, ast.Call) or ast.unparse(node.func).split(".")[-1] != "open":
        return False
    modes = [*node.args, *(item.value for item in node.keywords if item.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and mode.value in ("x", "xb", "xt") for mode in modes)


def test_new_files__in_the_package_and_the_scripts__are_created_by_one_module() -> None:
    found = {
        module.name
        for module in [*modules("verifier").values(), *modules("scripts").values()]
        for node in ast.walk(module.tree)
        if creates_exclusively(node)
    }
    assert found == {"verifier.artifacts.new_files"}
