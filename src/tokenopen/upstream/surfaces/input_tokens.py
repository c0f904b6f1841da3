"""Counting a response's input: OpenAI's ``POST /v1/responses/input_tokens``, which costs nothing."""

from typing import Final

from tokenopen.upstream.dialect import OPENAI_RESPONSES
from tokenopen.upstream.surface import NO_TARGET, CallRequest, Target
from tokenopen.upstream.surfaces.count_tokens import CountTokensSurface
from tokenopen.upstream.surfaces.responses import ResponsesSurface

_RESPONSES: Final = ResponsesSurface()


class InputTokensSurface(CountTokensSurface):
    """Implements Surface."""

    name = "responses_input_tokens"
    dialect = OPENAI_RESPONSES
    path = "/v1/responses/input_tokens"
    upstream_path = "/responses/input_tokens"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        # What may be named, an earlier response for one, is as for the response itself. Nothing is run.
        asked = _RESPONSES.read_request(body, target)
        return asked.changed(stream=False, max_output_tokens=0, counted_units={}, own_prices=())
