"""A sealed credential opens with its key and for its origin, and otherwise not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.upstream.credential import CredentialUnreadable, open_credential, seal_credential

KEY = b"k" * 32
ORIGIN = "https://api.example.com:443"


@given(st.text(max_size=200))
def test_what_was_sealed_opens_again(text: str) -> None:
    sealed = seal_credential(KEY, ORIGIN, text)
    assert open_credential(KEY, ORIGIN, sealed) == text
    assert len(sealed) == 1 + 12 + len(text.encode()) + 16


def test_sealing_twice_gives_nothing_to_compare() -> None:
    assert seal_credential(KEY, ORIGIN, "secret") != seal_credential(KEY, ORIGIN, "secret")


@pytest.mark.parametrize(
    ("key", "origin"),
    [
        (b"x" * 32, ORIGIN),
        (KEY, "https://evil.example.com:443"),
        (KEY, "http://api.example.com:443"),
        (KEY, "https://api.example.com:8443"),
    ],
)
def test_another_key_or_another_origin_opens_nothing(key: bytes, origin: str) -> None:
    with pytest.raises(CredentialUnreadable, match="Enter it again"):
        open_credential(key, origin, seal_credential(KEY, ORIGIN, "secret"))


@given(st.integers(0, 34), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, change: int) -> None:
    sealed = bytearray(seal_credential(KEY, ORIGIN, "secret"))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(CredentialUnreadable):
        open_credential(KEY, ORIGIN, bytes(sealed))


@pytest.mark.parametrize("length", [0, 1, 12, 13, 28])
def test_a_cut_one_is_noticed(length: int) -> None:
    with pytest.raises(CredentialUnreadable):
        open_credential(KEY, ORIGIN, seal_credential(KEY, ORIGIN, "secret")[:length])
