"""Rerank: ``POST /v1/rerank`` as Cohere, Jina, Together, Voyage and vLLM take it: a query and documents.

Charged by what the reply reports: search units where they are billed (Cohere), else tokens. A reply that
reports nothing is charged its estimated input.
"""

from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.media_usage import read_ranking_usage
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, Target
from tokenopen.upstream.surfaces.media_surface import MediaSurface, read_text

DOCUMENTS_MAX: Final = 10_000
# docs.cohere.com: a search unit is a query with up to 100 documents; long ones are cut into 500 tokens each.
_DOCUMENTS_PER_SEARCH: Final = 100
_UNITS_PER_CHUNK: Final = 500
_KNOWN: Final = KnownNames({"model", "query", "documents"} | OPTION_NAMES)
_documents_decoder: Final = msgspec.json.Decoder(list[Any])


class _Reply(msgspec.Struct, gc=False):
    results: list[Any] | None = None


_reply_decoder: Final = msgspec.json.Decoder(_Reply)


class RerankSurface(MediaSurface):
    """Implements Surface."""

    name = "rerank"
    path = "/v1/rerank"
    upstream_path = "/rerank"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        refuse_options(fields)
        query_bytes = utf8_length(read_text(fields, "query"))
        try:
            documents = _documents_decoder.decode(fields.view("documents")) if "documents" in fields else []
        except (msgspec.DecodeError, RecursionError):
            documents = []
        if not 1 <= len(documents) <= DOCUMENTS_MAX:
            raise InvalidRequest(f"documents must hold 1 to {DOCUMENTS_MAX:,} documents.", param="documents")
        sizes = [_text_bytes(document) for document in documents]
        chunks = sum(1 + size // _UNITS_PER_CHUNK for size in sizes)
        # The query is read along with each document.
        read_bytes = len(body) + query_bytes * len(documents)
        return CallRequest(
            model=model,
            stream=False,
            wants_usage=False,
            max_output_tokens=0,
            prompts=len(documents),
            choices=1,
            input_bytes=read_bytes,
            attachments=sum(not isinstance(document, str | dict) for document in documents),
            text_bytes=query_bytes + sum(sizes),
            open_ended=False,
            fields=fields,
            counted_units={"searches": -(-chunks // _DOCUMENTS_PER_SEARCH)},
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return read_ranking_usage(body)

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        try:
            results = _reply_decoder.decode(body).results
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            results = None
        if not results:
            return usage_of(source="estimated")
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)


def _text_bytes(document: Any) -> int:
    text = document.get("text") if isinstance(document, dict) else document
    return utf8_length(text) if isinstance(text, str) else 0
