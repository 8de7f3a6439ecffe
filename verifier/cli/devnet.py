"""`touchstone devnet`: a local chain over HTTP."""

from __future__ import annotations

import click

from verifier.protocol.constants import ETHER

SEPOLIA = 11_155_111  # the chain id of Ethereum's testnet
DEFAULT_FUND = 10_000  # ether, for an account that --fund names without an amount


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8545, show_default=True, help="TCP port to listen on.")
@click.option("--chain-id", default=31337, show_default=True, help="The chain's id.")
@click.option("--block-time", default=1.0, show_default=True, help="Seconds between blocks; at least 1.")
@click.option(
    "--fund",
    multiple=True,
    metavar="ADDRESS[=ETHER]",
    help=f"Give an account that much ether, {DEFAULT_FUND} by default. Can be repeated.",
)
def devnet(host: str, port: int, chain_id: int, block_time: float, fund: tuple[str, ...]) -> None:
    """Run a local chain over HTTP until interrupted.

    The chain is kept in memory and is lost when the command ends. The account of private key 1 has ether. Ape, web3 and
    `touchstone run` connect to http://HOST:PORT as they would to any node.

    \b
    For the wallet scripts, in another terminal:
      export DEVNET_RPC_URL=http://127.0.0.1:8545
      ape run deploy --network ethereum:devnet:node --account NAME --profile demo
    For a service, in its configuration:
      [chain]
      rpc_url = "http://127.0.0.1:8545"
      chain_id = 31337
    """
    from aiohttp import web
    from eth_utils.address import is_address, to_checksum_address

    from verifier.devnet.chain import DevChain
    from verifier.devnet.server import application

    if block_time < 1:
        raise click.BadParameter("must be at least 1, because block times are whole seconds", param_hint="--block-time")
    funded: dict[str, int] = {}
    for item in fund:
        address, _, amount = item.partition("=")
        if not is_address(address) or (amount and not amount.isdigit()):
            raise click.BadParameter(f"{item!r} is not ADDRESS or ADDRESS=ETHER", param_hint="--fund")
        funded[to_checksum_address(address)] = int(amount or DEFAULT_FUND) * ETHER
    chain = DevChain(chain_id, funded)
    click.echo(f"chain {chain_id} at http://{host}:{port}, one block every {block_time:g} s", err=True)
    # ape-config.yaml names two networks; which one is meant follows from the chain's id.
    variable, network = ("SEPOLIA_RPC_URL", "sepolia") if chain_id == SEPOLIA else ("DEVNET_RPC_URL", "devnet:node")
    click.echo(f"export {variable}=http://{host}:{port}, and give the scripts --network ethereum:{network}", err=True)
    web.run_app(application(chain, block_time), host=host, port=port, print=None, access_log=None, handle_signals=True)
