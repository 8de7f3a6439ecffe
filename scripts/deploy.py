"""Deploy Stakes, Panel and Bounties, and write the deployment's record.

ape run deploy --network ethereum:sepolia --account NAME --profile testnet
"""

from pathlib import Path
from typing import Any

import ape
import click
from eth_utils.crypto import keccak

from scripts import _chain, _deployments, _parameters_file
from scripts._implications import implications
from scripts._parameters import PROFILES, deploy, problems
from scripts._units import coins
from verifier.artifacts.digests import to_hex
from verifier.cli.progress import working

# Gas of the three deployments together, rounded up; a test measures it.
GAS = 10_800_000


@click.command(cls=_chain.Command)
@_chain.account_options
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="public",
    show_default=True,
    help="Parameters and ranges of the deployment, which can never be changed. public: coins of value, committees of 9 "
    "to 31, days. testnet: coins of a faucet, committees of 3 to 5, minutes to hours. demo: a local chain, seconds.",
)
@click.option(
    "--parameters",
    "file",
    type=_chain.FILE,
    help="TOML file of parameters that differ from the profile's; docs/deploying.md describes it.",
)
def cli(alias: str, passphrase_file: Path | None, yes: bool, profile: str, file: Path | None) -> None:
    """Deploy the three contracts, which have no owner.

    Before anything is sent, a table says what the parameters imply in money and time.

    The record is written to deployments/<network>.json, which every other script reads; `ape run verify` compares the
    contracts with it.
    """
    _deployments.check_free(_chain.network())
    signer = _chain.Signer(alias, passphrase_file, yes)
    chosen = PROFILES[profile] if file is None else _parameters_file.change(PROFILES[profile], file)
    parameters = chosen.parameters
    if wrong := problems(parameters, chosen.windows, chosen.committee):
        raise click.UsageError(f"the contracts do not take these parameters: {'; '.join(wrong)}")
    project = _chain.compiled()
    name = profile if file is None else f"{profile} with the changes of {file}"
    click.echo(f"what the parameters of {name} imply, for good:")
    rows = implications(chosen)
    width = max(len(subject) for subject, _ in rows)
    for subject, text in rows:
        click.echo(f"  {subject:<{width}}  {text}")
    price = ape.networks.provider.gas_price
    signer.confirm(
        f"deploy Stakes, Panel and Bounties, profile {name}\n  about {GAS / 10**6:.1f} million gas, which is "
        f"{coins(GAS * price)} coins at the node's price of {price / 10**9:g} gwei",
        at_least=GAS * price,
    )
    deployer = signer.unlocked()

    def create(name: str, *arguments: object) -> Any:
        contract = deployer.deploy(getattr(project, name), *arguments)
        click.echo(f"  {name:<9} {contract.address}")  # at once: what follows may fail
        return contract

    with working("deploying the contracts"):
        stakes, panel, bounties = deploy(parameters, deployer.address, deployer.nonce, create)
    contracts = {"Stakes": stakes, "Panel": panel, "Bounties": bounties}
    record = {
        "network": _chain.network(),
        "chain_id": ape.chain.chain_id,
        "profile": profile,
        "deployer": deployer.address,
        "compiler": _deployments.compiler_version(),
        "parameters": parameters.as_dict(),
        "defaults": chosen.defaults(),
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
    click.echo(f"the record is {target}")
