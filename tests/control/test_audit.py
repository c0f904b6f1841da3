"""The audit finds each kind of corruption, names the invariant that it breaks, and no other."""

import json
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import delete, insert, select, update

from tests.control.conftest import audited
from tests.till_calls import TillCalls
from tokenopen.control.audit import audit
from tokenopen.control.audit_report import DRIFT_SHOWN_MAX, INVARIANTS
from tokenopen.control.entitlement import OwnTerms, put_entitlement
from tokenopen.ports.storage import Transaction
from tokenopen.storage import schema

accounts, api_keys, calls, entries = (
    schema.accounts,
    schema.api_keys,
    schema.calls,
    schema.ledger_entries,
)


async def test_a_sound_database_has_no_drift_and_everything_was_looked_at(till: TillCalls) -> None:
    report = await audited(till.storage)
    assert report.drift == []
    assert report.drift_count == 0
    assert report.checked == {
        "accounts": 2,
        "API keys": 2,
        "calls": 6,
        "ledger entries": 7,
        "price revisions": 1,
        "group revisions": 3,
    }


async def _settled(tx: Transaction) -> str:
    row = await tx.fetch_one(
        select(calls.c.id).where(calls.c.state == "settled").order_by(calls.c.id).limit(1)
    )
    assert row is not None
    return str(row["id"])


def _balance_off(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(accounts).values(balance=accounts.c.balance + 1).where(accounts.c.balance > 0))


def _held_off(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(accounts).values(held=accounts.c.held + 1).where(accounts.c.held > 0))


def _key_held_off(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(api_keys).values(held=api_keys.c.held + 1).where(api_keys.c.held > 0))


async def _overdrawn(tx: Transaction) -> int:
    for table, column in ((calls, "hold"), (accounts, "held"), (api_keys, "held")):
        condition = table.c.state == "held" if table is calls else table.c.held > 0
        await tx.execute(update(table).values({column: 10**12}).where(condition))
    return 1


def _unresolved(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(resolved_at_ms=None).where(calls.c.state == "voided"))


def _held_but_ended(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(end_reason="completed").where(calls.c.state == "held"))


async def _second_charge(tx: Transaction) -> int:
    """Another charge of a call, cancelled in the balance by a top-up, so that only I5 is broken."""
    last = await tx.fetch_one(select(entries).order_by(entries.c.number.desc()).limit(1))
    assert last is not None
    call_id = await _settled(tx)
    charge = await tx.fetch_one(select(calls.c.charge).where(calls.c.id == call_id))
    assert charge is not None
    balance, number = last["balance_after"], last["number"]
    for kind, amount, entry_id in (
        ("top_up", charge["charge"], "led_a"),
        ("charge", -charge["charge"], "led_b"),
    ):
        number += 1
        balance += amount
        row = {**last, "number": number, "id": entry_id, "kind": kind, "amount": amount}
        row |= {"balance_after": balance, "call_id": call_id if kind == "charge" else None}
        await tx.execute(insert(entries).values(row))
    return await tx.execute(update(accounts).values(entry_count=number).where(accounts.c.entry_count > 0))


def _charge_renamed(tx: Transaction) -> Awaitable[int]:
    """A charge that became an adjustment: the call is without one."""
    return tx.execute(update(entries).values(kind="adjustment", id="led_x").where(entries.c.number == 2))


def _refunded_off(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(refunded=calls.c.refunded + 1).where(calls.c.refunded > 0))


def _adjusted_off(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(adjusted=1).where(calls.c.flag.is_not(None)))


def _adjusted_without_flag(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(flag=None).where(calls.c.flag.is_not(None)))


def _adjusted_beyond_the_hold(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(hold=9).where(calls.c.flag.is_not(None)))


def _entry_changed(tx: Transaction) -> Awaitable[int]:
    return tx.execute(
        update(entries).values(balance_after=entries.c.balance_after + 1).where(entries.c.number == 2)
    )


def _entry_count_off(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(accounts).values(entry_count=99).where(accounts.c.entry_count > 0))


