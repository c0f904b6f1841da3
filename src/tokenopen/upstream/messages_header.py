"""Headers of Anthropic's messages that go on to the provider: the version, and betas by an allow-list.

A beta may change what a call costs, which model answers, or what of earlier calls is read. One that is not
known here is therefore refused, never dropped: its caller would get something else than was asked for.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.dialect import ANTHROPIC

VERSION: Final = b"anthropic-version"
BETA: Final = b"anthropic-beta"
_VERSION_SHAPE: Final = re.compile(rb"\d{4}-\d{2}-\d{2}")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_DATE: Final = re.compile(r"-?\d{4}-?\d{2}-?\d{2}$")

# Without their dates. They cost nothing beside the units that usage reports; what the tools cost that some of
# them are needed for is looked at where the tools are.
_FREE_BETAS: Final = frozenset(
    {
        "adaptive-thinking",
        "cache-diagnosis",
        "claude-code",
        "code-execution",
        "code-execution-web-tools",
        "compact",
        "computer-use",
        "context-management",
        "dev-full-thinking",
        "effort",
        "extended-cache-ttl",
        "files-api",
        "fine-grained-tool-streaming",
        "inline-tools",
        "interleaved-thinking",
        "max-tokens-3-5-sonnet",
        "mcp-client",
        "messages",
        "mid-conversation-output-config",
        "mid-conversation-system-clear-at",
        "mid-conversation-tool-changes",
        "model-context-window-exceeded",
        "output-128k",
        "output-300k",
        "pdfs",
        "prompt-caching",
        "prompt-caching-scope",
        "redact-thinking",
        "skills",
        "structured-outputs",
        "task-budgets",
        "thinking-binding-controls",
        "thinking-display-updates",
        "thinking-token-count",
        "token-counting",
        "token-efficient-tools",
        "tool-examples",
        "tool-search-tool",
        "tools",
        "advanced-tool-use",
        "web-fetch",
        "web-search",
    }
)
_LONG_CONTEXT: Final = "context-1m"
# platform.claude.com, Context windows: without the beta no call is longer.
LONG_CONTEXT_UNITS: Final = 200_000


class MessagesHeaders(NamedTuple):
    """What goes to the provider, and the context window that the model's price must reach beyond, if any."""

    headers: list[tuple[bytes, bytes]]
    priced_above_units: int | None


def read_messages_headers(given: Mapping[bytes, bytes]) -> MessagesHeaders:
    """Return the headers to send. Refuses InvalidRequest for a beta that is not offered."""
    headers = dict(ANTHROPIC.upstream_headers)
    if VERSION in given:
        if not _VERSION_SHAPE.fullmatch(given[VERSION]):
            raise InvalidRequest("anthropic-version must be a date.", param="anthropic-version")
        headers[VERSION] = given[VERSION]
    betas = [beta.strip() for beta in given.get(BETA, b"").decode("latin-1").split(",")]
    betas = [beta for beta in betas if beta]
    names = {_DATE.sub("", beta) for beta in betas}
    for beta in betas:
        name = _DATE.sub("", beta)
        if name not in _FREE_BETAS and name != _LONG_CONTEXT:
            shown = beta if _NAME.fullmatch(beta) else "as given"
            raise InvalidRequest(
                f"anthropic-beta {shown} is not offered here: it may change the price.",
                param="anthropic-beta",
            )
    if betas:
        headers[BETA] = ",".join(betas).encode()
    return MessagesHeaders(list(headers.items()), LONG_CONTEXT_UNITS if _LONG_CONTEXT in names else None)
