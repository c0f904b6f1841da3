"""Request body: what a caller sends, as bytes or as a form, within bounds of size and time."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from tokenopen.api.connection import Receive, exchange_of
from tokenopen.core.errors import InvalidRequest, RequestTooLarge
from tokenopen.upstream.form import FORM_BYTES_MAX, Form
from tokenopen.upstream.surface import Surface
from tokenopen.upstream.surfaces.media_surface import FormSurface

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
BODY_TIMEOUT_S: Final = 60

Scope = Mapping[str, Any]


class CallerGone(Exception):
    """The caller left before its body was whole."""


async def read_request_body(scope: Scope, receive: Receive, surface: Surface) -> tuple[bytes, Form | None]:
    """Return what a surface reads: the body, or a form's fields and the form, which is to be closed.

    Refuses RequestTooLarge, InvalidRequest for what does not come in time or is no form. Raises CallerGone.
    """
    if not isinstance(surface, FormSurface):
        return await _read_body(scope, receive), None
    form = Form(_refuse_head(scope, FORM_BYTES_MAX))
    more = True
    try:
        while more:
            message = await _receive_in_time(scope, receive)
            form.feed(message.get("body", b""))
            more = message.get("more_body", False)
        return form.end(), form
    except BaseException:
        form.close()
        raise


def _refuse_head(scope: Scope, bytes_max: int) -> bytes:
    """Return the type of the request's body. Refuses one that is too large by its own account, or encoded."""
    content_type = b""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > bytes_max:
            raise RequestTooLarge(limit_bytes=bytes_max)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise InvalidRequest("A request body must not be compressed.", param="content-encoding")
        if name == b"content-type":
            content_type = bytes(value)
    return content_type


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the request's body. Refuses RequestTooLarge, and a body that does not come in time."""
    _refuse_head(scope, BODY_BYTES_MAX)
    message = await _receive_in_time(scope, receive)
    if not message.get("more_body"):
        return bytes(message.get("body", b""))
    parts = [message.get("body", b"")]
    size = len(parts[0])
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CallerGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_BYTES_MAX:
                    raise RequestTooLarge(limit_bytes=BODY_BYTES_MAX)
    except TimeoutError:
        raise InvalidRequest(f"The request body did not come within {BODY_TIMEOUT_S} s.") from None
    return b"".join(parts)


async def _receive_in_time(scope: Scope, receive: Receive) -> Any:
    try:
        if exchange_of(scope).is_body_here:
            message = await receive()
        else:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                message = await receive()
    except TimeoutError:
        raise InvalidRequest(f"The request body did not come within {BODY_TIMEOUT_S} s.") from None
    if message["type"] == "http.disconnect":
        raise CallerGone
    return message
