"""The small records: management key, upgrade request, user, audit log and refused calls."""

from collections import Counter
from dataclasses import replace

import pytest

from tokenopen.core import upgrade_request
from tokenopen.core.audit_log import assert_without_secrets
from tokenopen.core.management_key import ManagementKey
from tokenopen.core.money import Nanocredits
from tokenopen.core.refused_call import HOUR_MS, RefusedHour
from tokenopen.core.upgrade_request import TRANSITIONS
from tokenopen.core.user import EMAIL, User


def test_a_management_key_is_revoked_once_and_for_good() -> None:
    key = ManagementKey(
        id="mgk_1",
        user_id="usr_1",
        name="deploy",
        last_four="wxyz",
        state="active",
        created_at_ms=1,
        revoked_at_ms=None,
    )
    revoked = key.revoked(9)
    assert revoked == replace(key, state="revoked", revoked_at_ms=9)
    assert key.state == "active"
    with pytest.raises(AssertionError):
        revoked.revoked(10)


def test_an_upgrade_request_is_decided_once_and_the_picture_is_the_table() -> None:
    assert {state: sorted(follows) for state, follows in TRANSITIONS.items()} == {
        "pending": ["approved", "cancelled", "declined"],
        "approved": [],
        "declined": [],
        "cancelled": [],
    }
    assert upgrade_request.__doc__ is not None
    drawn = [
        word
        for word in upgrade_request.__doc__.replace("-->", "--> ").replace(">", " ").split()
        if word in TRANSITIONS
    ]
    assert drawn == ["pending", "approved", "declined", "cancelled"]


def test_what_a_user_may_spend_is_what_is_not_held() -> None:
    user = User(
        id="usr_1",
        email="a@example.com",
        name="A",
        role="user",
        state="active",
        has_password=False,
        account_id="acc_1",
        balance=Nanocredits(10),
        held=Nanocredits(4),
        created_at_ms=0,
    )
    assert user.available == 6


@pytest.mark.parametrize("text", ["a@b", "first.last+tag@mail.example.com", "ü@example.com"])
def test_mail_addresses_that_are_taken(text: str) -> None:
    assert EMAIL.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["", "a", "@b", "a@", "a b@c", "a@b c", "a@b\n", "a@b@c", "a\x00@b", "a@" + "b" * 191]
)
def test_mail_addresses_that_are_not(text: str) -> None:
    assert not EMAIL.fullmatch(text)


@pytest.mark.parametrize("name", ["key", "key_hash", "password", "password_hash", "credential"])
def test_a_secret_never_enters_the_audit_log(name: str) -> None:
    assert_without_secrets({"name": "x", "last_four": "wxyz"})
    assert_without_secrets(None)
    with pytest.raises(AssertionError, match=name):
        assert_without_secrets({"name": "x", name: "secret"})


def test_refusals_of_one_hour_are_counted_together_and_those_of_the_next_apart() -> None:
    def hour_of(at_ms: int) -> RefusedHour:
        return RefusedHour(
            account_id="acc_1", key_id="key_1", group_id="grp_1", code="rpm_exceeded", hour=at_ms // HOUR_MS
        )

    counted = Counter(hour_of(at_ms) for at_ms in (0, 1, 3_599_999, 3_600_000))
    assert sorted(counted.values()) == [1, 3]
