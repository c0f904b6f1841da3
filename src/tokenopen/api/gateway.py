"""The callers' API: a raw ASGI callable, since its cost is paid by every call.

Order of refusals: the key (its checksum before any I/O, then whether it exists), path and method, the body.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from tokenopen.api.caller_key import find_api_key, read_headers, read_query
from tokenopen.api.connection import (
    WITHIN_PROCESS,
    AsgiConnection,
    CollectedReply,
    Receive,
    Send,
    exchange_of,
)
from tokenopen.api.request_body import CallerGone, read_request_body
from tokenopen.api.surface_table import SurfaceTable
from tokenopen.core.api_key import hash_key
from tokenopen.core.errors import (
    NotFound,
    Refusal,
    ServerStopping,
    StorageUnavailable,
)
from tokenopen.core.identifier import new_id
from tokenopen.core.site import client_address
from tokenopen.gateway.directory import Resolved
from tokenopen.gateway.headers import JSON_TYPE, refusal_headers
from tokenopen.gateway.made_call import MadeCall
from tokenopen.gateway.pipeline import Gateway, IncomingCall, run_call
from tokenopen.ports.storage import StorageAway
from tokenopen.upstream.dialect import Dialect, Failure, dialect_at, failure_from
from tokenopen.upstream.form import Form
from tokenopen.upstream.surface import NO_TARGET, Surface, Target

Scope = Mapping[str, Any]
# Answers a GET for the caller behind a keyed hash; the rest of the path, the caller's address and the dialect
# come with it.
LookUp = Callable[[bytes, str, str, Dialect], Awaitable[object]]

_log = structlog.get_logger()


class GatewayApi:
    """Everything under /v1 and /v1beta."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        hashing_key: bytes,
        surfaces: Iterable[Surface],
        look_ups: Mapping[str, LookUp],
        behind_proxy: bool = False,
    ) -> None:
        self._gateway = gateway
        self._hashing_key = hashing_key
        self._surfaces = SurfaceTable(surfaces)
        self._look_ups = look_ups
        self._behind_proxy = behind_proxy
        self._calls: set[asyncio.Task[None]] = set()
        # When what still runs is cut, on the loop's clock; set once nothing more is admitted.
        self._cut_at_s: float | None = None

    @property
    def running(self) -> int:
        """How many calls run."""
        return len(self._calls)

    def stop_admitting(self, *, cut_after_s: float) -> None:
        """Refuse every call from now on; ``drain`` gives those that run so long to end."""
        self._cut_at_s = asyncio.get_running_loop().time() + cut_after_s

    async def drain(self) -> None:
        """Wait for the calls that run, those whose caller has left too; cut what takes too long."""
        if self._cut_at_s is not None and self._calls:
            left_s = self._cut_at_s - asyncio.get_running_loop().time()
            await asyncio.wait(self._calls, timeout=max(0.0, left_s))
            for task in self._calls:
                task.cancel()
        while self._calls:
            await asyncio.wait(self._calls)

    def _count_stranger(self, found: object, resolved: Resolved | None, error: Exception) -> None:
        """Count a refused call whose key was not recognized; the others are counted with their account."""
        if found is not None and resolved is None and isinstance(error, Refusal):
            self._gateway.meter.refused(error)

    def _address(self, scope: Scope) -> str:
        """Return where the caller is, behind the operator's proxy as that says."""
        client = scope.get("client")
        peer: str = client[0] if client else ""
        if not self._behind_proxy:
            return peer
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return client_address(
            peer=peer,
            forwarded_for=forwarded[-1].decode("latin-1") if forwarded else None,
            behind_proxy=True,
        )

    def _refuse_when_stopping(self) -> None:
        if self._cut_at_s is not None:
            raise ServerStopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started_ms = self._gateway.clock.monotonic_ms()
        call_id = new_id("call", self._gateway.clock.now_ms())
        exchange = exchange_of(scope)
        connection = AsgiConnection(send, exchange, self._address(scope))
        headers = read_headers(scope)
        found = self._surfaces.find(scope["method"], scope["path"])
        dialect = found[0].dialect if found else dialect_at(scope["path"], headers)
        resolved = None
        try:
            self._refuse_when_stopping()
            query = read_query(scope)
            key_hash = hash_key(find_api_key(headers, dialect, query), self._hashing_key)
            if found is None:
                await self._look_up(scope, connection, key_hash, dialect, call_id)
                return
            resolved = await self._gateway.directory.find(key_hash)
            surface, values = found
            try:
                body, form = await read_request_body(scope, receive, surface)
            except Refusal as refusal:
                self._gateway.refused.note(
                    resolved.caller, refusal, call_id=call_id, surface=surface.name, model=None
                )
                raise
            self._refuse_when_stopping()
        except CallerGone:
            return
        except Exception as error:
            self._count_stranger(found, resolved, error)
            await self._refuse(connection, dialect, call_id, error)
            return
        call = IncomingCall(
            call_id=call_id,
            surface=surface,
            key_hash=key_hash,
            body=body,
            target=_target(scope, dialect, values, query, form),
            started_ms=started_ms,
            idempotency_key=headers.get(b"idempotency-key"),
        )
        # From here on its accounting goes on when the caller leaves, and nobody cancels it but ``drain``.
        connection.task = task = exchange.task
        assert task is not None
        self._calls.add(task)
        try:
            exchange.take_over(connection.leave)
            await self._run(call, connection)
        finally:
            self._calls.discard(task)

    async def make_call(
        self, *, path: str, key_hash: bytes, body: bytes, address: str, idempotency_key: bytes
    ) -> MadeCall:
        """Make a call for somebody who has signed in and owns the key; implements gateway.made_call.MakeCall.

        ``path`` is of a surface that nothing stands in but its own name.
        """
        found = self._surfaces.find("POST", path)
        assert found is not None, f"no calls are made at {path}"
        surface, values = found
        assert not values
        reply = CollectedReply()
        connection = AsgiConnection(reply.take, WITHIN_PROCESS, address)
        call_id = new_id("call", self._gateway.clock.now_ms())
        try:
            self._refuse_when_stopping()
        except ServerStopping as refusal:
            await self._refuse(connection, surface.dialect, call_id, refusal)
            return reply.made_call()
        call = IncomingCall(
            call_id=call_id,
            surface=surface,
            key_hash=key_hash,
            body=body,
            target=NO_TARGET,
            started_ms=self._gateway.clock.monotonic_ms(),
            idempotency_key=idempotency_key,
        )
        await asyncio.wait((self._start(call, connection),))
        return reply.made_call()

    def _start(self, call: IncomingCall, connection: AsgiConnection) -> asyncio.Task[None]:
        """Let a call run as a task of its own: its accounting goes on when its caller leaves."""
        connection.task = task = asyncio.create_task(self._run(call, connection))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def _run(self, call: IncomingCall, connection: AsgiConnection) -> None:
        try:
            await run_call(self._gateway, call, connection)
        except asyncio.CancelledError:
            # Cut since the server ends; the pipeline has seen to it that it costs nothing.
            await self._refuse(connection, call.surface.dialect, call.call_id, ServerStopping())
        except Exception as error:
            await self._refuse(connection, call.surface.dialect, call.call_id, error)
        finally:
            if call.target.form is not None:
                call.target.form.close()

    async def _look_up(
        self, scope: Scope, connection: AsgiConnection, key_hash: bytes, dialect: Dialect, call_id: str
    ) -> None:
        path: str = scope["path"]
        _, version, name, *rest = *path.split("/", 3), ""
        # Of Gemini's paths only the models are looked up.
        look_up = self._look_ups.get(name) if version == "v1" or name == "models" else None
        if look_up is None or scope["method"] not in ("GET", "HEAD"):
            raise NotFound(f"{scope['method']} {path} is not offered here. See the API reference.")
        answer = await look_up(key_hash, rest[0], connection.address, dialect)
        body = msgspec.json.encode(answer)
        head = _head(dialect, call_id)
        if scope["method"] == "HEAD":
            await connection.start(200, [*head, (b"content-length", b"%d" % len(body))])
            await connection.finish(b"")
        else:
            await connection.reply(200, head, body)

    async def _refuse(
        self, connection: AsgiConnection, dialect: Dialect, call_id: str, error: Exception
    ) -> None:
        """Answer a refusal in the dialect's shape; a bug or an outage without detail."""
        if isinstance(error, StorageAway):
            error = StorageUnavailable()
        if isinstance(error, Refusal):
            failure, headers = failure_from(error, call_id=call_id), refusal_headers(error)
        else:
            _log.error("call_failed", call_id=call_id, exc_info=error)
            failure, headers = _unexpected(call_id), []
        if connection.started:
            connection.cut()
            return
        body = dialect.error_body(failure)
        await connection.reply(failure.status, [*_head(dialect, call_id), *headers], body)


def _head(dialect: Dialect, call_id: str) -> list[tuple[bytes, bytes]]:
    return [JSON_TYPE, *((name, call_id.encode()) for name in dialect.call_id_headers)]


def _unexpected(call_id: str) -> Failure:
    return Failure(
        status=500,
        code="internal_error",
        message="Something went wrong here. Nothing was charged.",
        kind="server_error",
        facts={},
        call_id=call_id,
    )


def _target(
    scope: Scope,
    dialect: Dialect,
    values: Mapping[str, str],
    query: Sequence[tuple[str, str]],
    form: Form | None,
) -> Target:
    """Return what a surface may know of a request beside its body; the key is not among it."""
    if not (values or query or dialect.read_headers or form):
        return NO_TARGET
    key_parameters = {name.decode() for place, name in dialect.key_places if place == "query"}
    pairs = [(name, value) for name, value in query if name not in key_parameters]
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in dialect.read_headers:
            # RFC 9110, 5.2: several headers of a name are one list.
            headers[name] = headers[name] + b"," + value if name in headers else value
    # Of a name given twice the first value.
    return Target(values=values, query=dict(reversed(pairs)), query_pairs=pairs, headers=headers, form=form)
