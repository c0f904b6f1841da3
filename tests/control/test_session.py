"""What ends by itself is forgotten, and attempts at once are all counted."""

import asyncio

import pytest

from tests.conftest import HASHING_KEY
from tests.fakes.clock import MovableClock
from tests.sessions import give_session
from tokenopen.control.actor import Actor
from tokenopen.control.attempt import Subject, count_attempt, forget_attempts
from tokenopen.control.one_time_link import create_link
from tokenopen.control.session import authenticate, list_sessions, revoke_session, revoke_sessions
from tokenopen.core.errors import NotFound, PermissionDenied, SessionEnded, TooManyAttempts
from tokenopen.core.session import SESSION_IDLE_MS
from tokenopen.core.throttle import Throttle
from tokenopen.jobs.session import forget_ended
from tokenopen.ports.storage import Storage
from tokenopen.storage.schema import attempts, one_time_links, sessions

THROTTLE = Throttle(free=5, first_wait_ms=1_000, longest_wait_ms=60_000, forgotten_after_ms=3_600_000)
SUBJECT = Subject(name="sign in of ada", throttle=THROTTLE)


async def _attempt(storage: Storage) -> bool:
    try:
        async with storage.write() as tx:
            await count_attempt(tx, [SUBJECT], HASHING_KEY)
    except TooManyAttempts:
        return False
    return True


async def test_of_many_attempts_at_once_only_the_free_ones_pass(storage: Storage) -> None:
    passed = await asyncio.gather(*(_attempt(storage) for _ in range(30)))
    assert sum(passed) == 5


async def test_attempts_are_stored_without_what_they_were_made_on(storage: Storage) -> None:
    await _attempt(storage)
    async with storage.read() as tx:
        row = await tx.fetch_one(attempts.select())
    assert "ada" not in str(row)


async def test_success_begins_anew(storage: Storage) -> None:
    for _ in range(5):
        assert await _attempt(storage)
    assert not await _attempt(storage)
    async with storage.write() as tx:
        await forget_attempts(tx, SUBJECT, HASHING_KEY)
    assert await _attempt(storage)


async def test_one_subject_that_has_to_wait_holds_up_all_and_counts_for_none(storage: Storage) -> None:
    other = Subject(name="sign in from 192.0.2.1", throttle=THROTTLE)
    for _ in range(5):
        assert await _attempt(storage)
    for _ in range(10):
        with pytest.raises(TooManyAttempts):
            async with storage.write() as tx:
                await count_attempt(tx, [SUBJECT, other], HASHING_KEY)
    async with storage.write() as tx:
        await count_attempt(tx, [other], HASHING_KEY)


async def test_what_has_ended_is_forgotten_and_nothing_else(
    storage: Storage, clock: MovableClock, user: Actor
) -> None:
    async def rows() -> list[int]:
        async with storage.read() as tx:
            return [len(await tx.fetch_all(table.select())) for table in (sessions, one_time_links, attempts)]

    async def fill() -> str:
        token = await give_session(storage, user.user_id)
        await _attempt(storage)
        async with storage.write() as tx:
            await create_link(
                tx, purpose="password", user_id=user.user_id, email=None, hashing_key=HASHING_KEY
            )
            await count_attempt(tx, [Subject(name=str(clock.now_ms()), throttle=THROTTLE)], HASHING_KEY)
        return token

    await fill()
    await forget_ended(storage)
    assert await rows() == [1, 1, 2]
    clock.move(milliseconds=SESSION_IDLE_MS)
    token = await fill()
    await forget_ended(storage)
    assert await rows() == [1, 1, 2]
    async with storage.read() as tx:
        assert (await authenticate(tx, token, HASHING_KEY)).actor.user_id == user.user_id


async def test_sessions_are_their_user_s_whichever_door_asks(
    storage: Storage, administrator: Actor, user: Actor, other_user: Actor
) -> None:
    token = await give_session(storage, user.user_id)
    async with storage.read() as tx:
        [session] = await list_sessions(tx, user, user_id=user.user_id)
        with pytest.raises(PermissionDenied):
            await list_sessions(tx, other_user, user_id=user.user_id)
    for use_case in (
        lambda tx: revoke_session(tx, other_user, session.id, user_id=user.user_id),
        lambda tx: revoke_sessions(tx, other_user, user_id=user.user_id),
    ):
        with pytest.raises(PermissionDenied):
            async with storage.write() as tx:
                await use_case(tx)
    with pytest.raises(NotFound):
        async with storage.write() as tx:
            await revoke_session(tx, other_user, session.id, user_id=other_user.user_id)
    async with storage.write() as tx:
        assert await revoke_sessions(tx, administrator, user_id=user.user_id) == 1
    with pytest.raises(SessionEnded):
        async with storage.read() as tx:
            await authenticate(tx, token, HASHING_KEY)
