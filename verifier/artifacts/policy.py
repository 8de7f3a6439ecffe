"""The rules for where an untrusted URI may lead.

Verifiers fetch from URIs that anybody can write on a chain. They connect to public hosts over https and to nothing
else, unless the operator's own configuration names a host. Other schemes, chains of URIs, and loopback, private or
otherwise special addresses are refused, whether the URI contains the address, a name resolves to it, or a redirect
leads to it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass

from yarl import URL

from verifier.artifacts.errors import UriRefused

# The longest URI or redirect location that is followed. Hosts redirect to signed URLs, which are longer than the 256
# characters that a contract stores of a URI.
MAX_LOCATION_CHARACTERS = 2_048

# IANA's special-purpose registries. They are listed here because `ipaddress.is_global` differs between Python versions.
_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a public address that Azure uses for the host of a virtual machine
        "169.254.0.0/16",  # link-local, metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Only global unicast is allowed. This excludes ::, ::1, IPv4-mapped, NAT64, unique local, link-local and multicast.
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, including Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)

_CHARACTERS = re.compile(r"[!-\[\]-~]+")  # printable ASCII without backslash, which URL parsers interpret differently
_BRACKETED = re.compile(r"\[[^\]]*\]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_IPFS = re.compile(r"ipfs://([A-Za-z0-9]{32,128}(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)", re.IGNORECASE)
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Policy:
    """What an operator allows. The defaults suit a public network."""

    allow_hosts: Collection[str] = ()  # "host" or "host:port" that may have a private address and may use http
    ipfs_gateway: str | None = None  # URL, for example "http://127.0.0.1:8080"; None: ipfs:// is not followed
    timeout_s: float = 600.0  # for one URI, including its redirects
    stall_s: float = 30.0  # the longest time without a byte, or without a connection
    max_redirects: int = 5
    max_unsized_bytes: int = 1 << 20  # the limit for a file whose size is not known beforehand

    def locate(self, uri: str) -> URL:
        """Return the URL to request for `uri`: itself, or the gateway's for an ipfs:// one. Errors: UriRefused."""
        _check_text(uri)
        scheme = _SCHEME.match(uri)
        if scheme is None:
            raise UriRefused("it has no scheme")
        if scheme[1].lower() == "ipfs":
            return self._through_gateway(uri)
        return self._checked(uri)

    def redirect(self, url: URL, location: str) -> URL:
        """Return the URL that a redirect from `url` to `location` leads to. Errors: UriRefused."""
        try:
            _check_text(location)
            return self._checked(str(url.join(URL(location))))
        except (UriRefused, ValueError) as error:
            raise UriRefused(f"redirects to {printable(location)}: {error}") from error

    def _through_gateway(self, uri: str) -> URL:
        if self.ipfs_gateway is None:
            raise UriRefused("no IPFS gateway is configured")
        path = _IPFS.fullmatch(uri)
        if path is None:
            raise UriRefused("it is neither ipfs://CID nor ipfs://CID/path")
        return self._checked(f"{self.ipfs_gateway.rstrip('/')}/ipfs/{path[1]}")

    def _checked(self, text: str) -> URL:
        try:
            url = URL(text)
            host, port = url.raw_host, url.port
        except ValueError as error:
            raise UriRefused(f"it is not a URL: {printable(str(error))}") from error
        if url.scheme not in _PORTS:
            raise UriRefused(
                f"the scheme {printable(url.scheme)} is not followed" if url.scheme else "it has no scheme"
            )
        if not host or not port:
            raise UriRefused("it does not name a host and a port")
        if url.raw_user is not None or url.raw_password is not None:
            raise UriRefused("it contains a user name or password")
        if _literal(host) is None and re.search(r"(^|\.)(\d+|0[xX][0-9a-fA-F]*)\.?$|[:%]", host):
            raise UriRefused(f"{printable(host)} is neither a name nor a well-formed address")
        if url.scheme == "http" and not self._names(host, port):
            raise UriRefused("http is followed only to hosts that the configuration names")
        return url.with_fragment(None)

    def _names(self, host: str, port: int) -> bool:
        """Return whether the operator's configuration names that host."""
        host = host.lower()
        shown = f"[{host}]" if ":" in host else host
        if {host, shown, f"{shown}:{port}"} & {entry.lower() for entry in self.allow_hosts}:
            return True
        if self.ipfs_gateway is None:
            return False
        gateway = URL(self.ipfs_gateway)
        return (gateway.raw_host, gateway.port) == (host, port)

    async def addresses(self, url: URL) -> list[str]:
        """Resolve the host of `url` once, and return the addresses that may be connected to.

        The caller connects to these addresses without resolving the name again, so that a DNS answer that changes in
        between has no effect. Errors: UriRefused when no address is allowed.
        """
        host, port = url.raw_host, url.port
        assert host is not None
        assert port is not None
        if _literal(host) is not None:
            found = [host]
        else:
            try:
                infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                raise UriRefused(f"{printable(host)} does not resolve") from error
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        if self._names(host, port):
            return found
        public = [address for address in found if is_public(address)]
        if not public:
            raise UriRefused(f"{printable(host)} is at {', '.join(found[:4])}, not on the public internet")
        return public


def check_server_url(url: str) -> str:
    """Return the URL of a server of files, after checking that URIs can be made from it. Errors: UriRefused."""
    _check_text(url)
    try:
        parsed = URL(url) if _SCHEME.match(url) else None
    except ValueError as error:
        raise UriRefused(f"{printable(url)} is not a URL: {printable(str(error))}") from error
    if parsed is None or parsed.scheme not in _PORTS or not parsed.host:
        raise UriRefused(f"{printable(url)} is not the URL of a server, such as https://files.example")
    if parsed.user is not None or parsed.query_string or parsed.fragment:
        raise UriRefused(f"{printable(url)} has more than a scheme, a host, a port and a path")
    return url


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet. Errors: ValueError for other text."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _SPECIAL_V4)
    if parsed.scope_id is not None:
        return False
    return parsed in _UNICAST_V6 and not any(parsed in network for network in _SPECIAL_V6)


def printable(text: str, limit: int = 160) -> str:
    """Make untrusted text safe for a log: one line of printable ASCII, cut after `limit` characters."""
    line = " ".join(text[: 4 * limit].split()).encode("ascii", "backslashreplace").decode()
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= limit else line[:limit] + "…"


def _check_text(uri: str) -> None:
    if len(uri) > MAX_LOCATION_CHARACTERS:
        raise UriRefused(f"it is longer than {MAX_LOCATION_CHARACTERS} characters")
    if not _CHARACTERS.fullmatch(uri):
        raise UriRefused("it is empty, or has characters other than printable ASCII, or a space or backslash")
    if "::" in _BRACKETED.sub("", uri):
        raise UriRefused("chains of URIs (::) are not followed")


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse `host` as an IP address; None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
