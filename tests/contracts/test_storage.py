"""What every Storage promises, run on every engine."""

import asyncio
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select, update

from tests.fakes.clock import START_MS, MovableClock
from tokenopen.core.admission import (
    LAPSED,
    STALE,
    Admission,
    Admitted,
    AlreadyResolved,
    Resolution,
    Resolved,
)
from tokenopen.core.call import CallFacts, Outcome
from tokenopen.core.errors import InsufficientCredit, KeyCreditLimitReached, RpmExceeded
from tokenopen.core.estimate import Quote
from tokenopen.core.group import Limits
from tokenopen.core.identifier import new_id
from tokenopen.core.money import Nanocredits
from tokenopen.core.terms import Terms
from tokenopen.ports.storage import Batch, Storage, WorkerView
from tokenopen.storage import schema
from tokenopen.storage.version import bump_account_version, bump_catalog_version

UTC = ZoneInfo("UTC")
# Tests that let days pass renew nothing.
LEASE_MS = 400 * 24 * 3_600_000
NO_LIMITS = Limits(requests_per_minute=None, requests_per_day=None)


@dataclass
class World:
    """A database with one user, and short ways to say what happens to it."""

    storage: Storage
    clock: MovableClock

    async def set_up(self, *, balance: int, credit_limit: int | None = None) -> None:
        async with self.storage.write() as tx:
            await tx.execute(insert(schema.versions).values(name="catalog", value=1))
            await tx.execute(
                insert(schema.users).values(
                    id="usr_1", email="a@b", name="A", role="user", state="active", created_at_ms=START_MS
                )
            )
            await tx.execute(
                insert(schema.accounts).values(
                    id="acc_1",
                    user_id="usr_1",
                    state="active",
                    version=1,
                    balance=balance,
                    held=0,
                    newest_ms=0,
                    entry_count=0,
                    created_at_ms=START_MS,
                )
            )
            for name in ("grp_1", "grp_2"):
                await tx.execute(
                    insert(schema.groups).values(
                        id=name,
                        slug=name,
                        name=name,
                        suitable_for="",
                        visibility="public",
                        custom_terms=False,
                        state="active",
                        created_at_ms=START_MS,
                    )
                )
            await tx.execute(
                insert(schema.api_keys).values(
                    id="key_1",
                    public_id="p",
                    key_hash=b"h",
                    last_four="0000",
                    account_id="acc_1",
                    user_id="usr_1",
                    group_id="grp_1",
                    name="k",
                    state="active",
                    credit_limit=credit_limit,
                    spent=0,
                    held=0,
                    created_at_ms=START_MS,
                )
            )
        await self.storage.register_worker("wrk_1", machine="here", lease_ms=LEASE_MS)

    def admission(
        self, *, hold: int = 100, limits: Limits = NO_LIMITS, group_id: str = "grp_1", **changes: object
    ) -> Admission:
        """An admission whose hold is exactly ``hold``."""
        facts = CallFacts(
            call_id=new_id("call", self.clock.now_ms()),
            account_id="acc_1",
            user_id="usr_1",
            key_id="key_1",
            group_id=group_id,
            surface="chat",
            stream=False,
            model="m",
            price_revision_id="prv_1",
            terms=Terms(
                group_revision_id="grv_1",
                entitlement_id=None,
                multiplier_ppm=1_000_000,
                multiplier_rule="group",
                limits=limits,
            ),
        )
        quote = Quote(
            fixed_scaled=hold * 10**12,
            per_output_unit_scaled=0,
            output_units=1,
            capped_output_units=None,
            choices=1,
        )
        admission = Admission(
            facts=facts,
            quote=quote,
            catalog_version=1,
            account_version=1,
            valid_until_ms=None,
            worker_id="wrk_1",
            zone=UTC,
            group_name="One",
            support_contact="",
        )
        return admission.changed(**changes)

    async def admit(self, *admissions: Admission) -> list[object]:
        answer = await self.storage.post(Batch(resolutions=(), admissions=admissions))
        return list(answer.admissions)

    async def resolve(self, *resolutions: Resolution, repeated: bool = False) -> list[object]:
        batch = Batch(resolutions=resolutions, admissions=(), repeated=repeated)
        return list((await self.storage.post(batch)).resolutions)

    async def row(self, table: str) -> dict[str, object]:
        async with self.storage.read() as tx:
            row = await tx.fetch_one(select(schema.metadata.tables[table]))
        assert row is not None
        return dict(row)

    async def rows(self, table: str) -> list[dict[str, object]]:
        async with self.storage.read() as tx:
            return [dict(row) for row in await tx.fetch_all(select(schema.metadata.tables[table]))]


def settle(admission: Admission, due: int) -> Resolution:
    outcome = Outcome(
        resolution="settle", end_reason="completed", due=Nanocredits(due), usage_json="{}", status=200
    )
    return Resolution(facts=admission.facts, outcome=outcome)


