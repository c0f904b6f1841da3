"""Group pricing, one test per promise (docs/promises.md), against the real process."""

import secrets

import httpx
import pytest

from tests.e2e.running import Platform

MESSAGES = [{"role": "user", "content": "one two three"}]


def chat(platform: Platform, key: str, model: str = "small", **more: object) -> httpx.Response:
    with platform.caller(key) as caller:
        return caller.post(
            "/chat/completions", json={"model": model, "messages": MESSAGES, "max_tokens": 4, **more}
        )


def as_user(platform: Platform, user_id: str) -> httpx.Client:
    """Return the control API as a user sees it."""
    created = platform.ask("POST", f"/api/admin/users/{user_id}/management-keys", {"name": "own"})
    return httpx.Client(
        base_url=platform.server.url, headers={"Authorization": f"Bearer {created['key']}"}, timeout=30
    )


@pytest.fixture
def user(platform: Platform) -> str:
    return platform.add_user(f"{secrets.token_hex(4)}@example.com", credit="5")


@pytest.fixture
def slug() -> str:
    return f"g{secrets.token_hex(4)}"


def test_which_models_a_key_may_call_differs_by_group(platform: Platform, user: str, slug: str) -> None:
    platform.add_group(f"{slug}-a", allowed_models=["small"])
    platform.add_group(f"{slug}-b", allowed_models=["small", "lar*"])
    basic, better = platform.add_key(user, f"{slug}-a"), platform.add_key(user, f"{slug}-b")
    assert chat(platform, better, "large").status_code == 200
    refused = chat(platform, basic, "large")
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert error["code"] == "model_not_allowed"
    assert f"{slug}-b" in error["groups_with_model"]
    with platform.caller(basic) as caller:
        assert [model["id"] for model in caller.get("/models").json()["data"]] == ["small"]
    with platform.caller(better) as caller:
        assert [model["id"] for model in caller.get("/models").json()["data"]] == ["large", "small"]


def test_the_multiplier_changes_the_credit_consumption_rate(platform: Platform, user: str, slug: str) -> None:
    platform.add_group(slug, multiplier="0.8", model_multipliers={"new*": "0.9"})
    key = platform.add_key(user, slug)
    # 3 tokens in at 0.15 and 4 out at 0.60 per million are 2,850 nano-credits at list price.
    assert chat(platform, key).headers["x-tokenopen-charge"] == "0.00000228"
    newer = chat(platform, key, "new")
    assert newer.headers["x-tokenopen-charge"] == "0.000002565"
    with platform.caller(key) as caller:
        receipt = caller.get(f"/receipts/{newer.headers['x-request-id']}").json()
        rates = {model["id"]: model for model in caller.get("/models").json()["data"]}
    assert (receipt["multiplier"], receipt["multiplier_rule"]) == ("0.9", "group model new*")
    assert rates["small"]["credit_consumption_rates"]["input"] == "0.12"
    assert rates["new"]["credit_consumption_rates"]["input"] == "0.135"


def test_beyond_the_requests_per_minute_a_call_is_answered_429(
    platform: Platform, user: str, slug: str
) -> None:
    platform.add_group(slug, name="Slow", requests_per_minute=2, requests_per_day=10)
    key = platform.add_key(user, slug)
    passed = [chat(platform, key) for _ in range(2)]
    assert [reply.status_code for reply in passed] == [200, 200]
    assert passed[1].headers["x-ratelimit-remaining-requests"] == "0"
    refused = chat(platform, key)
    assert (refused.status_code, refused.reason_phrase) == (429, "Too Many Requests")
    error = refused.json()["error"]
    assert (error["code"], error["limit"], error["used"]) == ("rpm_exceeded", 2, 2)
    assert "Group Slow allows 2 requests per minute; 2 used." in error["message"]
    assert 55 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["x-ratelimit-limit-requests"] == "2"


def test_beyond_the_daily_request_total_a_call_is_answered_429(
    platform: Platform, user: str, slug: str
) -> None:
    platform.add_group(slug, name="Small", requests_per_minute=100, requests_per_day=3)
    key = platform.add_key(user, slug)
    assert [chat(platform, key).status_code for _ in range(3)] == [200, 200, 200]
    refused = chat(platform, key)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["code"], error["limit"], error["used"]) == ("tpd_exceeded", 3, 3)
    assert "Daily request total (TPD) of group Small: 3 of 3 requests used; resets" in error["message"]
    assert "00:00 UTC" in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-ratelimit-remaining-requests-day"] == "0"


def test_a_refused_call_does_not_count_and_two_groups_never_share_a_counter(
    platform: Platform, user: str, slug: str
) -> None:
    platform.add_group(f"{slug}-a", requests_per_minute=1, requests_per_day=2)
    platform.add_group(f"{slug}-b", requests_per_minute=1, requests_per_day=2)
    first, second = platform.add_key(user, f"{slug}-a"), platform.add_key(user, f"{slug}-b")
    same = platform.add_key(user, f"{slug}-a")
    assert chat(platform, first).status_code == 200
    assert [chat(platform, key).status_code for key in (first, same, first)] == [429, 429, 429]
    assert chat(platform, second).status_code == 200
    with platform.caller(first) as caller:
        limits = caller.get("/key").json()["limits"]
    assert limits["requests_per_minute"]["used"] == 1
    assert limits["requests_per_day"]["used"] == 1


