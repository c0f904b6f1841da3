"""Errors: every refusal has the status and code that the design fixes, and says what happened."""

import re
from collections.abc import Iterator

from tokenopen.core import errors
from tokenopen.core.errors import (
    InsufficientCredit,
    KeyCreditLimitReached,
    LimitExceeded,
    ModelNotAllowed,
    ModelNotFound,
    Refusal,
    RequestTooLarge,
    RpmExceeded,
    StorageUnavailable,
    TooManyAttempts,
    TpdExceeded,
    Unavailable,
)
from tokenopen.core.money import parse_amount

# DESIGN section 7, and what an Idempotency-Key may meet.
CALLERS = {
    "invalid_request": 400,
    "invalid_api_key": 401,
    "api_key_revoked": 401,
    "api_key_expired": 401,
    "insufficient_credit": 402,
    "key_credit_limit_reached": 402,
    "model_not_allowed": 403,
    "group_not_available": 403,
    "ip_not_allowed": 403,
    "account_suspended": 403,
    "model_not_found": 404,
    "not_found": 404,
    "idempotency_conflict": 409,
    "call_still_running": 409,
    "reply_not_kept": 409,
    "request_too_large": 413,
    "rpm_exceeded": 429,
    "tpd_exceeded": 429,
    "tpm_exceeded": 429,
    "concurrency_exceeded": 429,
    "upstream_error": 502,
    "no_upstream_available": 503,
    "server_stopping": 503,
    "storage_unavailable": 503,
    "upstream_timeout": 504,
}
CONTROL_API_ONLY = {"permission_denied": 403, "conflict": 409}
CONSOLE_ONLY = {
    "sign_in_failed": 401,
    "session_ended": 401,
    "request_forged": 403,
    "password_required": 403,
    "sign_up_closed": 403,
    "link_unusable": 410,
    "too_many_attempts": 429,
}


def _subclasses(of: type[Refusal]) -> Iterator[type[Refusal]]:
    for subclass in of.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


# A class without a code of its own only gathers others.
REFUSALS = [refusal for refusal in _subclasses(Refusal) if hasattr(refusal, "code")]


def test_every_refusal_has_the_status_and_code_of_the_design() -> None:
    assert {refusal.code: refusal.status for refusal in REFUSALS} == CALLERS | CONTROL_API_ONLY | CONSOLE_ONLY


def test_no_two_refusals_share_a_code() -> None:
    codes = [refusal.code for refusal in REFUSALS]
    assert len(codes) == len(set(codes))


def test_the_tree_at_the_top_names_every_refusal() -> None:
    assert errors.__doc__ is not None
    tree = errors.__doc__.split("Anything else")[0].split("code and facts, safe to show to the caller.")[-1]
    drawn = set(re.findall(r"[A-Z]\w*[a-z]\w*", tree.split("Refusal\n")[1]))
    assert drawn == {refusal.__name__ for refusal in _subclasses(Refusal)}


def test_infrastructure_trouble_is_5xx_and_nothing_else_is() -> None:
    for refusal in REFUSALS:
        assert (refusal.status >= 500) == issubclass(refusal, Unavailable)
        assert (refusal.status == 429) == issubclass(refusal, LimitExceeded | TooManyAttempts)


def rpm_exceeded(support_contact: str = "https://example.com/console") -> RpmExceeded:
    return RpmExceeded(group="VIP", limit=600, used=600, retry_after_s=12, support_contact=support_contact)


def test_the_rpm_message_reads_as_designed() -> None:
    refusal = rpm_exceeded()
    assert refusal.message == (
        "Group VIP allows 600 requests per minute; 600 used. "
        "Try again in 12 s, or ask for a higher group: https://example.com/console."
    )
    assert str(refusal) == refusal.message
    assert refusal.retry_after_s == 12
    assert refusal.should_retry is None
    assert {name: refusal.facts[name] for name in ("group", "limit", "used")} == {
        "group": "VIP",
        "limit": 600,
        "used": 600,
    }


def test_a_service_without_a_contact_names_none() -> None:
    assert rpm_exceeded("").message.endswith("Try again in 12 s, or ask for a higher group.")


