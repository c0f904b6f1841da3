"""What every Storage promises of what providers keep, run on every engine: recorded with the resolution."""

import pytest

from tests.contracts.test_storage import World, settle, void
from tests.fakes.clock import MovableClock
from tokenopen.core.admission import Resolution
from tokenopen.ports.storage import Storage
from tokenopen.storage.provider_object import find_provider_objects


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.fixture
async def world(storage: Storage, clock: MovableClock) -> World:
    world = World(storage=storage, clock=clock)
    await world.set_up(balance=1_000)
    return world


def making(resolution: Resolution, *ids: str, at: str = "ups_1") -> Resolution:
    """Return the resolution of a call whose reply named these ids."""
    return resolution.changed(outcome=resolution.outcome.changed(created_ids=ids, upstream_id=at))


async def test_what_a_reply_made_is_its_accounts_whether_it_was_charged_or_not(world: World) -> None:
    settled, voided = world.admission(), world.admission()
    await world.admit(settled, voided)
    await world.resolve(
        making(settle(settled, 30), "resp_1", "msg_1", "resp_1"), making(void(voided), "resp_2", "msg_1")
    )
    account_id = settled.facts.account_id
    asked = ["resp_1", "msg_1", "resp_2", "resp_3"]
    async with world.storage.read() as tx:
        found = await find_provider_objects(tx, account_id, asked)
        of_another = await find_provider_objects(tx, "acc_another", asked)
    assert found.keys() == {"resp_1", "msg_1", "resp_2"}
    assert {thing.upstream_id for thing in found.values()} == {"ups_1"}
    assert {thing.model for thing in found.values()} == {settled.facts.model}
    assert of_another == {}


async def test_an_id_stays_where_it_was_made_first(world: World) -> None:
    """A provider that gives an id twice must not move what an earlier reply made."""
    first, second = world.admission(), world.admission()
    await world.admit(first, second)
    await world.resolve(making(settle(first, 30), "resp_1"))
    await world.resolve(making(settle(second, 30), "resp_1", at="ups_2"))
    async with world.storage.read() as tx:
        found = await find_provider_objects(tx, first.facts.account_id, ["resp_1"])
    assert found["resp_1"].upstream_id == "ups_1"
    assert len(await world.rows("calls")) == 2
