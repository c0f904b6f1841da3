"""Hashing passwords: Argon2id, a few at a time, the same work where there is nothing to find."""

import asyncio
import threading

import pytest

from tests.sessions import PASSWORD, cheap_hasher
from tokenopen.control.password import HASHING, Hashing, hash_new_password
from tokenopen.core.errors import InvalidRequest, TooManyAttempts


async def test_what_is_stored_is_argon2id_with_the_parameters_of_rfc_9106() -> None:
    stored = await HASHING.hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert PASSWORD not in stored
    assert stored != await HASHING.hash(PASSWORD)


async def test_only_the_password_itself_is_verified() -> None:
    hashing = Hashing(cheap_hasher())
    stored = await hashing.hash(PASSWORD)
    assert (await hashing.verify(stored, PASSWORD)).is_right
    for wrong in ("", PASSWORD[:-1], PASSWORD + "x", PASSWORD.upper(), f" {PASSWORD}"):
        assert not (await hashing.verify(stored, wrong)).is_right


async def test_letters_that_a_keyboard_composes_otherwise_are_the_same() -> None:
    hashing = Hashing(cheap_hasher())
    stored = await hashing.hash("zwo\u0308lf Boxka\u0308mpfer")
    assert (await hashing.verify(stored, "zw\u00f6lf Boxk\u00e4mpfer")).is_right


async def test_where_nothing_is_stored_nothing_is_right() -> None:
    hashing = Hashing(cheap_hasher())
    assert not (await hashing.verify(None, "")).is_right
    assert not (await hashing.verify(None, PASSWORD)).is_right


async def test_what_is_longer_than_a_password_may_be_is_wrong() -> None:
    hashing = Hashing(cheap_hasher())
    stored = await hashing.hash("x" * 256)
    assert (await hashing.verify(stored, "x" * 256)).is_right
    assert not (await hashing.verify(stored, "x" * 100_000)).is_right


async def test_two_are_hashed_at_a_time_and_too_many_are_refused() -> None:
    at_once, most = 0, 0
    lock, go_on = threading.Lock(), threading.Event()

    class Slow:
        def hash(self, _password: str) -> str:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            go_on.wait(5)
            with lock:
                at_once -= 1
            return "hash"

    hashing = Hashing(Slow(), waiting_max=6)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(hashing.hash("x")) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyAttempts):
        await hashing.hash("x")
    go_on.set()
    assert await asyncio.gather(*tasks) == ["hash"] * 6
    assert most == 2
    assert await hashing.hash("x") == "hash"


async def test_a_password_that_will_not_do_is_not_hashed() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await hash_new_password("password123", email="ada@example.com")
    assert caught.value.facts["param"] == "password"
