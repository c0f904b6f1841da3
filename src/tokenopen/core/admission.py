"""Admission and resolution: what the till decides about each call, on rows that it has locked.

Pure: the books are read before and written back after. An admission refuses cheapest first; from the
comment on, it must succeed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from tokenopen.core.call import TRANSITIONS, CallFacts, CallState, Outcome
from tokenopen.core.errors import (
    ConcurrencyExceeded,
    InsufficientCredit,
    KeyCreditLimitReached,
    LimitExceeded,
    Refusal,
    RpmExceeded,
    StorageUnavailable,
    TpdExceeded,
    TpmExceeded,
)
from tokenopen.core.estimate import Quote
from tokenopen.core.frozen import Frozen
from tokenopen.core.kept_reply import AlreadyMade, KeptCall, KeptReply, decide_claim
from tokenopen.core.ledger import AccountBook, KeyBook, release, reserve, settle
from tokenopen.core.money import ZERO, Nanocredits, ceil_div
from tokenopen.core.rate_limit import Day, LimitUse, RateWindow, day_at
from tokenopen.core.token_window import TokenWindow


class OpenCall(Frozen, frozen=True, kw_only=True):
    """What a call's row says of its hold and its charge."""

    state: CallState
    hold: Nanocredits
    charge: Nanocredits
    refunded: Nanocredits


@dataclass(slots=True, kw_only=True)
class Books:
    """The rows of one transaction, read after their locks were taken, with the versions and the time.

    ``repeated`` says that an earlier try of the same items may have committed.
    """

    now_ms: int
    catalog_version: int
    # By worker id, until when it may admit; a worker whose lease was taken away is not there.
    admits_until_ms: Mapping[str, int]
    repeated: bool = False
    accounts: Mapping[str, AccountBook]
    keys: Mapping[str, KeyBook]
    windows: dict[tuple[str, str], RateWindow]
    calls: dict[str, OpenCall]
    # By API key and Idempotency-Key: those that admissions name, or voids that must not cost.
    kept: dict[tuple[str, str], KeptCall] = field(default_factory=dict)
    # By account and group, where the terms of a call in the transaction set the limit.
    token_windows: dict[tuple[str, str], TokenWindow] = field(default_factory=dict)
    open_calls: dict[tuple[str, str], int] = field(default_factory=dict)


class Admission(Frozen, frozen=True, kw_only=True):
    """A call that asks to be admitted, with what it was resolved under."""

    facts: CallFacts
    quote: Quote
    catalog_version: int
    account_version: int
    # The earliest instant at which what it was resolved under changes by itself, or None.
    valid_until_ms: int | None
    worker_id: str
    zone: ZoneInfo
    group_name: str
    support_contact: str


class Admitted(Frozen, frozen=True, kw_only=True):
    """The call may go out. ``cap_output_tokens`` is set where the caller named no maximum and credit does
    not cover the model's own."""

    admitted_at_ms: int
    # The day that it counts for, which is the counter's: after the platform's zone was moved to the west
    # that may be later than the calendar's.
    day_ordinal: int
    hold: Nanocredits
    cap_output_tokens: int | None
    minute: LimitUse | None
    today: LimitUse | None
    tokens: LimitUse | None = None


class Stale:
    """The call was resolved under versions or terms that no longer hold; resolve it anew."""


STALE: Final = Stale()


class Lapsed:
    """The lease of the worker that asks has lapsed or was taken away; it has to ask under a new id."""


LAPSED: Final = Lapsed()


class Resolution(Frozen, frozen=True, kw_only=True):
    """How an admitted call ended.

    ``must_not_cost`` goes with a void for a call that was answered 5xx: if a settlement turns out to have
    committed after all, its charge is refunded. ``kept`` is the reply to be kept with a settlement.
    """

    facts: CallFacts
    outcome: Outcome
    must_not_cost: bool = False
    kept: KeptReply | None = None


class Resolved(Frozen, frozen=True, kw_only=True):
    """The hold is resolved. ``charge + absorbed`` is the exact price of the usage (invariant I10)."""

    state: CallState
    resolved_at_ms: int
    charge: Nanocredits = ZERO
    absorbed: Nanocredits = ZERO
    refund: Nanocredits = ZERO
    balance_after: Nanocredits = ZERO
    # Of the ledger entry that goes with it, if one does.
    entry_number: int = 0
    # An earlier try of the same batch wrote it already.
    found: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyResolved:
    """The hold had been resolved before (invariant I4): nothing was changed."""

    state: CallState


