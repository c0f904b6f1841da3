"""Who may sign up."""

from zoneinfo import ZoneInfo

import pytest

from tokenopen.core.platform import EMAIL_DOMAIN, Platform, SignUpState


def platform(sign_up: SignUpState, *domains: str) -> Platform:
    return Platform(
        name="House",
        zone=ZoneInfo("UTC"),
        default_group="grp_1",
        support_contact="",
        sign_up=sign_up,
        allowed_email_domains=domains,
    )


def test_nobody_is_let_in_unless_the_operator_says_so() -> None:
    unset = Platform(name="House", zone=ZoneInfo("UTC"), default_group="grp_1", support_contact="")
    assert not unset.lets_in("ada@example.com")
    assert unset.starting_credit == 0
    assert not platform("closed", "example.com").lets_in("ada@example.com")


def test_open_to_all_lets_everybody_in() -> None:
    assert platform("open").lets_in("ada@example.com")


@pytest.mark.parametrize(
    ("email", "let_in"),
    [
        ("ada@example.com", True),
        ("ada@EXAMPLE.com", True),
        ("ada@mail.example.com", False),
        ("ada@example.com.evil.net", False),
        ("ada@evilexample.com", False),
        ("example.com@evil.net", False),
    ],
)
def test_open_to_a_domain_lets_in_its_addresses_only(email: str, let_in: bool) -> None:
    assert platform("open", "example.com").lets_in(email) is let_in


@pytest.mark.parametrize(
    "name", ["localhost", "*.example.com", "example..com", "-a.com", "a b.com", "a.com\n"]
)
def test_what_is_no_domain_is_told_apart(name: str) -> None:
    assert EMAIL_DOMAIN.fullmatch(name) is None
