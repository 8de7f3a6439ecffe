"""Where a bundle runs: other onnxruntime versions, a processor without AVX, another architecture.

Everything is unpacked under build/machines/ and kept. Nothing is installed into the system: Debian packages come from
the system's package sources, through package lists in that folder.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.machines.bundle import digests_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "machines"
WORKER = Path(__file__).with_name("worker.py")
INSTALLED = importlib.metadata.version("onnxruntime")
OLDER = ("1.20.1", "1.22.1", "1.24.4")
# onnxruntime 1.32.0 crashes when it is imported under qemu 7.2.
ON_AARCH64 = ("1.20.1", "1.24.4")
WHEELS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
MINUTES = 60


class Unavailable(Exception):
    """This machine cannot provide a place to run, with the reason."""


@dataclass(frozen=True)
class Place:
    """One place to run: an interpreter, the folder of its packages, the number of threads, and its environment."""

    name: str
    python: Sequence[str]
    packages: Path
    threads: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, bundle: Path) -> dict[str, Any]:
        """Run the worker on a bundle; returns its report, with `digests` of the outputs that it printed.

        Errors: RuntimeError when the worker fails, with the last line that it printed.
        """
        done = subprocess.run(
            [*self.python, "-S", str(WORKER), str(self.packages), str(bundle), str(self.threads)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30 * MINUTES,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: exit {done.returncode}: {_last_line(done.stderr)}")
        report: dict[str, Any] = json.loads(done.stdout)
        report["digests"] = digests_of(report.pop("outputs"))
        return report


def native(version: str = INSTALLED, threads: int = 1, download: bool = False) -> Place:
    """Use this machine, with the installed onnxruntime or another. Errors: Unavailable."""
    name = f"this machine, {threads} thread{'s' if threads > 1 else ''}"
    return Place(name, [sys.executable], _host_packages(version, download), threads)


def cached(version: str) -> bool:
    """Whether this machine can run that version without a download."""
    return version == INSTALLED or _packages_folder(version, platform.machine()).is_dir()


def without_avx(version: str) -> Place:
    """Use this machine's Python on an emulated processor of 2008. Errors: Unavailable."""
    packages = _host_packages(version, download=True)
    python = str(Path(sys.executable).resolve())  # the emulator looks for the library beside the real one
    return Place("emulated x86-64, no AVX", [_qemu("x86_64"), "-cpu", "Nehalem", python], packages)


def aarch64(version: str) -> Place:
    """Use Debian's Python for arm64, emulated. Errors: Unavailable."""
    qemu = _qemu("aarch64")
    root = _unpacked("arm64", "python3-minimal", "libpython3-stdlib", "libstdc++6")
    (python,) = (root / "usr" / "bin").glob("python3.*")
    minor = python.name.removeprefix("python")
    return Place(
        "emulated aarch64",
        [qemu, "-L", str(root), str(python)],
        _packages(
            version,
            "aarch64",
            *(f"--platform={wheel}_aarch64" for wheel in WHEELS),
            f"--python-version={minor}",
            "--implementation=cp",
            f"--abi=cp{minor.replace('.', '')}",
        ),
        environment={"PYTHONHOME": str(root / "usr")},
    )


def everywhere() -> list[tuple[str, Callable[[], Place]]]:
    """List every place of the table: a name for messages, and the function that prepares it."""
    return [
        (f"onnxruntime {INSTALLED}", native),
        (f"onnxruntime {INSTALLED} on 2 threads", partial(native, threads=2)),
        *((f"onnxruntime {version}", partial(native, version, download=True)) for version in OLDER),
        *((f"onnxruntime {version} without AVX", partial(without_avx, version)) for version in (INSTALLED, OLDER[0])),
        *((f"onnxruntime {version} on aarch64", partial(aarch64, version)) for version in ON_AARCH64),
    ]


def _host_packages(version: str, download: bool) -> Path:
    if version == INSTALLED:
        return Path(sysconfig.get_paths()["purelib"])
    if not download and not cached(version):
        raise Unavailable(f"onnxruntime {version} is not in {FOLDER}; `make test-machines` fetches it")
    return _packages(version, platform.machine())


def _packages_folder(version: str, architecture: str) -> Path:
    return FOLDER / f"onnxruntime-{version}-{architecture}"


def _packages(version: str, architecture: str, *chosen: str) -> Path:
    """Return a folder with that onnxruntime and the installed version of NumPy; pip fills it once."""
    folder = _packages_folder(version, architecture)
    if not folder.is_dir():
        numpy = importlib.metadata.version("numpy")
        new = _fresh(folder)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        _call([*pip, *chosen, f"--target={new}", f"onnxruntime=={version}", f"numpy=={numpy}"])
        new.rename(folder)
    return folder


def _qemu(architecture: str) -> str:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("emulation is set up for x86-64 Linux only")
    command = f"qemu-{architecture}-static"
    return shutil.which(command) or str(_unpacked("amd64", "qemu-user-static") / "usr" / "bin" / command)


def _unpacked(architecture: str, *packages: str) -> Path:
    """Return a folder with Debian packages and their dependencies for an architecture, unpacked."""
    folder = FOLDER / f"{packages[0]}-{architecture}"
    if folder.is_dir():
        return folder
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Unavailable(f"{packages[0]} ({architecture}) is a Debian package, and this system has no apt-get")
    apt = _fresh(FOLDER / f"apt-{architecture}")
    for path in ("lists/partial", "cache/archives/partial"):
        (apt / path).mkdir(parents=True)
    (apt / "status").touch()  # no package counts as installed, so that all dependencies are fetched
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Debug::NoLocking": 1,
    }
    get = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    _call([*get, "update"])
    _call([*get, "--yes", "--no-install-recommends", "--download-only", "install", *packages])
    new = _fresh(folder)
    for archive in sorted((apt / "cache" / "archives").glob("*.deb")):
        _call(["dpkg-deb", "-x", str(archive), str(new)])
    new.rename(folder)
    shutil.rmtree(apt)
    return folder


def _fresh(folder: Path) -> Path:
    """Make an empty folder beside that one, to be renamed when it is complete."""
    new = folder.with_name(folder.name + ".partial")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    return new


def _call(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20 * MINUTES, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`{' '.join(command[:4])} …` took more than 20 minutes") from error
    if done.returncode != 0:
        raise Unavailable(f"`{' '.join(command[:4])} …` failed: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it printed nothing"])[-1]
