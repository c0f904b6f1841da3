"""A PostgreSQL server that is cut off, killed, silent or frozen: nothing ever doubles or is lost."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.engines import opened_postgresql
from tests.storage.conftest import Workers
from tests.storage.cutting_proxy import Cut, CuttingProxy
from tests.till_calls import TillCalls
from tokenopen.core.admission import Admission, Admitted, Resolution, Resolved
from tokenopen.core.call import Outcome
from tokenopen.core.errors import StorageUnavailable
from tokenopen.gateway import till as till_module
from tokenopen.gateway.till import Till
from tokenopen.ports.storage import Batch, OutcomeUnknown, StorageAway
from tokenopen.storage import postgresql
from tokenopen.storage.postgresql import PostgresqlStorage
from tokenopen.storage.schema import calls as call_rows

pytestmark = pytest.mark.slow

USAGE = {"input": 1_234, "output": 56}
KILL_TILLS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'tokenopen till'"""


@dataclass(kw_only=True)
class Cuttable:
    """A third worker, whose way to the server fails on command."""

    proxy: CuttingProxy
    storage: PostgresqlStorage
    till: Till


@pytest.fixture
async def cuttable(workers: Workers) -> AsyncIterator[Cuttable]:
    async with (
        CuttingProxy(workers.url).listening() as proxy,
        opened_postgresql(proxy.url) as storage,
    ):
        till = Till(storage)
        till.start()
        yield Cuttable(proxy=proxy, storage=storage, till=till)
        await till.close()


async def state_of(workers: Workers, admission: Admission) -> object:
    """Return the state of a call's row, None where there is none."""
    return await workers.ask_server("SELECT state FROM calls WHERE id = $1", admission.facts.call_id)


async def entries_of(workers: Workers, admission: Admission) -> object:
    """Return how many ledger entries a call has."""
    statement = "SELECT count(*) FROM ledger_entries WHERE call_id = $1"
    return await workers.ask_server(statement, admission.facts.call_id)


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_connection_lost_at_commit_leaves_the_outcome_open(
    workers: Workers, cuttable: Cuttable, cut: Cut
) -> None:
    admission = await workers.calls.admission()
    cuttable.proxy.cuts.append(cut)
    with pytest.raises(OutcomeUnknown):
        await cuttable.storage.post(Batch(resolutions=(), admissions=[admission]))
    assert await state_of(workers, admission) == ("held" if cut == "after" else None)