def test_creating_a_key_offers_only_open_groups_and_shows_their_terms(
    platform: Platform, user: str, slug: str
) -> None:
    platform.add_group(f"{slug}-open", multiplier="0.95", requests_per_minute=7, requests_per_day=70)
    platform.add_group(f"{slug}-closed", visibility="entitled", multiplier="0.5")
    with as_user(platform, user) as me:
        offered = {group["slug"]: group for group in me.get("/api/me/groups").json()["data"]}
        assert f"{slug}-closed" not in offered
        terms = offered[f"{slug}-open"]
        assert (terms["multiplier"], terms["display_multiplier"]) == ("0.95", "0.95x")
        assert terms["limits"]["requests_per_minute"] == 7
        assert terms["allowed_models"] == ["*"]
        refused = me.post("/api/me/keys", json={"name": "x", "group": f"{slug}-closed"})
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "group_not_available"
        assert f"{slug}-open" in refused.text
        created = me.post("/api/me/keys", json={"name": "x", "group": f"{slug}-open"}).json()
    assert created["key"].startswith("sk-to-")
    assert created["group"]["slug"] == f"{slug}-open"
    assert created["limits"]["requests_per_day"] == 70
    assert chat(platform, created["key"]).status_code == 200


def test_a_group_by_request_is_usable_with_an_entitlement_on_its_own_terms(
    platform: Platform, user: str, slug: str
) -> None:
    platform.add_group(slug, visibility="entitled", multiplier="1.0", requests_per_minute=1)
    path = f"/api/admin/users/{user}/entitlements/{slug}"
    platform.ask("PUT", path, {"multiplier": "0.7", "requests_per_minute": 2})
    key = platform.add_key(user, slug)
    first = chat(platform, key)
    assert first.headers["x-tokenopen-charge"] == "0.000001995"
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    with platform.caller(key) as caller:
        receipt = caller.get(f"/receipts/{first.headers['x-request-id']}").json()
    assert receipt["multiplier_rule"] == "entitlement"
    platform.ask("DELETE", path)
    refused = chat(platform, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "group_not_available")


def test_only_administrators_change_groups(platform: Platform, user: str, slug: str) -> None:
    platform.add_group(slug)
    with as_user(platform, user) as me:
        for method, path in (
            ("POST", "/api/admin/groups"),
            ("PATCH", f"/api/admin/groups/{slug}"),
            ("POST", f"/api/admin/groups/{slug}/archive"),
            ("PUT", f"/api/admin/users/{user}/entitlements/{slug}"),
        ):
            refused = me.request(method, path, json={"multiplier": "0.1"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied"), path
    assert platform.ask("GET", f"/api/admin/groups/{slug}")["multiplier"] == "1.0"


def test_the_current_group_and_what_is_left_of_its_limits_are_visible(
    platform: Platform, user: str, slug: str
) -> None:
    platform.add_group(slug, name="Visible", multiplier="0.9", requests_per_minute=5, requests_per_day=50)
    key = platform.add_key(user, slug)
    reply = chat(platform, key)
    assert reply.headers["x-tokenopen-group"] == slug
    with platform.caller(key) as caller:
        shown = caller.get("/key").json()
    assert shown["group"] == {"slug": slug, "name": "Visible"}
    assert (shown["multiplier"], shown["multiplier_rule"]) == ("0.9", "group")
    minute = shown["limits"]["requests_per_minute"]
    assert (minute["limit"], minute["used"], minute["remaining"]) == (5, 1, 4)
    assert shown["limits"]["requests_per_day"]["resets_at"].endswith("T00:00:00Z")


def test_a_change_of_a_group_binds_the_next_call(platform: Platform, user: str, slug: str) -> None:
    platform.add_group(slug, multiplier="1.0")
    key = platform.add_key(user, slug)
    assert chat(platform, key).headers["x-tokenopen-charge"] == "0.00000285"
    platform.ask("PATCH", f"/api/admin/groups/{slug}", {"multiplier": "2"})
    assert chat(platform, key).headers["x-tokenopen-charge"] == "0.0000057"
    platform.ask("PATCH", f"/api/admin/groups/{slug}", {"allowed_models": ["large"]})
    assert chat(platform, key).status_code == 403
    platform.ask("PATCH", f"/api/admin/groups/{slug}", {"slug": f"{slug}-renamed", "allowed_models": ["*"]})
    renamed = chat(platform, key)
    assert (renamed.status_code, renamed.headers["x-tokenopen-group"]) == (200, f"{slug}-renamed")
    platform.ask("POST", f"/api/admin/groups/{slug}-renamed/archive")
    refused = chat(platform, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "group_not_available")
