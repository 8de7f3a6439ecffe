"""The store: only complete files, and never a corrupted one."""

import os
import time
from pathlib import Path

import pytest

from verifier.artifacts.digests import digest, to_hex
from verifier.artifacts.errors import Misfit, StoreError
from verifier.artifacts.store import Store

DATA = b"artifact" * 1000
D = digest(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "store")


def test_put__bytes__are_found_by_digest(store: Store) -> None:
    assert store.put(DATA) == D
    assert store.has(D)
    assert store.get(D) == DATA
    assert store.path(D).read_bytes() == DATA
    assert store.check(D) == store.path(D)
    assert list(store) == [D]
    assert store.total_bytes() == len(DATA)


def test_put__file__is_copied(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    assert store.put(source) == D
    source.unlink()
    assert store.get(D) == DATA


def test_put__twice__keeps_one_file(store: Store) -> None:
    store.put(DATA)
    store.put(DATA)
    assert os.listdir(store.folder) == [D.hex()]


def test_put__rotten_copy_there__is_healed(store: Store) -> None:
    store.put(DATA)
    store.path(D).write_bytes(b"rotten")
    store.put(DATA)
    assert store.get(D) == DATA


def test_path__unknown_digest__is_an_error(store: Store) -> None:
    assert not store.has(D)
    for read in (store.path, store.get, store.check):
        with pytest.raises(StoreError, match=f"does not have {to_hex(D)}"):
            read(D)


@pytest.mark.parametrize("method", ["get", "check"])
def test_get__rotten_file__is_an_error_and_the_file_is_gone(store: Store, method: str) -> None:
    store.put(DATA)
    store.path(D).write_bytes(DATA[:-1] + b"?")
    with pytest.raises(
        StoreError, match=f"{to_hex(D)} was corrupted in the store {store.folder} and has been removed from it"
    ):
        getattr(store, method)(D)
    assert not store.has(D)


def test_writer__other_digest_than_expected__leaves_nothing(store: Store) -> None:
    with pytest.raises(Misfit, match=f"not {to_hex(D)}"), store.writer(expected=D) as writer:
        writer.write(DATA + b"!")
    assert os.listdir(store.folder) == []


def test_writer__block_fails__leaves_nothing(store: Store) -> None:
    def write_and_fail() -> None:
        with store.writer() as writer:
            writer.write(DATA)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert os.listdir(store.folder) == []


def test_writer__unfinished__is_not_visible(store: Store) -> None:
    with store.writer() as writer:
        writer.write(DATA)
        assert not store.has(D)
        assert list(store) == []
    assert store.has(D)


def test_store__opened__removes_what_a_killed_process_left(store: Store) -> None:
    stale, fresh = store.folder / ".old.part", store.folder / ".new.part"
    stale.write_bytes(b"half")
    fresh.write_bytes(b"half")
    yesterday = time.time() - 90_000
    os.utime(stale, (yesterday, yesterday))
    Store(store.folder)
    assert not stale.exists()
    assert fresh.exists()


def test_store__foreign_files__are_not_listed(store: Store) -> None:
    (store.folder / "README").write_text("hello")
    (store.folder / ("z" * 64)).write_text("hello")
    store.put(DATA)
    assert list(store) == [D]


def test_remove__file__is_gone_and_a_second_time_is_no_error(store: Store) -> None:
    store.put(DATA)
    store.remove(D)
    store.remove(D)
    assert not store.has(D)
