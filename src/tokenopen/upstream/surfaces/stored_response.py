"""Stored responses: what OpenAI's ``/v1/responses/{id}`` shows, deletes and cancels. It costs nothing.

A response belongs to the account whose call made it, and lives at the upstream that wrote it.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.dialect import OPENAI_RESPONSES
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.responses_stream import ResponsesStreamReader

# What may stand in the query. A stream is of a response that is still being written, in the background.
_PARAMETERS: Final = frozenset({"include", "include[]", "limit", "order", "after", "before"})
BODY_BYTES_MAX: Final = 64


class StoredResponseSurface:
    """Implements Surface, for one of the things that can be done to a stored response."""

    name = "responses_stored"
    dialect = OPENAI_RESPONSES
    is_free = True

    def __init__(self, method: str, action: str = "") -> None:
        self.method = method
        self.path = f"/v1/responses/{{response_id}}{action}"
        self.upstream_path = f"/responses/{{response_id}}{action}"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        if len(body) > BODY_BYTES_MAX:
            raise InvalidRequest("This request has no body.")
        for name, _ in target.query_pairs:
            if name not in _PARAMETERS:
                raise InvalidRequest(f"{name[:60]!a} is not offered here as a parameter.", param="query")
        return CallRequest(
            model="",
            stream=False,
            wants_usage=False,
            max_output_tokens=0,
            prompts=1,
            choices=1,
            input_bytes=0,
            attachments=0,
            text_bytes=0,
            open_ended=False,
            fields={},
            query=urlencode(target.query_pairs),
            path_values=target.values,
            references=(target.values["response_id"],),
        )

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        return b""

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return usage_of()

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return usage_of(source="estimated")

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return usage_of(source="estimated")

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return ResponsesStreamReader(convention=convention, text_bytes=0)
