"""What a user sees of the groups before choosing one: terms, models, credit consumption rates."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Entitle
from tests.fakes.clock import MovableClock
from tokenopen.core.identifier import new_id
from tokenopen.core.money import Nanocredits, parse_price
from tokenopen.storage import model as models
from tokenopen.storage.schema import routes, upstreams
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient


async def _offer(storage: SqliteStorage, name: str, *, carried: bool = True, **prices: str) -> None:
    """Put a model on offer: priced, and carried by an enabled upstream."""
    async with storage.write() as tx:
        row = models.model_row(
            name, maker="maker", context_window=1000, max_output_tokens=100, now_ms=tx.now_ms
        )
        await models.insert_models(tx, [row])
        named = {unit_class: parse_price(price) for unit_class, price in prices.items()}
        if named:
            step = {unit_class: Nanocredits(price * 2) for unit_class, price in named.items()}
            revision = models.price_revision_row(
                new_id("prv", tx.now_ms),
                model=name,
                number=1,
                named=named,
                steps=[(500, step)],
                has_output=True,
                effective_from_ms=tx.now_ms,
                actor_id="usr_x",
                reason=None,
                now_ms=tx.now_ms,
            )
            await models.insert_price_revisions(tx, [revision])
        upstream_id = new_id("ups", tx.now_ms)
        await tx.execute(
            upstreams.insert().values(
                id=upstream_id,
                name=upstream_id,
                provider="maker",
                base_url="https://api.example.com/v1",
                credential_sealed=b"",
                credential_last_four="",
                enabled=carried,
                priority=0,
                weight=1,
                connect_timeout_ms=1,
                first_byte_timeout_ms=1,
                idle_timeout_ms=1,
                created_at_ms=tx.now_ms,
                updated_at_ms=tx.now_ms,
            )
        )
        await tx.execute(routes.insert().values(upstream_id=upstream_id, model=name, upstream_model=name))


async def _groups(client: Client) -> dict[str, dict[str, Any]]:
    answer = (await client.get("/api/me/groups")).json()
    return {group["slug"]: group for group in answer["data"] + answer["by_request"]}


async def test_data_holds_only_what_may_be_picked_the_default_first(
    user_client: Client, entitle: Entitle
) -> None:
    answer = (await user_client.get("/api/me/groups")).json()
    assert [(group["slug"], group["open"], group["how"]) for group in answer["data"]] == [
        ("default", True, "Open to everyone")
    ]
    assert [(group["slug"], group["open"], group["how"]) for group in answer["by_request"]] == [
        ("vip", False, "By request"),
        ("enterprise", False, "By request"),
    ]
    await entitle("enterprise")
    answer = (await user_client.get("/api/me/groups")).json()
    assert [(group["slug"], group["how"]) for group in answer["data"]] == [
        ("default", "Open to everyone"),
        ("enterprise", "Group access"),
    ]
    assert [group["is_default"] for group in answer["data"]] == [True, False]


async def test_terms_are_shown_before_one_asks(user_client: Client) -> None:
    vip = (await _groups(user_client))["vip"]
    assert vip["display_multiplier"] == "From 0.8x"
    assert vip["model_multipliers"] == {"gpt-6*": "0.9"}
    assert vip["limits"]["requests_per_minute"] == 600
    assert vip["suitable_for"] == "High-frequency users; discounted pricing"
    assert (await _groups(user_client))["enterprise"]["display_multiplier"] == "Custom"


async def test_own_terms_take_the_place_of_the_group_s(user_client: Client, entitle: Entitle) -> None:
    await entitle(
        "vip", model_multipliers={"o3": "0.3"}, requests_per_day=None, expires_at="2026-12-01T00:00:00Z"
    )
    vip = (await _groups(user_client))["vip"]
    assert (vip["multiplier"], vip["multiplier_rule"], vip["own_terms"]) == ("0.8", "group", True)
    assert vip["model_multipliers"] == {"gpt-6*": "0.9", "o3": "0.3"}
    assert vip["limits"]["requests_per_day"] is None
    assert vip["expires_at"] == "2026-12-01T00:00:00Z"
    await entitle("vip", multiplier="0.7")
    vip = (await _groups(user_client))["vip"]
    assert (vip["multiplier"], vip["multiplier_rule"]) == ("0.7", "entitlement")
    # The entitlement's multiplier stands above the group's model patterns.
    assert vip["model_multipliers"] == {}


async def test_rates_are_list_price_times_multiplier_exactly(
    user_client: Client, storage: SqliteStorage, entitle: Entitle
) -> None:
    await _offer(storage, "gpt-4o-mini", input="0.15", output="0.6", cached_input="0.075")
    await _offer(storage, "gpt-6-luna", input="0.000000001", output="1")
    default = (await _groups(user_client))["default"]
    assert [model["model"] for model in default["models"]] == ["gpt-4o-mini", "gpt-6-luna"]
    await entitle("vip")
    vip = (await _groups(user_client))["vip"]
    mini, luna = vip["models"]
    assert (mini["multiplier"], mini["multiplier_rule"]) == ("0.8", "group")
    assert mini["list_prices"]["input"] == "0.15"
    assert mini["credit_consumption_rates"]["input"] == "0.12"
    assert mini["credit_consumption_rates"]["cached_input"] == "0.06"
    # A class without its own price costs what it falls back to, never nothing.
    assert mini["credit_consumption_rates"]["reasoning"] == "0.48"
    assert mini["steps"][0]["above_input_tokens"] == 500
    assert mini["steps"][0]["credit_consumption_rates"]["input"] == "0.24"
    assert (luna["multiplier"], luna["multiplier_rule"]) == ("0.9", "group model gpt-6*")
    assert luna["credit_consumption_rates"]["input"] == "0.0000000009"


async def test_models_that_cannot_be_called_are_not_shown(
    user_client: Client, storage: SqliteStorage
) -> None:
    await _offer(storage, "gpt-4o", input="1", output="1", carried=False)
    await _offer(storage, "gpt-4o-mini")
    await _offer(storage, "o3", input="1", output="1")
    groups = await _groups(user_client)
    assert groups["default"]["models"] == []
    assert [model["model"] for model in groups["vip"]["models"]] == ["o3"]


@pytest.mark.parametrize("milliseconds", [0, 1])
async def test_a_coming_price_is_shown_from_its_instant_on(
    user_client: Client, storage: SqliteStorage, clock: MovableClock, milliseconds: int
) -> None:
    await _offer(storage, "gpt-4o", input="1", output="1")
    async with storage.write() as tx:
        revision = models.price_revision_row(
            new_id("prv", tx.now_ms),
            model="gpt-4o",
            number=2,
            named={"input": parse_price("2"), "output": parse_price("2")},
            steps=[],
            has_output=True,
            effective_from_ms=tx.now_ms + 1,
            actor_id="usr_x",
            reason=None,
            now_ms=tx.now_ms,
        )
        await models.insert_price_revisions(tx, [revision])
    clock.move(milliseconds=milliseconds)
    model = (await _groups(user_client))["default"]["models"][0]
    assert model["list_prices"]["input"] == ("2" if milliseconds else "1")


async def test_an_archived_group_is_neither_open_nor_to_be_asked_for(
    admin_client: Client, user_client: Client
) -> None:
    await admin_client.post("/api/admin/groups/vip/archive")
    assert set(await _groups(user_client)) == {"default", "enterprise"}
