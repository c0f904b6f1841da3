"""GET /v1/models: the list of models, by default the well-known names of OpenAI."""

from collections.abc import Sequence
from typing import Final

import msgspec

from tokenopen.simulator.reply import openai_error

# Any other name is answered as well: a test may call its models what it likes.
MODELS_DEFAULT: Final = (
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-instruct",
    "gpt-4",
    "gpt-4-turbo",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-4o",
    "gpt-4o-2024-08-06",
    "gpt-4o-audio-preview",
    "gpt-4o-mini",
    "gpt-4o-mini-2024-07-18",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-tts",
    "gpt-4o-transcribe",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-5-pro",
    "gpt-5.1",
    "gpt-5.1-codex-mini",
    "gpt-5.2",
    "gpt-5.2-pro",
    "gpt-5.3-codex",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-5.4-nano",
    "gpt-5.4-pro",
    "gpt-5.5",
    "gpt-5.5-pro",
    "gpt-image-1",
    "o1",
    "o1-pro",
    "o3",
    "o3-mini",
    "o3-pro",
    "o4-mini",
    "omni-moderation-latest",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "text-embedding-ada-002",
    "tts-1",
    "tts-1-hd",
    "whisper-1",
)

_CREATED_S: Final = 1_715_367_049  # one moment for all; nobody reads it


def _entry(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED_S, "owned_by": "system"}


def model_list(names: Sequence[str]) -> bytes:
    """Return the body of GET /v1/models."""
    return msgspec.json.encode({"object": "list", "data": [_entry(name) for name in names]})


def one_model(name: str, names: Sequence[str]) -> tuple[int, bytes]:
    """Return status and body of GET /v1/models/{name}."""
    if name in names:
        return 200, msgspec.json.encode(_entry(name))
    return 404, openai_error(404, f"The model '{name}' does not exist")
