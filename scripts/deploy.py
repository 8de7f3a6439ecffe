"""Deploy Stakes, Panel and Bounties, and write the deployment's record.

ape run deploy --network ethereum:devnet:node --account sponsor --profile demo
"""

from pathlib import Path
from typing import Any

import ape
import click
from eth_utils.crypto import keccak

from scripts import _chain, _deployments
from scripts._parameters import PROFILES, deploy
from verifier.artifacts.digests import to_hex


@click.command(cls=_chain.Command)
@_chain.account_options
@click.option(
    "--profile",
    type=click.Choice(sorted(PROFILES)),
    default="public",
    show_default=True,
    help="Parameters and ranges of the deployment; they can never be changed.",
)
def cli(alias: str, passphrase_file: Path | None, yes: bool, profile: str) -> None:
    """Deploy the three contracts, which have no owner.

    The record is written to deployments/<network>.json, which every other script reads; `ape run verify` compares the
    contracts with it.
    """
    _deployments.check_free(_chain.network())
    signer = _chain.Signer(alias, passphrase_file, yes)
    parameters = PROFILES[profile]
    project = _chain.compiled()
    signer.confirm(f"deploy Stakes, Panel and Bounties, profile {profile}")
    deployer = signer.unlocked()

    def create(name: str, *arguments: object) -> Any:
        return deployer.deploy(getattr(project, name), *arguments)

    stakes, panel, bounties = deploy(parameters, deployer.address, deployer.nonce, create)
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
                "code_hash": to_hex(keccak(bytes(ape.networks.provider.get_code(contract.address)))),
            }
            for name, contract in contracts.items()
        },
    }
    target = _deployments.save(_chain.network(), record)
    for name, contract in contracts.items():
        click.echo(f"  {name:<9} {contract.address}")
    click.echo(f"the record is {target}")
