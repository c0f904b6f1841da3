"""Sessions end by themselves, and each secret has a hash of its own."""

from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.api_key import hash_key
from tokenopen.core.one_time_link import hash_link_token
from tokenopen.core.session import (
    PASSWORD_RECENT_MS,
    SESSION_IDLE_MS,
    SESSION_LONGEST_MS,
    USE_NOTED_EVERY_MS,
    Session,
    form_token_of,
    hash_session_token,
    is_recent_password,
    readable_user_agent,
)

NOW_MS = 1_780_315_200_000
HASHING_KEY = b"h" * 32


def session(*, last_used_at_ms: int = NOW_MS) -> Session:
    return Session(
        id="ses_1",
        user_id="usr_1",
        user_agent="Browser",
        address="192.0.2.1",
        created_at_ms=NOW_MS,
        last_used_at_ms=last_used_at_ms,
        expires_at_ms=NOW_MS + SESSION_LONGEST_MS,
        password_at_ms=NOW_MS,
    )


def test_a_session_ends_when_it_is_not_used() -> None:
    assert not session().is_over(NOW_MS + SESSION_IDLE_MS - 1)
    assert session().is_over(NOW_MS + SESSION_IDLE_MS)


def test_a_session_ends_however_much_it_is_used() -> None:
    end_ms = NOW_MS + SESSION_LONGEST_MS
    assert not session(last_used_at_ms=end_ms - 1).is_over(end_ms - 1)
    assert session(last_used_at_ms=end_ms - 1).is_over(end_ms)


def test_use_is_noted_now_and_then_and_often_enough_to_keep_a_session_alive() -> None:
    assert not session().use_is_worth_noting(NOW_MS + USE_NOTED_EVERY_MS - 1)
    assert session().use_is_worth_noting(NOW_MS + USE_NOTED_EVERY_MS)
    assert USE_NOTED_EVERY_MS < SESSION_IDLE_MS // 100


def test_a_password_counts_as_just_given_for_a_quarter_of_an_hour() -> None:
    assert PASSWORD_RECENT_MS == 900_000
    assert is_recent_password(NOW_MS, NOW_MS)
    assert is_recent_password(NOW_MS, NOW_MS + PASSWORD_RECENT_MS - 1)
    assert not is_recent_password(NOW_MS, NOW_MS + PASSWORD_RECENT_MS)
    # A clock that was set back must not make an old password a recent one.
    assert not is_recent_password(NOW_MS + 1, NOW_MS)


@given(st.text(min_size=1, max_size=60))
def test_one_secret_hashes_differently_for_each_purpose(secret: str) -> None:
    hashes = {
        hash_session_token(secret, HASHING_KEY),
        hash_link_token(secret, HASHING_KEY),
        bytes.fromhex(form_token_of(secret, HASHING_KEY)),
        hash_key(secret, HASHING_KEY),
    }
    assert len(hashes) == 4


def test_hashes_hang_on_the_installation_s_secret() -> None:
    assert form_token_of("token", b"a" * 32) != form_token_of("token", b"b" * 32)
    assert hash_session_token("token", b"a" * 32) != hash_session_token("token", b"b" * 32)


@given(st.text(max_size=1000))
def test_a_user_agent_is_stored_printable_and_short(text: str) -> None:
    stored = readable_user_agent(text)
    assert len(stored) <= 300
    assert stored.isprintable()
