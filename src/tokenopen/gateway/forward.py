"""Forward: one call to the providers that carry its model, in order, until one begins a reply.

The provider's 400, 413, 415 and 422 are the caller's business and pass through in its words. Its 401,
402, 403, 404, 408, 409, 429 and 5xx are the operator's trouble: the next route is tried, then the caller
is told in our words. The next route only before a reply has begun, and never after a first-byte timeout,
since the provider may be working. Among routes of one priority a call goes where the account's calls that
begin alike went (gateway/affinity.py), upstreams in trouble come last (gateway/health.py).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from tokenopen import __version__
from tokenopen.core.catalog import Endpoint, Route
from tokenopen.core.errors import NotFound, NoUpstreamAvailable, Refusal, UpstreamError, UpstreamTimeout
from tokenopen.core.frozen import Frozen
from tokenopen.gateway.affinity import order_routes
from tokenopen.gateway.check import Plan
from tokenopen.gateway.health import Health
from tokenopen.gateway.meter import Meter
from tokenopen.ports.clock import Clock
from tokenopen.ports.upstream import (
    FirstByteTimeout,
    NotReached,
    ReplyBroken,
    StreamedBody,
    Upstream,
    UpstreamFailure,
    UpstreamReply,
    UpstreamRequest,
)
from tokenopen.upstream.credential import CredentialUnreadable
from tokenopen.upstream.providers import find_provider
from tokenopen.upstream.surface import ReportConvention

CALLERS_BUSINESS: Final = frozenset({400, 413, 415, 422})
USER_AGENT: Final = b"tokenopen/" + __version__.encode()
_RETRY_AFTER_S: Final = 5

_log = structlog.get_logger()


class Attempt(Frozen, frozen=True, kw_only=True):
    """One try at one upstream, as the call's record keeps it."""

    upstream_id: str
    result: str
    duration_ms: int
    # The API that the call was translated to.
    translated_to: str | None = None


class Forwarded(Frozen, frozen=True, kw_only=True):
    """A reply has begun: a 200, or a refusal in the provider's own words."""

    reply: UpstreamReply
    # In lower case; empty where the provider says none.
    content_type: bytes
    endpoint: Endpoint
    convention: ReportConvention
    attempts: Sequence[Attempt]
    # When it was sent to the endpoint that answers, and how long that took after the first try began.
    sent_at_ms: int
    first_byte_ms: int
    # To be called where the reply breaks off after all.
    note_broken: Callable[[], None]


class ForwardFailed(Exception):
    """No route gave a reply. ``refusal`` is what the caller is told."""

    def __init__(self, refusal: Refusal, attempts: Sequence[Attempt]) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.attempts = attempts


