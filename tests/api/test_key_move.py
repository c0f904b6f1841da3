"""Moving one's own keys to a group, as after an approved upgrade: all or none, secrets unchanged."""

import httpx

from tests.api.conftest import Entitle, refusal
from tests.conftest import HASHING_KEY
from tokenopen.core.api_key import hash_key
from tokenopen.core.caller import Caller
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient
MOVE = "/api/me/keys/move"


async def create(client: Client, name: str = "key") -> dict[str, str]:
    created: dict[str, str] = (await client.post("/api/me/keys", json={"name": name})).json()
    return created


async def group_of(client: Client, key: dict[str, str]) -> str:
    found: str = (await client.get(f"/api/me/keys/{key['id']}")).json()["group"]["slug"]
    return found


async def test_all_keys_move_and_their_secrets_stay(
    user_client: Client, entitle: Entitle, storage: SqliteStorage
) -> None:
    keys = [await create(user_client) for _ in range(2)]
    revoked = await create(user_client)
    await user_client.post(f"/api/me/keys/{revoked['id']}/revoke")
    await entitle("vip")
    answer = await user_client.post(MOVE, json={"group": "vip", "keys": None})
    assert {key["id"] for key in answer.json()["data"]} == {key["id"] for key in keys}
    assert await group_of(user_client, revoked) == "default"
    for key in keys:
        caller = await storage.find_caller(hash_key(key["key"], HASHING_KEY), await storage.load_catalog())
        assert isinstance(caller, Caller)
        assert caller.group.slug == "vip"


async def test_only_those_that_are_named_move(user_client: Client, entitle: Entitle) -> None:
    moving, staying = await create(user_client), await create(user_client)
    await entitle("vip")
    await user_client.post(MOVE, json={"group": "vip", "keys": [moving["id"]]})
    assert await group_of(user_client, moving) == "vip"
    assert await group_of(user_client, staying) == "default"


async def test_of_several_keys_all_move_or_none(
    user_client: Client, other_client: Client, entitle: Entitle
) -> None:
    mine, theirs = await create(user_client), await create(other_client)
    revoked = await create(user_client)
    await user_client.post(f"/api/me/keys/{revoked['id']}/revoke")
    await entitle("vip")
    for other in (theirs, revoked, {"id": "key_x"}):
        body = {"group": "vip", "keys": [mine["id"], other["id"]]}
        refusal(await user_client.post(MOVE, json=body), 404, "not_found")
    assert await group_of(user_client, mine) == "default"
    assert await group_of(other_client, theirs) == "default"


async def test_keys_move_only_to_a_group_that_is_open(user_client: Client) -> None:
    key = await create(user_client)
    for group in ("vip", "gold"):
        error = refusal(
            await user_client.post(MOVE, json={"group": group, "keys": None}), 403, "group_not_available"
        )
        assert error["open_groups"] == ["default"]
    assert await group_of(user_client, key) == "default"


async def test_a_move_names_its_keys_or_says_all(user_client: Client) -> None:
    for body in ({"group": "default"}, {"group": "default", "keys": []}, {"keys": None}):
        refusal(await user_client.post(MOVE, json=body), 400, "invalid_request")
