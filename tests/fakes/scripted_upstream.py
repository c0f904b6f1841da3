"""A provider that replies as a test has scripted: pieces of bytes with pauses, gates and failures between."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenopen.ports.upstream import NotReached, UpstreamFailure, UpstreamReply, UpstreamRequest

Headers = Sequence[tuple[bytes, bytes]]
# Bytes are what one read returns; a number pauses for so many seconds; an event is waited for; a failure
# is raised; a function is called, for what happens elsewhere at this very moment.
Step = bytes | float | asyncio.Event | UpstreamFailure | Callable[[], None]

JSON: Headers = ((b"content-type", b"application/json"),)
EVENT_STREAM: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One reply: what happens before its head, the head, and its body step by step."""

    before: Sequence[Step] = ()
    status: int = 200
    headers: Headers = JSON
    body: Sequence[Step] = ()


async def _take(step: Step) -> bytes:
    if isinstance(step, bytes):
        return step
    if isinstance(step, asyncio.Event):
        await step.wait()
    elif isinstance(step, UpstreamFailure):
        raise step
    elif isinstance(step, int | float):
        await asyncio.sleep(step)
    else:
        step()
    return b""


class ScriptedReply:
    """The UpstreamReply port."""

    def __init__(self, script: Script) -> None:
        self.status = script.status
        self.headers = script.headers
        self.closed = False
        self.read_whole = False
        self._steps = deque(script.body)

    async def read(self) -> bytes:
        assert not self.closed, "a closed reply is read"
        while self._steps:
            piece = await _take(self._steps.popleft())
            if piece:
                return piece
        self.read_whole = True
        return b""

    def close(self) -> None:
        self.closed = True


class ScriptedUpstream:
    """The Upstream port. Each request takes the next script; with none left no endpoint can be reached."""

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []
        self.replies: list[ScriptedReply] = []
        self.cancelled = 0
        self.scripts: deque[Script] = deque()
        # What every request takes once the scripts have run out.
        self.always: Script | None = None

    def will(self, *scripts: Script) -> None:
        """Script the next replies."""
        self.scripts.extend(scripts)

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.requests.append(request)
        script = self.scripts.popleft() if self.scripts else self.always
        if script is None:
            raise NotReached("nothing is there")
        try:
            for step in script.before:
                await _take(step)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        reply = ScriptedReply(script)
        self.replies.append(reply)
        return reply

    async def close(self) -> None:
        pass
