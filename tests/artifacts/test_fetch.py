"""Fetching from real servers, honest and hostile."""

import asyncio
import gzip
import os
import socket
import ssl
import time
from typing import Any

import pytest
from aiohttp import web
from untrusted_host import UntrustedHost

from verifier.artifacts import policy as policy_module
from verifier.artifacts.digests import digest, to_hex
from verifier.artifacts.errors import FetchError, StoreError
from verifier.artifacts.fetch import Policy, artifact_uri, fetch
from verifier.artifacts.store import Store

DATA = bytes(range(256)) * 1000
D = digest(DATA)


@pytest.fixture
def trusting(untrusted: UntrustedHost) -> Policy:
    """The policy of an operator whose configuration names the untrusted host."""
    return Policy(allow_hosts=(untrusted.host,), timeout_s=5, stall_s=5)


def reason_of(uri: str, policy: Policy, store: Store, size: int | None = len(DATA)) -> str:
    """Return why this URI alone did not give the file, and check that no file was left behind."""
    with pytest.raises(FetchError) as caught:
        fetch([uri], D, size, policy, store)
    assert os.listdir(store.folder) == []
    [(tried, reason)] = caught.value.reasons
    assert tried == uri
    assert str(caught.value) == f"no copy of {to_hex(D)}: {uri}: {reason}"
    return reason