def void(admission: Admission, *, must_not_cost: bool = False) -> Resolution:
    outcome = Outcome(resolution="void", end_reason="client_left_early")
    return Resolution(facts=admission.facts, outcome=outcome, must_not_cost=must_not_cost)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.fixture
async def world(storage: Storage, clock: MovableClock) -> World:
    return World(storage=storage, clock=clock)


async def test_an_admitted_call_holds_credit_and_a_settled_one_takes_it(world: World) -> None:
    await world.set_up(balance=1_000)
    call = world.admission(hold=300)
    (admitted,) = await world.admit(call)
    assert isinstance(admitted, Admitted)
    assert admitted.hold == 300
    account = await world.row("accounts")
    assert (account["balance"], account["held"]) == (1_000, 300)

    (resolved,) = await world.resolve(settle(call, 120))
    assert isinstance(resolved, Resolved)
    assert (resolved.charge, resolved.absorbed, resolved.balance_after) == (120, 0, 880)
    account = await world.row("accounts")
    assert (account["balance"], account["held"], account["entry_count"]) == (880, 0, 1)
    (entry,) = await world.rows("ledger_entries")
    assert (entry["kind"], entry["amount"], entry["balance_after"]) == ("charge", -120, 880)
    stored = await world.row("calls")
    assert (stored["state"], stored["charge"], stored["end_reason"]) == ("settled", 120, "completed")
    key = await world.row("api_keys")
    assert (key["spent"], key["held"]) == (120, 0)
    hour = await world.row("usage_hours")
    assert (hour["calls"], hour["charge"]) == (1, 120)


async def test_a_call_is_resolved_exactly_once(world: World) -> None:
    await world.set_up(balance=1_000)
    call = world.admission(hold=300)
    await world.admit(call)
    first = await world.resolve(settle(call, 120))
    again = await world.resolve(settle(call, 120), void(call))
    assert isinstance(first[0], Resolved)
    assert again == [AlreadyResolved(state="settled"), AlreadyResolved(state="settled")]
    assert (await world.row("accounts"))["balance"] == 880
    assert len(await world.rows("ledger_entries")) == 1


async def test_two_resolutions_of_one_call_in_one_batch_take_one_charge(world: World) -> None:
    await world.set_up(balance=1_000)
    call = world.admission(hold=300)
    await world.admit(call)
    answers = await world.resolve(settle(call, 120), settle(call, 120))
    assert [type(answer) for answer in answers] == [Resolved, AlreadyResolved]
    account = await world.row("accounts")
    assert (account["balance"], account["held"]) == (880, 0)


async def test_a_repeated_batch_finds_what_its_first_try_applied(world: World) -> None:
    """The connection was lost at COMMIT: the caller of the till must get the answer, the ledger one entry."""
    await world.set_up(balance=1_000)
    first, second = world.admission(hold=300), world.admission(hold=50)
    await world.storage.post(Batch(resolutions=(), admissions=(first,)))
    answer = await world.storage.post(Batch(resolutions=(), admissions=(first, second), repeated=True))
    assert [type(decided) for decided in answer.admissions] == [Admitted, Admitted]
    assert len(await world.rows("calls")) == 2
    assert (await world.row("accounts"))["held"] == 350
    (window,) = await world.rows("rate_windows")
    assert window["day_count"] == 2

    await world.resolve(settle(first, 120))
    (resolved,) = await world.resolve(settle(first, 120), repeated=True)
    assert isinstance(resolved, Resolved)
    assert (resolved.charge, resolved.absorbed) == (120, 0)
    assert len(await world.rows("ledger_entries")) == 1


async def test_a_refused_call_leaves_no_trace(world: World) -> None:
    await world.set_up(balance=100)
    before = [await world.rows(table) for table in ("accounts", "api_keys", "rate_windows", "calls")]
    (refused,) = await world.admit(world.admission(hold=101))
    assert isinstance(refused, InsufficientCredit)
    assert [await world.rows(t) for t in ("accounts", "api_keys", "rate_windows", "calls")] == before


async def test_of_two_calls_for_the_last_credit_one_is_refused(world: World) -> None:
    await world.set_up(balance=100)
    answers = await world.admit(world.admission(hold=60), world.admission(hold=60))
    assert [type(answer) for answer in answers] == [Admitted, InsufficientCredit]


async def test_a_key_never_spends_more_than_its_own_limit(world: World) -> None:
    await world.set_up(balance=1_000, credit_limit=100)
    first, second = world.admission(hold=60), world.admission(hold=60)
    answers = await world.admit(first, second)
    assert [type(answer) for answer in answers] == [Admitted, KeyCreditLimitReached]
    (resolved,) = await world.resolve(settle(first, 500))
    assert isinstance(resolved, Resolved)
    assert (resolved.charge, resolved.absorbed) == (100, 400)


