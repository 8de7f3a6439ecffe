"""The demo's summary: everything comes from events and journals, and two sources that differ are an error."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from scripts.demo.report import Facts, journal_verdict, show, summarise
from scripts.demo.shell import DemoError

TASK, VERDICT = bytes([7] * 32), bytes([9] * 32)
SPONSOR, WINNER, LOSER = "0xsponsor", "0xwinner", "0xloser"
NAMES = {SPONSOR: "sponsor", WINNER: "solver1", LOSER: "solver2", "0xoperator1": "verifier1"}


def facts() -> Facts:
    """A task with two submissions, judged by three seats."""
    stakes = [bytes([number] * 32) for number in range(3)]
    return Facts(
        created={"task": TASK, "sponsor": SPONSOR, "terms": SimpleNamespace(threshold=160, reward=300)},
        committed=[{"index": 0, "solver": WINNER}, {"index": 1, "solver": LOSER}],
        revealed=[{"index": 1, "plain": bytes([2] * 32)}, {"index": 0, "plain": bytes([1] * 32)}],
        settled={"scores": [190, 128]},
        claimed=[
            {"index": 0, "solver": WINNER, "reward": 300, "native": 10},
            {"index": 1, "solver": LOSER, "reward": 0, "native": 10},
        ],
        joined=[
            {"stake": stake, "operator": f"0xoperator{number}", "owner": f"0xowner{number}"}
            for number, stake in enumerate(stakes)
        ],
        verdicts=[{"stake": stake, "verdict": VERDICT} for stake in stakes],
        accepted={"verdict": VERDICT},
        closed=[{"stake": stake, "earned": 4, "slashed": 0} for stake in stakes],
        seat_paid=[{"owner": f"0xowner{number}", "amount": 4} for number in range(3)],
        withdrawn=[
            {"account": WINNER, "amount": 310},
            {"account": LOSER, "amount": 10},
            *({"account": f"0xowner{number}", "amount": 4} for number in range(3)),
        ],
        journals={f"0xoperator{number}": VERDICT for number in range(3)},
        kind="classify",
    )


def test_summary__of_a_settled_task__has_scores_payments_and_verdicts() -> None:
    found = summarise(facts(), NAMES, "devnet", 123.456)
    assert (found["threshold"], found["chain"], found["seconds"]) == (160, "devnet", 123.5)
    assert found["kind"] == "classify"
    assert found["submissions"] == [
        {
            "name": "solver1",
            "solver": WINNER,
            "digest": "0x" + "01" * 32,
            "score": 190,
            "passed": True,
            "paid": 300,
            "bond_returned": 10,
        },
        {
            "name": "solver2",
            "solver": LOSER,
            "digest": "0x" + "02" * 32,
            "score": 128,
            "passed": False,
            "paid": 0,
            "bond_returned": 10,
        },
    ]
    assert [item["verdict_digest"] for item in found["verifiers"]] == ["0x" + "09" * 32] * 3
    assert [item["fee"] for item in found["verifiers"]] == [4, 4, 4]


def test_summary__of_a_score_at_the_threshold__passed() -> None:
    assert summarise(replace(facts(), settled={"scores": [160, 159]}), NAMES, "devnet", 1)["submissions"][0]["passed"]
    assert not summarise(replace(facts(), settled={"scores": [160, 159]}), NAMES, "devnet", 1)["submissions"][1][
        "passed"
    ]


def test_summary__of_a_seat_that_missed_round_1__adds_up_both_rounds() -> None:
    missed = [{"stake": bytes(32), "earned": 0, "slashed": 7}, *facts().closed]
    found = summarise(replace(facts(), closed=missed), NAMES, "devnet", 1)["verifiers"][0]
    assert (found["fee"], found["slashed"], found["verdict_digest"]) == (4, 7, "0x" + "09" * 32)


def test_summary__of_a_seat_and_a_solver_that_revealed_nothing__says_so() -> None:
    silent = replace(
        facts(),
        verdicts=facts().verdicts[1:],
        closed=[{"stake": bytes(32), "earned": 0, "slashed": 7}, *facts().closed[1:]],
        seat_paid=facts().seat_paid[1:],
        withdrawn=[item for item in facts().withdrawn if item["account"] != "0xowner0"],
        revealed=facts().revealed[1:],
    )
    found = summarise(silent, NAMES, "devnet", 1)
    first = {"name": "0xoperator0", "address": "0xoperator0", "verdict_digest": None, "fee": 0, "slashed": 7}
    assert found["verifiers"][0] == first
    assert [(item["digest"], item["score"], item["passed"]) for item in found["submissions"]] == [
        ("0x" + "01" * 32, 190, True),
        (None, None, False),
    ]
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(console, found)
    shown = console.export_text()
    assert "none revealed" in shown
    assert "not revealed" in shown


def test_summary__of_money_that_was_credited_and_not_withdrawn__is_an_error() -> None:
    short_paid = replace(facts(), withdrawn=[{"account": LOSER, "amount": 10}])
    with pytest.raises(DemoError, match="^the amounts credited to 0xwinner and withdrawn by it differ: 310 and 0$"):
        summarise(short_paid, NAMES, "devnet", 1)


def test_summary__of_a_journal_that_says_another_verdict__is_an_error() -> None:
    lying = replace(facts(), journals={**facts().journals, "0xoperator1": bytes(32)})
    with pytest.raises(DemoError, match="^the verdicts in the journal of 0xoperator1 and on chain differ: "):
        summarise(lying, NAMES, "devnet", 1)


def test_tables__of_a_summary__name_everybody_and_show_coins() -> None:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    summary = summarise(facts(), NAMES, "devnet", 1)
    summary["submissions"][0]["paid"] = 3 * 10**18
    show(console, summary)
    shown = console.export_text()
    (winner,) = [line for line in shown.splitlines() if "190" in line]
    assert [word for word in winner.split() if word.isalnum()] == ["solver1", "190", "160", "passed", "3"]
    assert shown.count("accepted") == 3


def test_journal__of_one_task__gives_its_one_verdict(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE votes (task BLOB, round INTEGER, stake BLOB, verdict BLOB)")
    database.execute("INSERT INTO votes VALUES (?, 1, ?, ?)", (TASK, bytes(32), VERDICT))
    database.commit()
    assert journal_verdict(path, TASK) == VERDICT
    assert journal_verdict(path, bytes(32)) is None
    database.execute("INSERT INTO votes VALUES (?, 2, ?, ?)", (TASK, bytes(32), bytes(32)))
    database.commit()
    with pytest.raises(DemoError, match="has 2 verdicts for the task instead of one$"):
        journal_verdict(path, TASK)
    database.close()
