"""Providers: vendors' APIs that can be picked for an upstream, and in what they differ.

Adding one is a row in the table (see CONTRIBUTING.md). Where providers disagree there is no default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit

from tokenopen.upstream.dialect import ANTHROPIC, GEMINI, OPENAI, Dialect
from tokenopen.upstream.surface import CallRequest, ReportConvention, Surface

# learn.microsoft.com: the newest version of Azure OpenAI's dated API that is generally available.
AZURE_API_VERSION: Final = "api-version=2024-10-21"
_DEPLOYMENTS: Final = "/deployments"

# Which header carries the credential, by dialect, where a provider does not say otherwise.
_KEY_HEADERS: Final[Mapping[str, bytes]] = {
    OPENAI.name: b"authorization",
    ANTHROPIC.name: b"x-api-key",
    GEMINI.name: b"x-goog-api-key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One vendor's API. ``base_url`` is None where every customer has one of their own.

    ``credential_variable`` is the environment variable that the vendor's own SDK reads. ``surfaces`` are
    the names of those it speaks; ``paths`` where one of them is found elsewhere than other providers have
    it, relative to the base URL (``../`` goes up). ``home`` is the path that SDKs of this vendor add to a
    base URL that ends before it. ``key_headers`` differ from the usual by dialect. ``deployment_query`` goes
    behind every path of a base URL that ends in ``/deployments`` (Azure's dated API), below which each model
    has a folder of its own. ``silent_formats`` are those of transcripts that tell neither tokens nor seconds.
    """

    name: str
    label: str
    base_url: str | None
    credential_variable: str
    convention: ReportConvention
    surfaces: frozenset[str]
    paths: Mapping[str, str] = field(default_factory=dict)
    home: str = ""
    key_headers: Mapping[str, bytes] = field(default_factory=dict)
    deployment_query: str = ""
    silent_formats: frozenset[str] = frozenset()
    main_dialect: Dialect = OPENAI

    def credential_headers(
        self, credential: str, dialect: Dialect | None = None
    ) -> Sequence[tuple[bytes, bytes]]:
        """Return the headers that carry the credential on a dialect's surfaces, or the provider's own."""
        dialect = dialect or self.main_dialect
        header = self.key_headers.get(dialect.name) or _KEY_HEADERS[dialect.name]
        value = f"Bearer {credential}" if header == b"authorization" else credential
        return [(header, value.encode())]

    def url_of(self, surface: Surface, base_url: str, request: CallRequest, upstream_model: str) -> str:
        """Return where a call is sent."""
        path = self.paths.get(surface.name, surface.upstream_path)
        query = request.query
        if "{" in path:
            values = {name: quote(value, safe="") for name, value in request.path_values.items()}
            path = path.format(model=quote(upstream_model), **values)
        if self.deployment_query and base_url.rstrip("/").endswith(_DEPLOYMENTS):
            base_url = f"{base_url.rstrip('/')}/{quote(upstream_model, safe='')}"
            query = f"{self.deployment_query}&{query}" if query else self.deployment_query
        elif self.home:
            base_url = complete_base_url(base_url, self.home)
        url = join_url(base_url, path)
        return f"{url}?{query}" if query else url

    def models_url(self, base_url: str) -> str:
        """Return where the provider lists its models."""
        return join_url(complete_base_url(base_url, self.home), "/models")


@lru_cache(maxsize=1024)
def complete_base_url(base_url: str, home: str) -> str:
    """Return a base URL with what is missing of the provider's ``home`` at its end.

    SDKs that add one segment (Anthropic's adds ``/v1``) do so whatever stands before it.
    """
    base_url = base_url.rstrip("/")
    path = urlsplit(base_url).path
    if home.startswith(f"{path}/"):
        return base_url + home[len(path) :]
    adds_one = home.count("/") == 1 and not path.endswith(home)
    return base_url + home if adds_one else base_url


@lru_cache(maxsize=4096)
def join_url(base_url: str, path: str) -> str:
    """Return a path below a base URL; each ``../`` at its beginning goes up by one, never above the host."""
    parts = urlsplit(base_url)
    folders = [folder for folder in parts.path.split("/") if folder]
    path = path.removeprefix("/")
    while path.startswith("../"):
        path = path.removeprefix("../")
        folders = folders[:-1]
    return f"{parts.scheme}://{parts.netloc}/" + "/".join([*folders, path])


