"""A provider that answers what a test has put in its queue, and keeps what it was sent."""

from collections import deque
from collections.abc import Sequence

from tokenopen.ports.upstream import NotReached, UpstreamReply, UpstreamRequest


def sent_bytes(request: UpstreamRequest) -> bytes:
    """Return the body of a request that is held in memory as a whole."""
    assert isinstance(request.body, bytes)
    return request.body


class FakeReply:
    """A reply whose body comes whole."""

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"application/json"),),
    ) -> None:
        self.status = status
        self.headers = headers
        self._rest = deque([body]) if body else deque()

    async def read(self) -> bytes:
        return self._rest.popleft() if self._rest else b""

    def close(self) -> None:
        self._rest.clear()


class FakeUpstream:
    """The Upstream port; with nothing in the queue no endpoint can be reached."""

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []
        self.replies: deque[FakeReply | Exception] = deque()

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.requests.append(request)
        if not self.replies:
            raise NotReached("nothing is there")
        reply = self.replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def close(self) -> None:
        pass
