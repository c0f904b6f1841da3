"""Stream: server-sent events pass as they come, but for the mark of a whole reply and all after it.

whole and settled       the tail leaves: the reply is whole, and charged
caller left             read on, at most 30 s, for the usage; charged for what the provider did, or as the
                        group's interruption rule says
provider broke off      charged for what was delivered; an error event, then the connection is cut
settling slow           a comment every 10 s, at most 60 s, then nothing is charged and it is cut
"""

import asyncio
from functools import partial
from typing import Final

from tokenopen.core.admission import Resolved
from tokenopen.core.call import EndReason, Outcome
from tokenopen.core.errors import UpstreamError
from tokenopen.core.kept_reply import KeptReply
from tokenopen.core.money import format_amount
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.gateway.connection import ClientLeft, Connection
from tokenopen.gateway.patience import wake
from tokenopen.gateway.settle import IMPOSSIBLE_USAGE, Relay
from tokenopen.ports.upstream import UpstreamFailure
from tokenopen.upstream.dialect import failure_from
from tokenopen.upstream.sse import EventTooLarge
from tokenopen.upstream.surface import StreamReader
from tokenopen.upstream.translation.translation import Untranslatable

KEEPALIVE: Final = b": keepalive\n\n"
KEEPALIVE_EVERY_S: Final = 10
KEEPALIVES_MAX: Final = 6


