"""A solver downloads a task from hosts, honest and hostile ones, with `touchstone task get` and `task show`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from tests.artifacts.untrusted_host import UntrustedHost
from tests.end_to_end.program import COUNT, Program
from verifier.artifacts import digests
from verifier.artifacts.errors import ArtifactError, FetchError
from verifier.artifacts.policy import Policy
from verifier.cli.main import cli
from verifier.tasks import download
from verifier.tasks.download import TaskFile, TaskFolder, public_files
from verifier.tasks.errors import ManifestError, TaskError
from verifier.tasks.manifest import Manifest

ROWS = b"label\ttext\ngood\tfine film\nbad\tdull film\n"
FILES = ["manifest.json", "practice.tensors", "program.onnx", "train.tsv"]


class Sponsor:
    """A host with the public files of a task, and its manifest."""

    def __init__(self, host: UntrustedHost, **changes: Any) -> None:
        self.host = host
        program = Program()
        practice = program.examples_file(seed=2)
        self.data = {"program.onnx": program.data, "practice.tensors": practice, "train.tsv": ROWS}
        training = {
            "digest": digests.to_hex(digests.digest(ROWS)),
            "size": len(ROWS),
            "count": 2,
            "format": "tsv",
            "uris": [self.publish(ROWS)],
        }
        self.manifest = program.manifest(
            self.publish, practice, program.examples_file(seed=1), **{"training": training, **changes}
        )
        self.uri = self.publish(self.manifest)

    def path(self, data: bytes) -> str:
        return f"/artifacts/{digests.to_hex(digests.digest(data))}"

    def publish(self, data: bytes) -> str:
        return self.host.has(self.path(data), data)

    def get(self, out: Path, *arguments: str) -> Result:
        return CliRunner(mix_stderr=False).invoke(
            cli, ["task", "get", self.uri, "--out", str(out), f"--allow-host={self.host.host}", *arguments]
        )


@pytest.fixture
def host() -> Iterator[UntrustedHost]:
    server = UntrustedHost()
    yield server
    server.close()


@pytest.fixture
def sponsor(host: UntrustedHost) -> Sponsor:
    return Sponsor(host)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_task_get__uri__writes_every_file_and_says_what_comes_next(sponsor: Sponsor, tmp_path: Path) -> None:
    done = sponsor.get(tmp_path / "task")
    assert done.exit_code == 0, done.exception
    assert names(tmp_path / "task") == FILES
    for name, data in (*sponsor.data.items(), ("manifest.json", sponsor.manifest)):
        assert (tmp_path / "task" / name).read_bytes() == data
    lines = [line.split(maxsplit=1) for line in done.output.splitlines()]
    assert ["task", "A linear scorer"] in lines
    assert ["manifest", digests.to_hex(digests.digest(sponsor.manifest))] in lines
    rows = digests.to_hex(digests.digest(ROWS))
    assert ["train.tsv", f"fetched, {len(ROWS)} bytes, {rows}"] in lines
    manifest = tmp_path / "task" / "manifest.json"
    assert ["next", f"touchstone pack adapter/ --task {manifest} --out mine.tensors"] in lines
    assert done.output.endswith(f"touchstone score --task {manifest} --submission mine.tensors\n")


def test_task_get__second_time__fetches_only_what_lacks(sponsor: Sponsor, tmp_path: Path) -> None:
    sponsor.get(tmp_path / "task")
    (tmp_path / "task" / "practice.tensors").unlink()
    sponsor.host.asked.clear()
    done = sponsor.get(tmp_path / "task")
    assert sponsor.host.asked == [sponsor.path(sponsor.data["practice.tensors"])]
    assert names(tmp_path / "task") == FILES
    assert "program.onnx      already here" in done.output
    assert "practice.tensors  fetched" in done.output


def test_task_get__manifest_that_is_a_file__downloads_the_rest(sponsor: Sponsor, tmp_path: Path) -> None:
    mailed = tmp_path / "mailed.json"
    mailed.write_bytes(sponsor.manifest)
    sponsor.uri = str(mailed)
    assert sponsor.get(tmp_path / "task").exit_code == 0
    assert names(tmp_path / "task") == FILES


def test_task_get__rows_not_published__says_so(host: UntrustedHost, tmp_path: Path) -> None:
    fields = json.loads(Sponsor(host).manifest)
    del fields["training"]
    sponsor = Sponsor(host)
    sponsor.manifest = Manifest.from_fields(fields).to_bytes()
    sponsor.uri = sponsor.publish(sponsor.manifest)
    done = sponsor.get(tmp_path / "task")
    assert "the sponsor publishes no rows to train on: bring rows of your own" in done.output
    assert names(tmp_path / "task") == FILES[:-1]


def test_task_get__file_with_other_content__is_kept_and_nothing_is_fetched(sponsor: Sponsor, tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "train.tsv").write_bytes(b"my own rows")
    done = sponsor.get(tmp_path / "task")
    assert isinstance(done.exception, TaskError)
    assert f"{tmp_path / 'task' / 'train.tsv'} is another file and is not overwritten" in str(done.exception)
    assert (tmp_path / "task" / "train.tsv").read_bytes() == b"my own rows"
    assert names(tmp_path / "task") == ["manifest.json", "train.tsv"]
    assert sponsor.host.asked == [sponsor.path(sponsor.manifest)]


def test_task_get__folder_of_another_task__is_not_mixed(sponsor: Sponsor, host: UntrustedHost, tmp_path: Path) -> None:
    sponsor.get(tmp_path / "task")
    done = Sponsor(host, title="Another task").get(tmp_path / "task")
    assert "manifest.json is another file and is not overwritten" in str(done.exception)
    assert (tmp_path / "task" / "manifest.json").read_bytes() == sponsor.manifest


def test_task_get__host_that_is_not_allowed__names_the_option(sponsor: Sponsor, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["task", "get", sponsor.uri, "--out", str(tmp_path / "task")])
    assert isinstance(done.exception, ArtifactError)
    assert "http is followed only to hosts that the configuration names" in str(done.exception)
    assert "name it with --allow-host HOST:PORT" in str(done.exception)
    assert sponsor.host.asked == []


# Hostile hosts


def test_task_get__manifest_of_another_digest__is_refused(sponsor: Sponsor, tmp_path: Path) -> None:
    other = Sponsor(sponsor.host, title="Another task").manifest
    sponsor.host.has(sponsor.path(sponsor.manifest), other)
    done = sponsor.get(tmp_path / "task")
    assert isinstance(done.exception, FetchError)
    assert f"not {digests.to_hex(digests.digest(sponsor.manifest))}" in str(done.exception)
    assert names(tmp_path / "task") == []


def test_task_get__page_instead_of_a_manifest__is_named(sponsor: Sponsor, tmp_path: Path) -> None:
    sponsor.uri = sponsor.host.has("/manifest", b"<html>not found</html>")
    done = sponsor.get(tmp_path / "task")
    assert isinstance(done.exception, ManifestError)
    assert f"{sponsor.uri} is not a task's manifest: manifest: not JSON" in str(done.exception)
    assert names(tmp_path / "task") == []


def test_task_get__endless_manifest__stops_at_the_limit(sponsor: Sponsor, tmp_path: Path) -> None:
    sponsor.uri = sponsor.host.has("/manifest", bytes(2 << 20))
    assert "announces 2097152 bytes, at most 1048576 are allowed" in str(sponsor.get(tmp_path / "task").exception)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "answers with status 404"),
        (b"x" * len(ROWS), "the bytes have digest 0x"),
        (ROWS + b"x", f"announces {len(ROWS) + 1} bytes, {len(ROWS)} are expected"),
        (ROWS[:-1], f"announces {len(ROWS) - 1} bytes, {len(ROWS)} are expected"),
    ],
)
def test_task_get__wrong_file_at_the_end__keeps_the_checked_ones_and_continues_later(
    sponsor: Sponsor, tmp_path: Path, body: bytes | None, reason: str
) -> None:
    async def missing(_: web.Request) -> web.Response:
        raise web.HTTPNotFound

    if body is None:
        sponsor.host.answers[sponsor.path(ROWS)] = missing
    else:
        sponsor.host.has(sponsor.path(ROWS), body)
    done = sponsor.get(tmp_path / "task")
    assert isinstance(done.exception, FetchError)
    assert reason in str(done.exception)
    assert names(tmp_path / "task") == FILES[:-1]
    sponsor.publish(ROWS)
    sponsor.host.asked.clear()
    assert sponsor.get(tmp_path / "task").exit_code == 0
    assert sponsor.host.asked == [sponsor.path(ROWS)]
    assert names(tmp_path / "task") == FILES


def test_require__host_that_sends_without_end__stops_after_the_announced_size(sponsor: Sponsor, tmp_path: Path) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with_zeros = bytes(1 << 16)
        while True:
            await answer.write(with_zeros)

    sponsor.host.answers[sponsor.path(ROWS)] = endless
    assert f"sends too many bytes, {len(ROWS)} are expected" in str(sponsor.get(tmp_path / "task").exception)
    assert names(tmp_path / "task") == FILES[:-1]


def test_require__host_that_stalls__gives_up_and_leaves_nothing(sponsor: Sponsor, tmp_path: Path) -> None:
    async def stalling(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(len(ROWS))})
        await answer.prepare(request)
        await answer.write(ROWS[:5])
        await asyncio.sleep(60)
        return answer

    sponsor.host.answers[sponsor.path(ROWS)] = stalling
    folder = TaskFolder(tmp_path, Policy(allow_hosts=(sponsor.host.host,), stall_s=0.2))
    with pytest.raises(FetchError, match=r"no data for 0\.2 s"):
        folder.require(public_files(Manifest.from_bytes(sponsor.manifest)))
    assert names(tmp_path) == ["practice.tensors", "program.onnx"]


def test_require__file_beyond_the_limit_or_the_disk__is_refused_before_anything_is_fetched(
    sponsor: Sponsor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TaskFolder(tmp_path, Policy(allow_hosts=(sponsor.host.host,)))
    files = public_files(Manifest.from_bytes(sponsor.manifest))
    sponsor.host.asked.clear()
    huge = TaskFile("huge", bytes(32), (1 << 32) + 1, ("https://files.example/huge",))
    with pytest.raises(TaskError, match="huge has 4,294,967,297 bytes; at most 4,294,967,296 are downloaded"):
        folder.require([*files, huge])
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(TaskError, match=r"the files take .* bytes, and the disk of .* has 10 left"):
        folder.require(files)
    assert sponsor.host.asked == []
    assert names(tmp_path) == []


def test_require__interrupted_by_the_keyboard__leaves_no_half_file(sponsor: Sponsor, tmp_path: Path) -> None:
    def interrupt(name: str, done: int, _: int) -> None:
        if name == "train.tsv" and done:
            raise KeyboardInterrupt

    folder = TaskFolder(tmp_path, Policy(allow_hosts=(sponsor.host.host,)))
    with pytest.raises(KeyboardInterrupt):
        folder.require(public_files(Manifest.from_bytes(sponsor.manifest)), interrupt)
    assert names(tmp_path) == ["practice.tensors", "program.onnx"]


def test_require__progress__counts_the_bytes_of_each_file(sponsor: Sponsor, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = TaskFolder(tmp_path, Policy(allow_hosts=(sponsor.host.host,)))
    folder.require(public_files(Manifest.from_bytes(sponsor.manifest)), lambda *step: seen.append(step))
    assert seen[0] == ("program.onnx", 0, len(sponsor.data["program.onnx"]))
    assert seen[-1] == ("train.tsv", len(ROWS), len(ROWS))


def test_require__two_at_once_in_one_folder__both_end_with_whole_files(sponsor: Sponsor, tmp_path: Path) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response(body=ROWS)

    sponsor.host.answers[sponsor.path(ROWS)] = slow
    files = public_files(Manifest.from_bytes(sponsor.manifest))
    folders = [TaskFolder(tmp_path, Policy(allow_hosts=(sponsor.host.host,))) for _ in range(2)]
    first = threading.Thread(target=folders[0].require, args=(files,))
    first.start()
    time.sleep(0.1)
    folders[1].require(files)
    first.join()
    assert names(tmp_path) == FILES[1:]
    assert (tmp_path / "train.tsv").read_bytes() == ROWS


def test_require__folder_that_a_killed_download_left__is_removed_when_it_is_old(
    sponsor: Sponsor, tmp_path: Path
) -> None:
    longest = download.MIN_TIMEOUT_S + download.MAX_DOWNLOAD_BYTES / download.MIN_BYTES_PER_S
    assert longest < download.STALE_S
    for name, age in ((".unfinished-old", download.STALE_S + 60), (".unfinished-new", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".x.part").write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    folder = TaskFolder(tmp_path, Policy(allow_hosts=(sponsor.host.host,)))
    folder.require(public_files(Manifest.from_bytes(sponsor.manifest)))
    assert names(tmp_path) == [".unfinished-new", *FILES[1:]]


# What people read


def test_task_show__uri__describes_the_task_and_says_how_to_get_it(sponsor: Sponsor) -> None:
    allowed = f"--allow-host={sponsor.host.host}"
    said = CliRunner().invoke(cli, ["task", "show", sponsor.uri, allowed]).output
    lines = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert lines["title"] == "A linear scorer"
    assert lines["kind"] == "linear, which is not installed"
    assert lines["base"] == "none; none"
    assert lines["practice"].startswith(f"{COUNT} examples, ")
    assert lines["holdout"].startswith(f"{COUNT} examples, ")
    assert lines["training"] == f"2 rows, {len(ROWS)} bytes, {digests.to_hex(digests.digest(ROWS))}"
    assert f"the threshold is in points of {COUNT} examples" in lines["metric"]
    assert lines["next"] == f"touchstone task get {sponsor.uri} --out task/ --allow-host {sponsor.host.host}"


def test_task_show__file_that_is_not_there__is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["task", "show", str(tmp_path / "none.json")])
    assert str(done.exception) == f"cannot read {tmp_path / 'none.json'}: No such file or directory"
