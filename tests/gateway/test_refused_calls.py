"""What is refused is counted by the hour and kept for the account to see, without a write each."""

import asyncio

import msgspec
import pytest
from sqlalchemy import select

from tests.conftest import HASHING_KEY
from tests.gateway.replies import ask, whole_json
from tests.gateway.world import OTHER_MODEL, World
from tokenopen.core.api_key import API_KEY_PREFIX, generate_key, hash_key
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.refused_call import HOUR_MS
from tokenopen.gateway.refused import FACTS_CHARACTERS_MAX
from tokenopen.jobs import refused_calls
from tokenopen.jobs.refused_calls import write_refused_calls
from tokenopen.ports.storage import StorageAway
from tokenopen.storage import schema


async def write(world: World) -> None:
    await write_refused_calls(world.storage, world.gateway.refused)


async def counts(world: World) -> dict[tuple[str, int], int]:
    """Return how many calls were refused, by code and hour."""
    return {(row["code"], row["hour"]): row["calls"] for row in await world.rows("refused_hours")}


async def test_refused_calls_are_counted_by_code_and_hour_and_kept_in_full(world: World) -> None:
    hour = world.clock.now_ms() // HOUR_MS
    unknown = [await world.call(ask("no-such-model")) for _ in range(3)]
    not_allowed = await world.call(ask(OTHER_MODEL))
    unreadable = await world.call(b"{")
    world.clock.move(seconds=3_600)
    await world.change_group({"requests_per_day": 0})
    limited = await world.call(ask())
    await write(world)
    assert await counts(world) == {
        ("model_not_found", hour): 3,
        ("model_not_allowed", hour): 1,
        ("invalid_request", hour): 1,
        ("tpd_exceeded", hour + 1): 1,
    }
    kept = {row["id"]: row for row in await world.rows("refused_calls")}
    replies = [*unknown, not_allowed, unreadable, limited]
    assert set(kept) == {reply.headers["x-request-id"] for reply in replies}
    row = kept[not_allowed.headers["x-request-id"]]
    error = not_allowed.json()["error"]
    assert (row["status"], row["code"], row["message"]) == (403, "model_not_allowed", error["message"])
    assert (row["account_id"], row["key_id"], row["model"]) == (
        world.user.account_id,
        world.key_id,
        OTHER_MODEL,
    )
    assert row["surface"] == "chat"
    # What the message is made of, so that pages can say it in words of their own.
    assert msgspec.json.decode(row["facts"]) == {
        name: error[name] for name in ("model", "group", "groups_with_model", "param")
    }
    facts = msgspec.json.decode(kept[limited.headers["x-request-id"]]["facts"])
    assert (facts["limit"], facts["used"]) == (0, 0)
    assert facts["retry_after_s"] == int(limited.headers["retry-after"])
    assert kept[unreadable.headers["x-request-id"]]["model"] is None


async def test_counts_of_one_hour_add_up_over_several_writes(world: World) -> None:
    for _ in range(3):
        await world.call(ask("no-such-model"))
        await write(world)
    assert list((await counts(world)).values()) == [3]


async def test_every_refusal_of_a_known_key_is_counted(world: World) -> None:
    await world.set_credit(1)
    await world.call(ask())
    await world.change_key({"allowed_ips": ("198.51.100.1",)})
    await world.call(ask())
    await world.change_key({"state": "disabled"})
    await world.call(ask())
    await write(world)
    assert {code for code, _ in await counts(world)} == {
        "insufficient_credit",
        "ip_not_allowed",
        "api_key_revoked",
    }


async def test_a_body_that_is_too_large_is_a_refused_call_of_its_account_too(world: World) -> None:
    caller = world.caller(ask())
    caller.scope["headers"] = [*caller.scope["headers"], (b"content-length", b"999999999")]
    assert (await caller.call(world.api)).status == 413
    await write(world)
    assert {code for code, _ in await counts(world)} == {"request_too_large"}


async def test_a_key_of_nobody_is_nobodys_refused_call(world: World) -> None:
    await world.call(ask(), key=generate_key(API_KEY_PREFIX, lambda alphabet: alphabet[7]))
    await write(world)
    assert await world.rows("refused_hours") == []


async def test_what_was_answered_or_admitted_is_no_refused_call(world: World) -> None:
    world.upstream.will(whole_json())
    assert (await world.call(ask())).status == 200
    assert (await world.call(ask())).status == 503
    await write(world)
    assert await world.rows("refused_hours") == []
    assert await world.rows("refused_calls") == []


async def test_a_flood_of_refusals_writes_nothing_until_the_next_turn(world: World) -> None:
    await world.change_group({"requests_per_minute": 0})
    posts = len(world.storage.batches)
    await asyncio.gather(*(world.caller(ask()).call(world.api) for _ in range(100)))
    await world.settled()
    assert await world.rows("refused_hours") == []
    # The till decided them together; a refusal is no reason to commit.
    assert len(world.storage.batches) - posts < 100
    await write(world)
    assert list((await counts(world)).values()) == [100]


async def test_only_the_newest_of_an_account_are_kept_in_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_calls, "KEPT_PER_ACCOUNT", 5)
    ids = []
    for _ in range(9):
        world.clock.move(milliseconds=1)
        ids.append((await world.call(ask("no-such-model"))).headers["x-request-id"])
        await write(world)
    async with world.storage.read() as tx:
        rows = await tx.fetch_all(select(schema.refused_calls.c.id).order_by(schema.refused_calls.c.id))
    assert [row["id"] for row in rows] == ids[-5:]
    assert list((await counts(world)).values()) == [9]


async def test_counts_survive_a_database_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.call(ask("no-such-model"))

    def away() -> None:
        raise StorageAway("gone")

    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "write", away)
        with pytest.raises(StorageAway):
            await write(world)
    await world.call(ask("no-such-model"))
    await write(world)
    assert list((await counts(world)).values()) == [2]


async def test_facts_that_are_too_much_to_be_kept_are_left_out(world: World) -> None:
    name = "x" * FACTS_CHARACTERS_MAX
    refusal = InvalidRequest("no", param=name)
    caller = (await world.gateway.directory.find(hash_key(world.key, HASHING_KEY))).caller
    world.gateway.refused.note(caller, refusal, call_id="call_large", surface="chat", model=None)
    await write(world)
    [large] = [row for row in await world.rows("refused_calls") if row["id"] == "call_large"]
    assert large["facts"] is None
