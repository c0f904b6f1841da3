"""Connection: the caller's side of one call over ASGI."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, Protocol

from tokenopen.api.exchange import EXCHANGE
from tokenopen.api.unread_reply import READ_NOTHING_S
from tokenopen.gateway.connection import ClientLeft, Headers
from tokenopen.gateway.made_call import MadeCall

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Flow(Protocol):
    """Whether a reply that is sent gets away."""

    @property
    def is_clogged(self) -> bool:
        """Tell whether sending would wait, since the caller reads more slowly than it is sent to."""

    def cut(self) -> None:
        """Leave the reply unfinished: the connection closes behind what has been sent of it."""

    @property
    def reply(self) -> Callable[[int, Headers, bytes], None] | None:
        """Send a whole reply where that would not wait; None where only ASGI's ``send`` is there."""


class Exchange(Flow, Protocol):
    """What a call needs of the request that it came as beside ASGI (api/exchange.py)."""

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task that answers the request."""

    def take_over(self, on_leave: Callable[[], None]) -> None:
        """Have ``on_leave`` called when the caller leaves; the server cancels nothing any more."""

    def close_after_reply(self) -> None:
        """Close the connection behind the reply, which says so."""

    @property
    def is_body_here(self) -> bool:
        """Tell whether receiving what is missing of the request would not wait."""


class _WithinProcess:
    """The exchange of a caller within this process, who neither leaves nor sends or reads slowly."""

    is_body_here = True
    is_clogged = False
    reply = None

    @property
    def task(self) -> asyncio.Task[Any] | None:
        return asyncio.current_task()

    def take_over(self, on_leave: Callable[[], None]) -> None:
        pass

    def close_after_reply(self) -> None:
        pass

    def cut(self) -> None:
        pass


WITHIN_PROCESS: Final = _WithinProcess()


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """Return what the server says of a request beside ASGI; those that say nothing are in this process."""
    extensions: Mapping[str, Any] = scope.get("extensions") or {}
    exchange: Exchange = extensions.get(EXCHANGE, WITHIN_PROCESS)
    return exchange


class AsgiConnection:
    """Implements gateway.connection.Connection. ``leave`` is called when the caller's side is closed."""

    def __init__(self, send: Send, flow: Flow, address: str) -> None:
        self._send = send
        self._flow = flow
        self._abort: _AbortOnLeave | None = None
        # The call's, which is one task from the beginning to its end.
        self.task: asyncio.Task[Any] | None = None
        self.address = address
        self.gone = False
        self.started = False
        self.finished = False

    def leave(self) -> None:
        """The caller is gone."""
        if not self.gone:
            self.gone = True
            if self._abort is not None:
                self._abort.arm()

    def abort_on_leave(self, *, grace_s: float = 0) -> "_AbortOnLeave":
        """Raise ClientLeft inside the block, ``grace_s`` after the caller has gone."""
        return _AbortOnLeave(self, grace_s)

    def enter(self, abort: "_AbortOnLeave") -> None:
        """Note which block a leaving caller interrupts."""
        self._abort = abort
        if self.gone:
            abort.arm()

    def exit(self) -> None:
        """No block is interrupted any more."""
        self._abort = None

    async def start(self, status: int, headers: Headers) -> None:
        """Send the reply's head."""
        self.started = True
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole reply; its content-length is added."""
        if not self._flow.is_clogged and self._flow.reply is not None:
            self.started = self.finished = True
            if not self.gone:
                self._flow.reply(status, headers, body)
            return
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.finish(body)

    async def send(self, data: bytes) -> None:
        """Send a part of the body, more of which follows."""
        await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        """Send the last part of the body."""
        self.finished = True
        await self._put({"type": "http.response.body", "body": data, "more_body": False})

    def cut(self) -> None:
        """Leave the reply unfinished and close the connection."""
        self.gone = True
        self._flow.cut()

    async def _put(self, message: Message) -> None:
        if self.gone:
            return
        try:
            if not self._flow.is_clogged:
                await self._send(message)
                return
            async with asyncio.timeout(READ_NOTHING_S):
                await self._send(message)
        except (TimeoutError, OSError):
            self.leave()


class CollectedReply:
    """Takes what would be sent to a caller, for one within this process."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._body = bytearray()
        self._is_whole = False

    async def take(self, message: Message) -> None:
        """Take the next message of a reply."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self._body += message["body"]
            self._is_whole = not message["more_body"]

    def made_call(self) -> MadeCall:
        """Return what has come, once nothing more does."""
        return MadeCall(
            status=self._status, headers=self._headers, body=bytes(self._body), is_whole=self._is_whole
        )


class _AbortOnLeave:
    """A block that a leaving caller interrupts by cancelling its task, told apart from other cancelling."""

    __slots__ = ("_connection", "_fired", "_grace_s", "_task", "_timer")

    def __init__(self, connection: AsgiConnection, grace_s: float) -> None:
        self._connection = connection
        self._grace_s = grace_s
        self._fired = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None

    def arm(self) -> None:
        """Cancel the block's task, now or when the grace is over."""
        if self._task is not None and self._timer is None and not self._fired:
            self._timer = asyncio.get_running_loop().call_later(self._grace_s, self._fire)

    def _fire(self) -> None:
        if self._task is not None:
            self._fired = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = self._connection.task
        self._connection.enter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._connection.exit()
        if self._timer is not None:
            self._timer.cancel()
        if self._fired and task is not None:
            task.uncancel()
            if kind is asyncio.CancelledError:
                raise ClientLeft from None