_INSIDE: Final = ReportConvention(
    output_excludes_reasoning=False,
    total_tells_reasoning=False,
    max_tokens_field="max_tokens",
    takes_usage_option=True,
    cost_field=None,
)
# docs.x.ai: "reasoning token consumption will be counted separately from completion_tokens"; Gemini's total
# is larger than input and output as reported.
_APART: Final = replace(_INSIDE, output_excludes_reasoning=True, total_tells_reasoning=True)
# Its newer models take no other field.
_OPENAI: Final = replace(_INSIDE, max_tokens_field="max_completion_tokens")
# Answers 422 to the option, and reports usage in every stream.
_MISTRAL: Final = replace(_INSIDE, takes_usage_option=False)
_TELLS_COST: Final = replace(_INSIDE, cost_field="cost")
# Passes on what it is told by a provider that it has checked itself.
_TOKENOPEN: Final = replace(_TELLS_COST, total_tells_reasoning=True)
_XAI: Final = replace(_APART, cost_field="cost_in_usd_ticks")

_RESPONSES: Final = frozenset({"responses"})
# With what the provider keeps of them, and hands out again.
_STORED: Final = _RESPONSES | {"responses_stored"}
_COUNT_INPUT: Final = frozenset({"responses_input_tokens"})
_MESSAGES: Final = frozenset({"messages", "count_tokens"})
_CHAT: Final = frozenset({"chat"})
_TEXT: Final = _CHAT | {"completions"}
_EMBED: Final = frozenset({"embeddings"})
_EVERY_OPENAI: Final = _TEXT | _EMBED | _STORED
_MODERATE: Final = frozenset({"moderations"})
_RERANK: Final = frozenset({"rerank"})
_IMAGES: Final = frozenset({"images", "image_edits"})
_SOUND: Final = frozenset({"speech", "transcriptions", "translations"})
_MEDIA: Final = _MODERATE | _IMAGES | _SOUND
# Gemini's own API stands beside the one in OpenAI's shape.
_GEMINI_METHODS: Final[Mapping[str, str]] = {
    "gemini": "generateContent",
    "gemini_stream": "streamGenerateContent",
    "gemini_embed": "embedContent",
    "gemini_batch_embed": "batchEmbedContents",
    "gemini_count_tokens": "countTokens",
}
_GEMINI: Final = frozenset(_GEMINI_METHODS)


def _gemini_paths(folder: str) -> Mapping[str, str]:
    return {name: f"{folder}/models/{{model}}:{method}" for name, method in _GEMINI_METHODS.items()}


