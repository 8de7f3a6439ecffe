"""What the service must not forget, in one SQLite file: evaluations, votes, transactions.

A vote is on disk before its commitment is sent. A seat has one vote per round for ever: the journal refuses a second,
different one, whatever the rest of the program asks for.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address

from verifier.chain.transactions import InFlight
from verifier.service.errors import Retry, Stop
from verifier.service.votes import Seat, Vote

SCHEMA = """
CREATE TABLE IF NOT EXISTS deployment (chain INTEGER NOT NULL, panel TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
    inputs BLOB PRIMARY KEY, task BLOB NOT NULL, outcome INTEGER NOT NULL, scores TEXT NOT NULL,
    evidence BLOB NOT NULL, verdict BLOB NOT NULL UNIQUE, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS votes (
    task BLOB NOT NULL, round INTEGER NOT NULL, stake BLOB NOT NULL,
    verdict BLOB NOT NULL, salt BLOB NOT NULL, vote BLOB NOT NULL, PRIMARY KEY (task, round, stake)
);
CREATE TABLE IF NOT EXISTS transactions (
    nonce INTEGER PRIMARY KEY, key TEXT NOT NULL, destination TEXT NOT NULL, data BLOB NOT NULL, value TEXT NOT NULL,
    gas INTEGER NOT NULL, max_fee TEXT NOT NULL, priority_fee TEXT NOT NULL, raw BLOB NOT NULL, hashes TEXT NOT NULL,
    sent_at REAL NOT NULL, mined INTEGER
);
"""


@dataclass(frozen=True)
class Evaluation:
    """What was found for some inputs: what opens the verdict, and the seconds that it took."""

    task: bytes
    inputs: bytes
    outcome: int
    scores: tuple[int, ...]
    evidence: bytes
    verdict: bytes
    seconds: float


class Journal:
    """The file, open in one process and one thread."""

    def __init__(self, path: Path, chain: int, panel: str) -> None:
        """Open or create the file. Errors: Stop when it belongs to another deployment, is broken or is in use."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")  # two services on one journal could vote twice
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # a vote that is sent must have reached the disk
            self._db.executescript(SCHEMA)
            known = self._db.execute("SELECT chain, panel FROM deployment").fetchone()
            if known is None:
                self._db.execute("INSERT INTO deployment VALUES (?, ?)", (chain, panel))
            elif known != (chain, panel):
                raise Stop(f"{path} is the journal of panel {known[1]} on chain {known[0]}: use another data folder")
        except OSError as error:
            raise Stop(f"cannot write in {path.parent}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise Stop(f"cannot use the journal {path} (is the service already running?): {error}") from error

    def _execute(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement.

        Errors: Retry when the disk is full or fails (nothing was written, so nothing may be sent); Stop when the file
        is broken.
        """
        try:
            return self._db.execute(query, values)
        except sqlite3.OperationalError as error:
            raise Retry(f"cannot use the journal {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Stop(f"the journal {self._path} is broken: {error}: restore it, or use a new data folder") from error

    def close(self) -> None:
        """Close the file, so that another process can open it."""
        self._db.close()

    # Evaluations

    def evaluation(self, inputs: bytes) -> Evaluation | None:
        """Return what this service found for those inputs."""
        return self._one("SELECT * FROM evaluations WHERE inputs = ?", (inputs,))

    def opening(self, verdict: bytes) -> Evaluation | None:
        """Return the evaluation whose verdict has that digest."""
        return self._one("SELECT * FROM evaluations WHERE verdict = ?", (verdict,))

    def _one(self, query: str, values: Sequence[bytes]) -> Evaluation | None:
        row = self._execute(query, values).fetchone()
        if row is None:
            return None
        inputs, task, outcome, text, evidence, verdict, seconds = row
        try:
            scores = tuple(int(score) for score in json.loads(text))
        except ValueError:  # a damaged row: the verdict does not follow from it, which is checked before it is used
            scores = ()
        return Evaluation(task, inputs, outcome, scores, evidence, verdict, seconds)

    def record_evaluation(self, found: Evaluation) -> None:
        """Write an evaluation down; if the inputs have one already, that one stays."""
        scores = json.dumps([str(score) for score in found.scores])  # as text: int128 does not fit SQLite's integers
        self._execute(
            "INSERT OR IGNORE INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?)",
            (found.inputs, found.task, found.outcome, scores, found.evidence, found.verdict, found.seconds),
        )

    def forget_evaluation(self, inputs: bytes) -> None:
        """Delete the evaluation of those inputs, so that it can be found again."""
        self._execute("DELETE FROM evaluations WHERE inputs = ?", (inputs,))

    # Votes

    def vote(self, seat: Seat) -> Vote | None:
        """Return the vote that this seat has in its round."""
        row = self._execute(
            "SELECT verdict, salt, vote FROM votes WHERE task = ? AND round = ? AND stake = ?",
            (seat.task, seat.round, seat.stake),
        ).fetchone()
        return Vote(*row) if row else None

    def record_vote(self, seat: Seat, vote: Vote) -> Vote:
        """Write the vote down, unless the seat has one; returns the seat's vote, the only one that may be committed."""
        self._execute(
            "INSERT OR IGNORE INTO votes VALUES (?, ?, ?, ?, ?, ?)",
            (seat.task, seat.round, seat.stake, vote.verdict, vote.salt, vote.digest),
        )
        kept = self.vote(seat)
        assert kept is not None
        return kept

    # Transactions: the sender's TransactionLog

    def in_flight(self) -> Iterator[InFlight]:
        """Return all transactions that are not confirmed, by nonce."""
        for row in self._execute("SELECT * FROM transactions ORDER BY nonce").fetchall():
            nonce, key, to, data, value, gas, max_fee, priority_fee, raw, hashes, sent_at, mined = row
            yield InFlight(
                key=key,
                nonce=nonce,
                to=to_checksum_address(to),
                data=data,
                value=int(value),
                gas=gas,
                max_fee=int(max_fee),
                priority_fee=int(priority_fee),
                raw=raw,
                hashes=tuple(bytes.fromhex(item) for item in hashes.split()),
                sent_at=sent_at,
                mined=mined,
            )

    def remember(self, transaction: InFlight) -> None:
        """Write a transaction down, in place of an earlier version with its nonce."""
        self._execute(
            "INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                transaction.nonce,
                transaction.key,
                transaction.to,
                transaction.data,
                str(transaction.value),
                transaction.gas,
                str(transaction.max_fee),
                str(transaction.priority_fee),
                transaction.raw,
                " ".join(item.hex() for item in transaction.hashes),
                transaction.sent_at,
                transaction.mined,
            ),
        )

    def forget(self, nonce: int) -> None:
        """Delete the transaction with that nonce."""
        self._execute("DELETE FROM transactions WHERE nonce = ?", (nonce,))
