"""Reply: a whole one passes to the caller once its call is settled.

JSON is collected up to 32 MiB, so its charge can go with it. What is larger, and what is no text (sound),
passes as it comes but for its last part, which waits for the settlement.
"""

import asyncio
import json
from typing import Final

from tokenopen.core.admission import Resolved
from tokenopen.core.call import Outcome
from tokenopen.core.errors import StorageUnavailable, UpstreamError
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.kept_reply import KeptReply
from tokenopen.core.money import format_amount
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.gateway.connection import ClientLeft, Connection
from tokenopen.gateway.headers import JSON_TYPE
from tokenopen.gateway.settle import IMPOSSIBLE_USAGE, Relay
from tokenopen.ports.upstream import UpstreamFailure, UpstreamReply
from tokenopen.upstream.translation.translation import Untranslatable

COLLECTED_BYTES_MAX: Final = 32 * 1024 * 1024
# Providers report usage last; of a large reply this much of the end is looked at.
END_BYTES: Final = 64 * 1024
REJECTION_BYTES_MAX: Final = 1024 * 1024
SETTLE_TIMEOUT_S: Final = 30
# Everybody's, and Gemini's.
_USAGE_NAMES: Final = (b"usage", b"usageMetadata")
_BINARY_TYPES: Final = (b"audio/", b"video/", b"image/", b"application/octet-stream")


async def relay_json(relay: Relay, connection: Connection) -> None:
    """Pass a JSON reply on, charged before it leaves. Raises UpstreamError, StorageUnavailable."""
    reply = relay.forwarded.reply
    try:
        with connection.abort_on_leave():
            body, whole = await _collect(reply, 0 if _is_binary(relay) else COLLECTED_BYTES_MAX)
    except ClientLeft:
        relay.put(relay.free("client_left_early", status=499))
        return
    except UpstreamFailure as failure:
        relay.forwarded.note_broken()
        relay.put(relay.free("upstream_failed", status=502))
        raise UpstreamError(
            f"The provider of model {relay.plan.facts.model} broke off its reply. Nothing was charged."
        ) from failure
    if not whole:
        if relay.plan.translated is not None:
            raise _untranslated(relay, "it is larger than can be translated")
        await _relay_large(relay, connection, body)
        return
    if connection.gone:
        relay.put(relay.free("client_left_early", status=499))
        return
    upstream_ms = relay.upstream_ms()
    outcome = _json_outcome(relay, body)
    if created_ids := relay.plan.wire.created_ids(body):
        outcome = outcome.changed(created_ids=created_ids)
    body = _in_callers_shape(relay, body)
    kept = None if relay.keeper is None else relay.keeper.whole_json(body)
    charge = await _settle(relay, outcome, kept)
    charged = (b"x-tokenopen-charge", charge.encode()), (b"x-tokenopen-upstream-ms", b"%d" % upstream_ms)
    await connection.reply(200, [*relay.headers, *charged], body)


async def relay_rejection(relay: Relay, connection: Connection) -> None:
    """Pass on that the provider refused the request, in its own words; it costs nothing."""
    reply = relay.forwarded.reply
    relay.put(relay.free("upstream_rejected", status=reply.status))
    try:
        with connection.abort_on_leave():
            body, _ = await _collect(reply, REJECTION_BYTES_MAX)
    except ClientLeft:
        return
    except UpstreamFailure as failure:
        raise UpstreamError(
            f"The provider of model {relay.plan.facts.model} broke off its reply. Nothing was charged."
        ) from failure
    headers = relay.headers
    if relay.plan.translated is not None:
        body = relay.plan.translated.translation.write_rejection(reply.status, body)
        headers = [*(header for header in headers if header[0] != JSON_TYPE[0]), JSON_TYPE]
    await connection.reply(reply.status, headers, body)


def _in_callers_shape(relay: Relay, body: bytes) -> bytes:
    """Return a whole JSON reply as its caller speaks. Raises UpstreamError, then nothing is charged."""
    translated = relay.plan.translated
    if translated is None:
        return body
    try:
        return translated.translation.reply(
            body, convention=relay.forwarded.convention, created_s=relay.clock.now_ms() // 1000
        )
    except Untranslatable as reason:
        raise _untranslated(relay, str(reason)) from None


