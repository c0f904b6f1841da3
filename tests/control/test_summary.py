"""The summary that a user's home shows: of their own, in the platform's days, with what is coming."""

import pytest

from tests.fakes.clock import MovableClock
from tests.refused_calls import refuse_call
from tests.till_calls import start_calls
from tokenopen.control.access_notice import list_access_notices
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import Narrowing, create_api_key
from tokenopen.control.entitlement import OwnTerms, delete_entitlement, put_entitlement
from tokenopen.control.group import archive_group
from tokenopen.control.platform import update_platform
from tokenopen.control.refused_call import find_refused
from tokenopen.control.summary import Summary, list_upgrade_news, read_summary
from tokenopen.control.upgrade_request import (
    approve_upgrade_request,
    cancel_upgrade_request,
    create_upgrade_request,
    decline_upgrade_request,
)
from tokenopen.core.errors import NotFound
from tokenopen.ports.storage import Storage

DAY_S = 24 * 3600


async def summary_of(storage: Storage, actor: Actor) -> Summary:
    async with storage.read() as tx:
        return await read_summary(tx, actor)


async def test_a_new_user_s_is_empty(storage: Storage, user: Actor) -> None:
    summary = await summary_of(storage, user)
    assert (summary.today.calls, summary.month.charge, summary.user.balance) == (0, 0, 0)
    assert summary.last_charged is None
    for several in (summary.groups, summary.notices, summary.news, summary.refused):
        assert several == []


async def test_what_was_spent_today_and_this_month_are_told_apart(
    storage: Storage, clock: MovableClock, administrator: Actor, user: Actor, other_user: Actor
) -> None:
    till = await start_calls(storage, clock, administrator, user)
    await till.call(input=1_000)
    clock.move(seconds=DAY_S)
    newest = await till.call(input=2_000)
    summary = await summary_of(storage, user)
    assert (summary.today.calls, summary.today.charge) == (1, 300_000)
    assert (summary.month.calls, summary.month.charge) == (2, 450_000)
    assert summary.last_charged is not None
    assert summary.last_charged.call.id == newest
    assert summary.last_charged.formula == "(2,000 x 0.15) / 1,000,000 x 1.0 = 0.0003"
    clock.move(seconds=30 * DAY_S)
    later = await summary_of(storage, user)
    assert (later.today.calls, later.month.calls) == (0, 0)
    assert (await summary_of(storage, other_user)).last_charged is None


async def test_a_day_begins_at_midnight_of_the_platform_s_zone_not_of_the_hour(
    storage: Storage, clock: MovableClock, administrator: Actor, user: Actor
) -> None:
    """In Kolkata 1 July begins at 18:30 UTC, in the middle of an hour that the rollups hold as one."""
    async with storage.write() as tx:
        await update_platform(tx, administrator, {"time_zone": "Asia/Kolkata"})
    till = await start_calls(storage, clock, administrator, user)
    clock.move(seconds=29 * DAY_S + 6 * 3600 + 15 * 60)  # 30 June 18:15 UTC
    await till.call(input=1_000)
    clock.move(seconds=3600)  # 1 July 00:45
    await till.call(input=3_000)
    summary = await summary_of(storage, user)
    assert (summary.today.calls, summary.month.calls) == (1, 1)


async def test_limits_in_use_are_shown_per_group_that_keys_are_in(
    storage: Storage, clock: MovableClock, administrator: Actor, user: Actor
) -> None:
    till = await start_calls(storage, clock, administrator, user)
    await till.call()
    await till.admit()
    await till.with_key()
    [group] = (await summary_of(storage, user)).groups
    assert (group.terms.group.description.slug, group.key_count) == ("default", 2)
    use = group.use
    assert use.minute is not None
    assert use.today is not None
    assert (use.minute.used, use.minute.limit, use.today.used, use.today.limit) == (2, 60, 2, 1_000)
    assert (use.tokens, use.running_calls) == (None, 1)
    clock.move(seconds=61)
    [group] = (await summary_of(storage, user)).groups
    assert (group.use.used_minute, group.use.used_today) == (0, 2)


async def test_refused_calls_are_ones_own(storage: Storage, user: Actor, other_user: Actor) -> None:
    refused = await refuse_call(storage, user)
    assert [one.refused.id for one in (await summary_of(storage, user)).refused] == [refused]
    assert (await summary_of(storage, other_user)).refused == []
    async with storage.read() as tx:
        assert (await find_refused(tx, user.account_id, refused)).refused.code == "rpm_exceeded"
        assert (await find_refused(tx, None, refused)).refused.id == refused
        for account_id, refused_id in ((other_user.account_id, refused), (user.account_id, "call_x")):
            with pytest.raises(NotFound):
                await find_refused(tx, account_id, refused_id)


