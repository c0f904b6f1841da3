"""Dialects: whatever is refused is said in the shape that the caller's SDK reads."""

import json
from collections.abc import Mapping

import pytest

from tokenopen.core.errors import InvalidRequest, StorageUnavailable
from tokenopen.upstream.dialect import (
    ANTHROPIC,
    DIALECTS,
    GEMINI,
    OPENAI,
    OPENAI_RESPONSES,
    Dialect,
    Failure,
    dialect_at,
    failure_from,
)

FACTS: Mapping[str, object] = {"param": None, "limit": 60, "group": "VIP"}


def failure(status: int = 429, **changes: object) -> Failure:
    values = {
        "status": status,
        "code": "rpm_exceeded",
        "message": "Too many.",
        "kind": "rate_limit_error",
        "facts": FACTS,
        "call_id": "call_1",
        "retry_after_s": 12,
        **changes,
    }
    return Failure(**values)  # type: ignore[arg-type]


def test_errors_are_in_openais_shape_with_the_facts() -> None:
    for dialect in (OPENAI, OPENAI_RESPONSES):
        assert json.loads(dialect.error_body(failure())) == {
            "error": {
                "message": "Too many.",
                "type": "rate_limit_error",
                "param": None,
                "code": "rpm_exceeded",
                "limit": 60,
                "group": "VIP",
            }
        }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_errors_are_in_anthropics_shape_with_the_facts(status: int, kind: str) -> None:
    assert json.loads(ANTHROPIC.error_body(failure(status))) == {
        "type": "error",
        "error": {"type": kind, "message": "Too many.", "code": "rpm_exceeded", **FACTS},
        "request_id": "call_1",
    }


def test_errors_are_in_geminis_shape_with_the_facts_and_when_to_try_again() -> None:
    error = json.loads(GEMINI.error_body(failure()))["error"]
    assert (error["code"], error["status"], error["message"]) == (429, "RESOURCE_EXHAUSTED", "Too many.")
    info, retry = error["details"]
    assert (info["reason"], info["metadata"]) == ("rpm_exceeded", {"limit": 60, "group": "VIP"})
    assert retry["retryDelay"] == "12s"


def test_a_stream_that_breaks_off_ends_with_an_error_event_of_the_dialect() -> None:
    for dialect in DIALECTS:
        event = dialect.error_event(failure(502))
        assert event.endswith(b"\n\n")
        head, _, data = event.partition(b"data: ")
        named = dialect in (ANTHROPIC, OPENAI_RESPONSES)
        assert head == (b"event: error\n" if named else b"")
        assert json.loads(data)["error"]["message"] == "Too many."
    said = json.loads(OPENAI_RESPONSES.error_event(failure()).partition(b"data: ")[2])
    assert (said["type"], said["code"], said["message"]) == ("error", "rpm_exceeded", "Too many.")


def test_a_refusal_is_told_with_its_facts() -> None:
    told = failure_from(InvalidRequest("No.", param="model"), call_id="call_9")
    assert (told.status, told.code, told.kind) == (400, "invalid_request", "invalid_request_error")
    assert (told.facts, told.call_id, told.retry_after_s) == ({"param": "model"}, "call_9", None)
    assert failure_from(StorageUnavailable(), call_id="call_9").retry_after_s == 5


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1/chat/completions", (), OPENAI),
        ("/v1/chat/completions", (b"anthropic-version",), OPENAI),
        ("/v1/responses", (), OPENAI_RESPONSES),
        ("/v1/responses/resp_1/cancel", (), OPENAI_RESPONSES),
        ("/v1/responsesx", (), OPENAI),
        ("/v1/messages", (), ANTHROPIC),
        ("/v1/messages/batches", (), ANTHROPIC),
        ("/v1/models", (), OPENAI),
        ("/v1/models", (b"anthropic-version",), ANTHROPIC),
        ("/v1/models/claude", (b"anthropic-version",), ANTHROPIC),
        ("/v1beta/models/x:generateContent", (), GEMINI),
        ("/v1beta/unheard-of", (), GEMINI),
        ("/elsewhere", (), OPENAI),
    ],
)
def test_a_path_is_answered_in_the_dialect_of_its_vendor(
    path: str, headers: tuple[bytes, ...], expected: Dialect
) -> None:
    assert dialect_at(path, headers) is expected