async def test_resolutions_come_before_admissions_so_freed_credit_serves_them(world: World) -> None:
    await world.set_up(balance=100)
    first, second = world.admission(hold=100), world.admission(hold=90)
    await world.admit(first)
    answer = await world.storage.post(Batch(resolutions=(settle(first, 10),), admissions=(second,)))
    assert isinstance(answer.admissions[0], Admitted)


async def test_exactly_the_limit_is_admitted_and_each_group_counts_for_itself(world: World) -> None:
    await world.set_up(balance=10**9)
    limits = Limits(requests_per_minute=60, requests_per_day=None)
    answers = await world.admit(*(world.admission(limits=limits) for _ in range(200)))
    assert sum(isinstance(answer, Admitted) for answer in answers) == 60
    assert sum(isinstance(answer, RpmExceeded) for answer in answers) == 140
    (other,) = await world.admit(world.admission(limits=limits, group_id="grp_2"))
    assert isinstance(other, Admitted)
    world.clock.move(seconds=60)
    (early,) = await world.admit(world.admission(limits=limits))
    assert isinstance(early, RpmExceeded)
    world.clock.move(seconds=1)
    (later,) = await world.admit(world.admission(limits=limits))
    assert isinstance(later, Admitted)


async def test_a_change_of_catalog_or_account_makes_older_terms_stale(world: World) -> None:
    await world.set_up(balance=1_000)
    async with world.storage.write() as tx:
        await bump_account_version(tx, "acc_1")
    assert await world.admit(world.admission()) == [STALE]
    assert isinstance((await world.admit(world.admission(account_version=2)))[0], Admitted)
    async with world.storage.write() as tx:
        await bump_catalog_version(tx)
    assert await world.admit(world.admission(account_version=2)) == [STALE]
    current = world.admission(account_version=2, catalog_version=2, valid_until_ms=START_MS)
    assert await world.admit(current) == [STALE]


async def test_an_item_at_fault_leaves_nothing_of_its_batch(world: World) -> None:
    await world.set_up(balance=1_000)
    good, unknown = world.admission(), world.admission()
    with pytest.raises(AssertionError):
        await world.storage.post(Batch(resolutions=(settle(unknown, 1),), admissions=(good,)))
    assert await world.rows("calls") == []
    assert (await world.row("accounts"))["held"] == 0
    assert isinstance((await world.admit(good))[0], Admitted)


async def test_a_void_of_a_call_that_turned_out_settled_refunds_it_once(world: World) -> None:
    await world.set_up(balance=1_000)
    call = world.admission(hold=300)
    await world.admit(call)
    await world.resolve(settle(call, 120))
    (refunded,) = await world.resolve(void(call, must_not_cost=True))
    assert isinstance(refunded, Resolved)
    assert (refunded.refund, refunded.balance_after) == (120, 1_000)
    assert await world.resolve(void(call, must_not_cost=True)) == [AlreadyResolved(state="settled")]
    assert [entry["kind"] for entry in await world.rows("ledger_entries")] == ["charge", "refund"]
    assert (await world.row("calls"))["refunded"] == 120


async def test_a_void_of_a_call_that_was_never_admitted_does_nothing(world: World) -> None:
    await world.set_up(balance=1_000)
    assert await world.resolve(void(world.admission())) == [AlreadyResolved(state="voided")]


async def test_open_calls_of_a_worker_whose_lease_was_taken_away_are_orphans(world: World) -> None:
    await world.set_up(balance=1_000)
    call = world.admission(hold=300)
    await world.admit(call)
    world.clock.move(milliseconds=LEASE_MS - 1)
    assert await world.storage.renew_lease("wrk_1", lease_ms=30_000) == "kept"
    world.clock.move(seconds=29)
    assert not await world.storage.take_lease("wrk_1", only_lapsed=True)
    world.clock.move(seconds=1)
    # Lapsed, and yet nobody's before it is taken: after an outage of the database everybody's has lapsed.
    assert await world.storage.list_orphans(limit=10) == []
    assert await world.storage.take_lease("wrk_1", only_lapsed=True)
    assert not await world.storage.take_lease("wrk_1", only_lapsed=False)
    assert await world.storage.renew_lease("wrk_1", lease_ms=30_000) == "taken"
    (orphan,) = await world.storage.list_orphans(limit=10)
    assert orphan == call.facts
    expire = Outcome(resolution="expire", end_reason="worker_gone")
    await world.resolve(Resolution(facts=orphan, outcome=expire))
    assert await world.resolve(settle(call, 10)) == [AlreadyResolved(state="expired")]
    account = await world.row("accounts")
    assert (account["balance"], account["held"]) == (1_000, 0)