@pytest.mark.parametrize("cuts", [["before"], ["after"], ["before", "before", "after"]])
async def test_an_admission_and_a_settlement_cut_at_commit_are_done_exactly_once(
    workers: Workers, cuttable: Cuttable, cuts: list[Cut], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(till_module, "UNKNOWN_PATIENCE_S", 60)
    calls, till = workers.calls, cuttable.till
    admission = await calls.admission(hold=10**9)
    outcome = await calls.outcome(admission, USAGE)
    cuttable.proxy.cuts.extend(cuts)
    assert isinstance(await till.admit(admission), Admitted)
    assert await workers.held([calls]) == 10**9
    cuttable.proxy.cuts.extend(cuts)
    resolved = await till.resolve(Resolution(facts=admission.facts, outcome=outcome))
    assert isinstance(resolved, Resolved)
    assert resolved.charge == outcome.due
    assert not cuttable.proxy.cuts
    assert await state_of(workers, admission) == "settled"
    assert await entries_of(workers, admission) == 1
    assert await workers.held([calls]) == 0
    await workers.assert_sound()


async def test_a_control_change_cut_at_commit_says_that_its_outcome_is_unknown(
    workers: Workers, cuttable: Cuttable
) -> None:
    async def rename() -> None:
        async with cuttable.storage.write() as tx:
            await tx.execute(call_rows.update().values(model="m"))

    cuttable.proxy.cuts.append("before")
    with pytest.raises(OutcomeUnknown):
        await rename()
    await rename()


async def test_sessions_killed_again_and_again_under_load_double_and_lose_nothing(workers: Workers) -> None:
    callers = [workers.calls]
    callers += [await workers.add_caller(f"u{number}@example.com", credit="10") for number in range(2)]
    counts: Counter[str] = Counter()

    async def call(number: int) -> None:
        caller, till = callers[number % len(callers)], workers.tills[number % 2]
        while counts["killed"] <= 10 or counts["settled"] <= 10:
            admission = await caller.admission(hold=random.randint(10**6, 10**7))
            outcome = await caller.outcome(admission, USAGE)
            await _make_call(till, admission, outcome, counts)

    async def kill() -> None:
        while counts["killed"] <= 10:
            killed = await workers.ask_server(KILL_TILLS)
            assert isinstance(killed, int)
            counts["killed"] += killed
            await asyncio.sleep(0.1)

    async with asyncio.timeout(60):
        await asyncio.gather(kill(), *(call(number) for number in range(20)))
    await _assert_counts(workers, callers, counts)


async def test_a_way_cut_at_random_commits_under_load_doubles_and_loses_nothing(
    workers: Workers, cuttable: Cuttable
) -> None:
    caller = workers.calls
    counts: Counter[str] = Counter()
    admissions = [await caller.admission(hold=random.randint(10**6, 10**7)) for _ in range(150)]
    outcome = await caller.outcome(admissions[0], USAGE)
    waiting = iter(admissions)

    async def call() -> None:
        for admission in waiting:
            await _make_call(cuttable.till, admission, outcome, counts)

    async def cut() -> None:
        for mode in itertools.islice(itertools.cycle(("after", "before")), 20):
            cuttable.proxy.cuts.append(mode)  # type: ignore[arg-type]
            await asyncio.sleep(random.uniform(0, 0.05))
            if random.random() < 0.1:
                cuttable.proxy.cut_off()

    await asyncio.gather(cut(), *(call() for _ in range(12)))
    assert counts["settled"] > 50
    await _assert_counts(workers, [caller], counts)


async def test_a_silent_server_is_given_up_on_and_found_again(
    workers: Workers, cuttable: Cuttable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_BATCH_MAX_S", 0.3)
    first, second = await workers.calls.admission(), await workers.calls.admission()
    cuttable.proxy.loud.clear()
    with pytest.raises(StorageAway):
        await cuttable.storage.post(Batch(resolutions=(), admissions=[first]))
    cuttable.proxy.loud.set()
    answer = await cuttable.storage.post(Batch(resolutions=(), admissions=[second]))
    assert isinstance(answer.admissions[0], Admitted)
    assert await state_of(workers, first) is None


async def test_while_the_server_is_away_every_method_says_so_and_works_again_afterwards(
    workers: Workers,
) -> None:
    """Its worker's settlements wait and are done as soon as it is back."""
    calls = workers.calls
    admission, late = await calls.admission(), await calls.admission()
    outcome = await calls.outcome(admission, USAGE)
    catalog = await calls.storage.load_catalog()
    proxy = CuttingProxy(workers.url)
    async with proxy.listening(), opened_postgresql(proxy.url) as storage:
        till = Till(storage)
        till.start()
        assert isinstance(await till.admit(admission), Admitted)
        async with proxy.away():
            for method in (
                storage.find_versions(None),
                storage.load_catalog(),
                storage.find_caller(b"", catalog),
                storage.register_worker("wrk_x", machine="", lease_ms=1),
                storage.renew_lease("wrk_x", lease_ms=1),
                storage.retire_worker("wrk_x"),
                storage.list_workers(),
                storage.take_lease("wrk_x", only_lapsed=True),
                storage.list_orphans(limit=1),
                storage.post(Batch(resolutions=(), admissions=[late])),
            ):
                with pytest.raises(StorageAway):
                    await method
            assert isinstance(await till.admit(late), StorageUnavailable)
            settling = till.put(Resolution(facts=admission.facts, outcome=outcome))
            await asyncio.sleep(0.2)
            assert not settling.done()
        back = time.monotonic()
        assert isinstance(await settling, Resolved)
        assert time.monotonic() - back < 5
        await till.close()
    await workers.assert_sound()


async def test_a_worker_that_freezes_in_its_batch_loses_it_and_its_locks(workers: Workers) -> None:
    """Two seconds after its last statement the server ends its session, and others have the account."""
    caller, other = workers.calls, workers.tills[1]
    frozen = await workers.storages[0].connect_till()
    await frozen.execute("BEGIN")
    await frozen.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", caller.user.account_id)
    assert isinstance(await other.admit(await caller.admission()), Admitted)
    assert isinstance(await workers.tills[0].admit(await caller.admission()), StorageUnavailable | Admitted)
    assert isinstance(await workers.tills[0].admit(await caller.admission()), Admitted)
    await workers.assert_sound()


async def _make_call(till: Till, admission: Admission, outcome: Outcome, counts: Counter[str]) -> None:
    answer = await till.admit(admission)
    if isinstance(answer, StorageUnavailable):
        counts["unavailable"] += 1
        return
    assert isinstance(answer, Admitted)
    resolved = await till.resolve(Resolution(facts=admission.facts, outcome=outcome))
    assert isinstance(resolved, Resolved)
    counts["settled"] += 1
    counts["charged"] += resolved.charge


async def _assert_counts(workers: Workers, callers: list[TillCalls], counts: Counter[str]) -> None:
    """What the callers were told is what the database says, to the nano-credit."""
    assert await workers.held(callers) == 0
    statement = "SELECT count(*) FROM calls WHERE state = $1"
    assert await workers.ask_server(statement, "settled") == counts["settled"]
    # A caller who was not kept waiting for an unknown outcome paid nothing for what turned out admitted.
    voided = await workers.ask_server(statement, "voided")
    assert isinstance(voided, int)
    assert voided <= counts["unavailable"]
    assert (
        await workers.ask_server("SELECT count(*) FROM ledger_entries WHERE kind = 'charge'")
        == counts["settled"]
    )
    statement = "SELECT -sum(amount)::bigint FROM ledger_entries WHERE kind = 'charge'"
    assert await workers.ask_server(statement) == counts["charged"]
    await workers.assert_sound()
