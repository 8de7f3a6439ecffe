"""Hosts of artifacts that answer as real ones do.

Each test asserts the right behaviour. It is marked xfail until the fault is mended, and then stays as a plain test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from tests.artifacts.untrusted_host import UntrustedHost
from verifier.artifacts.digests import digest
from verifier.artifacts.errors import UriRefused
from verifier.artifacts.fetch import fetch
from verifier.artifacts.policy import Policy
from verifier.artifacts.store import Store

DATA = b"artifact bytes " * 1_000
CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKhPbK"
CID_V1 = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"

# Paths with a query as hosts sign them: over these very bytes.
SIGNED = {
    "quoted slash": "/a.bin?type=application%2Foctet-stream",
    "quoted apostrophe": "/o%27brien.bin?X=1",
    "quoted asterisk": "/a.bin?disposition=attachment%3B%20filename%2A%3DUTF-8%27%27a.bin",
    "lower-case hex": "/a.bin?credential=AKIA%2f2026%2fs3",
    "quoted tilde": "/a%7Eb.bin?X=1",
    "quoted at sign": "/a.bin?user=me%40example.org",
}


@pytest.fixture
def host() -> Iterator[UntrustedHost]:
    server = UntrustedHost()
    yield server
    server.close()


@pytest.mark.parametrize("redirected", [False, True], ids=["direct", "redirected"])
@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="A URL is asked for in another quoting than it was written in, so a host that signs URLs refuses it.",
)
def test_fetch__quoted_url__is_asked_for_byte_for_byte(
    host: UntrustedHost, tmp_path: Path, name: str, redirected: bool
) -> None:
    signed = SIGNED[name]
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.Response(body=DATA)

    host.answers[URL(signed).path] = answer
    uri = host.redirects("/first", host.url(signed)) if redirected else host.url(signed)
    policy = Policy(allow_hosts=(host.host,), timeout_s=5, stall_s=5)
    fetch([uri], digest(DATA), len(DATA), policy, Store(tmp_path / "store"))
    assert asked == [signed]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="A gateway at localhost redirects to a subdomain of it, which is refused without saying what to configure.",
)
def test_redirect__subdomain_of_a_gateway_on_localhost__is_followed_or_the_remedy_named() -> None:
    """What kubo does; written as 127.0.0.1 the gateway answers without a redirect."""
    policy = Policy(ipfs_gateway="http://localhost:8080")
    location = f"http://{CID_V1}.ipfs.localhost:8080/"
    try:
        url = policy.redirect(policy.locate(f"ipfs://{CID}"), location)
    except UriRefused as error:
        refusal = str(error)
    else:
        assert str(url) == location
        return
    assert "127.0.0.1" in refusal
