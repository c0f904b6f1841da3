"""A money POST that is sent again is answered again, and done once."""

import asyncio

import pytest
from sqlalchemy import func, select

from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor
from tokenopen.control.idempotency import Answer, answer_once
from tokenopen.control.ledger import top_up
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.money import Nanocredits
from tokenopen.storage import schema
from tokenopen.storage.sqlite import SqliteStorage


class Asking:
    """One actor's requests to top a user up, all alike but for what is named."""

    def __init__(self, storage: SqliteStorage, actor: Actor, user: Actor) -> None:
        self._storage = storage
        self._actor = actor
        self._user = user
        self.done = 0

    async def ask(self, key: str | None, *, amount: int = 5, fail: bool = False) -> Answer:
        async with self._storage.write() as tx:

            async def act() -> Answer:
                posting = await top_up(
                    tx,
                    self._actor,
                    user_id=self._user.user_id,
                    amount=Nanocredits(amount),
                    reason="Paid",
                )
                if fail:
                    raise Conflict("Not now.")
                self.done += 1
                return Answer(status=201, body=posting.entry.id.encode())

            return await answer_once(tx, self._actor, key=key, request={"amount": amount}, act=act)

    async def balance(self) -> int:
        async with self._storage.read() as tx:
            row = await tx.fetch_one(
                select(schema.accounts).where(schema.accounts.c.id == self._user.account_id)
            )
        assert row is not None
        return int(row["balance"])


@pytest.fixture
def asking(storage: SqliteStorage, administrator: Actor, user: Actor) -> Asking:
    return Asking(storage, administrator, user)


async def test_a_repeat_is_answered_again_and_not_done_again(asking: Asking, clock: MovableClock) -> None:
    first = await asking.ask("a")
    clock.move(seconds=3600)
    assert await asking.ask("a") == first
    assert await asking.balance() == 5


async def test_repeats_at_once_are_all_answered_alike(asking: Asking) -> None:
    answers = await asyncio.gather(*(asking.ask("a") for _ in range(20)))
    assert len({answer.body for answer in answers}) == 1
    assert (asking.done, await asking.balance()) == (1, 5)


async def test_without_a_key_every_request_is_done(asking: Asking) -> None:
    await asking.ask(None)
    await asking.ask(None)
    assert await asking.balance() == 10


async def test_a_key_belongs_to_one_request(asking: Asking) -> None:
    await asking.ask("a")
    with pytest.raises(Conflict):
        await asking.ask("a", amount=6)
    assert await asking.balance() == 5


async def test_a_key_is_its_actors_own(
    asking: Asking, storage: SqliteStorage, administrator: Actor, user: Actor, other_user: Actor
) -> None:
    await asking.ask("a")
    second = Actor(
        user_id=other_user.user_id,
        email=other_user.email,
        role="administrator",
        account_id=other_user.account_id,
        via="management_key",
    )
    await Asking(storage, second, user).ask("a", amount=7)
    assert await asking.balance() == 12


async def test_a_refused_request_leaves_nothing_and_may_be_sent_again(
    asking: Asking, storage: SqliteStorage
) -> None:
    with pytest.raises(Conflict):
        await asking.ask("a", fail=True)
    assert await asking.balance() == 0
    async with storage.read() as tx:
        row = await tx.fetch_one(select(func.count().label("count")).select_from(schema.idempotency_keys))
    assert row is not None
    assert row["count"] == 0
    await asking.ask("a")
    assert await asking.balance() == 5


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "schlüssel"])
async def test_a_key_that_cannot_be_one_is_refused(asking: Asking, key: str) -> None:
    with pytest.raises(InvalidRequest):
        await asking.ask(key)
    assert await asking.balance() == 0
