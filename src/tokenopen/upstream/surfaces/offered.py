"""Offered: every surface that callers can speak. A new one is a line here, and in providers' rows."""

from collections.abc import Sequence
from typing import Final

from tokenopen.upstream.surface import Surface
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.completions import CompletionsSurface
from tokenopen.upstream.surfaces.count_tokens import CountTokensSurface
from tokenopen.upstream.surfaces.embeddings import EmbeddingsSurface
from tokenopen.upstream.surfaces.gemini import GeminiStreamSurface, GeminiSurface
from tokenopen.upstream.surfaces.gemini_count_tokens import GeminiCountTokensSurface
from tokenopen.upstream.surfaces.gemini_embeddings import GeminiBatchEmbedSurface, GeminiEmbedSurface
from tokenopen.upstream.surfaces.images import ImageEditsSurface, ImagesSurface
from tokenopen.upstream.surfaces.input_tokens import InputTokensSurface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.surfaces.moderations import ModerationsSurface
from tokenopen.upstream.surfaces.rerank import RerankSurface
from tokenopen.upstream.surfaces.responses import ResponsesSurface
from tokenopen.upstream.surfaces.speech import SpeechSurface
from tokenopen.upstream.surfaces.stored_response import StoredResponseSurface
from tokenopen.upstream.surfaces.transcriptions import TranscriptionsSurface, TranslationsSurface

SURFACES: Final[Sequence[Surface]] = (
    ChatSurface(),
    CompletionsSurface(),
    EmbeddingsSurface(),
    MessagesSurface(),
    CountTokensSurface(),
    ResponsesSurface(),
    InputTokensSurface(),
    StoredResponseSurface("GET"),
    StoredResponseSurface("DELETE"),
    StoredResponseSurface("POST", "/cancel"),
    StoredResponseSurface("GET", "/input_items"),
    *(
        gemini(version)
        for version in ("v1beta", "v1")
        for gemini in (
            GeminiSurface,
            GeminiStreamSurface,
            GeminiEmbedSurface,
            GeminiBatchEmbedSurface,
            GeminiCountTokensSurface,
        )
    ),
    ModerationsSurface(),
    RerankSurface(),
    ImagesSurface(),
    ImageEditsSurface(),
    SpeechSurface(),
    TranscriptionsSurface(),
    TranslationsSurface(),
)