class Forwarder:
    """Sends calls to upstreams. ``open_credential`` decrypts an endpoint's credential."""

    def __init__(
        self,
        upstream: Upstream,
        clock: Clock,
        open_credential: Callable[[Endpoint], str],
        meter: Meter | None = None,
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._open_credential = open_credential
        self._health = Health(clock)
        self._meter = meter or Meter()

    def _take_next(self, routes: list[Route]) -> Route:
        """Take the next route to try: in their order, but those in trouble last."""
        for route in routes:
            if self._health.is_ready(route):
                break
        else:
            route = routes[0]
        routes.remove(route)
        self._health.begin(route)
        return route

    async def forward(self, plan: Plan, *, cap_output_tokens: int | None) -> Forwarded:
        """Return the first reply that begins. Raises ForwardFailed. Cancelling closes the connection."""
        started_ms = self._clock.monotonic_ms()
        attempts: list[Attempt] = []
        refusal: Refusal = NoUpstreamAvailable(
            f"No provider of model {plan.facts.model} can be reached at the moment. Nothing was charged.",
            retry_after_s=_RETRY_AFTER_S,
        )
        routes = list(plan.routes)
        if len(routes) > 1:
            routes = list(order_routes(routes, account_id=plan.facts.account_id, fields=plan.request.fields))
        while routes:
            route = self._take_next(routes)
            upstream_id, retry_after_s, status = route.endpoint.id, None, None
            attempt_ms = self._clock.monotonic_ms()
            provider = find_provider(route.endpoint.provider)
            result: str
            try:
                reply = await self._upstream.send(self._request(plan, route, cap_output_tokens))
                content_type = _content_type(reply)
            except CredentialUnreadable as failure:
                result = type(failure).__name__
                _log.error("credential_unreadable", upstream=route.endpoint.name, error=str(failure))
            except UpstreamFailure as failure:
                result = type(failure).__name__
                _log.warning(
                    "upstream_failed",
                    upstream=route.endpoint.name,
                    call_id=plan.facts.call_id,
                    error=repr(failure),
                )
                refusal = _refusal_for_failure(failure, plan, refusal)
            except BaseException:
                self._health.undecided(route)
                raise
            else:
                if reply.status == 200 or reply.status in CALLERS_BUSINESS:
                    now_ms = self._clock.monotonic_ms()
                    self._health.succeeded(route)
                    self._meter.attempted(
                        upstream_id, str(reply.status), duration_ms=now_ms - attempt_ms, began=True
                    )
                    attempts.append(
                        Attempt(
                            upstream_id=upstream_id,
                            result=str(reply.status),
                            duration_ms=now_ms - attempt_ms,
                            translated_to=None if plan.translated is None else plan.wire.name,
                        )
                    )
                    return Forwarded(
                        reply=reply,
                        content_type=content_type,
                        endpoint=route.endpoint,
                        convention=provider.convention,
                        attempts=attempts,
                        sent_at_ms=attempt_ms,
                        first_byte_ms=now_ms - started_ms,
                        note_broken=partial(self._health.failed, route),
                    )
                reply.close()
                retry_after_s, status = _retry_after_s(reply), reply.status
                result = str(reply.status)
                _log.warning(
                    "upstream_refused",
                    upstream=route.endpoint.name,
                    call_id=plan.facts.call_id,
                    status=reply.status,
                )
                refusal = _refusal_for_status(reply.status, plan)
            now_ms = self._clock.monotonic_ms()
            attempts.append(Attempt(upstream_id=upstream_id, result=result, duration_ms=now_ms - attempt_ms))
            self._health.failed(route, status=status, retry_after_s=retry_after_s)
            self._meter.attempted(upstream_id, result, duration_ms=now_ms - attempt_ms, began=False)
            if isinstance(refusal, UpstreamTimeout):
                break
        raise ForwardFailed(refusal, attempts)

    def _request(self, plan: Plan, route: Route, cap_output_tokens: int | None) -> UpstreamRequest:
        endpoint, provider, wire = route.endpoint, find_provider(route.endpoint.provider), plan.wire
        if cap_output_tokens is None and plan.translated is not None:
            cap_output_tokens = plan.translated.max_output_tokens
        field = provider.convention.max_tokens_field
        if cap_output_tokens is None and field == "max_tokens" and field not in plan.request.fields:
            # The hold covers the caller's own maximum, so it has to stand where this provider reads it.
            cap_output_tokens = plan.request.max_output_tokens or None
        fields = wire.upstream_body(
            plan.request,
            upstream_model=route.upstream_model,
            cap_output_tokens=cap_output_tokens,
            convention=provider.convention,
        )
        body: bytes | StreamedBody = fields
        content_type = plan.request.content_type
        if plan.request.form is not None:
            body = form = plan.request.form.body(fields)
            content_type = form.content_type
        return UpstreamRequest(
            method=wire.method.encode(),
            url=provider.url_of(wire, endpoint.base_url, plan.request, route.upstream_model),
            headers=[
                *provider.credential_headers(self._open_credential(endpoint), wire.dialect),
                *plan.request.headers,
                (b"content-type", content_type),
                (b"accept", b"text/event-stream" if plan.request.stream else b"application/json"),
                (b"x-request-id", plan.facts.call_id.encode()),
                # Some providers turn away requests that do not say what sends them.
                (b"user-agent", USER_AGENT),
            ],
            body=body,
            connect_timeout_ms=endpoint.connect_timeout_ms,
            first_byte_timeout_ms=endpoint.first_byte_timeout_ms,
            idle_timeout_ms=endpoint.idle_timeout_ms,
        )


def _retry_after_s(reply: UpstreamReply) -> int | None:
    """Return when the provider wants to be asked again; a date is as good as nothing said."""
    for name, value in reply.headers:
        if name == b"retry-after" and value.isdigit() and len(value) < 6:
            return int(value)
    return None


def _content_type(reply: UpstreamReply) -> bytes:
    """Return a reply's content type in lower case.

    Raises ReplyBroken for a reply that is compressed although we said identity: it could not be metered.
    """
    content_type = b""
    for name, value in reply.headers:
        if name == b"content-type":
            content_type = value.lower()
        elif name == b"content-encoding" and value.lower() != b"identity":
            reply.close()
            raise ReplyBroken(f"the reply is encoded as {value!r}")
    return content_type


def _refusal_for_failure(failure: UpstreamFailure, plan: Plan, unreached: Refusal) -> Refusal:
    if isinstance(failure, NotReached):
        return unreached
    model = plan.facts.model
    if isinstance(failure, FirstByteTimeout):
        return UpstreamTimeout(f"The provider of model {model} did not answer in time. Nothing was charged.")
    return UpstreamError(f"The provider of model {model} broke off before it answered. Nothing was charged.")


def _refusal_for_status(status: int, plan: Plan) -> Refusal:
    model = plan.facts.model
    if status == 404 and plan.request.references:
        return NotFound("The provider does not keep what this call refers to any more.")
    if status == 429:
        return NoUpstreamAvailable(
            f"The provider of model {model} has no room at the moment. Nothing was charged.",
            retry_after_s=_RETRY_AFTER_S,
        )
    return UpstreamError(
        f"The provider of model {model} could not take this call (its status {status}). Nothing was charged."
    )
