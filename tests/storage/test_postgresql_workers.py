"""Several workers on one PostgreSQL database: exact together, never waiting for each other in a circle."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.storage.conftest import GROUP, LIMITED_GROUP, Workers
from tests.till_calls import TillCalls
from tokenopen.control.api_key import Narrowing, create_api_key
from tokenopen.control.entitlement import OwnTerms, delete_entitlement, put_entitlement
from tokenopen.control.group import update_group
from tokenopen.control.idempotency import Answer, answer_once
from tokenopen.control.ledger import top_up
from tokenopen.control.user import UserChanges, create_user, update_user
from tokenopen.core.admission import LAPSED, STALE, Admission, Admitted, Resolution, Resolved
from tokenopen.core.errors import Conflict, InsufficientCredit, RpmExceeded, StorageUnavailable
from tokenopen.core.group_history import GroupChanges
from tokenopen.core.money import Nanocredits
from tokenopen.gateway.till import Till
from tokenopen.ports.storage import AdmissionAnswer, Batch, Transaction
from tokenopen.storage.version import lock_account

pytestmark = pytest.mark.slow

USAGE = {"input": 1_234, "output": 56}
HOLD = 10**6


async def admit_on_both(workers: Workers, admissions: Sequence[Admission]) -> Sequence[AdmissionAnswer]:
    """Admit by turns on the one and the other worker, all at once."""
    tills = itertools.cycle(workers.tills)
    return await asyncio.gather(*(next(tills).admit(admission) for admission in admissions))


async def test_of_200_calls_on_two_workers_60_are_admitted_at_60_requests_per_minute(
    workers: Workers,
) -> None:
    calls = await workers.calls.with_key(group=LIMITED_GROUP)
    answers = await admit_on_both(workers, [await calls.admission(hold=1) for _ in range(200)])
    assert Counter(type(answer) for answer in answers) == {Admitted: 60, RpmExceeded: 140}
    await workers.assert_sound()


async def test_of_400_calls_on_two_workers_with_credit_for_37_exactly_37_are_admitted(
    workers: Workers,
) -> None:
    poor = await workers.add_caller("poor@example.com", credit="0.37")
    admissions = [await poor.admission(hold=10**7) for _ in range(400)]
    answers = await admit_on_both(workers, admissions)
    assert Counter(type(answer) for answer in answers) == {Admitted: 37, InsufficientCredit: 363}
    assert await workers.held([poor]) == 37 * 10**7
    outcome = await poor.outcome(admissions[0], USAGE)
    settled = await asyncio.gather(
        *(
            till.resolve(Resolution(facts=admission.facts, outcome=outcome))
            for till, admission, answer in zip(
                itertools.cycle(workers.tills), admissions, answers, strict=False
            )
            if isinstance(answer, Admitted)
        )
    )
    assert len(settled) == 37
    assert all(isinstance(each, Resolved) and each.charge == outcome.due for each in settled)
    assert await workers.held([poor]) == 0
    await workers.assert_sound()


async def test_a_change_on_one_worker_binds_the_very_next_call_on_the_other(workers: Workers) -> None:
    calls, (first, second) = workers.calls, workers.storages
    for change in (_change_group, _change_user, _change_entitlement):
        admission = await calls.admission()
        async with first.write() as tx:
            await change(tx, workers, calls, 1)
        answer = await second.post(Batch(resolutions=(), admissions=[admission]))
        assert answer.admissions == [STALE]


async def test_batches_and_changes_of_every_kind_at_once_never_wait_in_a_circle(workers: Workers) -> None:
    """Two workers, five accounts in each batch, and administrators who change the same rows meanwhile."""
    callers = [workers.calls]
    callers += [await workers.add_caller(f"u{number}@example.com", credit="10") for number in range(4)]
    changes = (
        _change_group,
        _change_user,
        _change_entitlement,
        _create_key,
        _top_up_oneself,
    )
    done: Counter[str] = Counter()

    async def call(number: int) -> None:
        caller, till = callers[number % len(callers)], workers.tills[number % 2]
        for _ in range(12):
            admission, answer = await _admit(caller, till)
            if isinstance(answer, Admitted):
                outcome = await caller.outcome(admission, USAGE)
                resolved = await till.resolve(Resolution(facts=admission.facts, outcome=outcome))
                assert isinstance(resolved, Resolved)
                done["calls"] += 1
            else:
                assert not isinstance(answer, StorageUnavailable)

    async def administer(change: Change, storage_index: int) -> None:
        for number in range(10):
            async with workers.storages[storage_index].write() as tx:
                await change(tx, workers, callers[number % len(callers)], number)
            done[change.__name__] += 1

    await asyncio.gather(
        *(call(number) for number in range(20)),
        *(administer(change, index) for change in changes for index in (0, 1)),
    )
    assert {done[change.__name__] for change in changes} == {20}
    assert done["calls"] > 100
    assert await workers.held(callers) == 0
    await workers.assert_sound()


async def test_a_batch_locks_its_accounts_in_the_order_of_their_ids(workers: Workers) -> None:
    """While it waits for the one in the middle, those after it are free: nobody waits for it in turn."""
    callers = [workers.calls]
    callers += [await workers.add_caller(f"u{number}@example.com", credit="1") for number in range(2)]
    callers.sort(key=lambda caller: caller.user.account_id)
    admissions = [await caller.admission() for caller in reversed(callers)]
    async with workers.storages[1].write() as tx:
        await lock_account(tx, callers[1].user.account_id)
        posting = asyncio.create_task(
            workers.storages[0].post(Batch(resolutions=(), admissions=admissions)), name="post"
        )
        await workers.until_waiting()
        free = await workers.ask_server(
            "SELECT array_agg(id) FROM (SELECT id FROM accounts WHERE id = ANY($1) FOR UPDATE SKIP LOCKED)",
            [caller.user.account_id for caller in callers],
        )
        assert free == [callers[2].user.account_id]
    assert all(isinstance(answer, Admitted) for answer in (await posting).admissions)


async def test_a_user_who_is_changed_while_they_top_up_is_no_circle(workers: Workers) -> None:
    """A money POST locks its user, then the account; a change of that user must not do it the other way."""
    user = workers.calls.user

    async def change() -> None:
        async with workers.storages[1].write() as tx:
            await update_user(tx, workers.administrator, user.user_id, {"name": "Changed"})

    changing: list[asyncio.Task[None]] = []

    async def act() -> Answer:
        changing.append(asyncio.create_task(change()))
        await workers.until_waiting()
        await top_up(
            tx, workers.administrator, user_id=user.user_id, amount=Nanocredits(7), reason="meanwhile"
        )
        return Answer(status=200, body=b"{}")

    async with workers.storages[0].write() as tx:
        await answer_once(tx, user, key="once", request={}, act=act)
    await asyncio.gather(*changing)
    await workers.assert_sound()


async def test_of_two_users_created_with_one_mail_address_at_once_one_is_refused(workers: Workers) -> None:
    async def create(tx: Transaction) -> None:
        await create_user(
            tx, workers.administrator, email="same@example.com", name="Same", role="user", password_hash=None
        )

    async def create_too() -> None:
        async with workers.storages[1].write() as tx:
            await create(tx)

    async with workers.storages[0].write() as tx:
        await create(tx)
        creating = asyncio.create_task(create_too())
        await workers.until_waiting()
    with pytest.raises(Conflict, match="There is a user same@example"):
        await creating


async def test_a_busy_account_holds_up_nobody_else(workers: Workers) -> None:
    """Somebody has locked it by hand. Its settlement is done once the lock is gone, exactly once."""
    busy, other = workers.calls, await workers.add_caller("other@example.com", credit="1")
    till = workers.tills[0]
    running = await busy.admit(hold=10**9)
    async with workers.storages[1].write() as tx:
        await top_up(
            tx, workers.administrator, user_id=busy.user.user_id, amount=Nanocredits(1), reason="slowly"
        )
        outcome = await busy.outcome(running, USAGE)
        settling = till.put(Resolution(facts=running.facts, outcome=outcome))
        blocked, passed = await asyncio.gather(
            till.admit(await busy.admission()), till.admit(await other.admission())
        )
        assert isinstance(blocked, StorageUnavailable)
        assert isinstance(passed, Admitted)
        assert not settling.done()
    settled = await settling
    assert isinstance(settled, Resolved)
    assert settled.charge == outcome.due
    assert isinstance(await till.admit(await busy.admission()), Admitted)
    await workers.assert_sound()


async def test_a_worker_that_starts_leaves_the_living_and_their_calls_alone(workers: Workers) -> None:
    first, second = workers.storages
    running = await workers.calls.admit()
    await second.register_worker("wrk_second", machine="", lease_ms=30_000)
    assert await second.renew_lease(workers.calls.worker_id, lease_ms=30_000) == "kept"
    await workers.ask_server("UPDATE workers SET lease_until_ms = 0 WHERE id = $1", workers.calls.worker_id)
    await first.register_worker("wrk_third", machine="", lease_ms=30_000)
    assert await second.list_orphans(limit=10) == []
    assert await workers.ask_server("SELECT count(*) FROM workers") == 3
    await first.retire_worker("wrk_third")
    # One that still has open calls stays known, so that its lease goes on protecting them.
    await first.retire_worker(workers.calls.worker_id)
    assert await workers.ask_server("SELECT count(*) FROM workers") == 2
    assert await second.take_lease(workers.calls.worker_id, only_lapsed=True)
    assert await second.list_orphans(limit=10) == [running.facts]


async def test_a_lease_is_not_taken_while_a_batch_admits_under_it_and_nothing_is_admitted_after(
    workers: Workers,
) -> None:
    """The batch waits for its account with the lease in hand; the reaper waits for the batch."""
    first, second = workers.storages
    admission, late = await workers.calls.admission(), await workers.calls.admission()
    async with second.write() as tx:
        await lock_account(tx, workers.calls.user.account_id)
        admitting = asyncio.create_task(first.post(Batch(resolutions=(), admissions=[admission])))
        await workers.until_waiting()
        # A renewal waits for nobody.
        assert await first.renew_lease(workers.calls.worker_id, lease_ms=30_000) == "kept"
        taking = asyncio.create_task(second.take_lease(workers.calls.worker_id, only_lapsed=False))
        await asyncio.sleep(0.1)
        assert not taking.done()
    assert isinstance((await admitting).admissions[0], Admitted)
    assert await taking
    assert await second.list_orphans(limit=10) == [admission.facts]
    assert (await first.post(Batch(resolutions=(), admissions=[late]))).admissions == [LAPSED]
    await workers.assert_sound()


Change = Callable[[Transaction, Workers, TillCalls, int], Awaitable[None]]


async def _admit(caller: TillCalls, till: Till) -> tuple[Admission, AdmissionAnswer]:
    """Admit a call as the gateway does: resolved anew for as long as it is stale."""
    while True:
        admission = await caller.admission(hold=random.randint(1, HOLD))
        answer = await till.admit(admission)
        if answer is not STALE:
            return admission, answer


async def _change_group(tx: Transaction, workers: Workers, _caller: TillCalls, number: int) -> None:
    changes: GroupChanges = {"multiplier_ppm": 900_000 + number}
    await update_group(tx, workers.administrator, GROUP, changes)


async def _change_user(tx: Transaction, workers: Workers, caller: TillCalls, number: int) -> None:
    changes: UserChanges = {"name": f"Name {number} {random.random()}"}
    await update_user(tx, workers.administrator, caller.user.user_id, changes)


async def _change_entitlement(tx: Transaction, workers: Workers, caller: TillCalls, number: int) -> None:
    user_id = caller.user.user_id
    terms = OwnTerms(multiplier_ppm=random.randint(1, 10**6))
    await put_entitlement(tx, workers.administrator, user_id, "vip", terms)
    if number % 2 == 0:
        await delete_entitlement(tx, workers.administrator, user_id, "vip")


async def _create_key(tx: Transaction, workers: Workers, caller: TillCalls, number: int) -> None:
    await create_api_key(
        tx,
        caller.user,
        user_id=caller.user.user_id,
        name=f"Key {number}",
        group=None,
        narrowing=Narrowing(),
        hashing_key=b"h" * 32,
    )


async def _top_up_oneself(tx: Transaction, workers: Workers, caller: TillCalls, number: int) -> None:
    """The one who asks and the one whose account it is are one user, who may be changed at the same time."""
    actor = workers.administrator if number % 2 else caller.user

    async def act() -> Answer:
        administrator = workers.administrator
        await top_up(tx, administrator, user_id=actor.user_id, amount=Nanocredits(7), reason="Test")
        return Answer(status=200, body=b"{}")

    await answer_once(tx, actor, key=f"{number}-{random.random()}", request={}, act=act)
