"""What was received can be seen afterwards: in the log of every call, and byte for byte when recording."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from tests.simulator.raw_client import RawClient
from tokenopen.simulator.process import SimulatorProcess

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_call_is_one_line_with_its_outcome(raw: RawClient, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with SimulatorProcess(log_path=log) as simulator:
        raw.port = simulator.port
        body = {"model": "m", "messages": [{"content": "a b c"}], "max_tokens": 5}
        raw.call(CHAT, body, x_request_id="call_1")
        raw.call(CHAT, body | {"stream": True}, x_request_id="call_2")
        raw.call(CHAT, body | {"simulate": {"status": 500}}, x_request_id="call_3")
        raw.call(CHAT, body | {"simulate": {"cut_after_events": 1}, "stream": True})
        raw.call(CHAT, b"no json", x_request_id="call_5")
        raw.call(CHAT, body | {"simulate": {"silent": True}}, quiet_s=0.5)
        raw.call(CHAT, body | {"simulate": {"chunk_delay_ms": 1000}, "stream": True}, quiet_s=0.5)
        eventually(lambda: len(lines_of(log)) == 7)
    lines = lines_of(log)
    assert [line["outcome"] for line in lines] == [
        "answered",
        "answered",
        "refused",
        "cut",
        "refused",
        "silent",
        "client_gone",
    ]
    assert [line["request_id"] for line in lines] == [
        "call_1",
        "call_2",
        "call_3",
        None,
        "call_5",
        None,
        None,
    ]
    assert abs(time.time() * 1000 - int(str(lines[0].pop("at_ms")))) < 60_000
    assert lines[0] == {
        "request_id": "call_1",
        "model": "m",
        "stream": False,
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "outcome": "answered",
    }
    assert (lines[1]["stream"], lines[4]["model"]) == (True, None)


def test_the_line_of_a_whole_reply_is_on_file_when_the_reply_is(raw: RawClient, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with SimulatorProcess(log_path=log) as simulator:
        raw.port = simulator.port
        for count in range(1, 21):
            assert raw.chat(stream=bool(count % 2)).end == "whole"
            assert len(lines_of(log)) == count


def test_received_calls_can_be_read_back_byte_for_byte(raw: RawClient, simulator: SimulatorProcess) -> None:
    simulator.forget()
    body = '{"model":"m", "messages":[{"content":"ü"}],"n":1.0,"unknown":{"b":1,"a":2}}'
    raw.call(CHAT, body.encode(), Authorization="Bearer sk-x", X_Custom="Kept")
    raw.call("/v1/embeddings", b"\xff\xfe")
    first, second = simulator.received()
    assert (first.method, first.path, first.body) == ("POST", CHAT, body)
    assert first.json["unknown"] == {"b": 1, "a": 2}
    assert (first.header("authorization"), first.header("x-custom")) == ("Bearer sk-x", "Kept")
    assert (second.body, second.body_base64, second.json) == (None, "//4=", None)
    assert [call.path for call in simulator.received(limit=1)] == ["/v1/embeddings"]
    simulator.forget()
    assert simulator.received() == []


def test_without_recording_the_calls_cannot_be_read() -> None:
    with SimulatorProcess() as simulator, pytest.raises(RuntimeError, match="--record"):
        simulator.received()


def test_the_listed_models_can_be_chosen() -> None:
    with (
        SimulatorProcess(models=["one", "two"]) as simulator,
        openai.OpenAI(base_url=simulator.base_url, api_key="sk") as client,
    ):
        assert [model.id for model in client.models.list()] == ["one", "two"]


def test_a_taken_port_is_an_error_at_once(simulator: SimulatorProcess) -> None:
    with pytest.raises(RuntimeError, match="before it served"):
        SimulatorProcess(port=simulator.port)