def _float_amount(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(entries).values(amount=entries.c.amount + 0.5).where(entries.c.number == 1))


def _float_charge(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(absorbed=0.25).where(calls.c.state == "voided"))


def _float_price(tx: Transaction) -> Awaitable[int]:
    named = {"prices": {"input": 0.15, "output": 600_000_000}, "steps": []}
    return tx.execute(update(schema.price_revisions).values(named=json.dumps(named)))


def _call_text(column: str, text: str) -> Callable[[Transaction], Awaitable[int]]:
    async def plant(tx: Transaction) -> int:
        return await tx.execute(update(calls).values({column: text}).where(calls.c.id == await _settled(tx)))

    return plant


async def _float_price_of_a_call(tx: Transaction) -> int:
    call_id = await _settled(tx)
    row = await tx.fetch_one(select(calls.c.prices).where(calls.c.id == call_id))
    assert row is not None
    prices = {**json.loads(row["prices"]), "per_call": 0.5}
    return await tx.execute(update(calls).values(prices=json.dumps(prices)).where(calls.c.id == call_id))


async def _other_price(tx: Transaction) -> int:
    call_id = await _settled(tx)
    row = await tx.fetch_one(select(calls.c.prices).where(calls.c.id == call_id))
    assert row is not None
    prices = {**json.loads(row["prices"]), "per_call": 1}
    return await tx.execute(update(calls).values(prices=json.dumps(prices)).where(calls.c.id == call_id))


def _key_gone(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(key_id="key_none").where(calls.c.state == "voided"))


def _group_unknown(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(group_id="grp_none").where(calls.c.state == "voided"))


def _state_unknown(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(calls).values(state="lost").where(calls.c.state == "voided"))


def _group_without_revision(tx: Transaction) -> Awaitable[int]:
    return tx.execute(
        delete(schema.group_revisions).where(
            schema.group_revisions.c.group_id.in_(
                select(schema.groups.c.id).where(schema.groups.c.slug == "vip")
            )
        )
    )


async def _price_unknown(tx: Transaction) -> int:
    return await tx.execute(
        update(calls).values(price_revision_id="prv_none").where(calls.c.state == "voided")
    )


async def _price_of_another_model(tx: Transaction) -> int:
    return await tx.execute(update(calls).values(model="gpt-4o").where(calls.c.state == "voided"))


async def _multiplier_not_the_groups(tx: Transaction) -> int:
    return await tx.execute(update(calls).values(multiplier_ppm=1).where(calls.c.state == "voided"))


async def _rule_unknown(tx: Transaction) -> int:
    return await tx.execute(update(calls).values(multiplier_rule="none").where(calls.c.state == "voided"))


async def _model_not_allowed(tx: Transaction) -> int:
    policies = await tx.fetch_all(select(schema.group_revisions))
    for row in policies:
        policy = {**json.loads(row["policy"]), "allowed_models": ["other-*"]}
        await tx.execute(
            update(schema.group_revisions)
            .values(policy=json.dumps(policy))
            .where(schema.group_revisions.c.id == row["id"])
        )
    return 1


async def _free_class(tx: Transaction) -> int:
    row = await tx.fetch_one(select(schema.price_revisions))
    assert row is not None
    prices = json.loads(row["prices"])
    prices["per_million"]["audio_input"] = 0
    return await tx.execute(update(schema.price_revisions).values(prices=json.dumps(prices)))


async def _usage_lost(tx: Transaction) -> int:
    return await tx.execute(update(calls).values(usage=None).where(calls.c.id == await _settled(tx)))


def _limit(column: str) -> Callable[[Transaction], Awaitable[int]]:
    async def plant(tx: Transaction) -> int:
        return await tx.execute(update(calls).values({column: 3}).where(calls.c.state == "settled"))

    return plant


async def _absorbed_off(tx: Transaction) -> int:
    return await tx.execute(update(calls).values(absorbed=1).where(calls.c.id == await _settled(tx)))


