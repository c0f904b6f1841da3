"""Caller key: finding the API key of a request where its dialect's SDK puts it, before any I/O."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from tokenopen.core.api_key import API_KEY_PREFIX, MANAGEMENT_KEY_PREFIX, is_well_formed
from tokenopen.core.errors import InvalidApiKey, InvalidRequest
from tokenopen.upstream.dialect import Dialect

Scope = Mapping[str, Any]
# Of a name given more than once the first value.
Headers = Mapping[bytes, bytes]
# No SDK comes near this.
QUERY_BYTES_MAX: Final = 8_192


def read_headers(scope: Scope) -> Headers:
    """Return a request's headers by name, lower case."""
    return dict(reversed(scope["headers"]))


def read_query(scope: Scope) -> Sequence[tuple[str, str]]:
    """Return the decoded query. Refuses InvalidRequest for one that is too long."""
    source: bytes = scope.get("query_string", b"")
    if not source:
        return ()
    if len(source) > QUERY_BYTES_MAX:
        raise InvalidRequest(f"The query is longer than {QUERY_BYTES_MAX:,} bytes.")
    return parse_qsl(source.decode("latin-1"), keep_blank_values=True)


def find_api_key(headers: Headers, dialect: Dialect, query: Sequence[tuple[str, str]]) -> str:
    """Return the well-formed API key of a request. Refuses InvalidApiKey.

    Applications may send another service's key beside ours; the first of ours counts.
    """
    found = [key for key in _keys(headers, dialect, query) if key]
    if not found:
        raise InvalidApiKey(f"An API key is needed: {dialect.key_hint} {API_KEY_PREFIX}...")
    for key in found:
        if is_well_formed(key, API_KEY_PREFIX):
            return key
    if any(key.startswith(MANAGEMENT_KEY_PREFIX) for key in found):
        raise InvalidApiKey(
            f"This is a management key, for the control API. Calls need an API key ({API_KEY_PREFIX}...)."
        )
    raise InvalidApiKey(
        f"This is not an API key of this service; was it copied whole? API keys begin with "
        f"{API_KEY_PREFIX}; a management key is for the control API only."
    )


def _keys(headers: Headers, dialect: Dialect, query: Sequence[tuple[str, str]]) -> Iterator[str]:
    for place, name in dialect.key_places:
        if place == "query":
            yield from (value.strip() for parameter, value in query if parameter == name.decode())
            continue
        value = headers.get(name, b"")
        if place == "bearer":
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                continue
        yield value.strip().decode("latin-1")
