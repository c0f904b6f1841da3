"""Headers of messages: what goes on to the provider, and which betas are refused because of their price."""

import pytest

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.messages_header import read_messages_headers

VERSION = (b"anthropic-version", b"2023-06-01")


def test_the_version_is_passed_on_or_added() -> None:
    assert read_messages_headers({}) == ([VERSION], None)
    newer = {b"anthropic-version": b"2026-10-21"}
    assert read_messages_headers(newer) == ([(b"anthropic-version", b"2026-10-21")], None)


@pytest.mark.parametrize("version", [b"", b"latest", b"2023-06-01\r\nx: y", b"2023-06-01,2023-06-01"])
def test_a_version_that_is_no_date_is_refused(version: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_messages_headers({b"anthropic-version": version})
    assert refused.value.facts == {"param": "anthropic-version"}


def test_betas_that_change_no_price_pass() -> None:
    given = b" interleaved-thinking-2025-05-14,claude-code-20250219, , structured-outputs-2025-11-13"
    sent = b"interleaved-thinking-2025-05-14,claude-code-20250219,structured-outputs-2025-11-13"
    assert read_messages_headers({b"anthropic-beta": given}) == ([VERSION, (b"anthropic-beta", sent)], None)


@pytest.mark.parametrize("beta", ["tools-2024-04-04", "tools-2024-05-16", "messages-2023-12-15"])
def test_betas_of_what_has_long_been_general_pass(beta: str) -> None:
    sent = (b"anthropic-beta", beta.encode())
    assert read_messages_headers({b"anthropic-beta": beta.encode()}).headers == [VERSION, sent]


@pytest.mark.parametrize(
    "beta",
    ["code-execution-2025-08-25", "mcp-client-2025-11-20", "web-fetch-2025-09-10", "skills-2025-10-02"],
)
def test_betas_of_tools_pass_since_the_tools_themselves_are_looked_at(beta: str) -> None:
    sent = (b"anthropic-beta", beta.encode())
    assert read_messages_headers({b"anthropic-beta": beta.encode()}).headers == [VERSION, sent]


def test_a_longer_context_needs_a_model_that_is_offered_with_one() -> None:
    assert read_messages_headers({b"anthropic-beta": b"context-1m-2025-08-07"}).priced_above_units == 200_000


@pytest.mark.parametrize(
    "beta",
    [
        "fast-mode-2026-02-01",
        "server-side-fallback-2026-07-01",
        "advisor-tool-2026-03-01",
        "message-threads-2026-08-12",
        "of-tomorrow-2027-01-01",
        "pdfs-2024-09-25-fast-mode",
        "Fast-Mode",
        "\x00",
    ],
)
def test_betas_that_may_change_the_price_and_unknown_ones_are_refused(beta: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_messages_headers({b"anthropic-beta": b"pdfs-2024-09-25," + beta.encode()})
    assert refused.value.facts == {"param": "anthropic-beta"}
    assert "\x00" not in refused.value.message
