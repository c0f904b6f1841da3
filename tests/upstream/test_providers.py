"""Providers: in what they differ, as their documentation says."""

import pytest

from tokenopen.upstream.dialect import ANTHROPIC, OPENAI
from tokenopen.upstream.providers import PROVIDERS, find_provider
from tokenopen.upstream.surface import Surface
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.surfaces.offered import SURFACES

CHAT, MESSAGES = ChatSurface(), MessagesSurface()

REASONING_ON_TOP = {"xai", "gemini"}
REASONING_IN_THE_TOTAL_ALONE = REASONING_ON_TOP | {"tokenopen"}
NEW_MAXIMUM = {"openai", "azure"}


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_each_provider_counts_and_is_asked_in_its_own_way(name: str) -> None:
    provider = find_provider(name)
    assert provider.name == name
    assert provider.convention.output_excludes_reasoning == (name in REASONING_ON_TOP)
    assert provider.convention.total_tells_reasoning == (name in REASONING_IN_THE_TOTAL_ALONE)
    assert provider.convention.max_tokens_field == (
        "max_completion_tokens" if name in NEW_MAXIMUM else "max_tokens"
    )
    assert provider.convention.takes_usage_option == (name != "mistral")
    assert provider.base_url is None or provider.base_url.startswith("https://")
    assert provider.base_url is None or not provider.base_url.endswith("/")


def test_credentials_go_into_the_header_that_the_provider_reads() -> None:
    bearer = [(b"authorization", b"Bearer sk-1")]
    assert find_provider("openai").credential_headers("sk-1") == bearer
    assert find_provider("azure").credential_headers("sk-1") == [(b"api-key", b"sk-1")]
    assert find_provider("anthropic").credential_headers("sk-1") == [(b"x-api-key", b"sk-1")]
    assert find_provider("anthropic").credential_headers("sk-1", OPENAI) == bearer
    assert find_provider("zai").credential_headers("sk-1", ANTHROPIC) == [(b"x-api-key", b"sk-1")]
    assert find_provider("openrouter").credential_headers("sk-1", ANTHROPIC) == bearer


@pytest.mark.parametrize(
    ("provider", "base_url", "surface", "expected"),
    [
        ("openai", "https://a.test/v1", CHAT, "https://a.test/v1/chat/completions"),
        ("openai", "https://a.test/v1/", CHAT, "https://a.test/v1/chat/completions"),
        ("openai", "https://a.test", CHAT, "https://a.test/chat/completions"),
        ("anthropic", "https://a.test", MESSAGES, "https://a.test/v1/messages"),
        ("anthropic", "https://a.test/v1", MESSAGES, "https://a.test/v1/messages"),
        ("anthropic-compatible", "https://a.test/x", MESSAGES, "https://a.test/x/v1/messages"),
        ("gemini", "https://a.test", CHAT, "https://a.test/v1beta/openai/chat/completions"),
        ("gemini", "https://a.test/v1beta", CHAT, "https://a.test/v1beta/openai/chat/completions"),
        ("gemini", "https://a.test/v1beta/openai", CHAT, "https://a.test/v1beta/openai/chat/completions"),
        ("gemini", "https://a.test/other", CHAT, "https://a.test/other/chat/completions"),
        ("zai", "https://a.test/api/paas/v4", MESSAGES, "https://a.test/api/anthropic/v1/messages"),
        ("zai", "https://a.test", MESSAGES, "https://a.test/anthropic/v1/messages"),
        ("azure", "https://a.test", CHAT, "https://a.test/openai/v1/chat/completions"),
        ("azure", "https://a.test/openai/v1", CHAT, "https://a.test/openai/v1/chat/completions"),
        (
            "azure",
            "https://a.test/openai/deployments",
            CHAT,
            "https://a.test/openai/deployments/my%20model/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_a_call_is_sent_below_the_base_url_where_the_provider_takes_it(
    provider: str, base_url: str, surface: Surface, expected: str
) -> None:
    request = CHAT.read_request(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')
    assert find_provider(provider).url_of(surface, base_url, request, "my model") == expected


def test_each_surface_is_spoken_by_a_provider_and_only_spoken_ones_have_other_paths() -> None:
    for provider in PROVIDERS.values():
        assert provider.paths.keys() <= provider.surfaces, provider.name
    spoken = {name for provider in PROVIDERS.values() for name in provider.surfaces}
    assert {surface.name for surface in SURFACES} <= spoken
