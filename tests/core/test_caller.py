"""Caller: what refuses one before anything is read, in which order, and until when that stands."""

from typing import Any

import pytest

from tests.core.samples import group_of, key_of, revision_from
from tokenopen.core.caller import Caller, find_entitlement, group_is_open, refuse_caller
from tokenopen.core.terms import Entitlement

NOW_MS = 1_000_000


def entitlement_to(
    group_id: str = "grp_vip", *, expires_at_ms: int | None = None, name: str = "1"
) -> Entitlement:
    return Entitlement(id=f"etl_{name}", account_id="acc_1", group_id=group_id, expires_at_ms=expires_at_ms)


def caller_of(
    *,
    key: dict[str, Any] | None = None,
    group: dict[str, Any] | None = None,
    entitlements: tuple[Entitlement, ...] = (),
    account_state: Any = "active",
) -> Caller:
    return Caller(
        key=key_of(**key or {}),
        account_state=account_state,
        group=group_of(**group or {}),
        entitlements=entitlements,
        catalog_version=1,
        account_version=1,
    )


# Everything that can be wrong, in the order in which it is told.
WRONGS: list[tuple[str, dict[str, Any]]] = [
    ("api_key_revoked", {"key": {"state": "revoked"}}),
    ("api_key_expired", {"key": {"expires_at_ms": NOW_MS}}),
    ("account_suspended", {"account_state": "suspended"}),
    ("group_not_available", {"group": {"visibility": "entitled"}}),
    ("ip_not_allowed", {"key": {"allowed_ips": ["203.0.113.0/24"]}}),
]


@pytest.mark.parametrize("first", range(len(WRONGS)))
def test_of_several_reasons_the_first_is_told(first: int) -> None:
    fields: dict[str, Any] = {}
    for _, wrong in WRONGS[first:]:
        for name, value in wrong.items():
            fields[name] = {**fields[name], **value} if isinstance(value, dict) and name in fields else value
    refusal = refuse_caller(caller_of(**fields), now_ms=NOW_MS, address="198.51.100.1")
    assert refusal is not None
    assert refusal.code == WRONGS[first][0]


@pytest.mark.parametrize(
    ("fields", "status", "code", "told"),
    [
        ({"key": {"state": "revoked"}}, 401, "api_key_revoked", ["laptop", "wxyz", "revoked"]),
        ({"key": {"state": "disabled"}}, 401, "api_key_revoked", ["laptop", "wxyz", "switched off"]),
        ({"key": {"expires_at_ms": NOW_MS}}, 401, "api_key_expired", ["laptop", "wxyz", "expired"]),
        ({"account_state": "suspended"}, 403, "account_suspended", ["suspended"]),
        ({"group": {"state": "archived"}}, 403, "group_not_available", ["VIP", "another group"]),
        ({"group": {"visibility": "entitled"}}, 403, "group_not_available", ["VIP", "by request"]),
        ({"key": {"allowed_ips": ["10.0.0.1"]}}, 403, "ip_not_allowed", ["laptop", "198.51.100.1"]),
    ],
)
def test_a_refusal_has_its_code_and_names_the_facts(
    fields: dict[str, Any], status: int, code: str, told: list[str]
) -> None:
    refusal = refuse_caller(caller_of(**fields), now_ms=NOW_MS, address="198.51.100.1")
    assert refusal is not None
    assert (refusal.status, refusal.code) == (status, code)
    assert all(fact in refusal.message for fact in told)


def test_a_caller_without_faults_may_call() -> None:
    assert refuse_caller(caller_of(), now_ms=NOW_MS, address="198.51.100.1") is None


def test_a_key_expires_at_the_exact_millisecond() -> None:
    caller = caller_of(key={"expires_at_ms": NOW_MS})
    assert refuse_caller(caller, now_ms=NOW_MS - 1, address="") is None
    for now_ms in (NOW_MS, NOW_MS + 1):
        refusal = refuse_caller(caller, now_ms=now_ms, address="")
        assert refusal is not None
        assert refusal.code == "api_key_expired"


def test_access_to_a_group_by_request_ends_at_the_exact_millisecond() -> None:
    caller = caller_of(group={"visibility": "entitled"}, entitlements=(entitlement_to(expires_at_ms=NOW_MS),))
    assert refuse_caller(caller, now_ms=NOW_MS - 1, address="") is None
    for now_ms in (NOW_MS, NOW_MS + 1):
        refusal = refuse_caller(caller, now_ms=now_ms, address="")
        assert refusal is not None
        assert refusal.code == "group_not_available"
        assert refusal.facts["group"] == "vip"


def test_an_archived_group_is_closed_to_public_and_entitled_alike() -> None:
    entitled = (entitlement_to(),)
    for visibility in ("public", "entitled"):
        group = group_of(visibility=visibility, state="archived")
        assert not group_is_open(group, entitled, NOW_MS)
        caller = caller_of(group={"visibility": visibility, "state": "archived"}, entitlements=entitled)
        refusal = refuse_caller(caller, now_ms=NOW_MS, address="")
        assert refusal is not None
        assert refusal.code == "group_not_available"


def test_an_entitlement_to_another_group_opens_nothing_here() -> None:
    other = (entitlement_to("grp_enterprise"),)
    assert not group_is_open(group_of(visibility="entitled"), other, NOW_MS)
    assert find_entitlement(other, "grp_vip", NOW_MS) is None
    assert group_is_open(group_of(visibility="entitled"), (*other, entitlement_to()), NOW_MS)


def test_of_two_entitlements_to_a_group_the_one_in_force_counts() -> None:
    ended, running = entitlement_to(expires_at_ms=NOW_MS), entitlement_to(name="2")
    caller = caller_of(entitlements=(ended, running))
    assert caller.entitlement_at(NOW_MS) == running
    assert caller.entitlement_at(NOW_MS - 1) == ended


def test_a_public_group_needs_no_entitlement_but_gives_the_terms_of_one_while_it_lasts() -> None:
    caller = caller_of(entitlements=(entitlement_to(expires_at_ms=NOW_MS),))
    assert caller.entitlement_at(NOW_MS - 1) is not None
    assert caller.entitlement_at(NOW_MS) is None
    assert refuse_caller(caller, now_ms=NOW_MS, address="") is None


def test_what_is_cached_is_valid_until_the_earliest_coming_instant() -> None:
    caller = caller_of(
        key={"expires_at_ms": 500},
        group={"revisions": (revision_from(0), revision_from(300))},
        entitlements=(entitlement_to(expires_at_ms=400), entitlement_to("grp_other", expires_at_ms=200)),
    )
    instants = {0: 200, 199: 200, 200: 300, 299: 300, 300: 400, 400: 500, 499: 500, 500: None, 900: None}
    assert {now_ms: caller.valid_until_ms(now_ms) for now_ms in instants} == instants
    assert caller_of().valid_until_ms(0) is None
