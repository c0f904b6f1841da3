"""Images, sound, moderation, reranking and Gemini through the real process, by the SDKs that people use."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.running import Platform
from tokenopen.simulator.media import SECONDS_PER_TRANSCRIPT, TOKENS_PER_IMAGE

SOUND = b"ID3" + bytes(range(256)) * 2_000
# Large enough to be spooled to disk, and to go out in pieces.
PICTURE = b"\x89PNG" + bytes(3_000_000)
MODELS = {
    "dall-e": {"images": "40000"},
    "gpt-image": {"input": "5", "image_output": "40"},
    "tts": {"characters": "15"},
    "whisper": {"seconds": "100"},
    "moderation": {},
    "rerank": {"searches": "2000"},
    "gemini": {"input": "0.3", "output": "2.5"},
}


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    for name, prices in MODELS.items():
        platform.add_model(name, prices={"input": "0", "output": "0", **prices}, max_output_tokens=8_000)
    platform.add_upstream([name for name in MODELS if name != "gemini"], name="media", provider="tokenopen")
    base_url = platform.simulator.base_url.removesuffix("/v1")
    platform.add_upstream(["gemini"], name="gemini", provider="gemini", base_url=base_url)
    platform.add_group("media")
    return platform.add_key(platform.add_user("media@example.com"), "media")


@pytest.fixture(scope="module")
def client(platform: Platform, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{platform.server.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def plain(platform: Platform, key: str) -> Iterator[httpx.Client]:
    headers = {"x-goog-api-key": key, "authorization": f"Bearer {key}"}
    with httpx.Client(base_url=platform.server.url, headers=headers, verify=False, timeout=30) as client:
        yield client


def charge_of(reply: Any) -> str:
    return str(reply.headers["x-tokenopen-charge"])


def receipt_of(plain: httpx.Client, reply: Any) -> Any:
    return plain.get(f"/v1/receipts/{reply.headers['x-request-id']}").json()


def test_images(client: openai.OpenAI) -> None:
    by_image = client.images.with_raw_response.generate(model="dall-e", prompt="A cat", n=2)
    assert charge_of(by_image) == "0.08"
    by_tokens = client.images.with_raw_response.generate(model="gpt-image", prompt="A cat", quality="high")
    assert charge_of(by_tokens) == f"{(2 * 5 + TOKENS_PER_IMAGE * 40) / 10**6:.5f}"
    assert len(by_tokens.parse().data or ()) == 1


def test_a_large_picture_goes_through_as_a_form(client: openai.OpenAI, platform: Platform) -> None:
    edited = client.images.with_raw_response.edit(
        model="dall-e", prompt="A hat", image=[("a.png", PICTURE), ("b.png", PICTURE)]
    )
    assert charge_of(edited) == "0.04"
    call = platform.simulator.received(1)[0]
    assert call.path == "/v1/images/edits"
    assert base64.b64decode(call.body_base64 or "").count(PICTURE) == 2


def test_sound(client: openai.OpenAI, plain: httpx.Client) -> None:
    spoken = client.audio.speech.with_raw_response.create(model="tts", input="Grüße", voice="alloy")
    assert spoken.content.startswith(b"ID3")
    assert receipt_of(plain, spoken)["charge"] == "0.000075"
    written = client.audio.transcriptions.with_raw_response.create(model="whisper", file=("a.mp3", SOUND))
    assert written.parse().text == "alpha bravo"
    assert charge_of(written) == f"{SECONDS_PER_TRANSCRIPT / 10**4:g}"
    translated = client.audio.translations.with_raw_response.create(
        model="whisper", file=("a.mp3", SOUND), response_format="verbose_json"
    )
    assert charge_of(translated) == charge_of(written)
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.audio.transcriptions.create(model="whisper", file=("a.mp3", SOUND), response_format="srt")


def test_moderation_and_reranking(client: openai.OpenAI, plain: httpx.Client) -> None:
    moderated = client.moderations.with_raw_response.create(model="moderation", input="Hello")
    assert (charge_of(moderated), moderated.parse().results[0].flagged) == ("0", False)
    ranked = plain.post("/v1/rerank", json={"model": "rerank", "query": "q", "documents": ["a", "b"]})
    assert (charge_of(ranked), len(ranked.json()["results"])) == ("0.002", 2)


def test_gemini(plain: httpx.Client) -> None:
    body = {"contents": [{"parts": [{"text": "Say hello"}]}], "generationConfig": {"maxOutputTokens": 40}}
    whole = plain.post("/v1beta/models/gemini:generateContent", json=body)
    assert charge_of(whole) == "0.0001006"
    streamed = plain.post("/v1beta/models/gemini:streamGenerateContent?alt=sse", json=body)
    assert streamed.text.count('"finishReason"') == 1
    assert receipt_of(plain, streamed)["charge"] == "0.0001006"
    counted = plain.post("/v1beta/models/gemini:countTokens", json={"contents": body["contents"]})
    assert (counted.json(), charge_of(counted)) == ({"totalTokens": 2}, "0")
    embedded = plain.post("/v1beta/models/gemini:embedContent", json={"content": {"parts": [{"text": "a"}]}})
    assert charge_of(embedded) == "0.0000003"
    listed = plain.get("/v1beta/models").json()["models"]
    assert "models/gemini" in {model["name"] for model in listed}
    refused = plain.get("/v1beta/models/unknown")
    assert refused.json()["error"]["status"] == "NOT_FOUND"


def test_the_books_are_right(platform: Platform) -> None:
    platform.audit()
