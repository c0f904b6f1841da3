"""Which passwords are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.password import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, normal_form, why_unacceptable

EMAIL = "ada.lovelace@example.com"


@pytest.mark.parametrize(
    "password",
    [
        "password123",
        "P@ssw0rd123!",
        "PasswordPassword",
        "1234567890",
        "01234567890",
        "9876543210",
        "2389479238",
        "qwertyuiop",
        "poiuytrewq",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "hunter2hunter2",
        "Welcome2024!",
        "!!!letmein!!!",
        "tokenopen2026",
        "correcthorsebatterystaple",
    ],
)
def test_what_is_guessed_first_is_refused(password: str) -> None:
    assert "guessed first" in (why_unacceptable(password, email=EMAIL) or "")


@pytest.mark.parametrize(
    "password",
    [
        "mauve otter reads maps",
        "tr0ub4dor&3x",
        "zwölf Boxkämpfer",
        "83719264501937264519",
        "Qx7-kLm2-pR",
        "日本語の長い合言葉です",
    ],
)
def test_anything_else_that_is_long_enough_will_do(password: str) -> None:
    assert why_unacceptable(password, email=EMAIL) is None


@pytest.mark.parametrize(
    "password", [EMAIL, EMAIL.upper(), "ada.lovelace", "Ada.Lovelace@home", "ada.lovelaceada.lovelace"]
)
def test_the_address_is_no_password(password: str) -> None:
    assert "e-mail" in (why_unacceptable(password, email=EMAIL) or "")


def test_length_is_bounded_on_both_sides() -> None:
    assert str(PASSWORD_LENGTH_MIN) in (why_unacceptable("x9K#bL2q!", email=EMAIL) or "")
    assert why_unacceptable("x9K#bL2q!7", email=EMAIL) is None
    longest = "".join(chr(33 + index * 7 % 90) for index in range(PASSWORD_LENGTH_MAX))
    assert why_unacceptable(longest, email=EMAIL) is None
    assert str(PASSWORD_LENGTH_MAX) in (why_unacceptable(longest + "x", email=EMAIL) or "")


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_is_typed_is_judged(password: str, email: str) -> None:
    why = why_unacceptable(password, email=email)
    assert why is None or why.endswith(".")


def test_a_letter_composed_another_way_is_the_same_letter() -> None:
    assert normal_form("Zwo\u0308lf") == normal_form("Zw\u00f6lf")
