"""What commands and scripts share that fetch files from untrusted URIs: their options, and the advice on a refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from verifier.artifacts.policy import Policy


def fetching_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --allow-host and --ipfs-gateway, whose values `policy` takes."""
    for option in (
        click.option("--ipfs-gateway", metavar="URL", help="Gateway for ipfs:// URIs; without one they are refused."),
        click.option(
            "--allow-host",
            "allow_hosts",
            multiple=True,
            metavar="HOST[:PORT]",
            help="A host of a local network, which may have a private address and use http. Can be repeated.",
        ),
    ):
        command = option(command)
    return command


def policy(allow_hosts: tuple[str, ...], ipfs_gateway: str | None) -> Policy:
    """Return the policy that the options make."""
    from verifier.artifacts.policy import Policy

    return Policy(allow_hosts=allow_hosts, ipfs_gateway=ipfs_gateway)


@contextmanager
def advice() -> Iterator[None]:
    """Add to a FetchError, whose URIs the policy refused, which option allows them."""
    from verifier.artifacts.errors import ArtifactError, FetchError

    try:
        yield
    except FetchError as error:
        if not error.refused:
            raise
        raise ArtifactError(
            f"{error}. To fetch from a local host or over http, name it with --allow-host HOST:PORT; "
            "for ipfs:// give --ipfs-gateway URL"
        ) from error