async def _usage_off(tx: Transaction) -> int:
    usage = json.dumps({"input": 1_235, "output": 56})
    return await tx.execute(update(calls).values(usage=usage).where(calls.c.id == await _settled(tx)))


async def _voided_with_charge(tx: Transaction) -> int:
    return await tx.execute(update(calls).values(absorbed=1).where(calls.c.state == "voided"))


def _spent_off(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(api_keys).values(spent=api_keys.c.spent + 1).where(api_keys.c.spent > 0))


def _beyond_credit_limit(tx: Transaction) -> Awaitable[int]:
    return tx.execute(update(api_keys).values(credit_limit=1).where(api_keys.c.held == 0))


@pytest.mark.parametrize(
    ("invariant", "plant"),
    [
        ("I1", _balance_off),
        ("I2", _held_off),
        ("I2", _key_held_off),
        ("I3", _overdrawn),
        ("I4", _unresolved),
        ("I4", _held_but_ended),
        ("I5", _second_charge),
        ("I5", _charge_renamed),
        ("I5", _refunded_off),
        ("I5", _adjusted_off),
        ("I5", _adjusted_without_flag),
        ("I5", _adjusted_beyond_the_hold),
        ("I6", _entry_changed),
        ("I6", _entry_count_off),
        ("I7", _float_amount),
        ("I7", _float_charge),
        ("I4", _state_unknown),
        ("I7", _call_text("usage", '{"input":1.5}')),
        ("I7", _float_price_of_a_call),
        ("I8", _call_text("prices", "{}")),
        ("I8", _call_text("prices", "nothing")),
        ("I8", _other_price),
        ("I8", _key_gone),
        ("I8", _group_unknown),
        ("I8", _group_without_revision),
        ("I10", _call_text("usage", "nothing")),
        ("I10", _call_text("usage", "[]")),
        ("I10", _call_text("usage", '{"video":1}')),
        ("I10", _call_text("usage", '{"input":-1}')),
        ("I8", _price_unknown),
        ("I8", _price_of_another_model),
        ("I8", _multiplier_not_the_groups),
        ("I8", _rule_unknown),
        ("I8", _model_not_allowed),
        ("I8", _usage_lost),
        ("I9", _limit("requests_per_day")),
        ("I9", _limit("requests_per_minute")),
        ("I9", _limit("tokens_per_minute")),
        ("I10", _absorbed_off),
        ("I10", _usage_off),
        ("I10", _voided_with_charge),
        ("I11", _spent_off),
        ("I11", _beyond_credit_limit),
    ],
)
async def test_a_planted_corruption_is_found_under_its_invariant_alone(
    engine: str, till: TillCalls, invariant: str, plant: Callable[[Transaction], Awaitable[int]]
) -> None:
    if engine == "postgresql" and plant in (_float_amount, _float_charge):
        pytest.skip("its columns for integers hold nothing else")
    async with till.storage.write() as tx:
        assert await plant(tx) > 0
    report = await audited(till.storage)
    assert {drift.invariant for drift in report.drift} == {invariant}, report.drift
    assert report.drift_count == report.drift_counts[invariant] >= 1


@pytest.mark.parametrize("plant", [_float_price, _free_class])
async def test_prices_that_were_tampered_with_are_found_where_they_stand_and_where_they_were_used(
    till: TillCalls, plant: Callable[[Transaction], Awaitable[int]]
) -> None:
    async with till.storage.write() as tx:
        await plant(tx)
    report = await audited(till.storage)
    found = {(drift.invariant, drift.subject_id.split("_")[0]) for drift in report.drift}
    assert ("I7" if plant is _float_price else "I8", "prv") in found
    assert ("I8", "call") in found