async def relay_stream(relay: Relay, connection: Connection) -> None:
    """Pass a stream on and settle it. Raises UpstreamError where it broke off before anything was sent."""
    plan, forwarded = relay.plan, relay.forwarded
    reader = plan.wire.stream_reader(plan.request, convention=forwarded.convention)
    if plan.translated is not None:
        translation, asked = plan.translated.translation, plan.translated.asked
        reader = translation.stream_reader(reader, asked, created_s=relay.clock.now_ms() // 1000)
    passage = _Passage(relay, connection, reader)
    end_reason = await passage.run()
    outcome = passage.outcome(end_reason)
    if reader.created_ids:
        outcome = outcome.changed(created_ids=reader.created_ids)
    kept = None
    if relay.keeper is not None and end_reason in ("completed", "client_left"):
        kept = relay.keeper.whole_stream(reader)
    if end_reason == "completed":
        await passage.start()
        await _finish(relay, connection, reader, outcome, kept)
        return
    answered = relay.put(outcome, kept)
    if end_reason == "upstream_broke_off":
        broke_off = f"The provider of model {plan.facts.model} broke off its reply."
        if not passage.started:
            raise UpstreamError(f"{broke_off} Nothing was charged.")
        # The caller is told of a charge that can be looked up; where the database is away, a little later.
        await asyncio.wait((answered,), timeout=KEEPALIVE_EVERY_S)
        refusal = UpstreamError(
            f"{broke_off} {format_amount(outcome.due)} credits were charged for what was delivered."
        )
        failure = failure_from(refusal, call_id=plan.facts.call_id)
        await connection.send(plan.surface.dialect.error_event(failure))
        connection.cut()


class _Passage:
    """The bytes on their way through, and what is known of them at their end."""

    def __init__(self, relay: Relay, connection: Connection, reader: StreamReader) -> None:
        self._relay = relay
        self._connection = connection
        self._reader = reader
        self._impossible: ImpossibleUsage | None = None
        # Content events that the caller was still there for.
        self._delivered = 0
        self.started = False

    async def run(self) -> EndReason:
        """Pass what may pass until the reply is whole or can no longer become so."""
        reply = self._relay.forwarded.reply
        try:
            with self._connection.abort_on_leave():
                data = await reply.read()
            with self._connection.abort_on_leave(grace_s=self._relay.plan.read_on_s):
                while data:
                    await self._pass(data)
                    if self._reader.whole:
                        break
                    data = await reply.read()
            self._reader.end()
        except ClientLeft:
            return self._left()
        except (UpstreamFailure, EventTooLarge, Untranslatable):
            self._relay.forwarded.note_broken()
            return "upstream_broke_off"
        return self._left() if self._connection.gone else "completed"

    def _left(self) -> EndReason:
        return "client_left" if self.started else "client_left_early"

    async def _pass(self, data: bytes) -> None:
        try:
            passed = self._reader.feed(data)
        except ImpossibleUsage as error:
            self._impossible = error
            return
        if passed:
            if self._relay.keeper is not None:
                self._relay.keeper.add(passed)
            await self.start()
            await self._connection.send(passed)
        if not self._connection.gone:
            self._delivered = self._reader.content_events

    async def start(self) -> None:
        """Send the head, once."""
        if not self.started and not self._connection.gone:
            self.started = True
            await self._connection.start(200, self._relay.headers)

    def outcome(self, end_reason: EndReason) -> Outcome:
        """Return what the call costs, given how it ended."""
        relay, reader = self._relay, self._reader
        if self._impossible is not None:
            return relay.void_flagged(IMPOSSIBLE_USAGE, str(self._impossible))
        if end_reason == "client_left_early":
            return relay.free(end_reason, status=499)
        if end_reason == "upstream_broke_off" and not self.started:
            # The caller is answered 5xx, which is never charged, whatever had been reported.
            return relay.free("upstream_failed", status=502)
        if reader.failed and end_reason == "completed":
            # The provider has said itself, in an event, that it broke off; the caller has read that.
            end_reason = "upstream_broke_off"
        if end_reason != "completed":
            return self._interrupted(end_reason)
        if reader.usage is not None:
            return relay.charged(reader.usage, end_reason)
        return self._estimated(reader.content_events, end_reason)

    def _interrupted(self, end_reason: EndReason) -> Outcome:
        """Return what a stream costs whose caller left or whose provider broke off, by the group's rule."""
        relay, usage, delivered = self._relay, self._reader.usage, self._delivered
        if usage is not None and usage.source == "estimated":
            # The provider has told a part; what it wrote after the caller had left is not in it.
            output = min(usage.units.get("output", 0), delivered)
            usage = Usage({**usage.units, "output": output}, "estimated") if delivered else None
        if usage is None:
            return self._estimated(delivered, end_reason)
        reported = relay.charged(usage, end_reason)
        if not relay.plan.delivered_only:
            return reported
        least = min(self._estimated(delivered, end_reason), reported, key=lambda outcome: outcome.due)
        # What the provider takes is for all that it did.
        return least.changed(cost=reported.cost, cost_source=reported.cost_source)

    def _estimated(self, delivered: int, end_reason: EndReason) -> Outcome:
        """Return what so many events with content cost, as an estimate; nothing where there are none."""
        relay = self._relay
        if delivered == 0:
            return relay.free("upstream_failed" if end_reason != "client_left" else end_reason, status=502)
        estimate = relay.plan.wire.estimate_stream(relay.plan.request, content_events=delivered)
        return relay.charged(estimate, end_reason)


async def _finish(
    relay: Relay, connection: Connection, reader: StreamReader, outcome: Outcome, kept: KeptReply | None
) -> None:
    """Settle, then send what was withheld."""
    answered = relay.put(outcome, kept)
    for _ in range(KEEPALIVES_MAX):
        waiter: asyncio.Future[None] = answered.get_loop().create_future()
        let_go = partial(wake, waiter)
        answered.add_done_callback(let_go)
        relay.till.patience_of_streams.end_after(KEEPALIVE_EVERY_S, waiter, let_go)
        await waiter
        if answered.done():
            break
        await connection.send(KEEPALIVE)
    else:
        answered.cancel()
        relay.give_up(status=503)
        connection.cut()
        return
    answer = answered.result()
    if not isinstance(answer, Resolved):
        # The hold was voided meanwhile (the worker's lease had lapsed): no charge, so no whole reply.
        connection.cut()
        return
    tail = reader.tail if kept is None or kept.tail is None else kept.tail
    await connection.finish(tail(format_amount(answer.charge)))
