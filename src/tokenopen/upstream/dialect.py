"""Dialect: what the surfaces of one vendor share: where a caller's key stands, and how a no is said.

One row each at the end of this file. Whatever refuses a request (the key, a limit, a path that does not
exist, a body that is too large), its caller is answered in the dialect that the path belongs to.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from tokenopen.core.errors import Refusal

KeyPlace = Literal["header", "bearer", "query"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A refusal, or a failure of ours, before it has a shape.

    ``kind`` is the error type of OpenAI's SDK; ``facts`` are JSON values that the message is made of.
    """

    status: int
    code: str
    message: str
    kind: str
    facts: Mapping[str, object]
    call_id: str
    retry_after_s: int | None = None


def failure_from(refusal: Refusal, *, call_id: str) -> Failure:
    """Return a refusal as the failure of a call."""
    return Failure(
        status=refusal.status,
        code=refusal.code,
        message=refusal.message,
        kind=refusal.error_type,
        facts=refusal.facts,
        call_id=call_id,
        retry_after_s=refusal.retry_after_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How callers of one vendor's SDK speak.

    ``path_prefixes`` are of paths that are answered so, whether or not there is anything at them.
    ``key_places`` says where the API key is looked for: in a header of that name, as the Bearer of a
    header, in a parameter of the query. ``key_hint`` tells callers without one.
    ``read_headers`` are those of a caller's headers that a surface may look at or send on,
    ``upstream_headers`` what a provider wants to be sent where the caller does not say otherwise.
    ``call_id_headers`` carry the call's id in replies.
    """

    name: str
    path_prefixes: Sequence[str]
    key_places: Sequence[tuple[KeyPlace, bytes]]
    key_hint: str
    read_headers: frozenset[bytes]
    upstream_headers: Sequence[tuple[bytes, bytes]]
    call_id_headers: Sequence[bytes]
    error_value: Callable[[Failure], Mapping[str, object]]
    # Of the last event of a stream that breaks off: its name, where events have names, and its data.
    error_event_name: bytes
    error_event_value: Callable[[Failure], Mapping[str, object]]

    def error_body(self, failure: Failure) -> bytes:
        """Return a refusal in this dialect's shape."""
        return msgspec.json.encode(self.error_value(failure))

    def error_event(self, failure: Failure) -> bytes:
        """Return the last event of a stream that breaks off."""
        name = b"event: %b\n" % self.error_event_name if self.error_event_name else b""
        return b"%bdata: %b\n\n" % (name, msgspec.json.encode(self.error_event_value(failure)))


def _openai_error(failure: Failure) -> dict[str, object]:
    facts = dict(failure.facts)
    param = facts.pop("param", None)
    return {
        "error": {
            "message": failure.message,
            "type": failure.kind,
            "param": param,
            "code": failure.code,
            **facts,
        }
    }


def _responses_error(failure: Failure) -> dict[str, object]:
    """As OpenAI documents it for response streams, with the member that its SDKs raise an error for."""
    return {
        "type": "error",
        "code": failure.code,
        "message": failure.message,
        "param": failure.facts.get("param"),
        **_openai_error(failure),
    }


# platform.claude.com, API errors
_ANTHROPIC_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _anthropic_error(failure: Failure) -> dict[str, object]:
    kind = _ANTHROPIC_TYPES.get(failure.status, "api_error")
    error = {**failure.facts, "type": kind, "message": failure.message, "code": failure.code}
    return {"type": "error", "error": error, "request_id": failure.call_id}


# google.rpc.Code, as cloud.google.com/apis/design/errors maps it
_GEMINI_STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"


def _gemini_error(failure: Failure) -> dict[str, object]:
    """In Gemini's shape ``code`` is the HTTP status; ours is the reason in its details."""
    facts = {name: fact for name, fact in failure.facts.items() if fact is not None}
    details: list[dict[str, Any]] = [
        {"@type": _ERROR_INFO, "reason": failure.code, "domain": "tokenopen", "metadata": facts}
    ]
    if failure.retry_after_s is not None:
        details.append({"@type": _RETRY_INFO, "retryDelay": f"{failure.retry_after_s}s"})
    status = _GEMINI_STATUSES.get(failure.status, "UNKNOWN")
    return {
        "error": {"code": failure.status, "message": failure.message, "status": status, "details": details}
    }


OPENAI: Final = Dialect(
    name="openai",
    path_prefixes=("/v1/",),
    key_places=(("bearer", b"authorization"),),
    key_hint="Authorization: Bearer",
    read_headers=frozenset(),
    upstream_headers=(),
    call_id_headers=(b"x-request-id",),
    error_value=_openai_error,
    error_event_name=b"",
    error_event_value=_openai_error,
)
OPENAI_RESPONSES: Final = Dialect(
    name="openai",
    path_prefixes=("/v1/responses/",),
    key_places=OPENAI.key_places,
    key_hint=OPENAI.key_hint,
    read_headers=frozenset(),
    upstream_headers=(),
    call_id_headers=OPENAI.call_id_headers,
    error_value=_openai_error,
    error_event_name=b"error",
    error_event_value=_responses_error,
)
ANTHROPIC: Final = Dialect(
    name="anthropic",
    path_prefixes=("/v1/messages/",),
    key_places=(("header", b"x-api-key"), ("bearer", b"authorization")),
    key_hint="x-api-key:",
    read_headers=frozenset({b"anthropic-version", b"anthropic-beta"}),
    upstream_headers=((b"anthropic-version", b"2023-06-01"),),
    call_id_headers=(b"x-request-id", b"request-id"),
    error_value=_anthropic_error,
    error_event_name=b"error",
    error_event_value=_anthropic_error,
)
GEMINI: Final = Dialect(
    name="gemini",
    path_prefixes=("/v1beta/",),
    key_places=(("header", b"x-goog-api-key"), ("query", b"key"), ("bearer", b"authorization")),
    key_hint="x-goog-api-key:",
    read_headers=frozenset(),
    upstream_headers=(),
    call_id_headers=(b"x-request-id",),
    error_value=_gemini_error,
    error_event_name=b"",
    error_event_value=_gemini_error,
)
DIALECTS: Final = (OPENAI, OPENAI_RESPONSES, ANTHROPIC, GEMINI)
# Paths at which several vendors' SDKs ask; a header that only one of them sends tells them apart.
_SHARED_PATH: Final = "/v1/models/"
_TELLING_HEADERS: Final = (
    (b"anthropic-version", ANTHROPIC),
    (b"x-goog-api-key", GEMINI),
    (b"x-goog-api-client", GEMINI),
)


def dialect_at(path: str, headers: Collection[bytes]) -> Dialect:
    """Return the dialect that a request is answered in, by its path and the names of its headers."""
    place = f"{path}/"
    if place.startswith(_SHARED_PATH):
        for header, dialect in _TELLING_HEADERS:
            if header in headers:
                return dialect
    matching = [
        (len(prefix), dialect)
        for dialect in DIALECTS
        for prefix in dialect.path_prefixes
        if place.startswith(prefix)
    ]
    return max(matching, key=lambda match: match[0], default=(0, OPENAI))[1]