_ROWS: Final = (
    Provider(
        name="openai",
        label="OpenAI",
        base_url="https://api.openai.com/v1",
        credential_variable="OPENAI_API_KEY",
        convention=_OPENAI,
        surfaces=_EVERY_OPENAI | _COUNT_INPUT | _MEDIA,
    ),
    # As its SDK takes it: the resource alone (then the v1 API), or .../openai/deployments (the dated one).
    Provider(
        name="azure",
        label="Azure OpenAI",
        base_url=None,
        credential_variable="AZURE_OPENAI_API_KEY",
        convention=_OPENAI,
        surfaces=_EVERY_OPENAI | _IMAGES | _SOUND,
        home="/openai/v1",
        key_headers={OPENAI.name: b"api-key"},
        deployment_query=AZURE_API_VERSION,
    ),
    Provider(
        name="anthropic",
        label="Anthropic",
        base_url="https://api.anthropic.com/v1",
        credential_variable="ANTHROPIC_API_KEY",
        convention=_INSIDE,
        # Its endpoint in OpenAI's shape leaves out in silence what it does not know: chat is translated.
        surfaces=_MESSAGES,
        home="/v1",
        main_dialect=ANTHROPIC,
    ),
    Provider(
        name="gemini",
        label="Google Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        credential_variable="GEMINI_API_KEY",
        convention=_APART,
        surfaces=_CHAT | _EMBED | _GEMINI,
        paths=_gemini_paths(".."),
        home="/v1beta/openai",
    ),
    Provider(
        name="mistral",
        label="Mistral",
        base_url="https://api.mistral.ai/v1",
        credential_variable="MISTRAL_API_KEY",
        convention=_MISTRAL,
        surfaces=_CHAT | _EMBED | _MODERATE | {"transcriptions"},
    ),
    Provider(
        name="groq",
        label="Groq",
        base_url="https://api.groq.com/openai/v1",
        credential_variable="GROQ_API_KEY",
        convention=_INSIDE,
        surfaces=_CHAT | _RESPONSES | _SOUND,
        silent_formats=frozenset({"json"}),
    ),
    Provider(
        name="deepseek",
        label="DeepSeek",
        base_url="https://api.deepseek.com",
        credential_variable="DEEPSEEK_API_KEY",
        convention=_INSIDE,
        surfaces=_CHAT | _RESPONSES | {"messages"},
        paths={"messages": "/anthropic/v1/messages"},
    ),
    Provider(
        name="xai",
        label="xAI",
        base_url="https://api.x.ai/v1",
        credential_variable="XAI_API_KEY",
        convention=_XAI,
        surfaces=_TEXT | _STORED | {"messages", "images"},
    ),
    Provider(
        name="openrouter",
        label="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        credential_variable="OPENROUTER_API_KEY",
        convention=_TELLS_COST,
        surfaces=_TEXT | _EMBED | _RESPONSES | {"messages"},
        key_headers={ANTHROPIC.name: b"authorization"},
    ),
    Provider(
        name="zai",
        label="Z.ai",
        base_url="https://api.z.ai/api/paas/v4",
        credential_variable="ZAI_API_KEY",
        convention=_INSIDE,
        surfaces=_CHAT | {"messages"},
        paths={"messages": "../../anthropic/v1/messages"},
    ),
    Provider(
        name="cerebras",
        label="Cerebras",
        base_url="https://api.cerebras.ai/v1",
        credential_variable="CEREBRAS_API_KEY",
        convention=_INSIDE,
        surfaces=_TEXT,
    ),
    Provider(
        name="cohere",
        label="Cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        credential_variable="CO_API_KEY",
        convention=_INSIDE,
        surfaces=_CHAT | _EMBED | _RERANK,
        paths={"rerank": "../../v2/rerank"},
    ),
    Provider(
        name="together",
        label="Together",
        base_url="https://api.together.xyz/v1",
        credential_variable="TOGETHER_API_KEY",
        convention=_INSIDE,
        surfaces=_TEXT | _EMBED | _RERANK | {"images"},
    ),
    Provider(
        name="ollama",
        label="Ollama",
        base_url=None,
        credential_variable="OLLAMA_API_KEY",
        convention=_INSIDE,
        surfaces=_TEXT | _EMBED | _RESPONSES | {"messages"},
    ),
    Provider(
        name="vllm",
        label="vLLM",
        base_url=None,
        credential_variable="VLLM_API_KEY",
        convention=_INSIDE,
        surfaces=_EVERY_OPENAI | _RERANK | {"messages", "transcriptions", "translations"},
        key_headers={ANTHROPIC.name: b"authorization"},
    ),
    Provider(
        name="tokenopen",
        label="Another TokenOpen",
        base_url=None,
        credential_variable="TOKENOPEN_API_KEY",
        convention=_TOKENOPEN,
        surfaces=_EVERY_OPENAI | _COUNT_INPUT | _MEDIA | _RERANK | _MESSAGES | _GEMINI,
        paths=_gemini_paths("../v1beta"),
    ),
    Provider(
        name="new-api",
        label="new-api",
        base_url=None,
        credential_variable="NEW_API_KEY",
        convention=_INSIDE,
        surfaces=_TEXT | _EMBED | _RESPONSES | {"messages"},
    ),
    Provider(
        name="openai-compatible",
        label="OpenAI-compatible",
        base_url=None,
        credential_variable="OPENAI_API_KEY",
        convention=_INSIDE,
        surfaces=_EVERY_OPENAI | _COUNT_INPUT | _MEDIA | _RERANK,
    ),
    Provider(
        name="anthropic-compatible",
        label="Anthropic-compatible",
        base_url=None,
        credential_variable="ANTHROPIC_API_KEY",
        convention=_INSIDE,
        surfaces=_MESSAGES,
        home="/v1",
        main_dialect=ANTHROPIC,
    ),
)

PROVIDERS: Final[Mapping[str, Provider]] = {row.name: row for row in _ROWS}


def find_provider(name: str) -> Provider:
    """Return a provider that an upstream was stored with; that it exists was checked then."""
    return PROVIDERS[name]