def test_fetch__honest_server__file_is_in_the_store(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    path = fetch([untrusted.has("/a", DATA)], D, len(DATA), trusting, store)
    assert path == store.path(D)
    assert path.read_bytes() == DATA
    assert os.listdir(store.folder) == [D.hex()]


def test_fetch__file_in_the_store__asks_nobody(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    store.put(DATA)
    assert fetch([untrusted.has("/a", DATA)], D, len(DATA), trusting, store) == store.path(D)
    assert untrusted.asked == []


def test_fetch__size_not_known__digest_decides(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    assert fetch([untrusted.has("/a", DATA)], D, None, trusting, store).read_bytes() == DATA


def test_fetch__size_not_known_and_over_the_limit__is_refused(untrusted: UntrustedHost, store: Store) -> None:
    policy = Policy(allow_hosts=(untrusted.host,), max_unsized_bytes=1000)
    reason = reason_of(untrusted.has("/a", DATA), policy, store, size=None)
    assert reason == "announces 256000 bytes, at most 1000 are allowed"


def test_fetch__empty_file__is_fetched(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    assert fetch([untrusted.has("/a", b"")], digest(b""), 0, trusting, store).read_bytes() == b""


def test_fetch__several_uris__first_good_one_counts(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    uris = [
        "file:///etc/passwd",
        untrusted.has("/other", b"something else"),
        untrusted.has("/good", DATA),
        untrusted.has("/unneeded", DATA),
    ]
    fetch(uris, D, len(DATA), trusting, store)
    assert store.get(D) == DATA
    assert untrusted.asked == ["/other", "/good"]


def test_fetch__no_uri_works__names_every_reason(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    uris = ["file:///etc/passwd", untrusted.has("/other", b"something else"), "file:///etc/passwd", "ftp://x.example/a"]
    with pytest.raises(FetchError) as caught:
        fetch(uris, D, len(DATA), trusting, store)
    assert caught.value.reasons == (
        ("file:///etc/passwd", "the scheme file is not followed"),
        (uris[1], "announces 14 bytes, 256000 are expected"),
        ("ftp://x.example/a", "the scheme ftp is not followed"),
    )
    assert caught.value.digest == D


def test_fetch__no_uri_at_all__says_so(store: Store) -> None:
    with pytest.raises(FetchError, match="no URI is known for it"):
        fetch([], D, None, Policy(), store)


def test_fetch__uri_with_control_characters__is_shown_harmlessly(store: Store) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(["https://x.example/\x1b[2J\n"], D, None, Policy(), store)
    assert caught.value.reasons[0][0] == "https://x.example/?[2J"


# Hosts


def test_fetch__loopback_not_named_in_the_configuration__is_never_asked(
    untrusted: UntrustedHost, store: Store, certified: ssl.SSLContext
) -> None:
    assert "127.0.0.1, not on the public internet" in reason_of(f"https://{untrusted.host}/a", Policy(), store)
    assert untrusted.asked == []


def test_fetch__name_that_resolves_to_loopback__is_never_asked(untrusted: UntrustedHost, store: Store) -> None:
    reason = reason_of(f"https://localhost:{untrusted.port}/a", Policy(), store)
    assert reason.startswith("localhost is at ")
    assert reason.endswith("not on the public internet")
    assert untrusted.asked == []


def test_fetch__another_port_of_a_named_host__is_never_asked(
    untrusted: UntrustedHost, second_untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    reason = reason_of(second_untrusted.has("/a", DATA), trusting, store)
    assert reason == "http is followed only to hosts that the configuration names"
    assert second_untrusted.asked == []


def test_fetch__name_changes_its_address_after_the_check__the_checked_address_is_used(
    store: Store, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.2 stands for the public internet; every later look-up of the name gives 127.0.0.1."""
    public = UntrustedHost("127.0.0.2", context=certified)
    internal = UntrustedHost("127.0.0.1", public.port, context=certified)
    public.has("/a", DATA)
    internal.has("/a", b"secret")
    lookups = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host == "files.example":
            lookups.append(host)
        address = {"files.example": "127.0.0.2" if len(lookups) == 1 else "127.0.0.1"}.get(host, host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(policy_module, "is_public", lambda address: address == "127.0.0.2")
    try:
        fetch([f"https://files.example:{public.port}/a"], D, len(DATA), Policy(timeout_s=5), store)
        assert (public.asked, internal.asked) == (["/a"], [])
        assert lookups == ["files.example"]
    finally:
        public.close()
        internal.close()


def test_fetch__certificate_of_another_name__is_refused(store: Store, certified: ssl.SSLContext) -> None:
    impostor = UntrustedHost(context=certified)
    impostor.has("/a", DATA)
    try:
        reason = reason_of(f"https://{impostor.host}/a", Policy(allow_hosts=(impostor.host,), timeout_s=5), store)
        assert "certificate" in reason.lower()
        assert impostor.asked == []
    finally:
        impostor.close()


def test_fetch__nobody_listens__says_so(store: Store) -> None:
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{placeholder.getsockname()[1]}"
        assert "Cannot connect" in reason_of(f"http://{host}/a", Policy(allow_hosts=(host,)), store)


def test_fetch__ipfs__comes_through_the_gateway(untrusted: UntrustedHost, store: Store) -> None:
    cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
    untrusted.has(f"/ipfs/{cid}/adapter", DATA)
    policy = Policy(ipfs_gateway=f"http://{untrusted.host}", timeout_s=5)
    assert fetch([f"ipfs://{cid}/adapter"], D, len(DATA), policy, store).read_bytes() == DATA


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fetch__redirect_on_the_named_host__is_followed(
    status: int, untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    untrusted.has("/there", DATA)
    fetch([untrusted.redirects("/here", "/there", status)], D, len(DATA), trusting, store)
    assert untrusted.asked == ["/here", "/there"]


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/a", "http://localhost:{port}/a", "http://[::1]:{port}/a"])
def test_fetch__redirect_to_loopback__is_never_followed(
    target: str, untrusted: UntrustedHost, second_untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    location = target.format(port=second_untrusted.port)
    reason = reason_of(untrusted.redirects("/here", location), trusting, store)
    assert reason == f"redirects to {location}: http is followed only to hosts that the configuration names"
    assert second_untrusted.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_fetch__redirect_to_loopback_over_https__is_never_followed(
    host: str, untrusted: UntrustedHost, second_untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    uri = untrusted.redirects("/here", f"https://{host}:{second_untrusted.port}/a")
    assert reason_of(uri, trusting, store).endswith("not on the public internet")
    assert second_untrusted.asked == []


def test_fetch__redirect_to_a_file__is_never_followed(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    reason = reason_of(untrusted.redirects("/here", "file:///etc/passwd"), trusting, store)
    assert reason == "redirects to file:///etc/passwd: the scheme file is not followed"


def test_fetch__redirect_loop__ends(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    untrusted.redirects("/there", "/here")
    assert reason_of(untrusted.redirects("/here", "/there"), trusting, store) == "redirects more than 5 times"
    assert len(untrusted.asked) == 6


def test_fetch__redirect_without_location__is_no_answer(
    untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302)

    untrusted.answers["/here"] = answer
    assert reason_of(untrusted.url("/here"), trusting, store) == "answers with status 302"


# Bodies


@pytest.mark.parametrize("status", [204, 206, 403, 404, 500])
def test_fetch__other_status__is_named(status: int, untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=DATA if status != 204 else None)

    untrusted.answers["/a"] = answer
    assert reason_of(untrusted.url("/a"), trusting, store) == f"answers with status {status}"


def test_fetch__wrong_bytes_of_the_right_size__are_refused(
    untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    other = DATA[:-1] + b"?"
    reason = reason_of(untrusted.has("/a", other), trusting, store)
    assert reason == f"the bytes have digest {to_hex(digest(other))}, not {to_hex(D)}"


@pytest.mark.parametrize("body", [DATA + b"!", DATA[:-1], b""])
def test_fetch__other_size_announced__is_refused_before_the_body(
    body: bytes, untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    reason = reason_of(untrusted.has("/a", body), trusting, store)
    assert reason == f"announces {len(body)} bytes, 256000 are expected"


def streaming(untrusted: UntrustedHost, pieces: list[bytes], announced: int | None = None, stall_s: float = 0.0) -> str:
    """Answer with these pieces, announcing any length (None: chunked), then send nothing for `stall_s` seconds."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced is not None:
            response.content_length = announced
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        await asyncio.sleep(stall_s)
        if announced is not None and request.transport is not None:
            request.transport.close()
        return response

    untrusted.answers["/stream"] = answer
    return untrusted.url("/stream")


def test_fetch__unannounced_size__is_fetched(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    uri = streaming(untrusted, [DATA[:1000], DATA[1000:]])
    assert fetch([uri], D, len(DATA), trusting, store).read_bytes() == DATA


def test_fetch__body_longer_than_it_may_be__stops_there(
    untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 1 << 30:
            await response.write(bytes(1 << 16))
            sent += 1 << 16
        return response

    untrusted.answers["/a"] = endless
    assert reason_of(untrusted.url("/a"), trusting, store) == "sends too many bytes, 256000 are expected"
    assert sent < 64 << 20


def test_fetch__unannounced_body_too_short__is_refused(
    untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    reason = reason_of(streaming(untrusted, [DATA[:1000]]), trusting, store)
    assert reason == "ends after 1000 bytes, 256000 are expected"


def test_fetch__body_shorter_than_announced__is_refused(
    untrusted: UntrustedHost, trusting: Policy, store: Store
) -> None:
    reason = reason_of(streaming(untrusted, [DATA[:1000]], announced=len(DATA)), trusting, store)
    assert "not enough data" in reason.lower() or "payload is not completed" in reason.lower()


def test_fetch__compressed_body__is_refused(untrusted: UntrustedHost, trusting: Policy, store: Store) -> None:
    uri = untrusted.has("/a", gzip.compress(DATA), **{"Content-Encoding": "gzip"})
    assert reason_of(uri, trusting, store) == "answers with content encoding gzip, which was not asked for"


def test_fetch__server_says_nothing__is_left(untrusted: UntrustedHost, store: Store) -> None:
    policy = Policy(allow_hosts=(untrusted.host,), timeout_s=10, stall_s=0.3)

    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    untrusted.answers["/a"] = silent
    started = time.monotonic()
    assert reason_of(untrusted.url("/a"), policy, store) == "no data for 0.3 s"
    assert time.monotonic() - started < 5


def test_fetch__server_stalls_in_the_middle__is_left(untrusted: UntrustedHost, store: Store) -> None:
    policy = Policy(allow_hosts=(untrusted.host,), timeout_s=10, stall_s=0.3)
    uri = streaming(untrusted, [DATA[:1000]], stall_s=60)
    assert reason_of(uri, policy, store) == "no data for 0.3 s"


def test_fetch__server_sends_a_byte_now_and_then__is_left_when_time_is_up(
    untrusted: UntrustedHost, store: Store
) -> None:
    policy = Policy(allow_hosts=(untrusted.host,), timeout_s=0.6, stall_s=0.5)

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.1)

    untrusted.answers["/a"] = drip
    assert reason_of(untrusted.url("/a"), policy, store) == "not complete after 0.6 s"


def test_fetch__no_http__is_one_line(untrusted: UntrustedHost, store: Store) -> None:
    async def garbage(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"\x1b[31mthis is\r\nno HTTP\r\n\r\n")
        await asyncio.sleep(0.2)
        request.transport.close()
        return web.Response()

    untrusted.answers["/a"] = garbage
    reason = reason_of(untrusted.url("/a"), Policy(allow_hosts=(untrusted.host,), timeout_s=5), store)
    assert reason.isprintable()
    assert len(reason) <= 161


def test_fetch__store_that_cannot_be_written__is_no_fault_of_the_uri(
    untrusted: UntrustedHost, trusting: Policy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"^cannot write in .*: No space left on device$"):
        fetch([untrusted.has("/a", DATA)], D, len(DATA), trusting, store)
    assert os.listdir(store.folder) == []


@pytest.mark.parametrize("endpoint", ["https://files.example", "https://files.example/"])
def test_artifact_uri__endpoint__names_the_digest(endpoint: str) -> None:
    assert artifact_uri(endpoint, D) == f"https://files.example/artifacts/{to_hex(D)}"
