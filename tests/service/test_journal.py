"""The journal: nothing that was written is lost, and no seat ever gets a second vote."""

from dataclasses import replace
from pathlib import Path

import pytest

from verifier.chain.transactions import InFlight
from verifier.service.errors import Retry, Stop
from verifier.service.journal import Evaluation, Journal
from verifier.service.votes import Seat, Vote

PANEL = "0x" + "11" * 20
SEAT = Seat(31337, PANEL, b"\x01" * 32, 1, b"\x02" * 32)
VOTE = Vote(b"\x03" * 32, b"\x04" * 32, b"\x05" * 32)
EVALUATION = Evaluation(
    task=b"\x01" * 32,
    inputs=b"\x06" * 32,
    outcome=1,
    scores=(-(1 << 127), (1 << 96) - 1, 0),
    evidence=b"\x07" * 32,
    verdict=b"\x03" * 32,
    seconds=1.5,
)
TRANSACTION = InFlight(
    key="commit:01",
    nonce=7,
    to="0x" + "Ab" * 20,  # type: ignore[arg-type]
    data=b"\x01\x02",
    value=1 << 70,
    gas=100_000,
    max_fee=1 << 65,
    priority_fee=3,
    raw=b"\x02raw",
    hashes=(b"\x08" * 32, b"\x09" * 32),
    sent_at=1.25,
)


def open_journal(folder: Path) -> Journal:
    return Journal(folder / "journal.sqlite", 31337, PANEL)


def test_record_vote__second_different_vote__keeps_and_returns_the_first(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.record_vote(SEAT, VOTE) == VOTE
    other = Vote(b"\x13" * 32, b"\x14" * 32, b"\x15" * 32)
    assert journal.record_vote(SEAT, other) == VOTE
    assert journal.record_vote(replace(SEAT, round=2), other) == other


def test_journal__opened_again__remembers_everything(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.record_vote(SEAT, VOTE)
    journal.record_evaluation(EVALUATION)
    journal.remember(TRANSACTION)
    journal.close()

    again = open_journal(tmp_path)
    assert again.vote(SEAT) == VOTE
    assert again.evaluation(EVALUATION.inputs) == EVALUATION
    assert again.opening(EVALUATION.verdict) == EVALUATION
    (transaction,) = again.in_flight()
    assert replace(transaction, to=TRANSACTION.to) == TRANSACTION
    again.forget(7)
    assert list(again.in_flight()) == []


def test_journal__nothing_recorded__returns_none(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.vote(SEAT) is None
    assert journal.evaluation(b"\0" * 32) is None


def test_journal__of_another_panel__stops(tmp_path: Path) -> None:
    open_journal(tmp_path).close()
    with pytest.raises(Stop, match="use another data folder"):
        Journal(tmp_path / "journal.sqlite", 1, PANEL)


def test_journal__already_in_use__stops(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(Stop, match="already running"):
        open_journal(tmp_path)
    journal.close()


def test_journal__disk_full__raises_retry_and_writes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite says the same when the disk is full
    huge = replace(TRANSACTION, data=bytes(100_000))
    with pytest.raises(Retry, match="cannot use the journal .*: database or disk is full"):
        journal.remember(huge)
    assert list(journal.in_flight()) == []
    journal._db.execute("PRAGMA max_page_count = 100000")
    journal.remember(huge)
    assert len(list(journal.in_flight())) == 1


def test_journal__file_that_breaks_later__stops(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal._db.execute("DROP TABLE votes")
    journal._db.execute("PRAGMA writable_schema = ON")
    journal._db.execute("UPDATE sqlite_master SET rootpage = 9999 WHERE name = 'evaluations'")
    journal.close()
    with pytest.raises(Stop, match="journal"):
        open_journal(tmp_path).evaluation(EVALUATION.inputs)


def test_journal__not_a_database__stops(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(Stop, match="cannot use the journal"):
        open_journal(tmp_path)
