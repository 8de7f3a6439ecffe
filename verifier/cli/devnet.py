"""`touchstone devnet`: a local chain."""

from __future__ import annotations

import click

ETHER = 10**18


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8545, show_default=True, help="TCP port to listen on.")
@click.option("--chain-id", default=31337, show_default=True, help="Chain id.")
@click.option("--block-time", default=1.0, show_default=True, help="Seconds between blocks; at least 1.")
@click.option("--fund", multiple=True, metavar="ADDRESS[=ETHER]", help="Give an account coins, 10000 unless said.")
def devnet(host: str, port: int, chain_id: int, block_time: float, fund: tuple[str, ...]) -> None:
    """Run a local chain over HTTP until Ctrl-C.

    It lives in memory and forgets everything when it stops. The account of private key 1 has coins. Ape, web3 and
    `touchstone run` talk to it at http://HOST:PORT as they would to any node.
    """
    from aiohttp import web
    from eth_utils.address import is_address, to_checksum_address

    from verifier.devnet.chain import DevChain
    from verifier.devnet.server import application

    if block_time < 1:
        raise click.BadParameter(
            "blocks are at least a second apart: their times are whole seconds", param_hint="--block-time"
        )
    funded: dict[str, int] = {}
    for item in fund:
        address, _, amount = item.partition("=")
        if not is_address(address) or (amount and not amount.isdigit()):
            raise click.BadParameter(f"{item!r} is not ADDRESS or ADDRESS=ETHER", param_hint="--fund")
        funded[to_checksum_address(address)] = int(amount or 10_000) * ETHER
    chain = DevChain(chain_id, funded)
    click.echo(f"chain {chain_id} at http://{host}:{port}, a block every {block_time:g} s", err=True)
    web.run_app(application(chain, block_time), host=host, port=port, print=None, access_log=None, handle_signals=True)
