"""The rules for where an untrusted URI may lead, without any network."""

import asyncio
import socket
from typing import Any

import pytest
from yarl import URL

from verifier.artifacts.errors import UriRefused
from verifier.artifacts.policy import Policy, is_public, printable

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:53aa:64c:0:fbff:f1d3:aaaa",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_is_public__special_address__is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1", "2a00:1450::1"]
)
def test_is_public__ordinary_address__is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "it is empty, or has characters other than printable ASCII, or a space or backslash"),
        ("/etc/passwd", "it has no scheme"),
        ("//files.example/a", "it has no scheme"),
        ("file:///etc/passwd", "the scheme file is not followed"),
        ("ftp://files.example/a", "the scheme ftp is not followed"),
        ("s3://bucket/a", "the scheme s3 is not followed"),
        ("data:text/plain,hello", "the scheme data is not followed"),
        ("javascript:alert(1)", "the scheme javascript is not followed"),
        ("simplecache::https://files.example/a", r"chains of URIs \(::\) are not followed"),
        ("https://files.example/a.zip::file:///etc/passwd", r"chains of URIs \(::\) are not followed"),
        ("http://files.example/a", "http is followed only to hosts that the configuration names"),
        ("https://user@files.example/a", "it contains a user name or password"),
        ("https://user:secret@files.example/a", "it contains a user name or password"),
        ("https:///a", "it does not name a host and a port"),
        ("https://files.example:0/a", "it does not name a host and a port"),
        ("https://files.example:65536/a", "it is not a URL: Port out of range"),
        ("https://[::1/a", "are not followed"),
        ("https://127.1/a", "127.1 is neither a name nor a well-formed address"),
        ("https://2130706433/a", "2130706433 is neither"),
        ("https://0x7f000001/a", "0x7f000001 is neither"),
        ("https://0177.0.0.1/a", "0177.0.0.1 is neither"),
        ("https://127.0.0.1./a", "127.0.0.1. is neither"),
        ("https://ex%61mple.com/a", "ex%61mple.com is neither"),
        (
            "https://files.example/a b",
            "it is empty, or has characters other than printable ASCII, or a space or backslash",
        ),
        (
            "https://files.example\\@127.0.0.1/a",
            "it is empty, or has characters other than printable ASCII, or a space or backslash",
        ),
        (
            "https://files.example/\r\nHost: x",
            "it is empty, or has characters other than printable ASCII, or a space or backslash",
        ),
        (
            "https://files。example/a",
            "it is empty, or has characters other than printable ASCII, or a space or backslash",
        ),
        ("https://files.example/" + "a" * 2048, "it is longer than 2048 characters"),
        (f"ipfs://{CID}", "no IPFS gateway is configured"),
    ],
)
def test_locate__uri_that_must_not_be_followed__is_refused_with_the_reason(uri: str, reason: str) -> None:
    with pytest.raises(UriRefused, match=reason):
        Policy().locate(uri)


def test_locate__https__is_followed() -> None:
    assert str(Policy().locate("https://files.example:8443/a?b=c#part")) == "https://files.example:8443/a?b=c"


@pytest.mark.parametrize(
    ("entry", "uri", "followed"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000/a", True),
        ("127.0.0.1:8000", "http://127.0.0.1:8001/a", False),
        ("127.0.0.1", "http://127.0.0.1:8001/a", True),
        ("Files.Local", "http://files.local/a", True),
        ("files.local:80", "http://files.local/a", True),
        ("files.local", "http://evil.files.local/a", False),
        ("files.local", "http://files.local.evil.example/a", False),
        ("[::1]:8000", "http://[::1]:8000/a", True),
        ("::1", "http://[::1]:8000/a", True),
        ("[::1]:8000", "http://[::1]:8001/a", False),
    ],
)
def test_locate__http_to_a_host_in_the_configuration__is_followed_there_only(
    entry: str, uri: str, followed: bool
) -> None:
    policy = Policy(allow_hosts=(entry,))
    if followed:
        assert str(policy.locate(uri)) == uri
    else:
        with pytest.raises(UriRefused, match="http is followed only to hosts"):
            policy.locate(uri)


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        (f"ipfs://{CID}", f"http://127.0.0.1:8080/ipfs/{CID}"),
        (f"ipfs://{CID}/set/practice.safetensors", f"http://127.0.0.1:8080/ipfs/{CID}/set/practice.safetensors"),
    ],
)
def test_locate__ipfs__goes_through_the_configured_gateway(uri: str, url: str) -> None:
    assert str(Policy(ipfs_gateway="http://127.0.0.1:8080/").locate(uri)) == url


