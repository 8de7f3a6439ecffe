"""What an operator uses: preflight, health, metrics, logs, a second instance, a dry run, a clean stop."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import requests

from tests.end_to_end.node import ROOT, wait_for
from tests.end_to_end.program import GOOD, Program, cost_of, slow_program
from tests.end_to_end.services import Verifier
from tests.end_to_end.world import SEAT, World


def touchstone(command: str, verifier: Verifier) -> subprocess.CompletedProcess[str]:
    """Run a command on the verifier's configuration, as an operator would."""
    return subprocess.run(
        [sys.executable, "-m", "verifier", command, "--config", str(verifier.folder / "service.toml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def processes_of(verifier: Verifier) -> list[str]:
    """The command lines of all running processes that name the verifier's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # the process ended during the search
            continue
        if str(verifier.folder) in line:
            found.append(line)
    return found


def test_run__no_duties__is_healthy_and_stops_cleanly(world: World) -> None:
    verifier = world.add_verifier("only", seats=2)
    world.configure()
    verifier.start()
    running = verifier.wait_for_log('"running"')
    assert (running["operator"], running["dry_run"]) == (verifier.operator.address, False)
    wait_for(lambda: verifier.health()["status_code"] == 200 and verifier.health()["head"], "it is healthy")
    health = verifier.health()
    assert (health["status"], health["problem"]) == ("ok", None)

    metrics = requests.get(f"http://127.0.0.1:{verifier.health_port}/metrics", timeout=10).text
    assert f"touchstone_stake_wei {2.0 * SEAT}" in metrics
    assert re.search(r"^touchstone_seats 2\.0$", metrics, re.MULTILINE)
    assert re.search(r'^touchstone_ticks_total\{outcome="complete"\} [1-9]', metrics, re.MULTILINE)
    assert re.search(r"^touchstone_balance_wei [1-9]", metrics, re.MULTILINE)
    # The public port serves neither the metrics nor unknown artifacts.
    assert requests.get(f"{verifier.endpoint}/metrics", timeout=10).status_code == 404
    assert requests.get(f"{verifier.endpoint}/artifacts/0x{'00' * 32}", timeout=10).status_code == 404

    second = touchstone("run", verifier)
    assert second.returncode == 1
    assert "is the service already running?" in second.stderr.splitlines()[-1]

    assert verifier.stop() == 0
    lines = verifier.log()
    assert not [line for line in lines if "raw" in line]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    assert lines[-1]["event"] == "stopped"


def test_run__no_stake_and_no_coin__reports_once_and_keeps_running(world: World) -> None:
    verifier = Verifier("outsider", world.folder / "outsider", world.person("outsider"))
    world.verifiers.append(verifier)
    world.configure()
    world.node.fund(verifier.operator.address, 0)
    verifier.start()
    wait_for(lambda: sum(line.get("event") == "attention" for line in verifier.log()) == 2, "both are in the log")
    reasons = [line["reason"] for line in verifier.log() if line["event"] == "attention"]
    assert "no seat names" in reasons[0]
    assert "no coin to pay gas with" in reasons[1]
    wait_for(lambda: verifier.health()["status"] == "ok", "it is healthy")
    assert verifier.stop() == 0


def test_preflight__everything_right__says_so_line_by_line(world: World) -> None:
    verifier = world.add_verifier("only", seats=2)
    world.configure()
    result = touchstone("preflight", verifier)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    assert [(mark, name) for mark, name, _ in lines] == [
        ("ok", name) for name in ("seed", "key", "store", "self-test", "chain", "balance", "stake")
    ]
    assert lines[-1][2] == f"2 seat(s), {2 * SEAT / 10**18:.6f} native coin, 2 at this panel, 0 leaving"


def test_preflight__everything_wrong__names_all_of_it(world: World) -> None:
    verifier = Verifier("outsider", world.folder / "outsider", world.person("outsider"))
    verifier.configure(world.node.url, 1, world.bounties.address, [])
    (verifier.folder / "seed").chmod(0o644)
    (verifier.folder / "password").write_text("wrong")
    (verifier.folder / "data").write_text("a file where the folder should be")
    result = touchstone("preflight", verifier)
    assert result.returncode == 1
    found = {line.split(maxsplit=2)[1]: line for line in result.stdout.splitlines() if line.startswith("FAIL")}
    assert set(found) == {"seed", "key", "store", "chain"}
    assert "others may read the seed file" in found["seed"]
    assert "cannot open the keystore" in found["key"]
    assert "cannot write in" in found["store"]
    assert "the node serves chain 31337, the configuration says 1" in found["chain"]

    verifier.configure(world.node.url, 31337, world.bounties.address, [])
    (verifier.folder / "password").write_text("correct horse")
    world.node.fund(verifier.operator.address, 0)
    result = touchstone("preflight", verifier)
    assert result.returncode == 1
    found = {line.split(maxsplit=2)[1]: line for line in result.stdout.splitlines() if line.startswith("FAIL")}
    assert set(found) == {"seed", "store", "balance", "stake"}
    assert "no native coin to pay gas with" in found["balance"]
    assert "no stake names" in found["stake"]


def test_stop__in_the_middle_of_an_evaluation__leaves_no_process(world: World) -> None:
    verifier = world.add_verifier("only")
    slow = slow_program()
    world.create_task(committee=1, program=Program(slow, cost=cost_of(slow)))
    verifier.start()
    entry = world.submit(GOOD)
    world.to_drawn()
    world.to_attested(1)
    world.to_judging(entry)
    wait_for(lambda: any("execution.child" in line for line in processes_of(verifier)), "an evaluation is under way")
    assert verifier.stop() == 0
    wait_for(lambda: not processes_of(verifier), "all its processes have ended", timeout_s=10)
    assert verifier.log()[-1]["event"] == "stopped"


def test_dry_run__without_a_key__does_everything_but_sign(world: World) -> None:
    signing = world.add_verifier("signing", seats=3)
    dry = world.add_verifier("dry")
    dry.dry = True
    world.create_task(committee=4)
    before = world.w3.eth.get_balance(dry.operator.address)
    signing.start()
    dry.start()
    assert dry.wait_for_log('"running"')["dry_run"] is True
    entry = world.submit(GOOD)
    world.to_drawn()
    dry.wait_for_log("dry run: would send attest")
    world.to_attested(3)
    world.to_judging(entry)
    dry.wait_for_log("dry run: would send commit_verdict")
    world.to_settled(votes=3, seats=4)

    found = [line["verdict"] for v in (signing, dry) for line in v.log() if line.get("event") == "evaluated"]
    assert len(found) == 2
    assert found[0] == found[1]
    assert world.w3.eth.get_balance(dry.operator.address) == before
    assert world.w3.eth.get_transaction_count(dry.operator.address) == 0
