"""Providers: vendors' APIs that can be picked for an upstream, and in what they differ.

Adding one is a line in the table (see CONTRIBUTING.md). Where providers disagree there is no default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tokenopen.upstream.surface import ReportConvention


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One vendor's API in OpenAI's shape. ``base_url`` is None where every customer has one of their own.

    ``credential_variable`` is the environment variable that the vendor's own SDK reads.
    """

    name: str
    label: str
    base_url: str | None
    credential_variable: str
    convention: ReportConvention
    api_key_header: bytes = b"authorization"

    def credential_header(self, credential: str) -> tuple[bytes, bytes]:
        """Return the header that carries the credential."""
        value = credential if self.api_key_header != b"authorization" else f"Bearer {credential}"
        return self.api_key_header, value.encode()


_INSIDE: Final = ReportConvention(
    output_excludes_reasoning=False, max_tokens_field="max_tokens", takes_usage_option=True
)
# docs.x.ai: "reasoning token consumption will be counted separately from completion_tokens"; Gemini's total
# is larger than input and output as reported.
_APART: Final = replace(_INSIDE, output_excludes_reasoning=True)
# Its newer models take no other field.
_OPENAI: Final = replace(_INSIDE, max_tokens_field="max_completion_tokens")
# Answers 422 to the option, and reports usage in every stream.
_MISTRAL: Final = replace(_INSIDE, takes_usage_option=False)


def _table() -> Mapping[str, Provider]:
    rows = (
        ("openai", "OpenAI", "https://api.openai.com/v1", "OPENAI_API_KEY", _OPENAI),
        ("anthropic", "Anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", _INSIDE),
        (
            "gemini",
            "Google Gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "GEMINI_API_KEY",
            _APART,
        ),
        ("mistral", "Mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", _MISTRAL),
        ("groq", "Groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", _INSIDE),
        ("deepseek", "DeepSeek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", _INSIDE),
        ("xai", "xAI", "https://api.x.ai/v1", "XAI_API_KEY", _APART),
        ("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", _INSIDE),
        ("zai", "Z.ai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", _INSIDE),
        ("cerebras", "Cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", _INSIDE),
        ("together", "Together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", _INSIDE),
        ("ollama", "Ollama", None, "OLLAMA_API_KEY", _INSIDE),
        ("vllm", "vLLM", None, "VLLM_API_KEY", _INSIDE),
        ("tokenopen", "Another TokenOpen", None, "TOKENOPEN_API_KEY", _INSIDE),
        ("openai-compatible", "OpenAI-compatible", None, "OPENAI_API_KEY", _INSIDE),
    )
    found = {
        name: Provider(
            name=name, label=label, base_url=base_url, credential_variable=variable, convention=convention
        )
        for name, label, base_url, variable, convention in rows
    }
    found["azure"] = Provider(
        name="azure",
        label="Azure OpenAI",
        base_url=None,
        credential_variable="AZURE_OPENAI_API_KEY",
        convention=_OPENAI,
        api_key_header=b"api-key",
    )
    return found


PROVIDERS: Final = _table()


def find_provider(name: str) -> Provider:
    """Return a provider that an upstream was stored with; that it exists was checked then."""
    return PROVIDERS[name]
