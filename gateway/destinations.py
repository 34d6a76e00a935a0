"""Where a request may go: the one reading of a URL, the operator's list, and which addresses are public. Pure.

Ranges after the IANA special-purpose address registries (RFC 6890 and successors), read 2026-11.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
LONGEST_URL = 8192
PORTS = frozenset({443, 8443})  # of destinations that are on no list
_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# What a resolver may take for an address written in numbers; only the plain form of four is one to us.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110, 5.6.2
# What frames a message or a connection: said by two sources, it could say something else than the bytes that follow.
_FRAMING_WORDS = """
    host content-length transfer-encoding connection keep-alive upgrade te trailer expect accept-encoding
    proxy-authorization proxy-connection
"""
_FRAMING = frozenset(_FRAMING_WORDS.split())

_SPECIAL_V4 = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24
    203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
"""
_SPECIAL_V6 = "2001::/23 2001:db8::/32 2620:4f:8000::/48 3fff::/20"
# What a listed *name* opens. Link-local addresses and the metadata services of clouds need their address listed.
_INSIDE_BOTH = "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7"
_METADATA_BOTH = "169.254.0.0/16 100.100.100.200/32 192.0.0.192/32 fd00:ec2::/32 fe80::/10"


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(word) for word in text.split())


_SPECIAL = _networks(_SPECIAL_V4 + _SPECIAL_V6)
_INSIDE, _METADATA = _networks(_INSIDE_BOTH), _networks(_METADATA_BOTH)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class ConnectRefused(Exception):
    """A request that was not made, or has no usable answer.

    :param code: egress_…, listed in docs/reference/transports.md.
    :param happened: "no": nothing of the request left this process; "maybe": some of it did.
    :param detail: for the operator's log, never for an agent: it names addresses.
    """

    def __init__(self, code: str, detail: str = "", *, happened: Literal["no", "maybe"] = "no") -> None:
        super().__init__(f"{code} (happened: {happened}) {detail}".rstrip())
        self.code = code
        self.detail = detail
        self.happened = happened


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL, taken apart once: whoever checks and whoever connects see the same host.

    :param host: lower case, without a trailing dot or brackets. :param target: path and query, never empty.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Listed:
    """What the operator's list allows beyond public addresses over HTTPS. A port of None means every port."""

    names: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[tuple[Network, int | None], ...] = ()

    def has_name(self, host: str, port: int) -> bool:
        """Say whether the host itself is listed."""
        return (host, port) in self.names or (host, None) in self.names

    def has_address(self, address: Address, port: int) -> bool:
        """Say whether a listed address or range covers `address`."""
        return any(only in (None, port) and address in network for network, only in self.networks)


def parse(url: str) -> Destination:
    """Take a URL apart. Stricter than RFC 3986: what two programs could read in two ways is refused.

    :raises ConnectRefused: egress_invalid.
    """
    if (
        len(url) > LONGEST_URL
        or not url.isascii()
        or not url.isprintable()
        or any(mark in url for mark in ' \\"<>^`{|}#')
    ):
        raise ConnectRefused("egress_invalid", f"{url[:200]!r} has characters that a URL must not have")
    found = _URL.fullmatch(url)
    if found is None:
        raise ConnectRefused("egress_invalid", f"{url[:200]!r} is no http or https URL")
    scheme, authority = found[1].lower(), found[2]
    if "@" in authority:
        raise ConnectRefused("egress_invalid", "a URL with a user name or password is not used")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ConnectRefused("egress_invalid", f"{authority[:200]!r} is no host and port")
    port = int(parts[2]) if parts[2] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65_536:
        raise ConnectRefused("egress_invalid", f"{port} is no port")
    return Destination(scheme, _host(parts[1]), port, (found[3] or "/") + (found[4] or ""))


def read_list(text: str) -> Listed:
    """Read PLACET_EGRESS_ALLOW: names, addresses and ranges by commas, each with `:port` if only that one is meant.

    :raises ValueError: naming the entry that is none.
    """
    names: set[tuple[str, int | None]] = set()
    networks: list[tuple[Network, int | None]] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        host, port = _entry(entry)
        try:
            networks.append((ip_network(host), port))
        except ValueError as error:
            name = host.lower().removesuffix(".")
            if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name):
                raise ValueError(f"{entry!r} is no name, address or range with an optional :port ({error})") from error
            names.add((name, port))
    return Listed(frozenset(names), tuple(networks))


def is_header(name: str) -> bool:
    """Say whether a header of this name may be set by anybody but `gateway.connect` itself."""
    return _TOKEN.fullmatch(name) is not None and name.lower() not in _FRAMING


def admit(scheme: str, host: str, port: int, address: Address, listed: Listed) -> None:
    """Do nothing if `host` may be reached at `address`. :raises ConnectRefused: egress_forbidden."""
    named = listed.has_name(host, port)
    for reached in _reached(address):
        if listed.has_address(reached, port) or (named and (is_public(reached) or _is_inside(reached))):
            continue
        if not is_public(reached):
            raise ConnectRefused("egress_forbidden", f"{host} is {address}, which is not public and not listed")
        if scheme != "https":
            raise ConnectRefused("egress_forbidden", f"{host}: plain http goes to listed destinations alone")
        if port not in PORTS:
            raise ConnectRefused("egress_forbidden", f"{host}: port {port} goes to listed destinations alone")


def is_public(address: Address) -> bool:
    """Say whether a packet to `address` goes to the internet at large, and nowhere else."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)


def _is_inside(address: Address) -> bool:
    return any(address in network for network in _INSIDE) and not any(address in network for network in _METADATA)


def _reached(address: Address) -> Iterator[Address]:
    """Yield the addresses that a packet to `address` may reach: what is wrapped in it, else itself."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
    else:
        yield address


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError:
            raise ConnectRefused("egress_invalid", f"{text[:200]!r} is no IPv6 address") from None
    name = text.lower().removesuffix(".")
    if literal(name) is None and (len(name) > 253 or not _NAME.fullmatch(name) or _NUMBER.fullmatch(name)):
        raise ConnectRefused("egress_invalid", f"{text[:200]!r} is no host name; write an international one as xn--…")
    return name


def _entry(entry: str) -> tuple[str, int | None]:
    """Return host and port of one entry; IPv6 stands in brackets where a port follows."""
    if entry.startswith("["):
        host, closed, rest = entry[1:].partition("]")
        if not closed:
            raise ValueError(f"{entry!r} is no address: a bracket is missing")
        length, _, port = rest.partition(":")
        host += length
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    else:
        host, port = entry, ""
    if port and not (port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{entry!r}: {port!r} is no port")
    return host, int(port) if port else None


def literal(host: str) -> Address | None:
    """Return the address that `host` is written as, None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
