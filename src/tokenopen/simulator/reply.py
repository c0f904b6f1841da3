"""What an endpoint hands to delivery, and the error bodies of the error shapes."""

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from tokenopen.simulator.directive import ABSENT, NULL, Directives
from tokenopen.simulator.words import TEXT_WORDS_MAX

OUTPUT_WORDS_DEFAULT: Final = 32
JSON: Final = b"application/json"

_PROCESS: Final = os.urandom(6).hex().encode()
_numbers = itertools.count(1)


class Refused(Exception):
    """The provider says no, in its own words. ``body`` is in the endpoint's error shape."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(body.decode())
        self.status = status
        self.body = body


@dataclass(slots=True, kw_only=True)
class Reply:
    """A reply to one call: ``body`` for JSON, or ``events`` and ``end_mark``, each a whole SSE event."""

    model: str
    prompt_tokens: int
    directives: Directives | None
    stream: bool = False
    completion_tokens: int = 0
    body: bytes = b""
    events: Sequence[bytes] = ()
    end_mark: bytes = b""
    content_type: bytes = JSON


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path that takes calls: ``answer`` makes the reply or raises Refused, worded by ``error_body``."""

    answer: Callable[[bytes], Reply]
    error_body: Callable[[int, str], bytes]


def new_id(prefix: bytes) -> bytes:
    """Return an id no other reply has, shaped like a provider's."""
    return b"%b%b%016x" % (prefix, _PROCESS, next(_numbers))


_Request = TypeVar("_Request")


def decode(
    decoder: msgspec.json.Decoder[_Request], body: bytes, error_body: Callable[[int, str], bytes]
) -> _Request:
    """Return the decoded request. Raises Refused with 400 for a body that is not such a request."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, error_body(400, str(error))) from None


def check_directives(
    directives: Directives | None, *, streams: bool, error_body: Callable[[int, str], bytes]
) -> None:
    """Raise Refused with 400 for directives that cannot apply to this reply."""
    if directives is None:
        return
    mistake = directives.mistake(streams=streams and not directives.is_error)
    if mistake is not None:
        raise Refused(400, error_body(400, mistake))


def output_words(*, asked: int | None, field: str, error_body: Callable[[int, str], bytes]) -> int:
    """Return how many words one output has. Raises Refused with 400 for a maximum no provider takes."""
    if asked is None:
        return OUTPUT_WORDS_DEFAULT
    if not 1 <= asked <= TEXT_WORDS_MAX:
        message = f"Invalid '{field}': {asked} is not between 1 and {TEXT_WORDS_MAX}."
        raise Refused(400, error_body(400, message))
    return asked


def reported_usage(usage: bytes, directives: Directives | None) -> bytes | None:
    """Return the usage to report, as JSON: the true one, the one asked for verbatim, or None for none."""
    if directives is None or directives.usage == ABSENT:
        return usage
    verbatim = bytes(directives.usage)
    return None if verbatim == NULL else verbatim


_OPENAI_TYPES: Final = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    429: ("requests", "rate_limit_exceeded"),
}
_GEMINI_STATUSES: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def openai_error(status: int, message: str) -> bytes:
    """Return an error body as OpenAI writes it."""
    kind, code = _OPENAI_TYPES.get(
        status, ("server_error" if status >= 500 else "invalid_request_error", None)
    )
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def gemini_error(status: int, message: str) -> bytes:
    """Return an error body as Google writes it."""
    kind = _GEMINI_STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return msgspec.json.encode({"error": {"code": status, "message": message, "status": kind}})


def anthropic_error(status: int, message: str) -> bytes:
    """Return an error body as Anthropic writes it."""
    kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": new_id(b"req_").decode(),
        }
    )
