"""Application: which part of TokenOpen answers which path."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from tokenopen.api.connection import Receive, Send, exchange_of
from tokenopen.gateway.headers import JSON_TYPE

Scope = Mapping[str, Any]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class Application:
    """The ASGI callable that the server runs. ``is_ready`` tells whether calls can be admitted."""

    def __init__(
        self,
        *,
        gateway_api: AsgiApp,
        control_app: AsgiApp,
        web_app: AsgiApp,
        is_ready: Callable[[], Awaitable[bool]],
    ) -> None:
        self._gateway_api = gateway_api
        self._control_app = control_app
        self._web_app = web_app
        self._is_ready = is_ready
        self._closes_connections = False

    def close_connections(self) -> None:
        """Close each connection after its next answer, as the callers are told with it."""
        self._closes_connections = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if self._closes_connections:
            exchange_of(scope).close_after_reply()
        path: str = scope["path"]
        if path.startswith(("/v1/", "/v1beta/")):
            await self._gateway_api(scope, receive, send)
        elif path.startswith("/api/") or path == "/metrics":
            await self._control_app(scope, receive, send)
        elif path == "/healthz":
            await _answer(send, 200, {"status": "ok"})
        elif path == "/readyz":
            ready = await self._is_ready()
            await _answer(send, 200 if ready else 503, {"status": "ready" if ready else "not_ready"})
        else:
            await self._web_app(scope, receive, send)


async def _answer(send: Send, status: int, value: object) -> None:
    body = msgspec.json.encode(value)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
