"""Fetches a file by its digest from untrusted URIs.

This uses aiohttp instead of a file system library such as fsspec, because such a library resolves names, follows
redirects and unpacks chains of URIs by itself, and an attacker could misuse each of these. Here every redirect is a
request of its own, and every request connects to an address that was checked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from verifier.artifacts.digests import to_hex
from verifier.artifacts.errors import FetchError, Misfit, StoreError, UriRefused
from verifier.artifacts.policy import Policy, printable
from verifier.artifacts.store import Store

__all__ = ["OnBytes", "Policy", "artifact_uri", "fetch", "fetch_unpinned"]

OnBytes = Callable[[int], None]  # called with the number of bytes received so far, from 0 on for each URI

_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE_BYTES = 1 << 16


def artifact_uri(endpoint: str, digest: bytes) -> str:
    """Return the URI of the file at a server of artifacts whose URL is `endpoint`."""
    return f"{endpoint.rstrip('/')}/artifacts/{to_hex(digest)}"


def fetch(
    uris: Iterable[str],
    digest: bytes,
    size: int | None,
    policy: Policy,
    store: Store,
    *,
    on_bytes: OnBytes = lambda _: None,
) -> Path:
    """Fetch the file into the store from the first URI that has it, and return its path there.

    The file must have `size` bytes; with None, where only the digest is known, it may have at most
    `policy.max_unsized_bytes`. The call blocks, so make it from a thread of its own. No partial file is left behind.

    Errors: FetchError with the reason for each URI; StoreError when the store cannot be written.
    """
    if store.has(digest):
        return store.path(digest)
    asyncio.run(_from_first(uris, _Wanted(digest, size, policy, store, on_bytes)))
    return store.path(digest)


def fetch_unpinned(uri: str, policy: Policy, store: Store) -> bytes:
    """Fetch a file of which only the URI is known into the store, and return its digest.

    It may have at most `policy.max_unsized_bytes`. Whoever controls the URI decides what it contains, so the caller has
    to check it. Errors: FetchError with digest None; StoreError.
    """
    return asyncio.run(_from_first([uri], _Wanted(None, None, policy, store, lambda _: None)))


@dataclass(frozen=True)
class _Wanted:
    """A file to fetch: what is known about it, the rules for fetching it, and where it goes."""

    digest: bytes | None
    size: int | None
    policy: Policy
    store: Store
    on_bytes: OnBytes


async def _from_first(uris: Iterable[str], wanted: _Wanted) -> bytes:
    """Fetch the file from the first URI that has it; returns its digest. Errors: FetchError, StoreError."""
    policy = wanted.policy
    reasons: list[tuple[str, str]] = []
    refused: list[str] = []
    for uri in dict.fromkeys(uris):
        try:
            async with asyncio.timeout(policy.timeout_s):
                return await _download(uri, wanted)
        except UriRefused as error:
            reason = str(error)
            refused.append(printable(uri))
        except Misfit as error:
            reason = str(error)
        except aiohttp.ServerTimeoutError:
            reason = f"no data for {policy.stall_s:g} s"
        except TimeoutError:
            reason = f"not complete after {policy.timeout_s:g} s"
        except aiohttp.ClientError as error:
            reason = printable(str(error)) or type(error).__name__
        except OSError as error:
            raise StoreError(f"cannot write in {wanted.store.folder}: {error.strerror}") from error
        reasons.append((printable(uri), reason))
    raise FetchError(wanted.digest, reasons, refused)


async def _download(uri: str, wanted: _Wanted) -> bytes:
    policy = wanted.policy
    url = policy.locate(uri)
    context = ssl.create_default_context()
    stall = aiohttp.ClientTimeout(total=None, sock_connect=policy.stall_s, sock_read=policy.stall_s)
    for _ in range(policy.max_redirects + 1):
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(await policy.addresses(url)), use_dns_cache=False, ssl=context
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=stall,
                auto_decompress=False,  # a decompression bomb would expand before its size is counted
                trust_env=False,  # a proxy would resolve names itself
                headers={"Accept-Encoding": "identity", "User-Agent": "touchstone"},
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status == 200:
                return await _receive(response, wanted)
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                raise Misfit(f"answers with status {response.status}")
            url = policy.redirect(url, response.headers["Location"])
    raise UriRefused(f"redirects more than {policy.max_redirects} times")


async def _receive(response: aiohttp.ClientResponse, wanted: _Wanted) -> bytes:
    """Stream a response's body into the store, and stop at the first byte above the limit. Errors: Misfit."""
    size = wanted.size
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise Misfit(f"answers with content encoding {printable(encoding, 40)}, which was not asked for")
    announced = response.content_length
    limit = wanted.policy.max_unsized_bytes if size is None else size
    if announced is not None and (announced > limit or size not in (None, announced)):
        raise Misfit(f"announces {announced} bytes, {_allowed(size, limit)}")
    with wanted.store.writer(expected=wanted.digest) as writer:
        wanted.on_bytes(0)
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            if writer.length + len(piece) > limit:
                raise Misfit(f"sends too many bytes, {_allowed(size, limit)}")
            writer.write(piece)
            wanted.on_bytes(writer.length)
        if size is not None and writer.length != size:
            raise Misfit(f"ends after {writer.length} bytes, {_allowed(size, limit)}")
    return writer.digest()


def _allowed(size: int | None, limit: int) -> str:
    return f"at most {limit} are allowed" if size is None else f"{size} are expected"


class _Pinned(AbstractResolver):
    """A resolver that returns the same checked addresses for every name."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the checked addresses."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
