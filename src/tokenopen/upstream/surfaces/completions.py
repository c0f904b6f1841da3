"""Completions: OpenAI's older ``POST /v1/completions``, JSON and server-sent events; one prompt or many."""

from collections.abc import Sequence
from typing import Final

from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import Usage
from tokenopen.upstream.content import PromptMeasure, measure_prompts
from tokenopen.upstream.dialect import OPENAI
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_count, read_flag, read_largest_count, read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.chat_stream import ChatStreamReader
from tokenopen.upstream.surfaces.openai_shape import (
    estimate_openai_reply,
    read_openai_reply,
    read_usage_option,
    with_upstream_fields,
)

CHOICES_MAX: Final = 128

_KNOWN: Final = KnownNames(
    {"model", "prompt", "stream", "stream_options", "max_tokens", "n", "best_of"} | OPTION_NAMES
)
# A call without a prompt starts a new text.
_NO_PROMPT: Final = PromptMeasure(prompts=1, text_bytes=0)


class CompletionsSurface:
    """Implements Surface."""

    name = "completions"
    dialect = OPENAI
    method = "POST"
    path = "/v1/completions"
    upstream_path = "/completions"
    is_free = False

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        refuse_options(fields)
        stream = read_flag(fields, "stream")
        has_prompt = "prompt" in fields and fields["prompt"] not in (b"null", b'""')
        measure = measure_prompts(fields, "prompt") if has_prompt else _NO_PROMPT
        # best_of texts are written and charged, of which n are shown.
        choices = read_largest_count(fields, "n", "best_of", most=CHOICES_MAX) or 1
        return CallRequest(
            model=model,
            stream=stream,
            wants_usage=read_usage_option(fields) and stream,
            # 0 asks for the prompt's own probabilities.
            max_output_tokens=read_count(fields, "max_tokens", least=0, most=TOKENS_MAX),
            prompts=measure.prompts,
            choices=choices * measure.prompts,
            input_bytes=len(body),
            attachments=0,
            text_bytes=measure.text_bytes,
            open_ended=False,
            fields=fields,
        )

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        return with_upstream_fields(
            request,
            upstream_model=upstream_model,
            cap_output_tokens=cap_output_tokens,
            # The newer name is of chat completions alone.
            max_tokens_field="max_tokens",
            takes_usage_option=convention.takes_usage_option,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return read_openai_reply(body, convention)

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return estimate_openai_reply(request, body)

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=content_events)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return ChatStreamReader(wants_usage=request.wants_usage, convention=convention)
