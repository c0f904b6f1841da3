"""The callers' API: a raw ASGI callable, since its cost is paid by every call.

Order of refusals: the key (its checksum before any I/O, then whether it exists), path and method, the body.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from tokenopen.api.connection import AsgiConnection, Receive, Send
from tokenopen.core.api_key import API_KEY_PREFIX, MANAGEMENT_KEY_PREFIX, hash_key, is_well_formed
from tokenopen.core.errors import (
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    Refusal,
    RequestTooLarge,
    StorageUnavailable,
)
from tokenopen.core.identifier import new_id
from tokenopen.gateway.headers import JSON_TYPE, refusal_headers
from tokenopen.gateway.pipeline import Gateway, IncomingCall, run_call
from tokenopen.ports.storage import StorageAway
from tokenopen.upstream.surface import Surface

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
BODY_TIMEOUT_S: Final = 60

Scope = Mapping[str, Any]
# Answers a GET for the caller behind a keyed hash; the rest of the path comes with it.
LookUp = Callable[[bytes, str, str], Awaitable[object]]

_log = structlog.get_logger()


class _Gone(Exception):
    """The caller left before its body was whole."""


class GatewayApi:
    """Everything under /v1."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        hashing_key: bytes,
        surfaces: Mapping[str, Surface],
        look_ups: Mapping[str, LookUp],
        default_surface: Surface,
    ) -> None:
        self._gateway = gateway
        self._hashing_key = hashing_key
        self._surfaces = surfaces
        self._look_ups = look_ups
        self._default_surface = default_surface
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How many calls run."""
        return len(self._calls)

    async def drain(self) -> None:
        """Wait for the calls that run, those whose caller has left too."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request under /v1."""
        started_ms = self._gateway.clock.monotonic_ms()
        call_id = new_id("call", self._gateway.clock.now_ms())
        client = scope.get("client")
        connection = AsgiConnection(send, client[0] if client else "")
        surface = self._surfaces.get(scope["path"])
        try:
            key_hash = hash_key(_api_key(scope), self._hashing_key)
            if surface is None or scope["method"] != "POST":
                await self._look_up(scope, connection, key_hash, call_id)
                return
            await self._gateway.directory.find(key_hash)
            body = await _read_body(scope, receive)
        except _Gone:
            return
        except Exception as error:
            await self._refuse(connection, surface, call_id, error)
            return
        call = IncomingCall(
            call_id=call_id, surface=surface, key_hash=key_hash, body=body, started_ms=started_ms
        )
        # A task of its own: its accounting goes on when this handler's caller leaves.
        task = asyncio.create_task(self._run(call, connection))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        handler = asyncio.current_task()
        assert handler is not None
        listening = True

        def stop_listening(_task: asyncio.Task[None]) -> None:
            if listening and not connection.finished:
                handler.cancel()

        task.add_done_callback(stop_listening)
        try:
            # A disconnect also comes when the reply has been sent.
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            # The call ended without the reply's end: returning makes the server close the connection.
            if not task.done():
                raise
            handler.uncancel()
        finally:
            listening = False
            # Also where the server ends and cancels this handler: then nobody reads the reply any more.
            if not task.done() and not connection.finished:
                connection.leave()
        await asyncio.wait((task,))

    async def _run(self, call: IncomingCall, connection: AsgiConnection) -> None:
        try:
            await run_call(self._gateway, call, connection)
        except Exception as error:
            await self._refuse(connection, call.surface, call.call_id, error)

    async def _look_up(self, scope: Scope, connection: AsgiConnection, key_hash: bytes, call_id: str) -> None:
        path: str = scope["path"]
        name, _, rest = path.removeprefix("/v1/").partition("/")
        look_up = self._look_ups.get(name)
        if look_up is None or scope["method"] not in ("GET", "HEAD"):
            raise NotFound(f"{scope['method']} {path} is not offered here. See the API reference.")
        answer = await look_up(key_hash, rest, connection.address)
        body = msgspec.json.encode(answer)
        await connection.start(
            200, [JSON_TYPE, (b"content-length", b"%d" % len(body)), (b"x-request-id", call_id.encode())]
        )
        await connection.finish(b"" if scope["method"] == "HEAD" else body)

    async def _refuse(
        self, connection: AsgiConnection, surface: Surface | None, call_id: str, error: Exception
    ) -> None:
        """Answer a refusal in the surface's own shape; a bug or an outage without detail."""
        if isinstance(error, StorageAway):
            error = StorageUnavailable()
        if isinstance(error, Refusal):
            status, code, message = error.status, error.code, error.message
            facts = {"type": error.error_type, **error.facts}
            headers = refusal_headers(error)
        else:
            _log.error("call_failed", call_id=call_id, exc_info=error)
            status, code, message = 500, "internal_error", "Something went wrong here. Nothing was charged."
            facts, headers = {"type": "server_error"}, []
        if connection.started:
            connection.cut()
            return
        body = (surface or self._default_surface).error_body(
            status=status, code=code, message=message, facts=facts
        )
        await connection.start(
            status,
            [
                JSON_TYPE,
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", call_id.encode()),
                *headers,
            ],
        )
        await connection.finish(body)


def _api_key(scope: Scope) -> str:
    """Return the well-formed API key of a request. Refuses InvalidApiKey, without any I/O."""
    authorization = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
            break
    scheme, _, key_bytes = authorization.partition(b" ")
    key = key_bytes.strip().decode("latin-1")
    if scheme.lower() != b"bearer" or not key:
        raise InvalidApiKey(f"An API key is needed: Authorization: Bearer {API_KEY_PREFIX}...")
    if key.startswith(MANAGEMENT_KEY_PREFIX):
        raise InvalidApiKey(
            f"This is a management key, for the control API. Calls need an API key ({API_KEY_PREFIX}...)."
        )
    if not is_well_formed(key, API_KEY_PREFIX):
        raise InvalidApiKey(
            f"This is not an API key of this service; was it copied whole? API keys begin with "
            f"{API_KEY_PREFIX}; a management key is for the control API only."
        )
    return key


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the request's body. Refuses RequestTooLarge, and a body that does not come in time."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > BODY_BYTES_MAX:
            raise RequestTooLarge(limit_bytes=BODY_BYTES_MAX)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise InvalidRequest("A request body must not be compressed.", param="content-encoding")
    message = await _receive_in_time(receive)
    if not message.get("more_body"):
        return bytes(message.get("body", b""))
    parts = [message.get("body", b"")]
    size = len(parts[0])
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > BODY_BYTES_MAX:
                    raise RequestTooLarge(limit_bytes=BODY_BYTES_MAX)
    except TimeoutError:
        raise InvalidRequest(f"The request body did not come within {BODY_TIMEOUT_S} s.") from None
    return b"".join(parts)


async def _receive_in_time(receive: Receive) -> Any:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            message = await receive()
    except TimeoutError:
        raise InvalidRequest(f"The request body did not come within {BODY_TIMEOUT_S} s.") from None
    if message["type"] == "http.disconnect":
        raise _Gone
    return message
