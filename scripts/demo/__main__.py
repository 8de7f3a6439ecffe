"""`python -m scripts.demo [--kind KIND] [--chain devnet|anvil]`: runs the whole bounty, step by step."""

from __future__ import annotations

import json
import signal
import sys
from types import FrameType

import click
from rich.console import Console

from scripts._units import span
from scripts.demo import parties, report, setup
from scripts.demo.follow import ending, follow
from scripts.demo.market import Market
from scripts.demo.plays import PLAYS, Play
from scripts.demo.shell import ROOT, DemoError, Shell, shown
from verifier.errors import TouchstoneError
from verifier.protocol.constants import Phase
from verifier.tasks import find_kind, load_manifest

RESULT = ROOT / "build" / "demo.json"


@click.command()
@click.option(
    "--chain",
    type=click.Choice(["devnet", "anvil"]),
    default="devnet",
    show_default=True,
    help="The local chain: `touchstone devnet`, or anvil when it is on PATH.",
)
@click.option("--kind", type=click.Choice(list(PLAYS)), default="classify", show_default=True, help="The kind of task.")
def main(chain: str, kind: str) -> None:
    """Run a bounty of that kind from escrow to payout, and print who was paid what."""
    console = Console(highlight=False)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # SIGINT as well, which a shell may have set to ignored
        signal.signal(number, _interrupt)
    setup.fresh_folder()
    RESULT.unlink(missing_ok=True)
    shell = Shell(console, setup.FOLDER / "logs", setup.environment())
    try:
        play(shell, PLAYS[kind], chain)
    except KeyboardInterrupt:
        console.print("\ninterrupted, ending every process", style="yellow")
        sys.exit(130)
    except (DemoError, TouchstoneError) as error:
        console.print(f"\n[red]the demo failed:[/red] {error}")
        console.print(f"the services' logs are in {shown(setup.FOLDER / 'logs')}")
        sys.exit(1)
    finally:
        shell.stop()


def play(shell: Shell, chosen: Play, chain: str) -> None:
    """Run the bounty, in the order of the README's flow. Errors: DemoError, ChainError."""
    shell.title("Start a local chain, create wallets, deploy the three contracts")
    people = setup.make_people()
    setup.announce(shell, people)
    rpc_url = setup.start_chain(shell, chain, people)
    market = setup.deploy(shell, rpc_url)
    file_host = setup.start_file_host(shell)

    shell.title("Three operators stake one seat each and start their services")
    script_s = setup.stake(shell, people)
    setup.start_verifiers(shell, people, market, rpc_url, file_host)

    shell.title(f"The sponsor builds {chosen.summary}, with a sealed holdout")
    manifest_uri = parties.build_task(shell, chosen, file_host)

    shell.title(f"{chosen.training}; both pack, score and seal")
    uris, score_s = parties.prepare(shell, chosen, file_host)
    pace = parties.Pace(script_s, score_s, chosen.holdout / chosen.practice)

    shell.title("The sponsor escrows the reward, and the solvers commit")
    created = shell.seconds()
    parties.create_task(shell, market, chosen, manifest_uri, pace)
    shell.attempt(lambda: parties.commit(shell, chosen, uris))
    state = follow(market, parties.Hands(shell, chosen).act)
    parties.status(shell)

    shell.title("Everyone withdraws")
    parties.withdraw(
        shell, ["sponsor", *(solver.alias for solver in chosen.solvers), *(item.owner for item in people.operators)]
    )

    shell.title("What happened")
    shell.stop_services("verifier")
    shell.console.print(ending(state))
    if state.view.phase is not Phase.SETTLED:
        raise DemoError(f"nobody was paid: {ending(state)}")
    manifest = load_manifest(parties.MANIFEST)
    summary = report.summarise(_facts(market, people, manifest.kind), _names(people), chain, shell.seconds())
    summary["seconds_from_creation"] = round(shell.seconds() - created, 1)
    kind = find_kind(manifest.kind)
    for item in summary["submissions"]:
        score = item["score"]
        item["reads"] = None if score is None else kind.describe(score, chosen.holdout, manifest)
    report.show(shell.console, summary)
    RESULT.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    took = f"the demo took {span(round(summary['seconds']))}, {span(round(shell.seconds() - created))} from the task on"
    shell.console.print(f"\n{took}; this summary is in {shown(RESULT)}")


def _facts(market: Market, people: setup.People, kind: str) -> report.Facts:
    """Read what the report needs about a settled task. Errors: DemoError when no submission was scored."""
    bounties, panel, stakes = market.contracts.bounties, market.contracts.panel, market.contracts.stakes
    try:
        (created,) = market.events(bounties, "TaskCreated")
        (settled,) = market.events(bounties, "Settled")
        (accepted,) = market.events(panel, "Accepted")
    except ValueError as error:
        raise DemoError("the task was settled without a verdict") from error
    return report.Facts(
        created=created,
        committed=market.events(bounties, "SubmissionCommitted"),
        revealed=market.events(bounties, "SubmissionRevealed"),
        settled=settled,
        claimed=market.events(bounties, "SubmissionClaimed"),
        joined=market.events(stakes, "Joined"),
        verdicts=market.events(panel, "VerdictRevealed"),
        accepted=accepted,
        closed=market.events(panel, "VoteClosed"),
        seat_paid=market.events(bounties, "SeatPaid"),
        withdrawn=market.events(bounties, "Withdrawn"),
        journals={
            item.key.address: report.journal_verdict(item.folder / "data" / "journal.sqlite", market.task)
            for item in people.operators
        },
        kind=kind,
    )


def _names(people: setup.People) -> dict[str, str]:
    """Return a name for each address: a wallet's alias, or verifier and its number for an operator's key."""
    names: dict[str, str] = {account.address: alias for alias, account in people.wallets.items()}
    return names | {item.key.address: f"verifier{item.number}" for item in people.operators}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