async def test_a_lease_that_lapsed_keeps_its_calls_alive_once_renewed_and_never_admits_again(
    world: World,
) -> None:
    await world.set_up(balance=1_000)
    call = world.admission(hold=300)
    await world.admit(call)
    world.clock.move(milliseconds=LEASE_MS - 1)
    assert isinstance((await world.admit(world.admission()))[0], Admitted)
    world.clock.move(milliseconds=1)
    assert await world.admit(world.admission()) == [LAPSED]
    assert await world.storage.list_workers() == [WorkerView(id="wrk_1", machine="here", lapsed=True)]
    assert await world.storage.renew_lease("wrk_1", lease_ms=30_000) == "revived"
    assert await world.storage.list_workers() == [WorkerView(id="wrk_1", machine="here", lapsed=False)]
    assert not await world.storage.take_lease("wrk_1", only_lapsed=True)
    assert await world.admit(world.admission()) == [LAPSED]
    assert await world.storage.renew_lease("wrk_1", lease_ms=30_000) == "revived"
    assert isinstance((await world.resolve(settle(call, 10)))[0], Resolved)
    assert (await world.row("accounts"))["held"] == 100


async def test_an_admission_under_a_lease_that_was_taken_away_changes_nothing(world: World) -> None:
    await world.set_up(balance=1_000)
    assert await world.storage.take_lease("wrk_1", only_lapsed=False)
    assert await world.admit(world.admission()) == [LAPSED]
    assert await world.admit(world.admission(worker_id="wrk_2")) == [LAPSED]
    account = await world.row("accounts")
    assert (account["held"], account["newest_ms"]) == (0, 0)
    assert await world.rows("calls") == await world.rows("rate_windows") == []


async def test_an_admission_that_was_committed_before_its_lease_was_taken_is_found(world: World) -> None:
    await world.set_up(balance=1_000)
    call = world.admission()
    await world.admit(call)
    await world.storage.take_lease("wrk_1", only_lapsed=False)
    answer = await world.storage.post(Batch(resolutions=(), admissions=[call], repeated=True))
    assert isinstance(answer.admissions[0], Admitted)


async def test_a_worker_is_forgotten_once_it_has_no_open_calls(world: World) -> None:
    await world.set_up(balance=1_000)
    call = world.admission()
    await world.admit(call)
    assert not await world.storage.retire_worker("wrk_1")
    await world.resolve(void(call))
    assert await world.storage.retire_worker("wrk_1")
    assert await world.storage.list_workers() == []


async def test_time_on_the_account_never_runs_backwards(world: World) -> None:
    await world.set_up(balance=1_000)
    (first,) = await world.admit(world.admission())
    world.clock.set_back(seconds=5)
    (second,) = await world.admit(world.admission())
    assert isinstance(first, Admitted)
    assert isinstance(second, Admitted)
    assert second.admitted_at_ms == first.admitted_at_ms


async def test_a_write_that_fails_is_rolled_back_and_the_next_one_succeeds(world: World) -> None:
    await world.set_up(balance=1_000)

    async def fail() -> None:
        async with world.storage.write() as tx:
            await tx.execute(update(schema.accounts).values(balance=1))
            raise RuntimeError("the use case failed")

    with pytest.raises(RuntimeError):
        await fail()
    assert (await world.row("accounts"))["balance"] == 1_000
    async with world.storage.write() as tx:
        await tx.execute(update(schema.accounts).values(balance=7))
    assert (await world.row("accounts"))["balance"] == 7


async def test_a_reader_sees_one_snapshot_and_can_write_nothing(world: World) -> None:
    await world.set_up(balance=1_000)
    async with world.storage.read() as tx:
        before = await tx.fetch_one(select(schema.accounts.c.balance))
        async with world.storage.write() as writer:
            await writer.execute(update(schema.accounts).values(balance=7))
        assert await tx.fetch_one(select(schema.accounts.c.balance)) == before
    with pytest.raises(Exception, match=r"readonly|read-only"):
        async with world.storage.read() as tx:
            await tx.execute(update(schema.accounts).values(balance=8))
    assert (await world.row("accounts"))["balance"] == 7


async def test_batches_and_control_transactions_side_by_side_lose_nothing(world: World) -> None:
    await world.set_up(balance=10**6)

    async def top_up() -> None:
        async with world.storage.write() as tx:
            await tx.execute(update(schema.accounts).values(balance=schema.accounts.c.balance + 10))
            await asyncio.sleep(0)

    async def call() -> None:
        admission = world.admission(hold=50)
        await world.admit(admission)
        await world.resolve(settle(admission, 20))

    await asyncio.gather(*(top_up() for _ in range(40)), *(call() for _ in range(40)))
    account = await world.row("accounts")
    assert (account["balance"], account["held"]) == (10**6 + 40 * 10 - 40 * 20, 0)