async def notices_of(storage: Storage, user: Actor) -> list[tuple[str, str, int]]:
    async with storage.read() as tx:
        return [
            (notice.change, notice.terms.group.description.slug, notice.key_count)
            for notice in await list_access_notices(tx, user.account_id)
        ]


async def test_access_that_ends_is_announced_fourteen_days_before(
    storage: Storage, clock: MovableClock, administrator: Actor, user: Actor
) -> None:
    until_ms = clock.now_ms() + 15 * DAY_S * 1000
    async with storage.write() as tx:
        terms = OwnTerms(expires_at_ms=until_ms)
        await put_entitlement(tx, administrator, user.user_id, "vip", terms)
        await create_api_key(
            tx,
            user,
            user_id=user.user_id,
            name="key",
            group="vip",
            narrowing=Narrowing(),
            hashing_key=b"h" * 32,
        )
    assert await notices_of(storage, user) == []
    clock.move(seconds=DAY_S)
    assert await notices_of(storage, user) == [("ends", "vip", 1)]
    clock.move(seconds=14 * DAY_S)
    # It has ended, and a key still points there.
    assert await notices_of(storage, user) == [("ended", "vip", 1)]
    async with storage.write() as tx:
        await put_entitlement(tx, administrator, user.user_id, "vip", OwnTerms())
    assert await notices_of(storage, user) == []


async def test_own_terms_in_a_group_for_everyone_end_too(
    storage: Storage, clock: MovableClock, administrator: Actor, user: Actor
) -> None:
    async with storage.write() as tx:
        terms = OwnTerms(multiplier_ppm=500_000, expires_at_ms=clock.now_ms() + DAY_S * 1000)
        await put_entitlement(tx, administrator, user.user_id, "default", terms)
    assert await notices_of(storage, user) == [("terms_end", "default", 0)]


async def test_keys_in_an_archived_group_are_announced(
    storage: Storage, administrator: Actor, user: Actor
) -> None:
    async with storage.write() as tx:
        await put_entitlement(tx, administrator, user.user_id, "vip", OwnTerms())
        await create_api_key(
            tx,
            user,
            user_id=user.user_id,
            name="key",
            group="vip",
            narrowing=Narrowing(),
            hashing_key=b"h" * 32,
        )
        await delete_entitlement(tx, administrator, user.user_id, "vip")
        await archive_group(tx, administrator, "vip")
    assert await notices_of(storage, user) == [("ended", "vip", 1)]


async def news_of(storage: Storage, user: Actor) -> list[tuple[str, str]]:
    async with storage.read() as tx:
        return [(one.group_slug, one.state) for one in await list_upgrade_news(tx, user)]


async def test_an_approval_is_news_until_a_key_is_in_the_group(
    storage: Storage, administrator: Actor, user: Actor
) -> None:
    async with storage.write() as tx:
        request = await create_upgrade_request(tx, user, group="vip", reason="more")
    assert await news_of(storage, user) == [("vip", "pending")]
    async with storage.write() as tx:
        await approve_upgrade_request(tx, administrator, request.id, answer=None, terms=None)
    assert await news_of(storage, user) == [("vip", "approved")]
    async with storage.write() as tx:
        await create_api_key(
            tx,
            user,
            user_id=user.user_id,
            name="key",
            group="vip",
            narrowing=Narrowing(),
            hashing_key=b"h" * 32,
        )
    assert await news_of(storage, user) == []


async def test_a_no_is_news_for_fourteen_days_and_a_withdrawn_request_is_none(
    storage: Storage, clock: MovableClock, administrator: Actor, user: Actor, other_user: Actor
) -> None:
    async with storage.write() as tx:
        request = await create_upgrade_request(tx, user, group="vip", reason="more")
        await decline_upgrade_request(tx, administrator, request.id, answer="Not yet")
        withdrawn = await create_upgrade_request(tx, user, group="enterprise", reason="more")
        await cancel_upgrade_request(tx, user, withdrawn.id)
    assert await news_of(storage, user) == [("vip", "declined")]
    assert await news_of(storage, other_user) == []
    clock.move(seconds=14 * DAY_S + 1)
    assert await news_of(storage, user) == []