@dataclass(slots=True)
class Touched:
    """Which rows of the books a batch has changed."""

    accounts: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    windows: set[tuple[str, str]] = field(default_factory=set)
    token_windows: set[tuple[str, str]] = field(default_factory=set)
    # When replies were given again first, by account, API key and Idempotency-Key.
    replayed: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def add(self, facts: CallFacts) -> None:
        """Note that a call changed its account and its key."""
        self.accounts.add(facts.account_id)
        self.keys.add(facts.key_id)


def _format_instant(at_ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")


def limit_uses(
    window: RateWindow, *, per_minute: int | None, per_day: int | None, now_ms: int, day: Day
) -> tuple[LimitUse | None, LimitUse | None]:
    """Return the state of the limits that are set, as rate-limit headers and pages show it."""
    minute = today = None
    if per_minute is not None:
        resets_in_s = window.empty_in_s(now_ms)
        minute = LimitUse(limit=per_minute, used=window.used_minute, resets_in_s=resets_in_s)
    if per_day is not None:
        resets_in_s = ceil_div(day.ends_at_ms - now_ms, 1000)
        today = LimitUse(limit=per_day, used=window.day_count, resets_in_s=resets_in_s)
    return minute, today


def refuse_limits(
    admission: Admission, window: RateWindow, books: Books, *, now_ms: int, day: Day
) -> Refusal | None:
    """Return which limit one more call would go over, or None. The window has been advanced to now.

    ``retry_after_s`` is when one more call would pass all of them, as far as that is known.
    """
    facts, limits = admission.facts, admission.facts.terms.limits
    names = (facts.account_id, facts.group_id)
    group: Mapping[str, str] = {"group": admission.group_name, "support_contact": admission.support_contact}
    refusal: LimitExceeded | None = None
    per_minute, tokens_per_minute = limits.requests_per_minute, limits.tokens_per_minute
    wait_s = tokens_wait_s = 0
    if per_minute is not None and window.used_minute >= per_minute:
        wait_s = window.passes_in_s(per_minute, now_ms)
    minute_is_full = wait_s > 0
    if tokens_per_minute is not None:
        tokens_wait_s = books.token_windows[names].passes_in_s(tokens_per_minute, now_ms)
        wait_s = max(wait_s, tokens_wait_s)
    if limits.requests_per_day is not None and window.day_count >= limits.requests_per_day:
        refusal = TpdExceeded(
            **group,
            limit=limits.requests_per_day,
            used=window.day_count,
            # At midnight the minute may still be full.
            retry_after_s=max(ceil_div(day.ends_at_ms - now_ms, 1000), wait_s),
            resets_at=_format_instant(day.ends_at_ms, admission.zone),
        )
    elif per_minute is not None and minute_is_full:
        refusal = RpmExceeded(**group, limit=per_minute, used=window.used_minute, retry_after_s=wait_s)
    elif tokens_per_minute is not None and tokens_wait_s:
        used = books.token_windows[names].used(now_ms)
        refusal = TpmExceeded(**group, limit=tokens_per_minute, used=used, retry_after_s=tokens_wait_s)
    elif limits.concurrent_calls is not None and books.open_calls[names] >= limits.concurrent_calls:
        refusal = ConcurrencyExceeded(**group, limit=limits.concurrent_calls, used=books.open_calls[names])
    if refusal is not None:
        refusal.minute, refusal.today = limit_uses(
            window,
            per_minute=limits.requests_per_minute,
            per_day=limits.requests_per_day,
            now_ms=now_ms,
            day=day,
        )
        refusal.tokens = _tokens_use(admission, books, now_ms)
    return refusal


def _tokens_use(admission: Admission, books: Books, now_ms: int) -> LimitUse | None:
    facts = admission.facts
    limit = facts.terms.limits.tokens_per_minute
    if limit is None:
        return None
    return books.token_windows[facts.account_id, facts.group_id].use(limit, now_ms)


def choose_output(quote: Quote, account: AccountBook, key: KeyBook) -> int | Refusal:
    """Return the output units to hold for, or why not even the fewest are covered.

    The model's own maximum where credit covers it; else the cap, where the caller named no maximum.
    """
    room = account.available if key.available is None else min(account.available, key.available)
    choices = [quote.output_units]
    if quote.capped_output_units is not None:
        choices.append(quote.capped_output_units)
    for output_units in choices:
        if quote.hold(output_units) <= room:
            return output_units
    needed = quote.hold(choices[-1])
    if needed > account.available:
        return InsufficientCredit(
            needed=needed,
            available=account.available,
            affordable_max_output_tokens=quote.affordable_output_tokens(room),
        )
    assert key.available is not None
    assert key.credit_limit is not None
    return KeyCreditLimitReached(
        credit_limit=key.credit_limit,
        needed=needed,
        available=key.available,
        affordable_max_output_tokens=quote.affordable_output_tokens(room),
    )


def _admitted_before(admission: Admission, call: OpenCall, books: Books) -> Admitted | Refusal:
    """Answer an admission that an earlier try turns out to have written."""
    if call.state != "held":
        return StorageUnavailable()
    facts, quote = admission.facts, admission.quote
    account = books.accounts[facts.account_id]
    window = books.windows[facts.account_id, facts.group_id]
    capped = call.hold < quote.hold(quote.output_units)
    now_ms = account.newest_ms
    day = day_at(now_ms, admission.zone)
    return _admitted(admission, window, books, hold=call.hold, capped=capped, now_ms=now_ms, day=day)


def _admitted(
    admission: Admission,
    window: RateWindow,
    books: Books,
    *,
    hold: Nanocredits,
    capped: bool,
    now_ms: int,
    day: Day,
) -> Admitted:
    limits, quote = admission.facts.terms.limits, admission.quote
    minute, today = limit_uses(
        window,
        per_minute=limits.requests_per_minute,
        per_day=limits.requests_per_day,
        now_ms=now_ms,
        day=day,
    )
    cap = None
    if capped:
        assert quote.capped_output_units is not None
        cap = quote.capped_output_units // quote.choices
    return Admitted(
        admitted_at_ms=now_ms,
        day_ordinal=window.day_ordinal,
        hold=hold,
        cap_output_tokens=cap,
        minute=minute,
        today=today,
        tokens=_tokens_use(admission, books, now_ms),
    )


def _decide_claim(
    facts: CallFacts, books: Books, touched: Touched, now_ms: int
) -> AlreadyMade | Refusal | None:
    """Return what stands in the way of a call by its Idempotency-Key; note that a reply is given again."""
    if facts.claim is None:
        return None
    kept = books.kept.get((facts.key_id, facts.claim.key))
    if kept is not None and kept.call_id in books.calls:
        # It may have ended in this very transaction.
        kept = replace(kept, state=books.calls[kept.call_id].state)
    made = decide_claim(facts.claim, kept, now_ms)
    if kept is not None and isinstance(made, AlreadyMade) and kept.has_reply and not kept.replayed:
        books.kept[facts.key_id, facts.claim.key] = replace(kept, replayed=True)
        touched.replayed[facts.account_id, facts.key_id, facts.claim.key] = now_ms
    return made


def _was_replayed(facts: CallFacts, books: Books) -> bool:
    assert facts.claim is not None
    kept = books.kept.get((facts.key_id, facts.claim.key))
    return kept is not None and kept.call_id == facts.call_id and kept.replayed


def decide_admission(
    admission: Admission, books: Books, touched: Touched
) -> Admitted | AlreadyMade | Stale | Lapsed | Refusal:
    """Admit the call into the books, or say why not; what is not admitted changes nothing.

    First whether the same call was made before, then limits, then credit.
    """
    facts = admission.facts
    if books.repeated and facts.call_id in books.calls:
        return _admitted_before(admission, books.calls[facts.call_id], books)
    # The database's time alone: an account's newest time may be ahead of it.
    if books.now_ms >= books.admits_until_ms.get(admission.worker_id, 0):
        return LAPSED
    account = books.accounts.get(facts.account_id)
    key = books.keys.get(facts.key_id)
    if account is None or key is None:
        return STALE
    now_ms = max(books.now_ms, account.newest_ms)
    if admission.catalog_version != books.catalog_version or admission.account_version != account.version:
        return STALE
    if admission.valid_until_ms is not None and now_ms >= admission.valid_until_ms:
        return STALE
    made = _decide_claim(facts, books, touched, now_ms)
    if made is not None:
        return made
    day = day_at(now_ms, admission.zone)
    names = (facts.account_id, facts.group_id)
    window = books.windows.get(names)
    if window is None:
        window = books.windows[names] = RateWindow()
    window.advance(now_ms, day)
    refusal = refuse_limits(admission, window, books, now_ms=now_ms, day=day)
    if refusal is not None:
        return refusal
    output_units = choose_output(admission.quote, account, key)
    if isinstance(output_units, Refusal):
        return output_units

    # Nothing refuses from here on.
    hold = admission.quote.hold(output_units)
    reserve(account, key, hold)
    window.count()
    account.newest_ms = key.last_used_at_ms = now_ms
    touched.add(facts)
    touched.windows.add(names)
    if names in books.open_calls:
        books.open_calls[names] += 1
    if facts.claim is not None:
        books.kept[facts.key_id, facts.claim.key] = KeptCall(
            call_id=facts.call_id,
            request_hash=facts.claim.request_hash,
            claimed_at_ms=now_ms,
            state="held",
        )
    capped = output_units < admission.quote.output_units
    return _admitted(admission, window, books, hold=hold, capped=capped, now_ms=now_ms, day=day)


def _note_kept(resolution: Resolution, books: Books) -> None:
    """Let admissions of the same transaction see that the call's reply is kept."""
    facts = resolution.facts
    if resolution.kept is not None and facts.claim is not None:
        kept = books.kept.get((facts.key_id, facts.claim.key))
        if kept is not None and kept.call_id == facts.call_id:
            books.kept[facts.key_id, facts.claim.key] = replace(kept, has_reply=True)


def decide_resolution(resolution: Resolution, books: Books, touched: Touched) -> Resolved | AlreadyResolved:
    """Resolve the call's hold in the books, once; a second time changes nothing and says so."""
    facts, outcome = resolution.facts, resolution.outcome
    call = books.calls.get(facts.call_id)
    if call is None and outcome.resolution == "void":
        # An admission whose outcome was unknown turns out not to have happened: there is nothing to void.
        return AlreadyResolved(state="voided")
    assert call is not None, f"{facts.call_id} was never admitted"
    account, key = books.accounts[facts.account_id], books.keys[facts.key_id]
    now_ms = account.newest_ms = max(books.now_ms, account.newest_ms)
    state = TRANSITIONS[call.state].get(outcome.resolution)
    if state is None:
        if books.repeated and call.state == TRANSITIONS["held"][outcome.resolution]:
            return Resolved(
                state=call.state,
                resolved_at_ms=now_ms,
                charge=call.charge,
                absorbed=Nanocredits(outcome.due - call.charge),
                balance_after=account.balance,
                found=True,
            )
        left = Nanocredits(call.charge - call.refunded)
        if not (resolution.must_not_cost and call.state == "settled" and left > 0):
            return AlreadyResolved(state=call.state)
        if facts.claim is not None and _was_replayed(facts, books):
            # Its caller has the reply, by having sent the call again: the one charge for it stands.
            return AlreadyResolved(state=call.state)
        touched.accounts.add(facts.account_id)
        books.calls[facts.call_id] = OpenCall(
            state=call.state, hold=call.hold, charge=call.charge, refunded=call.charge
        )
        if facts.claim is not None:
            # The call was answered with an error: whoever sends it again may have it made.
            books.kept.pop((facts.key_id, facts.claim.key), None)
        return Resolved(
            state=call.state,
            resolved_at_ms=now_ms,
            refund=left,
            balance_after=account.post(left),
            entry_number=account.entry_count,
        )
    touched.add(facts)
    names = (facts.account_id, facts.group_id)
    if names in books.open_calls:
        books.open_calls[names] -= 1
    if outcome.resolution == "settle":
        if facts.terms.limits.tokens_per_minute is not None:
            books.token_windows[names].add(outcome.input_units + outcome.output_units, now_ms)
            touched.token_windows.add(names)
        charge = settle(account, key, hold=call.hold, due=outcome.due)
        absorbed = Nanocredits(outcome.due - charge)
        _note_kept(resolution, books)
    else:
        release(account, key, call.hold)
        charge = absorbed = ZERO
    books.calls[facts.call_id] = OpenCall(state=state, hold=call.hold, charge=charge, refunded=call.refunded)
    return Resolved(
        state=state,
        resolved_at_ms=now_ms,
        charge=charge,
        absorbed=absorbed,
        balance_after=account.balance,
        entry_number=account.entry_count,
    )
