"""Creates files and folders without ever replacing one that exists.

Every command and script writes its results through this module, so that a mistyped name cannot destroy a key, a record
or a program. Opening with O_EXCL makes "does it exist?" and "create it" one step: no other process can come between.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from verifier.artifacts.errors import ArtifactError, TargetExistsError

PUBLIC_MODE = 0o666  # reduced by the process's umask, as for any file that a program creates
SECRET_MODE = 0o600  # only the owner may read or write
FOLDER_MODE = 0o777  # reduced by the umask, as PUBLIC_MODE is


def check_new(*paths: Path | None) -> None:
    """Check before long work that none of the paths exists, so that the result can be written; None is skipped.

    Errors: TargetExistsError. `new_file` and `new_folder` check again when they create.
    """
    for path in paths:
        if path is not None and os.path.lexists(path):
            raise TargetExistsError(path)


@contextmanager
def new_file(path: Path, *, secret: bool = False) -> Iterator[BinaryIO]:
    """Create a file and open it for writing bytes; a block that raises removes the file again.

    When the block ends, the bytes are on disk. A `secret` file has mode 0600 from the moment it exists.

    Errors: TargetExistsError when the path exists; ArtifactError when it cannot be created or written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE if secret else PUBLIC_MODE)
    except FileExistsError as error:
        raise TargetExistsError(path) from error
    except OSError as error:
        raise ArtifactError(f"cannot create {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ArtifactError(f"cannot write {path}: {error.strerror}") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_new(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Write `data` to a new file; a `secret` one has mode 0600.

    Errors: TargetExistsError when the path exists; ArtifactError when it cannot be created or written.
    """
    with new_file(path, secret=secret) as file:
        file.write(data)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create a folder with all its files or not at all: yields a folder beside it, which gets its name at the end.

    A block that raises, or is interrupted, removes what it wrote. Missing parents are created.

    Errors: TargetExistsError when the path exists; ArtifactError when it cannot be created or written.
    """
    check_new(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    except FileExistsError as error:  # a file where a parent should be
        raise ArtifactError(f"cannot create {path}: {os.strerror(errno.ENOTDIR)}") from error
    except OSError as error:
        raise ArtifactError(f"cannot create {path}: {error.strerror}") from error
    try:
        yield partial
        partial.chmod(FOLDER_MODE & ~_umask())
        check_new(path)
        partial.rename(path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ArtifactError(f"cannot write {path}: {error.strerror}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _umask() -> int:
    """The process's umask, which can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
