"""``/metrics`` of the real process, as Prometheus reads it; neither it nor the log tells a secret."""

import secrets
from collections.abc import Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import ADMIN_KEY, Platform

Sample = tuple[str, tuple[tuple[str, str], ...]]


def read_metrics(platform: Platform) -> Mapping[Sample, float]:
    """Return every sample by its name and labels."""
    reply = platform.admin.get("/metrics")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def value(samples: Mapping[Sample, float], name: str, **labels: str) -> float:
    return samples.get((f"tokenopen_{name}", tuple(sorted(labels.items()))), 0)


def call(platform: Platform, key: str, prompt: str = "one two three", **more: object) -> httpx.Response:
    body = {"model": "small", "messages": [{"role": "user", "content": prompt}], "max_tokens": 4, **more}
    with platform.caller(key) as caller:
        return caller.post("/chat/completions", json=body)


@pytest.fixture
def slug() -> str:
    return f"g{secrets.token_hex(4)}"


def test_calls_refusals_charges_and_times_are_counted(platform: Platform, slug: str) -> None:
    platform.add_group(slug, requests_per_minute=3)
    user = platform.add_user(f"{slug}@example.com")
    key = platform.add_key(user, slug)
    before = read_metrics(platform)
    charged = [call(platform, key), call(platform, key, stream=True)]
    assert [reply.status_code for reply in charged] == [200, 200]
    assert call(platform, key, simulate={"status": 500}).status_code == 502
    assert call(platform, key).status_code == 429
    assert call(platform, "sk-to-" + "0" * 40).status_code == 401
    platform.wait_until_nothing_is_held(user)
    after = read_metrics(platform)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    called = {"api": "chat", "group": slug, "model": "small"}
    assert grown("calls_total", **called, end_reason="completed") == 2
    assert grown("calls_total", **called, end_reason="upstream_failed") == 1
    # 3 tokens in at 0.15 and 4 out at 0.60 per million, twice.
    assert grown("charged_nanocredits_total", group=slug, model="small") == 2 * 2_850
    assert grown("refused_calls_total", code="rpm_exceeded", group=slug, model="small") == 1
    assert grown("refused_calls_total", code="invalid_api_key", group="", model="") == 1
    assert grown("upstream_attempts_total", upstream="simulated", result="200") == 2
    assert grown("upstream_attempts_total", upstream="simulated", result="500") == 1
    assert grown("upstream_first_byte_seconds_count", upstream="simulated") == 2
    assert grown("call_duration_seconds_count", api="chat") == 3
    assert grown("call_duration_seconds_bucket", api="chat", le="+Inf") == 3
    # Four admissions, one of them refused, and three resolutions; one call after the other.
    assert grown("till_batch_items_sum") == 7
    assert grown("till_batch_seconds_count") >= 3
    assert grown("till_commit_seconds_count") >= 3
    assert value(after, "open_holds") == 0
    assert value(after, "held_nanocredits") == 0
    assert value(after, "workers") == 1


def test_only_administrators_read_metrics(platform: Platform, slug: str) -> None:
    platform.add_group(slug)
    user = platform.add_user(f"{slug}@example.com")
    path = f"/api/admin/users/{user}/management-keys"
    own = platform.ask("POST", path, {"name": "own"})["key"]
    for key, status in ((None, 401), (own, 403), (platform.add_key(user, slug), 401)):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{platform.server.url}/metrics", headers=headers).status_code == status


def test_neither_metrics_nor_the_log_tells_a_secret(platform: Platform, slug: str) -> None:
    """Canaries in every place where a secret or a caller's words pass, through replies and failures."""
    canary = f"canary{secrets.token_hex(8)}"
    platform.add_group(slug)
    key = platform.add_key(platform.add_user(f"{slug}@example.com"), slug)
    platform.add_model(slug)
    platform.add_upstream([slug], name=slug, credential=f"{canary}-credential")
    failures: list[dict[str, object]] = [
        {},
        {"stream": True},
        {"simulate": {"status": 500}},
        {"simulate": {"reset": True}},
        {"simulate": {"status": 401, "error_body": {"error": {"message": f"{canary} is no key"}}}},
        {"user": canary, "stream": "no"},
    ]
    for more in failures:
        call(platform, key, prompt=canary, model=slug, **more)
    call(platform, f"sk-to-{canary}")
    admin = platform.admin.post(
        "/api/admin/upstreams", json={"name": canary}, headers={"Authorization": f"Bearer {canary * 2}"}
    )
    assert admin.status_code == 401
    seen = platform.admin.get("/metrics").text + platform.server.log_path.read_text()
    assert "upstream_failed" in seen
    for secret in (canary, key, ADMIN_KEY, platform.admin.headers["authorization"]):
        assert secret not in seen
    # What is logged of a call names it.
    failed = [line for line in platform.server.log_path.read_text().splitlines() if "upstream_failed" in line]
    assert all('"call_id": "call_' in line for line in failed)
