"""Where upstreams may be: what their URLs may look like, and which addresses may be connected to.

Guards against server-side request forgery: whoever may write a base URL could otherwise make the
gateway, credential in hand, call what only its own network can reach. A host name is judged by the
addresses that it resolves to, at the moment of connecting (see http1_connector); a URL is judged here.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_LENGTH_MAX: Final = 4_096
_HOST_LENGTH_MAX: Final = 253
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")
_AUTHORITY: Final = re.compile(r"[^/?#\\]*")
_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# A last label of this form makes resolvers take the whole host for an IPv4 address (WHATWG URL, "ends in
# a number"), in any of the old notations: 127.1, 0x7f.0.0.1, 2130706433.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TARGET: Final = re.compile(r"(?:[/?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?")

_GLOBAL_UNICAST_V6: Final = ipaddress.IPv6Network("2000::/3")
_TRANSLATED_V4: Final = ipaddress.IPv6Network("64:ff9b::/96")
# What some versions of Python's registry call global, and no upstream can be: protocol assignments
# (192.0.0.192 is Oracle Cloud's metadata service), the 6to4 relay, Azure's host, documentation.
_NOT_PUBLIC: Final[Sequence[Network]] = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv6Network("3fff::/20"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port of a URL. The host is lower case; an IPv6 address stands without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the origin with its port always named, as credentials are bound to it."""
        return f"{self.scheme}://{self._bracketed_host}:{self.port}"

    @property
    def address(self) -> Address | None:
        """The host where it is an address, None where it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port as a CONNECT request names them."""
        return f"{self._bracketed_host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The value of the ``host`` header: the port only where it is not the scheme's own."""
        return self._bracketed_host if self.port == _DEFAULT_PORTS[self.scheme] else self.authority

    @property
    def _bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_origin(url: str) -> Origin:
    """Return the origin of an absolute http or https URL.

    Raises ValueError, with a text that fits an administrator, for whatever is not plainly such a URL:
    user names and passwords, fragments, backslashes, spaces, control and non-ASCII characters, zone ids,
    and hosts that are numbers in another notation than four decimal ones.
    """
    return split_url(url)[0]


def split_url(url: str) -> tuple[Origin, str]:
    """Return a URL's origin, and its path and query as a request line names them. Raises as above."""
    if len(url) > URL_LENGTH_MAX:
        raise ValueError(f"A URL may have {URL_LENGTH_MAX} characters.")
    if not _VISIBLE_ASCII.fullmatch(url):
        raise ValueError("A URL must not hold spaces, control characters or non-ASCII characters.")
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("A URL must begin with https:// or http://.")
    match = _AUTHORITY.match(rest)
    assert match is not None
    target = rest[match.end() :]
    if not _TARGET.fullmatch(target):
        raise ValueError("A URL's path and query must be percent-encoded, and it has no fragment.")
    if not target.startswith("/"):
        target = "/" + target
    return _parse_authority(scheme, match[0]), target


def _parse_authority(scheme: str, authority: str) -> Origin:
    if "@" in authority:
        raise ValueError("A URL must not hold a user name or password.")
    match = _HOST_AND_PORT.fullmatch(authority.lower())
    if match is None:
        raise ValueError("A URL must name a host, and no more than a port beside it.")
    port = _DEFAULT_PORTS[scheme] if match["port"] is None else int(match["port"])
    if not 1 <= port <= 65_535:
        raise ValueError("A URL's port must lie between 1 and 65535.")
    return Origin(scheme=scheme, host=_parse_host(match["host"]), port=port)


def _parse_host(host: str) -> str:
    labels = host.split(".")
    try:
        if host.startswith("["):
            return str(ipaddress.IPv6Address(host[1:-1]))
        if _NUMBER.fullmatch(labels[-1]):
            return str(ipaddress.IPv4Address(host))
    except ValueError as error:
        raise ValueError("A URL's host must be a host name, or an address in its usual form.") from error
    if len(host) > _HOST_LENGTH_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("A URL's host must be a host name, or an address in its usual form.")
    return host


def address_allowed(address: Address, allowed_networks: Sequence[Network]) -> bool:
    """Return whether upstreams may have the address: a public one, or one inside ``allowed_networks``.

    Addresses that carry IPv4 addresses (mapped, NAT64, 6to4, Teredo) are judged by those alone, since
    that is where their packets end up.
    """
    carried = _carried_addresses(address)
    if carried:
        return all(address_allowed(one, allowed_networks) for one in carried)
    return any(address in network for network in allowed_networks) or _is_public(address)


def _carried_addresses(address: Address) -> Sequence[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _TRANSLATED_V4:
        return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo or ()


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST_V6:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _NOT_PUBLIC)
    )
