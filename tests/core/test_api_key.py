"""API key: its shape, what its checksum catches, its hash, and how it narrows its group."""

import random
import re
import secrets
import string

import pytest

from tests.core.samples import key_of
from tokenopen.core.api_key import (
    API_KEY_PREFIX,
    MANAGEMENT_KEY_PREFIX,
    generate_key,
    hash_key,
    is_well_formed,
    public_id_of,
)

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
BODY_LENGTH = 12 + 32 + 6
PREFIXES = (API_KEY_PREFIX, MANAGEMENT_KEY_PREFIX)


def keys_of(prefix: str, count: int, seed: int = 2) -> list[str]:
    chance = random.Random(seed)
    return [generate_key(prefix, chance.choice) for _ in range(count)]


def test_the_prefixes_are_those_of_the_design() -> None:
    assert PREFIXES == ("sk-to-", "sk-mgmt-")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_key_is_its_prefix_and_fifty_letters_and_digits(prefix: str) -> None:
    for key in keys_of(prefix, 200):
        assert re.fullmatch(re.escape(prefix) + "[0-9A-Za-z]{50}", key)
        assert is_well_formed(key, prefix)
        assert public_id_of(key) == key[len(prefix) : len(prefix) + 12]


def test_every_letter_and_digit_may_stand_in_a_secret_which_has_190_bits() -> None:
    offered: list[str] = []

    def choose(alphabet: str) -> str:
        offered.append(alphabet)
        return secrets.choice(alphabet)

    generate_key(API_KEY_PREFIX, choose)
    assert len(offered) == 12 + 32
    assert {frozenset(alphabet) for alphabet in offered} == {frozenset(LETTERS_AND_DIGITS)}
    assert all(len(alphabet) == 62 for alphabet in offered)
    assert 62**32 > 2**190


@pytest.mark.parametrize(
    "key",
    [
        "sk-to-0123456789AB0123456789ABCDEFGHIJKLMNOPQRSTUV2ak3u2",
        "sk-mgmt-zzzzzzzzzzzz00000000000000000000000000000000xy8E42",
        "sk-to-aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9nO2qXMRxc0",
    ],
)
def test_keys_that_were_handed_out_long_ago_are_keys_still(key: str) -> None:
    prefix = key[: key.rindex("-") + 1]
    body = key.removeprefix(prefix).ljust(50, "0")
    # The checksum of what stands before it, as the first version wrote it.
    assert is_well_formed(prefix + body, prefix) is (len(key) == len(prefix) + 50)


def test_keys_do_not_repeat() -> None:
    assert len({generate_key(API_KEY_PREFIX, secrets.choice) for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_single_wrong_character_is_caught(prefix: str) -> None:
    """Certain, not likely: a CRC-32 catches every error of up to 32 bits in a row."""
    for key in keys_of(prefix, 4):
        for place, right in enumerate(key):
            for wrong in (LETTERS_AND_DIGITS + "-_ \u00e9\u0130").replace(right, ""):
                assert not is_well_formed(key[:place] + wrong + key[place + 1 :], prefix)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_swap_of_unlike_neighbours_is_caught(prefix: str) -> None:
    """Certain too: a swap that reaches into the checksum moves the CRC by more than one digit can say."""
    for key in keys_of(prefix, 1_000, seed=3):
        for place in range(len(key) - 1):
            first, second = key[place], key[place + 1]
            if first != second:
                assert not is_well_formed(key[:place] + second + first + key[place + 2 :], prefix)


def test_every_lost_or_doubled_character_is_caught_and_so_is_what_stands_around_a_key() -> None:
    for key in keys_of(API_KEY_PREFIX, 20):
        for place in range(len(key)):
            assert not is_well_formed(key[:place] + key[place + 1 :], API_KEY_PREFIX)
            assert not is_well_formed(key[:place] + key[place] + key[place:], API_KEY_PREFIX)
        for around in (" " + key, key + "\n", key + " ", key.upper(), key.lower(), key.swapcase(), key * 2):
            assert not is_well_formed(around, API_KEY_PREFIX)


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "sk-",
        "sk-to-",
        "sk-to-" + "0" * 50,
        "sk-to-" + "\x00" * 50,
        "sk-to-" + "é" * 50,
        "Bearer x",
        "0" * 56,
    ],
)
def test_junk_is_not_a_key(junk: str) -> None:
    for prefix in PREFIXES:
        assert not is_well_formed(junk, prefix)


def test_a_key_of_one_kind_is_never_one_of_the_other_even_with_its_prefix_exchanged() -> None:
    for kind, other in (PREFIXES, PREFIXES[::-1]):
        for key in keys_of(kind, 200):
            assert not is_well_formed(key, other)
            assert not is_well_formed(other + key.removeprefix(kind), other)


def test_the_hash_differs_by_key_and_by_hashing_key_and_tells_neither() -> None:
    one, two = keys_of(API_KEY_PREFIX, 2)
    hashes = {hash_key(key, hashing_key) for key in (one, two) for hashing_key in (b"a" * 32, b"b" * 32)}
    assert len(hashes) == 4
    assert {len(found) for found in hashes} == {32}
    assert hash_key(one, b"a" * 32) == hash_key(one, b"a" * 32)
    assert not any(one.encode() in found for found in hashes)


@pytest.mark.parametrize(
    ("models", "allowed", "excluded"),
    [
        (None, ["gpt-4o", "anything"], []),
        (["gpt-4o"], ["gpt-4o"], ["gpt-4o-mini", "o1"]),
        (["gpt-4o*", "o1"], ["gpt-4o-mini", "o1"], ["o1-mini"]),
        ([], [], ["gpt-4o"]),
    ],
)
def test_a_key_narrows_its_group_to_its_own_models(
    models: list[str] | None, allowed: list[str], excluded: list[str]
) -> None:
    key = key_of(models=models)
    assert not any(key.narrows_away(name) for name in allowed)
    assert all(key.narrows_away(name) for name in excluded)


@pytest.mark.parametrize(
    ("networks", "allowed", "excluded"),
    [
        (None, ["203.0.113.7", "::1", "not an address", ""], []),
        ([], [], ["203.0.113.7", "::1"]),
        (["203.0.113.7"], ["203.0.113.7", "::ffff:203.0.113.7", "::FFFF:CB00:7107"], ["203.0.113.8", "::1"]),
        (["203.0.113.0/24"], ["203.0.113.0", "203.0.113.255", "::ffff:203.0.113.9"], ["203.0.114.0"]),
        (["2001:db8::/32"], ["2001:db8::1", "2001:DB8:ffff::"], ["2001:db9::1", "203.0.113.7"]),
        (["2001:db8::5"], ["2001:db8:0:0:0:0:0:5"], ["2001:db8::6"]),
        (["10.0.0.0/8", "2001:db8::/32"], ["10.255.0.1", "2001:db8::1"], ["11.0.0.1", "::1"]),
        (["0.0.0.0/0"], ["203.0.113.7"], ["2001:db8::1"]),
        (["::/0"], ["2001:db8::1"], ["203.0.113.7", "::ffff:203.0.113.7"]),
        (
            ["0.0.0.0/0", "::/0"],
            ["1.2.3.4", "::1"],
            ["", "localhost", "1.2.3", "1.2.3.4:80", "[::1]", "1.2.3.04"],
        ),
    ],
)
def test_a_key_may_be_used_from_its_own_addresses_only(
    networks: list[str] | None, allowed: list[str], excluded: list[str]
) -> None:
    key = key_of(allowed_ips=networks)
    assert all(key.allows_ip(address) for address in allowed)
    assert not any(key.allows_ip(address) for address in excluded)
