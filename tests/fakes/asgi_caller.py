"""A caller behind an ASGI server, as uvicorn would have it.

What it is sent after it has left is dropped in silence, and ``http.disconnect`` comes when it leaves or
when its reply is whole, never because the service has given up on the reply.
"""

import asyncio
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from tokenopen.api.exchange import EXCHANGE
from tokenopen.api.gateway import GatewayApi

Message = MutableMapping[str, Any]
PATIENCE_S = 10


class AsgiCaller:
    """One HTTP request, and what came back. ``body`` comes piece by piece; one that is not ``ended`` never
    comes whole."""

    def __init__(
        self,
        *,
        path: str,
        method: str = "POST",
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: Sequence[bytes] = (b"",),
        ended: bool = True,
        address: str = "203.0.113.7",
    ) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": list(headers),
            "client": (address, 50_000),
            "extensions": {EXCHANGE: self},
        }
        self._on_leave: Callable[[], None] | None = None
        self._sends = list(body)
        self._ended = ended
        self._closes = False
        self._news = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.whole = False
        self.gone = False
        # The service let go of the request while the caller was still there and its reply not whole.
        self.was_cut = False

    @property
    def body(self) -> bytes:
        """What has come of the reply's body."""
        return b"".join(self.parts)

    def json(self) -> Any:
        """Return the reply's body."""
        return msgspec.json.decode(self.body)

    def leave(self) -> None:
        """Close the connection."""
        self.gone = True
        if self._on_leave is not None and not self.whole:
            self._on_leave()
        self._reads.set()
        self._news.set()

    # Only ASGI's send is there.
    reply = None

    @property
    def task(self) -> asyncio.Task[Any] | None:
        return asyncio.current_task()

    def close_after_reply(self) -> None:
        self._closes = True

    def take_over(self, on_leave: Callable[[], None]) -> None:
        self._on_leave = on_leave
        if self.gone:
            on_leave()

    @property
    def is_body_here(self) -> bool:
        return bool(self._sends) and len(self._sends) == 1 and self._ended

    @property
    def is_clogged(self) -> bool:
        return not self._reads.is_set()

    def cut(self) -> None:
        """The connection closes behind what has come."""

    def stop_reading(self) -> None:
        """Take nothing more, until leaving."""
        self._reads.clear()

    async def receives(self, wanted: bytes | Callable[[], bool]) -> None:
        """Wait until the reply's body holds these bytes, or until a condition on it is met."""
        async with asyncio.timeout(PATIENCE_S):
            while not (wanted() if callable(wanted) else wanted in self.body):
                self._news.clear()
                await self._news.wait()

    async def receive(self) -> Message:
        if self._sends and not self.gone:
            piece = self._sends.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._sends) or not self._ended}
        while not (self.gone or self.whole):
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self._reads.wait()
        if self.gone:
            return
        assert not self.whole, "something was sent after the end of the reply"
        if message["type"] == "http.response.start":
            assert self.status is None, "the reply began twice"
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            if self._closes:
                self.headers["connection"] = "close"
        else:
            assert self.status is not None, "the reply's body came before its head"
            self.parts.append(message["body"])
            self.whole = not message["more_body"]
        self._news.set()

    async def call(self, api: GatewayApi) -> "AsgiCaller":
        """Make the request and return when the service is done with it.

        A service that has no more to do for any call and still keeps the request open is left.
        """
        request = asyncio.create_task(api(self.scope, self.receive, self.send))
        idle = 0
        async with asyncio.timeout(PATIENCE_S):
            while not request.done():
                await asyncio.wait((request,), timeout=0.01)
                answered = self.status is not None or not self._reads.is_set()
                idle = idle + 1 if answered and not api.running else 0
                if idle == 3:
                    self.leave()
        await request
        self.was_cut = not self.whole and not self.gone
        return self
