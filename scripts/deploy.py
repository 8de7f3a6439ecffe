"""Deploy Stakes, Panel and Bounties, and write down what was deployed.

ape run deploy --network ethereum:devnet:node --account sponsor --profile demo
"""

from pathlib import Path

import ape
import click
import rlp
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from scripts import _chain, _deployments
from scripts._parameters import PROFILES, Limits


@click.command(cls=_chain.Command)
@_chain.account_options
@click.option(
    "--profile",
    type=click.Choice(sorted(PROFILES)),
    default="public",
    show_default=True,
    help="Which ranges the deployment allows; they can never be changed.",
)
def cli(alias: str, passphrase_file: Path | None, yes: bool, profile: str) -> None:
    """Deploy the three contracts; nobody owns them afterwards.

    The record goes to deployments/<network>.json, which every other script reads; `ape run verify` checks the chain
    against it.
    """
    _deployments.check_free(_chain.network())
    signer = _chain.Signer(alias, passphrase_file, yes)
    parameters = PROFILES[profile]
    project = _chain.compiled()
    signer.confirm(f"deploy Stakes, Panel and Bounties, profile {profile}")
    deployer = signer.unlocked()

    stakes = deployer.deploy(project.Stakes, parameters.seat, parameters.exit_delay)
    # Panel is deployed before Bounties and names it: the address follows from the deployer's nonce.
    bounties_address = create_address(deployer.address, deployer.nonce + 1)
    panel = deployer.deploy(
        project.Panel, stakes.address, bounties_address, parameters.draw_delay, parameters.challenge_window
    )
    bounties = deployer.deploy(project.Bounties, panel.address, limits_argument(parameters.limits))
    if bounties.address != bounties_address:
        raise click.ClickException(
            "another transaction of the deployer came between: nothing works with these three, deploy again"
        )

    contracts = {"Stakes": stakes, "Panel": panel, "Bounties": bounties}
    record = {
        "network": _chain.network(),
        "chain_id": ape.chain.chain_id,
        "profile": profile,
        "deployer": deployer.address,
        "compiler": _deployments.compiler_version(),
        "parameters": parameters.as_dict(),
        "contracts": {
            name: {
                "address": contract.address,
                "block": contract.creation_metadata.block if contract.creation_metadata else None,
                "code_hash": "0x" + keccak(bytes(ape.networks.provider.get_code(contract.address))).hex(),
            }
            for name, contract in contracts.items()
        },
    }
    target = _deployments.save(_chain.network(), record)
    for name, contract in contracts.items():
        click.echo(f"  {name:<9} {contract.address}")
    click.echo(f"written to {target}")


def create_address(deployer: str, nonce: int) -> str:
    """Address of the contract that an account creates with that nonce."""
    return to_checksum_address(keccak(rlp.encode([bytes.fromhex(deployer[2:]), nonce]))[12:])


def limits_argument(limits: Limits) -> tuple[object, ...]:
    """The constructor's struct, in the contract's field order."""
    return tuple(list(value) if isinstance(value, tuple) else value for value in vars(limits).values())
