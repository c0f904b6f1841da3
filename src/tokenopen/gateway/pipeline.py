"""The story of one call: resolve, check, admit, forward, settle.

    refused before admission   nothing was held, nothing is written
    made before                the same call's reply is given again, nothing is charged
    admitted                   the hold is resolved exactly once on every way out of here
    answered 5xx               never charged
    seen whole by the caller   charged exactly once, before its last part left

A call is a task of its own (see api/gateway.py), so a caller who leaves does not interrupt its accounting.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog

from tokenopen.core.admission import Admitted, Lapsed, Resolution, Stale
from tokenopen.core.call import EndReason, IdempotencyClaim
from tokenopen.core.errors import CallStillRunning, Refusal, StorageUnavailable
from tokenopen.core.frozen import Frozen
from tokenopen.core.kept_reply import AlreadyMade, read_claim
from tokenopen.gateway.check import Plan, check_caller, plan_call
from tokenopen.gateway.connection import ClientLeft, Connection
from tokenopen.gateway.directory import Directory, Resolved
from tokenopen.gateway.forward import Forwarded, Forwarder, ForwardFailed
from tokenopen.gateway.headers import limit_headers, passed_headers
from tokenopen.gateway.kept_reply import ReplyKeeper, replay
from tokenopen.gateway.meter import Meter
from tokenopen.gateway.reference import find_referred
from tokenopen.gateway.refused import RefusedCalls
from tokenopen.gateway.reply import relay_json, relay_rejection
from tokenopen.gateway.settle import Relay, free_outcome
from tokenopen.gateway.stream import relay_stream
from tokenopen.gateway.till import Till
from tokenopen.gateway.worker import Worker
from tokenopen.ports.clock import Clock
from tokenopen.ports.storage import Storage
from tokenopen.upstream.surface import CallRequest, Surface, Target

STALE_TRIES: Final = 3
# How long a call waits for the same call sent before it: 30 s in all, sooner at first.
WAIT_FOR_FIRST_S: Final = (0.1, 0.2, 0.3, 0.4, *(1.0,) * 29)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What a call needs of the process it runs in."""

    directory: Directory
    till: Till
    forwarder: Forwarder
    worker: Worker
    refused: RefusedCalls
    storage: Storage
    clock: Clock
    meter: Meter = field(default_factory=Meter)


class IncomingCall(Frozen, frozen=True, kw_only=True):
    """A call as it came: an API, a well-formed key's keyed hash, a body and what was said beside it."""

    call_id: str
    surface: Surface
    key_hash: bytes
    body: bytes
    target: Target
    started_ms: int
    idempotency_key: bytes | None = None

    def claim(self) -> IdempotencyClaim | None:
        """Return what the call claims under its Idempotency-Key. Refuses InvalidRequest."""
        if self.idempotency_key is None:
            return None
        target = self.target
        beside = [sorted(said.items()) for said in (target.values, target.query, target.headers)]
        return read_claim(self.idempotency_key, self.surface.name.encode(), repr(beside).encode(), self.body)


async def run_call(gateway: Gateway, call: IncomingCall, connection: Connection) -> None:
    """Answer one call. Raises the Refusal that the caller is told, as long as no reply has begun."""
    try:
        plan, admitted = await admit(gateway, call, connection)
    except ClientLeft:
        # While the same call sent before still ran: this one was never admitted.
        return
    if isinstance(admitted, AlreadyMade):
        await replay(gateway.storage, plan, admitted, connection)
        return
    try:
        await forward_and_settle(gateway, call, connection, plan, admitted)
    except Refusal as refusal:
        refusal.group_slug, refusal.tokens = plan.group_slug, admitted.tokens
        refusal.minute, refusal.today = admitted.minute, admitted.today
        raise


async def forward_and_settle(
    gateway: Gateway, call: IncomingCall, connection: Connection, plan: Plan, admitted: Admitted
) -> None:
    """Send an admitted call on and settle it; its hold is resolved on every way out of here."""
    try:
        with connection.abort_on_leave():
            forwarded = await gateway.forwarder.forward(plan, cap_output_tokens=admitted.cap_output_tokens)
    except ClientLeft:
        void(gateway, call, plan, "client_left_early", status=499)
        return
    except ForwardFailed as failure:
        void(gateway, call, plan, "upstream_failed", status=failure.refusal.status, failure=failure)
        raise failure.refusal from None
    except BaseException:
        void(gateway, call, plan, "upstream_failed", status=500)
        raise
    headers = reply_headers(call, plan, admitted, forwarded)
    relay = Relay(
        till=gateway.till,
        clock=gateway.clock,
        plan=plan,
        forwarded=forwarded,
        headers=headers,
        started_ms=call.started_ms,
        keeper=None if plan.facts.claim is None else ReplyKeeper(headers),
    )
    try:
        if forwarded.reply.status != 200:
            await relay_rejection(relay, connection)
        elif forwarded.content_type.startswith(b"text/event-stream"):
            await relay_stream(relay, connection)
        else:
            await relay_json(relay, connection)
    except Refusal:
        raise
    except BaseException:
        relay.give_up(status=500)
        raise
    finally:
        forwarded.reply.close()


