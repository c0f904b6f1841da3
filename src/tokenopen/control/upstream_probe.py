"""Upstream probe: asking a provider for its list of models, to see that it answers and what it has.

It costs nothing at any provider. What went wrong is said for the operator, in our words: a provider's own
may hold parts of the credential. No transaction is open while a provider is asked.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tokenopen.core.catalog import Endpoint
from tokenopen.core.errors import UpstreamError
from tokenopen.ports.clock import Clock
from tokenopen.ports.upstream import (
    AddressForbidden,
    FirstByteTimeout,
    NotReached,
    Upstream,
    UpstreamFailure,
    UpstreamReply,
    UpstreamRequest,
)
from tokenopen.storage.model import ListedState
from tokenopen.upstream.addresses import parse_origin
from tokenopen.upstream.credential import CredentialUnreadable, open_credential
from tokenopen.upstream.providers import find_provider

TIMEOUT_MS: Final = 10_000
BODY_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a provider answered: the names that it lists, or in ``error`` what to do."""

    status: int | None
    latency_ms: int
    models: Sequence[str]
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableModel:
    """A model that a provider lists. ``model`` is the one here that it seems to be, with its state.

    ``mapped_as`` are the public names under which the upstream carries it now.
    """

    upstream_model: str
    model: str | None
    state: ListedState | None
    mapped_as: Sequence[str]


class _NotAList(Exception):
    """The reply is no list of models."""


async def probe_upstream(
    upstream: Upstream, clock: Clock, endpoint: Endpoint, *, sealing_key: bytes
) -> Probe:
    """Ask a provider for its models, with the endpoint's credential; never raises for what it answers."""
    started_ms = clock.monotonic_ms()
    url = find_provider(endpoint.provider).models_url(endpoint.base_url)
    status = None
    models: Sequence[str] = ()
    error = None
    try:
        credential = open_credential(
            sealing_key, str(parse_origin(endpoint.base_url)), endpoint.credential_sealed
        )
        async with asyncio.timeout(3 * TIMEOUT_MS / 1000):
            reply = await upstream.send(_request(url, endpoint, credential))
            try:
                status = reply.status
                error = _explain_status(status, url)
                if error is None:
                    models = _read_list(await _read_body(reply))
            finally:
                reply.close()
    except CredentialUnreadable as unreadable:
        error = str(unreadable)
    except _NotAList:
        error = f"{url} answered, but not with a list of models. Check the base URL."
    except (UpstreamFailure, TimeoutError) as failure:
        error = _explain_failure(failure, url)
    return Probe(status=status, latency_ms=clock.monotonic_ms() - started_ms, models=models, error=error)


def _request(url: str, endpoint: Endpoint, credential: str) -> UpstreamRequest:
    provider = find_provider(endpoint.provider)
    return UpstreamRequest(
        method=b"GET",
        url=url,
        headers=[
            *provider.credential_headers(credential),
            *provider.main_dialect.upstream_headers,
            (b"accept", b"application/json"),
        ],
        body=b"",
        connect_timeout_ms=TIMEOUT_MS,
        first_byte_timeout_ms=TIMEOUT_MS,
        idle_timeout_ms=TIMEOUT_MS,
    )


async def _read_body(reply: UpstreamReply) -> bytes:
    body = bytearray()
    while part := await reply.read():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise _NotAList
    return bytes(body)


def _read_list(body: bytes) -> Sequence[str]:
    """Return the names in a list of models: OpenAI's ``data``, a bare list, or Ollama's ``models``."""
    try:
        found: Any = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise _NotAList from error
    if isinstance(found, Mapping):
        found = found.get("data", found.get("models"))
    if not isinstance(found, list):
        raise _NotAList
    names = [item.get("id") or item.get("name") for item in found if isinstance(item, Mapping)]
    return sorted({name for name in names if isinstance(name, str)})


def _explain_status(status: int, url: str) -> str | None:
    if status == 200:
        return None
    if status in (401, 403):
        return f"The provider refused the credential (its status {status}). Enter it again."
    if status == 404:
        return (
            f"There is no list of models at {url}. Check that the base URL is as the provider's SDK takes it "
            "(OpenAI's ends in /v1)."
        )
    if status == 429:
        return "The provider has no room, or the credit there is used up (its status 429)."
    if 300 <= status < 400:
        return f"{url} redirects elsewhere (status {status}). Enter the base URL that it leads to."
    return f"The provider answered with status {status}."


def _explain_failure(failure: Exception, url: str) -> str:
    if isinstance(failure, AddressForbidden):
        return f"{failure}. An operator allows networks of their own with TOKENOPEN_UPSTREAM_NETWORKS."
    if isinstance(failure, NotReached):
        return f"The provider could not be reached: {failure}."
    if isinstance(failure, FirstByteTimeout | TimeoutError):
        return f"{url} did not answer in time."
    return f"{url} broke off its answer: {failure}."


def match_available(
    probe: Probe, *, mapped: Mapping[str, str], states: Mapping[str, ListedState]
) -> Sequence[AvailableModel]:
    """Return the models that a provider lists, with what they are here. Refuses UpstreamError for no list."""
    if probe.error is not None:
        raise UpstreamError(probe.error)
    found = []
    for name in probe.models:
        model = find_public_name(name, states)
        found.append(
            AvailableModel(
                upstream_model=name,
                model=model,
                state=None if model is None else states[model],
                mapped_as=[public for public, there in mapped.items() if there == name],
            )
        )
    return found


def suggest_public_name(upstream_model: str, states: Mapping[str, ListedState]) -> str:
    """Return the name under which callers would look for a provider's model: the one here, else its own."""
    return find_public_name(upstream_model, states) or upstream_model.rsplit("/", 1)[-1]


def find_public_name(upstream_model: str, states: Mapping[str, ListedState]) -> str | None:
    """Return the model here that a provider's name stands for: the same name, or what follows its last slash.

    Gemini lists ``models/gemini-...``, resellers ``maker/model``.
    """
    for name in (upstream_model, upstream_model.rsplit("/", 1)[-1]):
        if name in states:
            return name
    return None