@pytest.mark.parametrize("text", ["nothing", "{}", "[]", '{"multiplier_ppm": 0.5}'])
async def test_documents_that_cannot_be_read_are_found_and_do_not_stop_the_audit(
    till: TillCalls, text: str
) -> None:
    tables = (
        (schema.group_revisions, "policy"),
        (schema.price_revisions, "named"),
        (schema.entitlements, "terms"),
    )
    async with till.storage.write() as tx:
        await put_entitlement(tx, till.administrator, till.user.user_id, "vip", OwnTerms())
        for table, column in tables:
            assert await tx.execute(update(table).values({column: text})) > 0
    report = await audited(till.storage)
    found = {drift.subject_id.split("_")[0] for drift in report.drift if drift.invariant in ("I7", "I8")}
    assert found >= {"grv", "prv"}
    assert ("etl" in found) == (text != "{}")


async def test_calls_under_own_terms_are_sound(till: TillCalls) -> None:
    """What an entitlement said is kept on the call alone, and may change afterwards."""
    terms = OwnTerms(
        multiplier_ppm=700_000,
        model_multipliers={"gpt-4o-m*": 123_457},
        own_limits={"requests_per_minute": None},
        extra_models=("gpt-4o-mini",),
    )
    async with till.storage.write() as tx:
        await put_entitlement(tx, till.administrator, till.user.user_id, "vip", terms)
    vip = await till.with_key(group="vip")
    call_id = await vip.call(hold=10**6, input=1_001, output=77)
    async with till.storage.write() as tx:
        await put_entitlement(tx, till.administrator, till.user.user_id, "vip", OwnTerms())
        call = await tx.fetch_one(select(calls).where(calls.c.id == call_id))
    assert call is not None
    assert call["multiplier_rule"] == "entitlement model gpt-4o-m*"
    report = await audited(till.storage)
    assert report.drift == []
    assert report.checked["entitlements"] == 1


async def test_calls_and_entries_without_an_account_are_found(till: TillCalls) -> None:
    async with till.storage.write() as tx:
        call = await tx.fetch_one(select(calls).where(calls.c.state == "voided"))
        entry = await tx.fetch_one(select(entries).where(entries.c.number == 1))
        assert call is not None
        assert entry is not None
        await tx.execute(insert(calls).values({**call, "account_id": "acc_none", "id": "call_1"}))
        await tx.execute(insert(entries).values({**entry, "account_id": "acc_none"}))
    report = await audited(till.storage)
    assert [(drift.invariant, drift.subject_id) for drift in report.drift] == [
        ("I1", "acc_none"),
        ("I8", "acc_none"),
    ]


async def test_a_missing_entry_breaks_the_chain_and_the_sum(till: TillCalls) -> None:
    async with till.storage.write() as tx:
        await tx.execute(delete(entries).where(entries.c.number == 2))
    report = await audited(till.storage)
    assert {drift.invariant for drift in report.drift} == {"I1", "I5", "I6"}


async def test_only_the_first_rows_of_an_invariant_are_listed_and_all_are_counted(till: TillCalls) -> None:
    async with till.storage.write() as tx:
        call = await tx.fetch_one(select(calls).where(calls.c.state == "voided", calls.c.flag.is_(None)))
        assert call is not None
        for number in range(DRIFT_SHOWN_MAX + 20):
            # An hour apart, so that no limit is in their way.
            at_ms = call["admitted_at_ms"] + 3_600_000 * (number + 1)
            row = {**call, "id": f"call_{number:04d}", "resolved_at_ms": None}
            row |= {"admitted_at_ms": at_ms, "day_ordinal": call["day_ordinal"] + number + 1}
            await tx.execute(insert(calls).values(row))
    report = await audited(till.storage)
    assert report.drift_counts["I4"] == DRIFT_SHOWN_MAX + 20
    assert len(report.drift) == DRIFT_SHOWN_MAX
    assert set(report.drift_counts) == set(INVARIANTS)


async def test_the_audit_sees_one_snapshot_while_calls_go_on(till: TillCalls) -> None:
    async with till.storage.read() as tx:
        before = await audit(tx)
        await till.call(input=10, output=10)
        assert (await audit(tx)).checked == before.checked
    after = await audited(till.storage)
    assert after.checked["calls"] == before.checked["calls"] + 1
    assert after.drift_count == 0