async def admit(
    gateway: Gateway, call: IncomingCall, connection: Connection
) -> tuple[Plan, Admitted | AlreadyMade]:
    """Return the admitted call. Raises why not: nothing that is refused here has changed anything.

    What was resolved from the cache may be stale. The till notices for calls that it admits; a refusal is
    only given once the database has confirmed what it rests on. Where the same call runs already its end is
    waited for; raises ClientLeft where the caller does not.
    """
    request: CallRequest | None = None
    claim: IdempotencyClaim | None = None
    pauses_s = iter(WAIT_FOR_FIRST_S)
    stale_tries = 0
    while stale_tries < STALE_TRIES:
        worker_id = gateway.worker.id
        resolved = await gateway.directory.find(call.key_hash)
        try:
            check_caller(resolved, connection.address)
            request = request or call.surface.read_request(call.body, call.target)
            claim = claim or call.claim()
            referred = await find_referred(gateway.storage, resolved.caller.key.account_id, request)
            plan = plan_call(
                resolved,
                call.surface,
                request,
                call_id=call.call_id,
                worker_id=worker_id,
                claim=claim,
                referred=referred,
            )
        except Refusal as refusal:
            if await gateway.directory.is_current(resolved):
                note_refused(gateway, call, resolved, refusal, request)
                raise
            gateway.directory.forget(call.key_hash)
            stale_tries += 1
            continue
        answer = await gateway.till.admit(plan.admission)
        if isinstance(answer, Admitted | AlreadyMade):
            return plan, answer
        if isinstance(answer, Lapsed):
            await gateway.worker.replace(plan.admission.worker_id)
            stale_tries += 1
            continue
        if isinstance(answer, Stale):
            gateway.directory.forget(call.key_hash)
            stale_tries += 1
            continue
        if isinstance(answer, CallStillRunning) and (pause_s := next(pauses_s, None)) is not None:
            with connection.abort_on_leave():
                await asyncio.sleep(pause_s)
            continue
        note_refused(gateway, call, resolved, answer, request)
        raise answer
    raise StorageUnavailable


def note_refused(
    gateway: Gateway, call: IncomingCall, resolved: Resolved, refusal: Refusal, request: CallRequest | None
) -> None:
    """Keep a refusal for the account's log, and tell which group's limits its headers are about."""
    refusal.group_slug = resolved.caller.group.slug
    gateway.refused.note(
        resolved.caller,
        refusal,
        call_id=call.call_id,
        surface=call.surface.name,
        model=None if request is None else request.model,
    )


def void(
    gateway: Gateway,
    call: IncomingCall,
    plan: Plan,
    end_reason: EndReason,
    *,
    status: int,
    failure: ForwardFailed | None = None,
) -> None:
    """Free the hold of a call that nothing was delivered for."""
    outcome = free_outcome(
        end_reason,
        status=status,
        attempts=() if failure is None else failure.attempts,
        duration_ms=gateway.clock.monotonic_ms() - call.started_ms,
    )
    # Not waited for: the caller's answer does not depend on when the hold is free again.
    gateway.till.put(Resolution(facts=plan.facts, outcome=outcome))


def reply_headers(
    call: IncomingCall, plan: Plan, admitted: Admitted, forwarded: Forwarded
) -> list[tuple[bytes, bytes]]:
    """Return the head of a reply that comes from a provider."""
    headers = passed_headers(forwarded.reply.headers)
    headers += [(name, call.call_id.encode()) for name in call.surface.dialect.call_id_headers]
    headers += limit_headers(plan.group_slug, admitted.minute, admitted.today, admitted.tokens)
    if admitted.cap_output_tokens is not None:
        headers.append((b"x-tokenopen-max-output-tokens", b"%d" % admitted.cap_output_tokens))
    if plan.translated is not None:
        headers.append((b"x-tokenopen-translated-to", plan.wire.name.encode()))
        if plan.translated.left_out:
            headers.append((b"x-tokenopen-left-out", ", ".join(plan.translated.left_out).encode()))
    return headers
