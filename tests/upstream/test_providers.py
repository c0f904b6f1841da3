"""Providers: in what they differ, as their documentation says."""

import pytest

from tokenopen.upstream.providers import PROVIDERS, find_provider

REASONING_ON_TOP = {"xai", "gemini"}
NEW_MAXIMUM = {"openai", "azure"}


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_each_provider_counts_and_is_asked_in_its_own_way(name: str) -> None:
    provider = find_provider(name)
    assert provider.name == name
    assert provider.convention.output_excludes_reasoning == (name in REASONING_ON_TOP)
    assert provider.convention.max_tokens_field == (
        "max_completion_tokens" if name in NEW_MAXIMUM else "max_tokens"
    )
    assert provider.convention.takes_usage_option == (name != "mistral")
    assert provider.base_url is None or provider.base_url.startswith("https://")
    assert provider.base_url is None or not provider.base_url.endswith("/")


def test_credentials_go_into_the_header_that_the_provider_reads() -> None:
    assert find_provider("openai").credential_header("sk-1") == (b"authorization", b"Bearer sk-1")
    assert find_provider("azure").credential_header("sk-1") == (b"api-key", b"sk-1")
