"""The fast part of `make test-machines`: the installed onnxruntime, and the versions that it has fetched before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.exact.test_depthwise import LAYERS
from tests.machines import bundle
from tests.machines.__main__ import faults
from tests.machines.environments import INSTALLED, OLDER, Place, cached, native
from tests.machines.models import decoder
from verifier.exact.program.instructions import REGISTRY
from verifier.exact.vectors import load_vectors

VARIANTS = 2
PLACES = [native(), native(threads=2), *(native(version) for version in OLDER if cached(version))]


@dataclass(frozen=True)
class Bundle:
    """A written bundle, and the reference's digest of each exact program in it."""

    folder: Path
    expected: dict[str, str]


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("machines") / "bundle"
    return Bundle(folder, bundle.write(folder, [decoder()], VARIANTS))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.packages.name}, {place.threads} threads")
def test_worker__vectors_and_a_decoder__computes_what_the_reference_does(place: Place, carried: Bundle) -> None:
    report = place.run(carried.folder)
    assert report["vectors"] == len(load_vectors())
    assert report["variants"] == 2 * (VARIANTS * len(REGISTRY) + len(LAYERS))
    assert report["wrong"] == []
    assert report["digests"]["exact-decoder"] == carried.expected["exact-decoder"]
    assert faults(report, carried.expected) == []


def test_bundle__session_options__are_the_engines(carried: Bundle) -> None:
    assert json.loads((carried.folder / "options.json").read_text()) == {
        "graph_optimization_level": "ORT_DISABLE_ALL",
        "execution_mode": "ORT_SEQUENTIAL",
        "inter_op_num_threads": 1,
        "log_severity_level": 3,
    }


def test_worker__one_integer_changed_in_a_vector_and_one_token_in_a_feed__both_are_named(
    carried: Bundle, tmp_path: Path
) -> None:
    """The comparison can fail."""
    for file in carried.folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    for name, part in (("vector-007", "expected/out0"), ("exact-decoder", "feed/in0")):
        with np.load(tmp_path / f"{name}.npz") as stored:
            parts = {key: stored[key] for key in stored.files}
        parts[part].flat[-1] ^= 1
        (tmp_path / f"{name}.npz").unlink()
        np.savez(tmp_path / f"{name}.npz", **parts)
    report = native().run(tmp_path)
    assert report["onnxruntime"] == INSTALLED
    assert faults(report, carried.expected) == ["vector-007", "exact-decoder"]