@pytest.mark.parametrize(
    "uri",
    ["ipfs://", "ipfs://short", f"ipfs://{CID}/../../admin", f"ipfs://{CID}/%2e%2e/x", f"ipfs://{CID}?x=1", "ipfs:x"],
)
def test_locate__malformed_ipfs__is_refused(uri: str) -> None:
    with pytest.raises(UriRefused, match="^it is neither ipfs://CID nor ipfs://CID/path$"):
        Policy(ipfs_gateway="http://127.0.0.1:8080").locate(uri)


def test_locate__gateway_host_asked_directly_on_another_port__is_refused() -> None:
    with pytest.raises(UriRefused, match="http is followed only to hosts"):
        Policy(ipfs_gateway="http://127.0.0.1:8080").locate("http://127.0.0.1:5001/api/v0/config")


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b", "https://files.example/b"),
        ("b", "https://files.example/d/b"),
        ("?q=1", "https://files.example/d/a?q=1"),
        ("//other.example/b", "https://other.example/b"),
        ("https://other.example/b", "https://other.example/b"),
    ],
)
def test_redirect__to_a_public_host__is_followed(location: str, url: str) -> None:
    assert str(Policy().redirect(URL("https://files.example/d/a"), location)) == url


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", "it is empty, or has characters other than printable ASCII, or a space or backslash"),
        ("http://other.example/", "http is followed only"),
        ("file:///etc/passwd", "the scheme file is not followed"),
        (f"ipfs://{CID}", "the scheme ipfs is not followed"),
        ("b::c", "chains of URIs"),
        ("https://user@other.example/", "user name or password"),
        ("https://2130706433/", "is neither a name nor a well-formed address"),
        ("https://other.example:99999/", "Port out of range"),
    ],
)
def test_redirect__that_must_not_be_followed__is_refused_with_the_reason(location: str, reason: str) -> None:
    with pytest.raises(UriRefused, match=f"^redirects to .*{reason}"):
        Policy().redirect(URL("https://files.example/d/a"), location)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]"]
)
def test_addresses__special_address_written_out__is_refused(host: str) -> None:
    with pytest.raises(UriRefused, match="not on the public internet"):
        asyncio.run(Policy().addresses(Policy().locate(f"https://{host}/a")))


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_addresses__localhost__is_refused() -> None:
    with pytest.raises(UriRefused, match=r"localhost is at .*, not on the public internet"):
        asyncio.run(Policy().addresses(URL("https://localhost/")))


def test_addresses__name_with_public_and_private_ones__keeps_the_public(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, "10.0.0.1", "8.8.8.8", "127.0.0.1", "8.8.8.8")
    assert asyncio.run(Policy().addresses(URL("https://files.example/"))) == ["8.8.8.8"]


def test_addresses__host_in_the_configuration__may_be_private(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, "10.0.0.1")
    policy = Policy(allow_hosts=("files.local",))
    assert asyncio.run(policy.addresses(URL("https://files.local/"))) == ["10.0.0.1"]


def test_addresses__name_that_does_not_resolve__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(UriRefused, match=r"^files\.example does not resolve$"):
        asyncio.run(Policy().addresses(URL("https://files.example/")))


def test_printable__hostile_text__is_one_short_line_of_ascii() -> None:
    assert printable("a\nb\x1b[31mé\u202e\x00") == "a b?[31m\\xe9\\u202e?"
    assert printable("x" * 500) == "x" * 160 + "…"
