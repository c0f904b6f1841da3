"""Services: what the control API and the pages need of the world, put together by bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from tokenopen.ports.clock import Clock
from tokenopen.ports.mail import Mail
from tokenopen.ports.storage import Storage
from tokenopen.ports.upstream import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """``hashing_key`` is for keys (core.api_key.hash_key), ``sealing_key`` for upstream credentials."""

    storage: Storage
    clock: Clock
    upstream: Upstream
    hashing_key: bytes
    sealing_key: bytes
    # What upstreams may lie in besides public addresses.
    allowed_networks: Sequence[IPv4Network | IPv6Network]
    # None where the operator has named no mail server.
    mail: Mail | None = None
    # Where browsers reach the console, without a slash at the end; empty: on this machine only.
    public_url: str = ""
