"""Gemini's ``:countTokens``: what a request would take, which costs nothing at the provider."""

from typing import Final

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.gemini_field import (
    gemini_names,
    read_member,
    read_value,
    refuse_other_model,
    upstream_model_changes,
    written_name,
)
from tokenopen.upstream.gemini_option import KNOWN as REQUEST_NAMES
from tokenopen.upstream.gemini_option import read_options
from tokenopen.upstream.json_body import JsonObject, read_object
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, Target
from tokenopen.upstream.surfaces.gemini import GeminiSurface, measure_request, refuse_parameters

_KNOWN: Final = gemini_names((*REQUEST_NAMES.names, "generateContentRequest"))
_NESTED: Final = "generateContentRequest"


class GeminiCountTokensSurface(GeminiSurface):
    """Implements Surface for contents, or a whole request in ``generateContentRequest``."""

    name = "gemini_count_tokens"
    upstream_path = "/models/{model}:countTokens"
    is_free = True

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        model = target.values.get("model", "")
        refuse_parameters(target, stream=False)
        fields = read_object(body, _KNOWN)
        refuse_other_model(fields, model)
        counted = read_member(fields, _NESTED, REQUEST_NAMES)
        if counted is not None and read_value(fields, "contents") is not None:
            raise InvalidRequest(f"Give contents or {_NESTED}, not both.", param="contents")
        request = fields if counted is None else counted
        refuse_other_model(request, model)
        read_options(request)
        measure = measure_request(request)
        return CallRequest(
            model=model,
            stream=False,
            wants_usage=False,
            max_output_tokens=0,
            prompts=1,
            choices=1,
            input_bytes=len(body) - measure.data_bytes,
            attachments=measure.attachments,
            text_bytes=measure.text_bytes,
            open_ended=measure.open_ended,
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
        fields = request.fields
        assert isinstance(fields, JsonObject)
        changes = upstream_model_changes(fields, upstream_model, request.model)
        counted = read_member(fields, _NESTED, REQUEST_NAMES)
        nested = {} if counted is None else upstream_model_changes(counted, upstream_model, request.model)
        if counted is not None and nested:
            changes[written_name(fields, _NESTED) or _NESTED] = counted.replaced(nested)
        return fields.replaced(changes) if changes else fields.source

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage:
        return usage_of()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return usage_of(source="estimated")
