"""Headers pass by an allow-list, in both directions: what else a caller or a provider sends stays here."""

from typing import Any, Final

import msgspec
import pytest

from tests.fakes.scripted_upstream import Script
from tests.gateway.replies import DONE, HELLO, STOP, ask, chat_json, provider_error, report
from tests.gateway.world import CREDENTIAL, MODEL, World, bearer, refusal

# What a caller, its browser or a proxy on the way may add, and providers or networks would act on.
CALLERS: Final = [
    (b"cookie", b"session=secret"),
    (b"host", b"127.0.0.1"),
    (b"origin", b"https://app.example"),
    (b"referer", b"https://app.example/secret"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x-forwarded-host", b"internal"),
    (b"forwarded", b"for=10.0.0.1"),
    (b"x-real-ip", b"10.0.0.1"),
    (b"via", b"1.1 proxy"),
    (b"proxy-authorization", b"Basic c2VjcmV0"),
    (b"connection", b"keep-alive, x-secret"),
    (b"transfer-encoding", b"chunked"),
    (b"te", b"trailers"),
    (b"upgrade", b"h2c"),
    (b"expect", b"100-continue"),
    (b"accept-encoding", b"gzip"),
    (b"openai-organization", b"org-callers"),
    (b"openai-project", b"proj-callers"),
    (b"api-key", b"callers-azure-key"),
    (b"x-goog-api-key", b"callers-google-key"),
    (b"x-goog-user-project", b"callers-project"),
    (b"anthropic-organization-id", b"org"),
    (b"http-referer", b"https://app.example"),
    (b"x-title", b"App"),
    (b"idempotency-key", b"callers"),
    (b"traceparent", b"00-1-1-01"),
    (b"x-stainless-lang", b"python"),
    (b"x-request-id", b"callers"),
    (b"user-agent", b"Callers/1.0"),
    (b"x-secret", b"secret"),
]
OURS: Final = {b"content-type", b"accept", b"x-request-id", b"user-agent"}

PROVIDERS: Final = [
    (b"set-cookie", b"__cf_bm=secret"),
    (b"location", b"http://169.254.169.254/"),
    (b"openai-organization", b"org-operators"),
    (b"openai-project", b"proj-operators"),
    (b"anthropic-organization-id", b"org-operators"),
    (b"x-request-id", b"req_providers"),
    (b"request-id", b"req_providers"),
    (b"cf-ray", b"1"),
    (b"server", b"cloudflare"),
    (b"via", b"1.1 google"),
    (b"alt-svc", b"h3"),
    (b"x-ratelimit-limit-requests", b"7"),
    (b"x-ratelimit-remaining-tokens", b"7"),
    (b"anthropic-ratelimit-requests-limit", b"7"),
    (b"retry-after", b"7"),
    (b"x-should-retry", b"true"),
    (b"x-tokenopen-charge", b"0"),
    (b"x-tokenopen-group", b"operators"),
    (b"access-control-allow-origin", b"*"),
    (b"strict-transport-security", b"max-age=1"),
    (b"www-authenticate", b"Bearer"),
    (b"x-secret", b"secret"),
]


async def call(world: World, body: Any, *, path: str, streamed: bool) -> Any:
    caller = world.caller({**body, "stream": True} if streamed else body, path=path)
    caller.scope.update(headers=[bearer(world.key), *CALLERS])
    return await world.ended(world.start(caller))


def sent_headers(world: World) -> dict[bytes, bytes]:
    (request,) = world.upstream.requests
    names = [name for name, _ in request.headers]
    assert len(names) == len(set(names))
    return dict(request.headers)


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_of_a_callers_headers_none_reaches_a_provider_of_openais_shape(
    world: World, streamed: bool
) -> None:
    world.upstream.will(Script(body=[chat_json()]))
    await call(world, ask(), path="/v1/chat/completions", streamed=streamed)
    sent = sent_headers(world)
    assert set(sent) == OURS | {b"authorization"}
    assert sent[b"authorization"] == f"Bearer {CREDENTIAL}".encode()
    assert sent[b"x-request-id"].startswith(b"call_")
    assert sent[b"user-agent"].startswith(b"tokenopen/")
    assert not {value for _, value in CALLERS} & set(sent.values())
    assert world.key.encode() not in b"".join(sent.values())


async def test_of_a_callers_headers_anthropic_gets_the_version_and_the_betas_that_are_known(
    world: World,
) -> None:
    await world.add_upstream(
        "anthropic", {"provider": "anthropic", "base_url": "https://anthropic.example.com", "priority": 9}
    )
    usage = {"input_tokens": 10, "output_tokens": 2}
    reply = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "usage": usage}
    world.upstream.will(Script(body=[msgspec.json.encode(reply)]))
    body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    caller = await call(world, body, path="/v1/messages", streamed=False)
    assert caller.status == 200
    sent = sent_headers(world)
    assert set(sent) - {b"anthropic-beta"} == OURS | {b"x-api-key", b"anthropic-version"}
    assert sent[b"x-api-key"] == CREDENTIAL.encode()
    assert not {value for _, value in CALLERS} & set(sent.values())


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_of_a_providers_headers_only_the_type_and_its_time_reach_the_caller(
    world: World, streamed: bool
) -> None:
    kind = b"text/event-stream" if streamed else b"application/json"
    headers = [(b"content-type", kind), (b"openai-processing-ms", b"12"), *PROVIDERS]
    body = [*HELLO, STOP, report(), DONE] if streamed else [chat_json()]
    world.upstream.will(Script(headers=headers, body=body))
    caller = await call(world, ask(), path="/v1/chat/completions", streamed=streamed)
    assert caller.status == 200
    assert caller.headers["openai-processing-ms"] == "12"
    assert caller.headers["x-request-id"].startswith("call_")
    assert caller.headers["x-tokenopen-group"] == "team"
    allowed = {"content-type", "openai-processing-ms", "x-request-id", "x-tokenopen-group"}
    ours = {"content-length", "x-tokenopen-charge", "x-tokenopen-upstream-ms"}
    assert set(caller.headers) <= (allowed if streamed else allowed | ours)
    assert not {value.decode() for _, value in PROVIDERS} & (
        set(caller.headers.values()) - {caller.headers.get("x-tokenopen-upstream-ms")}
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_by_nobody(world: World, status: int) -> None:
    """Neither by us, with the credential, nor by the caller, who never sees it."""
    headers = [(b"location", b"http://169.254.169.254/latest/meta-data/"), *PROVIDERS]
    world.upstream.will(provider_error(status, headers=headers))
    caller = await call(world, ask(), path="/v1/chat/completions", streamed=False)
    refusal(caller, 502, "upstream_error")
    assert len(world.upstream.requests) == 1
    assert "location" not in caller.headers
    assert b"169.254" not in caller.body
    assert await world.charges() == []
