"""POST /v1/embeddings: vectors that are the same each time, as numbers or as base64."""

import math
import sys
from array import array
from base64 import b64encode
from functools import lru_cache
from typing import Final, Literal

import msgspec

from tokenopen.simulator.directive import Directives
from tokenopen.simulator.reply import (
    Endpoint,
    Refused,
    Reply,
    check_directives,
    decode,
    openai_error,
    reported_usage,
)
from tokenopen.simulator.words import PromptInput, count_prompt_input

DIMENSIONS_DEFAULT: Final = 1536
_DIMENSIONS_BY_MODEL: Final = {"text-embedding-3-large": 3072}
_DIMENSIONS_MAX: Final = 8192
_INPUTS_MAX: Final = 2048  # OpenAI's own bound
_DISTINCT_VECTORS: Final = 16


class _Request(msgspec.Struct):
    model: str
    input: PromptInput
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None
    simulate: Directives | None = None


_decoder: Final = msgspec.json.Decoder(_Request)


@lru_cache(maxsize=64)
def _vector(dimensions: int, seed: int, *, as_base64: bool) -> bytes:
    """Return one of a few vectors of length 1, as JSON; both encodings hold the same 32-bit numbers."""
    raw = [((place * 7919 + seed * 104_729) % 2001 - 1000) / 1000 for place in range(dimensions)]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    values = array("f", (value / length for value in raw))
    if not as_base64:
        return msgspec.json.encode(values.tolist())
    if sys.byteorder == "big":
        values.byteswap()
    return b'"%b"' % b64encode(values.tobytes())


def answer(body: bytes) -> Reply:
    """Return the reply to an embeddings request. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, openai_error)
    check_directives(request.simulate, streams=False, error_body=openai_error)
    dimensions = request.dimensions or _DIMENSIONS_BY_MODEL.get(request.model, DIMENSIONS_DEFAULT)
    tokens, inputs = count_prompt_input(request.input)
    if not 1 <= dimensions <= _DIMENSIONS_MAX or inputs > _INPUTS_MAX or not request.input:
        raise Refused(
            400, openai_error(400, "'input' is empty or too long, or 'dimensions' is out of range.")
        )
    as_base64 = request.encoding_format == "base64"
    data = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}'
        % (index, _vector(dimensions, (tokens + index) % _DISTINCT_VECTORS, as_base64=as_base64))
        for index in range(inputs)
    )
    usage = reported_usage(b'{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens), request.simulate)
    return Reply(
        model=request.model,
        prompt_tokens=tokens,
        directives=request.simulate,
        body=b'{"object":"list","data":[%b],"model":%b%b}'
        % (data, msgspec.json.encode(request.model), b"" if usage is None else b',"usage":' + usage),
    )


ENDPOINT: Final = Endpoint(answer, openai_error)
