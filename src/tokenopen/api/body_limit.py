"""Body limit: a request to the control API is small, and a larger one is not read to its end.

The framework's own limit answers in plain text; this one in the API's shape.
"""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenopen.api.errors import BODY_BYTES_MAX, refusal_response
from tokenopen.core.errors import RequestTooLarge


class BodyLimit:
    """ASGI middleware that refuses bodies of more than BODY_BYTES_MAX bytes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > BODY_BYTES_MAX:
            await refusal_response(RequestTooLarge(limit_bytes=BODY_BYTES_MAX))(scope, receive, send)
            return
        size_bytes = 0

        async def receive_counted() -> Message:
            nonlocal size_bytes
            message = await receive()
            size_bytes += len(message.get("body", b""))
            if size_bytes > BODY_BYTES_MAX:
                raise HTTPException(status_code=RequestTooLarge.status)
            return message

        await self._app(scope, receive_counted, send)
