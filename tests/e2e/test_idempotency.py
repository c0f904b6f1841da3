"""Idempotency-Key against the real process, while the first call's stream is on its way and after it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Final

import httpx
import pytest

from tests.e2e.running import Platform

PATHS: Final = {
    "chat": ("/chat/completions", "openai"),
    "messages": ("/messages", "anthropic"),
}
BEGINNING: Final[Mapping[str, Sequence[object]]] = {
    "chat": [{"choices": [{"index": 0, "delta": {"content": "Hel"}}]}],
    "messages": [
        {"type": "message_start", "message": {"usage": {"input_tokens": 100, "output_tokens": 1}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hel"}},
    ],
}
END: Final[Mapping[str, Sequence[object]]] = {
    "chat": [
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}},
    ],
    "messages": [
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ],
}
# 1 and 5 credits per million.
CHARGE: Final = "0.00015"


class HaltingProvider:
    """Begins each stream at once and ends it when it is let; counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.goes_on = Event()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                provider.asked += 1
                name = "messages" if self.path.endswith("/messages") else "chat"
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                self._say(name, BEGINNING)
                assert provider.goes_on.wait(30)
                self._say(name, END)
                if name == "chat":
                    self.wfile.write(b"data: [DONE]\n\n")

            def _say(self, name: str, events: Mapping[str, Sequence[object]]) -> None:
                for event in events[name]:
                    self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.goes_on.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def provider(platform: Platform) -> Iterator[HaltingProvider]:
    provider = HaltingProvider()
    platform.add_group("halting")
    for name, (_, kind) in PATHS.items():
        platform.add_model(f"halting-{name}", prices={"input": "1", "output": "5"})
        platform.add_upstream(
            [f"halting-{name}"], name=f"halting-{name}", provider=kind, base_url=provider.url
        )
    yield provider
    provider.stop()


@pytest.mark.parametrize("name", list(PATHS))
def test_of_a_stream_that_is_sent_again_there_is_one_and_another_body_is_a_conflict(
    platform: Platform, provider: HaltingProvider, name: str
) -> None:
    user = platform.add_user(f"{name}@example.com", credit="1")
    key = platform.add_key(user, "halting")
    path = PATHS[name][0]
    asked = {"model": f"halting-{name}", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    asked["stream"] = True
    provider.goes_on.clear()
    before = provider.asked
    with platform.caller(key) as caller, ThreadPoolExecutor(2) as pool:

        def send(body: object) -> httpx.Response:
            return caller.post(path, json=body, headers={"idempotency-key": "order-7"})

        def assert_conflict(body: object) -> None:
            refused = send(body)
            assert refused.status_code == 409, refused.text
            assert refused.json()["error"].get("code", "idempotency_conflict") == "idempotency_conflict"
            assert refused.headers["x-should-retry"] == "false"

        with caller.stream("POST", path, json=asked, headers={"idempotency-key": "order-7"}) as first:
            parts = first.iter_bytes()
            got = b""
            while b"Hel" not in got:
                got += next(parts)
            again = [pool.submit(send, asked) for _ in range(2)]
            # While it is on its way: another body is told so at once, the same body waits.
            assert_conflict(asked | {"max_tokens": 21})
            assert_conflict(asked | {"stream": False})
            assert not any(one.done() for one in again)
            provider.goes_on.set()
            got += b"".join(parts)
        replies = [one.result(30) for one in again]
        assert [reply.content for reply in replies] == [got, got]
        assert all(reply.headers["x-tokenopen-replayed"] == "true" for reply in replies)
        assert_conflict(asked | {"max_tokens": 21})
        assert send(asked).content == got
    assert provider.asked == before + 1
    platform.wait_until_nothing_is_held(user)
    entries = platform.ask("GET", f"/api/admin/ledger?user={user}")["data"]
    assert [entry["amount"] for entry in entries if entry["kind"] == "charge"] == [f"-{CHARGE}"]


def test_the_books_are_right(platform: Platform) -> None:
    platform.audit()
