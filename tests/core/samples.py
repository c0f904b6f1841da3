"""Plain values that the core's tests start from; each takes what a test is about."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from tokenopen.core.admission import Admission, Books, OpenCall
from tokenopen.core.api_key import ApiKey
from tokenopen.core.call import CallFacts, Outcome
from tokenopen.core.estimate import Quote
from tokenopen.core.group import Group, GroupPolicy, GroupRevision, Limits
from tokenopen.core.ledger import AccountBook, KeyBook
from tokenopen.core.money import Nanocredits
from tokenopen.core.rate_limit import RateWindow
from tokenopen.core.terms import Terms


def key_of(**changes: Any) -> ApiKey:
    """Return an active API key that narrows nothing."""
    fields: dict[str, Any] = {
        "id": "key_1",
        "account_id": "acc_1",
        "user_id": "usr_1",
        "group_id": "grp_vip",
        "name": "laptop",
        "last_four": "wxyz",
        "state": "active",
        "models": None,
        "allowed_ips": None,
        "credit_limit": None,
        "expires_at_ms": None,
    }
    return ApiKey(**fields | changes)


def group_of(**changes: Any) -> Group:
    """Return an active public group, VIP, with one revision that has always been in force."""
    fields: dict[str, Any] = {
        "id": "grp_vip",
        "slug": "vip",
        "name": "VIP",
        "suitable_for": "High-frequency users",
        "visibility": "public",
        "custom_terms": False,
        "state": "active",
        "revisions": (revision_from(0),),
    }
    return Group(**fields | changes)


def revision_from(effective_from_ms: int) -> GroupRevision:
    """Return a revision of VIP that begins at an instant."""
    policy = GroupPolicy(
        allowed_models=("*",),
        multiplier_ppm=800_000,
        model_multipliers={},
        limits=Limits(requests_per_minute=600, requests_per_day=20_000),
    )
    return GroupRevision(
        id=f"grv_{effective_from_ms}",
        group_id="grp_vip",
        number=1,
        effective_from_ms=effective_from_ms,
        policy=policy,
    )


def account_book(*, balance: int = 0, held: int = 0, version: int = 1, newest_ms: int = 0) -> AccountBook:
    """Return the books of acc_1."""
    return AccountBook(
        id="acc_1",
        version=version,
        balance=Nanocredits(balance),
        held=Nanocredits(held),
        newest_ms=newest_ms,
    )


def key_book(*, spent: int = 0, held: int = 0, credit_limit: int | None = None) -> KeyBook:
    """Return the books of key_1."""
    return KeyBook(
        id="key_1",
        spent=Nanocredits(spent),
        held=Nanocredits(held),
        credit_limit=None if credit_limit is None else Nanocredits(credit_limit),
        last_used_at_ms=None,
    )


def quote_of(hold: int, *, capped_hold: int | None = None) -> Quote:
    """Return a quote that holds one nano-credit an output unit: ``hold``, or ``capped_hold`` as the cap."""
    return Quote(
        fixed_scaled=0,
        per_output_unit_scaled=10**12,
        output_units=hold,
        capped_output_units=capped_hold,
        choices=1,
    )


def facts_of(
    call_id: str = "call_1",
    *,
    account_id: str = "acc_1",
    key_id: str = "key_1",
    group_id: str = "grp_vip",
    requests_per_minute: int | None = None,
    requests_per_day: int | None = None,
    tokens_per_minute: int | None = None,
    concurrent_calls: int | None = None,
) -> CallFacts:
    """Return what is known of a call under limits that are none unless given."""
    limits = Limits(
        requests_per_minute=requests_per_minute,
        requests_per_day=requests_per_day,
        tokens_per_minute=tokens_per_minute,
        concurrent_calls=concurrent_calls,
    )
    return CallFacts(
        call_id=call_id,
        account_id=account_id,
        user_id="usr_1",
        key_id=key_id,
        group_id=group_id,
        surface="chat",
        stream=False,
        model="m",
        price_revision_id="prv_1",
        terms=Terms(
            group_revision_id="grv_1",
            entitlement_id=None,
            multiplier_ppm=1_000_000,
            multiplier_rule="group",
            limits=limits,
        ),
    )


# No sample's time comes near it.
FOREVER_MS = 2**60


def admission_of(facts: CallFacts, quote: Quote, **changes: Any) -> Admission:
    """Return an admission under version 1 of everything, in UTC, that stays valid."""
    fields: dict[str, Any] = {
        "catalog_version": 1,
        "account_version": 1,
        "valid_until_ms": None,
        "worker_id": "wrk_1",
        "zone": ZoneInfo("UTC"),
        "group_name": "VIP",
        "support_contact": "ops@example.com",
    }
    return Admission(facts=facts, quote=quote, **fields | changes)


def books_of(
    now_ms: int,
    *accounts: AccountBook,
    keys: Sequence[KeyBook] = (),
    repeated: bool = False,
    windows: Mapping[tuple[str, str], RateWindow] | None = None,
    calls: Mapping[str, OpenCall] | None = None,
) -> Books:
    """Return the books of one transaction; acc_1 has a credit and key_1 no limit unless given."""
    return Books(
        now_ms=now_ms,
        catalog_version=1,
        admits_until_ms={"wrk_1": FOREVER_MS},
        repeated=repeated,
        accounts={account.id: account for account in accounts or (account_book(balance=10**9),)},
        keys={key.id: key for key in keys or (key_book(),)},
        windows=dict(windows or {}),
        calls=dict(calls or {}),
    )


def settled(due: int) -> Outcome:
    """Return the outcome of a call that came to its end."""
    return Outcome(resolution="settle", end_reason="completed", due=Nanocredits(due))


VOIDED = Outcome(resolution="void", end_reason="upstream_failed")
EXPIRED = Outcome(resolution="expire", end_reason="worker_gone")