def _untranslated(relay: Relay, reason: str) -> UpstreamError:
    """Free the hold of a call whose reply cannot be said in its caller's API; return what it is told."""
    relay.put(relay.free("upstream_failed", status=502))
    path = relay.plan.surface.path
    return UpstreamError(f"The provider's reply cannot be given by {path}: {reason}. Nothing was charged.")


def _is_binary(relay: Relay) -> bool:
    """Tell whether a reply is no text, so that nothing can be read in it."""
    return relay.forwarded.content_type.startswith(_BINARY_TYPES)


async def _collect(reply: UpstreamReply, bytes_max: int) -> tuple[bytes, bool]:
    """Return the body, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    while data := await reply.read():
        parts.append(data)
        size += len(data)
        if size > bytes_max:
            return b"".join(parts), False
    return parts[0] if len(parts) == 1 else b"".join(parts), True


def _json_outcome(relay: Relay, body: bytes) -> Outcome:
    surface, plan = relay.plan.wire, relay.plan
    try:
        usage = surface.read_reply(body, convention=relay.forwarded.convention)
    except ImpossibleUsage as error:
        return relay.void_flagged(IMPOSSIBLE_USAGE, str(error))
    if usage is None:
        usage = surface.estimate_reply(plan.request, body)
        if not usage.units:
            # Neither a report nor anything that could be estimated: nothing was delivered.
            return relay.free("upstream_failed", status=200)
    return relay.charged(usage, "completed")


async def _settle(relay: Relay, outcome: Outcome, kept: KeptReply | None = None) -> str:
    """Return the charge in credits once it is durable. Raises StorageUnavailable; then nothing is charged."""
    answered = relay.put(outcome, kept)
    # Withdrawing the answer ends the waiting for it.
    relay.till.patience_of_replies.end_after(SETTLE_TIMEOUT_S, answered, answered.cancel)
    try:
        answer = await answered
    except BaseException:
        relay.give_up(status=503)
        task = asyncio.current_task()
        if answered.cancelled() and task is not None and not task.cancelling():
            raise StorageUnavailable from None
        raise
    if not isinstance(answer, Resolved):
        # The hold was voided meanwhile (the worker's lease had lapsed), so there is no charge to reply for.
        raise StorageUnavailable
    return format_amount(answer.charge)


async def _relay_large(relay: Relay, connection: Connection, collected: bytes) -> None:
    await connection.start(200, relay.headers)
    known = _known_before(relay, collected)
    least = known or estimated_usage(text_bytes=relay.plan.request.text_bytes, output_units=0)
    kept = collected
    end = collected[-END_BYTES:]
    try:
        with connection.abort_on_leave():
            while data := await relay.forwarded.reply.read():
                await connection.send(kept)
                kept = data
                end = (end + data)[-END_BYTES:]
    except (ClientLeft, UpstreamFailure) as failure:
        if isinstance(failure, ClientLeft):
            relay.put(relay.charged(least, "client_left"))
            connection.cut()
            return
        relay.forwarded.note_broken()
        if known is None:
            relay.put(relay.charged(least, "upstream_broke_off"))
        else:
            # What is charged by what was asked for, as a whole, is not charged for half of it.
            relay.put(relay.free("upstream_broke_off", status=200))
        connection.cut()
        return
    reported = _usage_at_end(end) if known is None else None
    outcome = relay.charged(least, "completed") if reported is None else _json_outcome(relay, reported)
    await _settle(relay, outcome)
    await connection.finish(kept)


def _known_before(relay: Relay, beginning: bytes) -> Usage | None:
    """Return what a reply that is no text costs: nothing in it tells, so it is known before or not at all."""
    if not _is_binary(relay):
        return None
    usage = relay.plan.surface.estimate_reply(relay.plan.request, beginning)
    return usage if usage.units else None


def _usage_at_end(end: bytes) -> bytes | None:
    """Return a reply of nothing but the usage that the end of a large one reports; None where it has none."""
    at, name = max((end.rfind(b'"%b"' % name), name) for name in _USAGE_NAMES)
    colon = end.find(b":", at)
    if at < 0 or colon < 0:
        return None
    try:
        usage, _ = json.JSONDecoder().raw_decode(end[colon + 1 :].decode(errors="replace").lstrip())
    except ValueError:
        return None
    return json.dumps({name.decode(): usage}).encode()
