"""Compare the deployed contracts with their record and with this source.

ape run verify --network ethereum:sepolia
"""

import ape
import click
from eth_utils.conversions import to_bytes
from eth_utils.crypto import keccak
from pydantic import TypeAdapter, ValidationError

from scripts import _chain, _deployments
from scripts._parameters import Parameters
from verifier.artifacts.digests import to_hex
from verifier.tasks.manifest import problems


@click.command(cls=_chain.Command)
def cli() -> None:
    """Compare code and parameters on chain with deployments/<network>.json and with this source.

    Prints every comparison, and exits with 1 if there is a difference.
    """
    record = _chain.record()
    try:
        parameters = TypeAdapter(Parameters).validate_python(record["parameters"])
    except ValidationError as error:
        raise click.UsageError(
            f"the record {_deployments.path(_chain.network())} is damaged: parameters: {problems(error)}"
        ) from error
    project = _chain.compiled()
    stakes, panel, bounties = _chain.deployed()
    limits = parameters.limits
    found = {
        "chain id": (ape.chain.chain_id, record["chain_id"]),
        "compiler": (_deployments.compiler_version(), record["compiler"]),
        "Stakes.SEAT": (stakes.SEAT(), parameters.seat),
        "Stakes.EXIT_DELAY": (stakes.EXIT_DELAY(), parameters.exit_delay),
        "Panel.STAKES": (panel.STAKES(), stakes.address),
        "Panel.BOUNTIES": (panel.BOUNTIES(), bounties.address),
        "Panel.DRAW_DELAY": (panel.DRAW_DELAY(), parameters.draw_delay),
        "Panel.CHALLENGE_WINDOW": (panel.CHALLENGE_WINDOW(), parameters.challenge_window),
        "Bounties.PANEL": (bounties.PANEL(), panel.address),
        "Bounties.MIN_COMMITTEE": (bounties.MIN_COMMITTEE(), limits.min_committee),
        "Bounties.MAX_COMMITTEE_SIZE": (bounties.MAX_COMMITTEE_SIZE(), limits.max_committee),
        "Bounties.SEAT_FACTOR": (bounties.SEAT_FACTOR(), limits.seat_factor),
        "Bounties.SUBMISSION_BOND": (bounties.SUBMISSION_BOND(), limits.submission_bond),
        "Bounties.SPONSOR_BOND_BPS": (bounties.SPONSOR_BOND_BPS(), limits.sponsor_bond_bps),
        "Bounties.REFERENCE_RATE": (bounties.REFERENCE_RATE(), limits.reference_rate),
        "Bounties.MIN_SEAT_FEE": (bounties.MIN_SEAT_FEE(), limits.min_seat_fee),
        "Bounties.VOID_DELAY": (bounties.VOID_DELAY(), limits.void_delay),
        "Bounties.TERMINAL_DELAY": (bounties.TERMINAL_DELAY(), limits.terminal_delay),
    }
    for i, (shortest, longest) in enumerate(zip(limits.min_windows, limits.max_windows, strict=True)):
        found[f"Bounties.window_range({i})"] = (tuple(bounties.window_range(i)), (shortest, longest))
    for name, contract in (("Stakes", stakes), ("Panel", panel), ("Bounties", bounties)):
        code = bytes(ape.networks.provider.get_code(contract.address))
        found[f"{name}: hash of the code"] = (to_hex(keccak(code)), record["contracts"][name]["code_hash"])
        # Vyper appends the immutables to the runtime code, so the deployed code begins with the compiled code.
        runtime = to_bytes(hexstr=str(getattr(project, name).contract_type.runtime_bytecode.bytecode))
        found[f"{name}: code begins with this source's"] = (code[: len(runtime)] == runtime, True)

    differences = 0
    for what, (there, expected) in found.items():
        same = there == expected
        differences += not same
        click.echo(f"  {'ok  ' if same else 'DIFF'} {what}: {there}" + ("" if same else f", expected {expected}"))
    if differences:
        raise click.ClickException(
            f"the chain differs from the record or this source in {differences} places, marked DIFF"
        )
    click.echo("the chain agrees with the record and with this source")
