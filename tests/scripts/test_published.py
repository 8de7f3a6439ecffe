"""What `task create` and `submission commit` look at before money goes in: hosts, digests, other tasks, scores."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

from scripts import _other_tasks, _published, _terms
from scripts._published import PublishedFile
from tests.artifacts.untrusted_host import UntrustedHost
from tests.end_to_end.program import Program
from verifier.artifacts import digests, sealing
from verifier.protocol.constants import RewardPolicy
from verifier.tasks import Manifest, find_kind

FILE = b"a program" * 100
DIGEST = digests.digest(FILE)


@pytest.fixture
def host() -> Iterator[UntrustedHost]:
    opened = UntrustedHost()
    yield opened
    opened.close()


def required(host: UntrustedHost, folder: Path, *uris: str, told: bool = True) -> list[str]:
    rules = _published.policy([host.host] if told else [], None)
    return _published.require([PublishedFile("program", DIGEST, len(FILE), uris)], rules, folder)


def test_published__file_at_its_uri__is_accepted(host: UntrustedHost, tmp_path: Path) -> None:
    assert required(host, tmp_path, host.has("/program", FILE)) == []
    assert host.asked == ["/program"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/short", "announces 899 bytes, 900 are expected"),
        ("/other", f"the bytes have digest {digests.to_hex(digests.digest(b'x' * 900))}, not {digests.to_hex(DIGEST)}"),
        ("/absent", "answers with status 404"),
        ("/metadata", "redirects to http://169.254.169.254/latest: http is followed only to hosts that"),
    ],
)
def test_published__host_that_serves_something_else__is_named_with_the_reason(
    host: UntrustedHost, tmp_path: Path, path: str, reason: str
) -> None:
    async def absent(_: Any) -> Any:
        from aiohttp import web

        return web.Response(status=404)

    host.has("/short", FILE[:-1])
    host.has("/other", b"x" * 900)
    host.answers["/absent"] = absent
    host.redirects("/metadata", "http://169.254.169.254/latest")
    with pytest.raises(click.ClickException) as refused:
        required(host, tmp_path, host.url(path))
    assert f"\n  program: {host.url(path)} {reason}" in refused.value.message
    assert "nothing is sent" in refused.value.message
    assert "Publish these files first" in refused.value.message


def test_published__http_and_loopback__are_refused_unless_told(host: UntrustedHost, tmp_path: Path) -> None:
    uri = host.has("/program", FILE)
    with pytest.raises(click.ClickException, match="http is followed only to hosts that the configuration names"):
        required(host, tmp_path, uri, told=False)
    for private in ("https://127.0.0.1/program", "https://localhost/program", "https://10.0.0.1/program"):
        with pytest.raises(click.ClickException, match="not on the public internet"):
            required(host, tmp_path, private, told=False)
    assert host.asked == []


def test_published__one_uri_of_two_fails__is_a_warning(host: UntrustedHost, tmp_path: Path) -> None:
    good, bad = host.has("/good", FILE), host.has("/bad", b"")
    for uris in ((good, bad), (bad, good)):  # every URI is asked, whether or not an earlier one had the file
        assert required(host, tmp_path, *uris) == [f"program: {bad} announces 0 bytes, 900 are expected"]


def test_published__manifest_without_a_uri_for_a_file__is_refused(host: UntrustedHost, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="program: the manifest names no URI for it"):
        required(host, tmp_path)


# Other tasks


class Task:
    """A manifest of the linear program with a sealed holdout, and the history of a task that has it."""

    def __init__(self, host: UntrustedHost, number: int, key: bytes, *, served: bool = True, **changes: object) -> None:
        program = Program()
        self.plain = program.examples_file(seed=1)
        self.sealed = sealing.seal(key, self.plain)
        data = program.manifest(lambda _: "https://files.example", program.examples_file(2), self.sealed, **changes)
        self.manifest = Manifest.from_bytes(data)
        uri = host.has(f"/{number}", data) if served else host.url("/gone")
        self.history = SimpleNamespace(
            id=bytes([number] * 32),
            terms=SimpleNamespace(manifest=self.manifest.digest()),
            manifest_uri=uri,
            holdout=None,
            ended=False,
        )


def compared(host: UntrustedHost, folder: Path, own: Task, *others: Task) -> list[str]:
    histories = {other.history.id: other.history for other in others}
    snapshot: Any = SimpleNamespace(history=SimpleNamespace(tasks=histories))
    rules = _published.policy([host.host], None)
    return _other_tasks.compare(snapshot, own.manifest, digests.digest(own.plain), rules, folder)


def test_other_tasks__same_base_or_holdout_in_an_open_task__is_named(host: UntrustedHost, tmp_path: Path) -> None:
    key = sealing.new_key()
    own = Task(host, 1, key, base={"model": "m", "tokenizer": "t"})
    same_base = Task(host, 2, sealing.new_key(), base={"model": "m", "tokenizer": "t"})
    same_holdout = Task(host, 3, key)
    unrelated = Task(host, 4, sealing.new_key())
    ended = Task(host, 5, sealing.new_key(), base={"model": "m", "tokenizer": "t"})
    ended.history.ended = True
    assert compared(host, tmp_path, own, same_base, same_holdout, unrelated, ended) == [
        f"open task 0x{'02' * 32} has the same base: its submissions may fit this task, too",
        f"open task 0x{'03' * 32} has the same sealed holdout: revealing it there opens it here, too",
    ]


def test_other_tasks__holdout_revealed_anywhere__is_refused(host: UntrustedHost, tmp_path: Path) -> None:
    own, other = Task(host, 1, sealing.new_key()), Task(host, 2, sealing.new_key())
    other.history.ended = True
    # The other task sealed the same examples with another key.
    other.history.holdout = SimpleNamespace(sealed=digests.digest(other.sealed), plain=digests.digest(own.plain))
    with pytest.raises(click.ClickException, match=f"^the holdout was revealed in task 0x{'02' * 32}, so everybody"):
        compared(host, tmp_path, own, other)


def test_other_tasks__manifests_out_of_reach__are_counted(host: UntrustedHost, tmp_path: Path) -> None:
    own = Task(host, 1, sealing.new_key())
    gone, twin = Task(host, 2, sealing.new_key(), served=False, title="gone"), Task(host, 3, sealing.new_key())
    twin.history.manifest_uri = host.has("/3", b"not a manifest")
    twin.history.terms.manifest = digests.digest(b"not a manifest")
    host.redirects("/gone", "https://10.0.0.1/")
    assert compared(host, tmp_path, own, gone, twin) == [
        "2 open tasks are not compared, because their manifests cannot be fetched or read"
    ]


# Scores


def checked(tmp_path: Path, policy: RewardPolicy, threshold: int, baseline: int = 0) -> list[str]:
    """Check an offer for a `classify` task whose 5 evaluation examples have the labels 1, 1, 1, 0, 2."""
    from verifier.artifacts import tensors
    from verifier.artifacts.tensors import TensorSpec

    labels = np.array([1, 1, 1, 0, 2, -1], np.int16)  # the last one is padding
    data = tensors.encode((TensorSpec("label", "int16", (6,), 0),), {"label": labels})
    (tmp_path / "practice").write_bytes(data)
    entry = [{"name": "label", "dtype": "int16", "shape": [2], "grid": 0}]
    fields: dict[str, Any] = {"kind": "classify", "examples": entry, "holdout": None}
    manifest = Manifest.from_bytes(Program().manifest(lambda _: "https://files.example", data, b"", **fields))
    offer: Any = SimpleNamespace(policy=policy, threshold=threshold, baseline=baseline)
    return _terms.check_scores(manifest, offer, tmp_path / "practice")


def test_scores__threshold_above_the_examples__is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="^no submission can score more than 5 points$"):
        checked(tmp_path, RewardPolicy.BEST, 6)
    assert checked(tmp_path, RewardPolicy.BEST, 5) == []


def test_scores__threshold_that_a_constant_answer_reaches__is_a_warning(tmp_path: Path) -> None:
    assert checked(tmp_path, RewardPolicy.BEST, 4) == []
    assert checked(tmp_path, RewardPolicy.BEST, 3) == [
        "a submission that ignores its input can score 3 points, so it reaches the threshold of 3 and is paid"
    ]


def test_scores__baselines_without_effect_or_below_a_constant_answer__are_warnings(tmp_path: Path) -> None:
    assert checked(tmp_path, RewardPolicy.BEST, 4, baseline=2) == [
        "--baseline 2 has no effect: only --policy ladder uses it"
    ]
    assert checked(tmp_path, RewardPolicy.LADDER, 4, baseline=3) == []
    assert checked(tmp_path, RewardPolicy.LADDER, 4, baseline=2) == [
        "a submission that ignores its input can score 3 points: the ladder pays for what it exceeds the baseline of 2"
    ]


def test_score_range__of_classify_without_labels__is_an_error_of_the_manifest() -> None:
    score_range = find_kind("classify").score_range
    assert score_range is not None
    with pytest.raises(Exception, match="^manifest: examples: a task of the kind 'classify' has a tensor `label`$"):
        score_range({}, 1, SimpleNamespace())  # type: ignore[arg-type]