def test_the_tpd_message_reads_as_designed_and_asks_not_to_retry() -> None:
    refusal = TpdExceeded(
        group="VIP",
        limit=20_000,
        used=20_000,
        retry_after_s=3_600,
        resets_at="2026-12-01 00:00 UTC",
        support_contact="ops@example.com",
    )
    assert refusal.message.startswith(
        "Daily request total (TPD) of group VIP: 20,000 of 20,000 requests used; resets 2026-12-01 00:00 UTC."
    )
    assert "ops@example.com" in refusal.message
    assert refusal.retry_after_s == 3_600
    assert refusal.should_retry is False


def test_too_little_credit_names_needed_available_and_what_would_fit() -> None:
    refusal = InsufficientCredit(
        needed=parse_amount("1.5"), available=parse_amount("0.25"), affordable_max_output_tokens=1_234
    )
    assert refusal.facts == {
        "needed": "1.5",
        "available": "0.25",
        "affordable_max_output_tokens": 1_234,
    }
    assert all(fact in refusal.message for fact in ("1.5", "0.25", "1,234"))
    assert refusal.should_retry is False
    none_fits = InsufficientCredit(
        needed=parse_amount("1.5"), available=parse_amount("0"), affordable_max_output_tokens=0
    )
    assert "would fit" not in none_fits.message


def test_a_keys_own_limit_names_itself_what_is_left_and_what_is_needed() -> None:
    refusal = KeyCreditLimitReached(
        credit_limit=parse_amount("5"),
        needed=parse_amount("0.7"),
        available=parse_amount("0.3"),
        affordable_max_output_tokens=9,
    )
    assert all(fact in refusal.message for fact in ("5 credits", "0.3", "0.7"))
    assert refusal.facts["credit_limit"] == "5"
    assert refusal.facts["affordable_max_output_tokens"] == 9
    assert refusal.should_retry is False


def test_a_model_that_is_not_allowed_names_the_group_and_those_that_have_it() -> None:
    others = ModelNotAllowed(
        model="gpt-5", group="Default", groups_with_model=["vip", "enterprise"], by_key=False
    )
    assert all(fact in others.message for fact in ("gpt-5", "Default", "vip", "enterprise"))
    assert others.facts["groups_with_model"] == ["vip", "enterprise"]
    none = ModelNotAllowed(model="gpt-5", group="Default", groups_with_model=[], by_key=False)
    assert all(fact in none.message for fact in ("gpt-5", "Default", "higher group"))
    by_key = ModelNotAllowed(model="gpt-5", group="VIP", groups_with_model=["vip"], by_key=True)
    assert "narrowed" in by_key.message
    assert "VIP does not allow" not in by_key.message


def test_other_messages_name_their_facts() -> None:
    assert "gpt-9" in ModelNotFound(model="gpt-9").message
    assert "33,554,432" in RequestTooLarge(limit_bytes=33_554_432).message
    assert StorageUnavailable().retry_after_s is not None


def test_no_message_uses_the_words_of_the_house() -> None:
    """DESIGN section 2: till, terms, settle, ppm and nano never appear to people."""
    made = [
        rpm_exceeded(),
        StorageUnavailable(),
        ModelNotFound(model="m"),
        InsufficientCredit(
            needed=parse_amount("2"), available=parse_amount("1"), affordable_max_output_tokens=5
        ),
        KeyCreditLimitReached(
            credit_limit=parse_amount("1"),
            needed=parse_amount("2"),
            available=parse_amount("1"),
            affordable_max_output_tokens=5,
        ),
    ]
    for refusal in made:
        assert not re.search(r"\b(till|terms|settle\w*|ppm|nano\w*)\b", refusal.message, re.IGNORECASE)


def test_who_has_tried_too_often_is_told_how_long_to_wait() -> None:
    assert TooManyAttempts(retry_after_s=2).message == "Too many attempts. Try again in 2 s."
    assert TooManyAttempts(retry_after_s=121).message == "Too many attempts. Try again in 3 min."
    assert TooManyAttempts(retry_after_s=121).retry_after_s == 121
