"""Site: where browsers reach the console, and which of their requests come from its own pages.

Sessions exist over HTTPS only, which the operator names (TOKENOPEN_PUBLIC_URL), and on the machine itself.
A Host header that somebody made up is therefore never believed, neither in a link that is mailed nor by a
page that had its name point here (DNS rebinding).
"""

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# Where scripts of ours put the form token; forms carry it in a field.
FORM_TOKEN_HEADER: Final = "x-csrf-token"  # noqa: S105 the name of a header
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """``base_url`` has no slash at its end; ``origins`` are those that our own pages are served from."""

    base_url: str
    origins: frozenset[str]
    is_secure: bool

    @property
    def session_cookie(self) -> str:
        """The cookie that holds a session's token."""
        # RFC 6265bis: a browser takes a __Host- cookie only from the host itself, over HTTPS, for all paths.
        return "__Host-tokenopen" if self.is_secure else "tokenopen"

    @property
    def visit_cookie(self) -> str:
        """The cookie that forms of somebody who is not signed in are tied to."""
        return f"{self.session_cookie}-visit"

    def sent(self, *, origin: str | None, fetch_site: str | None) -> bool:
        """Tell whether one of our own pages sent a request, by its Origin and Sec-Fetch-Site headers.

        Every browser sends at least one of them with what changes something; who sends neither is refused.
        """
        if origin is None and fetch_site is None:
            return False
        return (origin is None or origin in self.origins) and fetch_site in (None, "same-origin")


def is_loopback(name: str) -> bool:
    """Tell whether a host name or address is this machine itself, as every browser understands it."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def find_site(*, public_url: str, host: str) -> Site | None:
    """Return the site that a request with this Host header was made to.

    ``public_url`` is the operator's, empty where none is set. None where sessions may not exist: plain
    HTTP from another machine.
    """
    here = _loopback_origin(host)
    if public_url:
        is_secure = public_url.startswith("https://")
        origins = {public_url} if here is None else {public_url, here}
        return Site(base_url=public_url, origins=frozenset(origins), is_secure=is_secure)
    if here is None:
        return None
    return Site(base_url=here, origins=frozenset({here}), is_secure=False)


def _loopback_origin(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host.lower()}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if name is None or not is_loopback(name) or parts.username is not None or parts.path:
        return None
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}" if port in (None, 80) else f"http://{shown}:{port}"


def client_address(*, peer: str, forwarded_for: str | None, behind_proxy: bool) -> str:
    """Return the address that a request came from.

    Behind a proxy, whose address is a private one, it is what that proxy wrote last into X-Forwarded-For;
    what stands before it anybody may have written.
    """
    if not (behind_proxy and forwarded_for and _is_near(peer)):
        return peer
    last = forwarded_for.rsplit(",", 1)[-1].strip()
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return peer


def _is_near(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_private
    except ValueError:
        return False
