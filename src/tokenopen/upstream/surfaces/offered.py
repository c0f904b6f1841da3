"""Offered: every surface that callers can speak. A new one is a line here, and in providers' rows."""

from collections.abc import Sequence
from typing import Final

from tokenopen.upstream.surface import Surface
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.embeddings import EmbeddingsSurface

SURFACES: Final[Sequence[Surface]] = (
    ChatSurface(),
    EmbeddingsSurface(),
)
