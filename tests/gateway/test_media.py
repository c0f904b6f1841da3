"""Images, sound, moderation and reranking: what each is charged by, what is refused, what forms become."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import EVENT_STREAM, Script
from tests.gateway.replies import event
from tests.gateway.world import MODEL, World, bearer, refusal, until
from tokenopen.core.money import NANO_PER_CREDIT, Nanocredits
from tokenopen.gateway import reply as gateway_reply
from tokenopen.ports.storage import Batch
from tokenopen.ports.upstream import ReplyBroken

IMAGES = "/v1/images/generations"
EDITS = "/v1/images/edits"
SPEECH = "/v1/audio/speech"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
MODERATIONS = "/v1/moderations"
RERANK = "/v1/rerank"
SOUND = ((b"content-type", b"audio/mpeg"),)
FILE = bytes(range(256)) * 20
PNG = ("a.png", FILE, "image/png")
MP3 = ("a.mp3", FILE, "audio/mpeg")


async def price(world: World, **per_million: int) -> None:
    """Sell MODEL at these prices, in credits per million; tokens cost nothing unless they are named."""
    named = {"input": 0, "output": 0, **per_million}
    prices = {name: Nanocredits(amount * NANO_PER_CREDIT) for name, amount in named.items()}
    await world.put_model({"prices": prices})


def replies(value: Any) -> Script:
    return Script(body=[msgspec.json.encode(value)])


async def send_form(
    world: World, path: str, data: dict[str, Any], files: Sequence[tuple[str, Any]], *, pieces: int = 3
) -> AsgiCaller:
    request = httpx.Request("POST", "http://a.test", data={"model": MODEL} | data, files=files)
    body, step = request.read(), len(request.read()) // pieces + 1
    caller = AsgiCaller(
        path=path,
        headers=[bearer(world.key), (b"content-type", request.headers["content-type"].encode())],
        body=[body[at : at + step] for at in range(0, len(body), step)],
    )
    await caller.call(world.api)
    await world.settled()
    return caller


async def usage_of(world: World) -> dict[str, int]:
    await world.assert_sound()
    found: dict[str, int] = msgspec.json.decode((await world.only_call())["usage"])
    return found


IMAGE_REPLY = {"created": 1, "data": [{"b64_json": "AAAA"}, {"b64_json": "AAAA"}]}
IMAGE_USAGE = {
    "input_tokens": 50,
    "output_tokens": 1_000,
    "total_tokens": 1_050,
    "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
}


async def test_images_without_a_report_are_charged_one_by_one(world: World) -> None:
    await price(world, images=40_000)
    world.upstream.will(replies(IMAGE_REPLY))
    caller = await world.call({"model": MODEL, "prompt": "A cat", "n": 3}, path=IMAGES)
    assert caller.status == 200
    assert await usage_of(world) == {"images": 2}
    # Two came of the three that were held: 0.04 credits each.
    assert caller.headers["x-tokenopen-charge"] == "0.08"
    assert (await world.only_call())["hold"] == 120_000_000


async def test_images_that_report_tokens_are_charged_by_them(world: World) -> None:
    await price(world, input=5, image_input=10, image_output=40)
    world.upstream.will(replies(IMAGE_REPLY | {"usage": IMAGE_USAGE}))
    await world.call({"model": MODEL, "prompt": "A cat", "size": "1536x1024", "quality": "high"}, path=IMAGES)
    assert await usage_of(world) == {"input": 40, "image_input": 10, "image_output": 1_000}
    assert await world.charges() == [(40 * 5 + 10 * 10 + 1_000 * 40) * 1_000]


async def test_a_stream_of_an_image_is_charged_before_its_end(world: World) -> None:
    await price(world, input=5, image_output=40)
    partial = event({"type": "image_generation.partial_image", "b64_json": "AA"})
    done = event({"type": "image_generation.completed", "b64_json": "AA", "usage": IMAGE_USAGE})
    world.upstream.will(Script(headers=EVENT_STREAM, body=[partial, done]))
    caller = await world.call({"model": MODEL, "prompt": "x", "stream": True}, path=IMAGES)
    assert caller.body == partial + done
    assert await usage_of(world) == {"input": 40, "image_input": 10, "image_output": 1_000}


@pytest.mark.parametrize(
    ("prices", "fields"),
    [
        ({}, {}),
        ({"images": 40_000}, {"size": "1792x1024"}),
        ({"images": 40_000}, {"quality": "hd"}),
    ],
)
async def test_images_that_no_price_covers_are_refused(
    world: World, prices: dict[str, int], fields: dict[str, Any]
) -> None:
    await price(world, **prices)
    caller = await world.call({"model": MODEL, "prompt": "x", **fields}, path=IMAGES)
    assert "has no price here for" in refusal(caller, 400, "invalid_request")["message"]
    assert world.upstream.requests == []


async def test_what_a_provider_counts_without_a_price_is_flagged_and_free(world: World) -> None:
    await price(world, image_output=40)
    world.upstream.will(replies(IMAGE_REPLY))
    caller = await world.call({"model": MODEL, "prompt": "x"}, path=IMAGES)
    assert (caller.status, caller.headers["x-tokenopen-charge"]) == (200, "0")
    call = await world.only_call()
    assert (call["flag"], call["charge"], call["state"]) == ("unpriced_usage", 0, "voided")
    await world.assert_sound()


async def test_a_form_goes_out_with_the_upstreams_model_and_every_byte_of_its_file(world: World) -> None:
    await price(world, images=40_000)
    world.upstream.will(replies({"data": [{"url": "https://x"}]}))
    caller = await send_form(
        world, EDITS, {"prompt": "A hat", "n": "1"}, [("image[]", PNG), ("image[]", PNG), ("mask", PNG)]
    )
    assert (caller.status, caller.headers["x-tokenopen-charge"]) == (200, "0.04")
    [request] = world.upstream.requests
    sent = dict(request.headers)
    assert sent[b"content-type"].startswith(b"multipart/form-data; boundary=")
    assert request.url == "https://one.example.com/v1/images/edits"
    assert not isinstance(request.body, bytes)
    # The file is let go of with the call, so it was read when it was sent; its length is what is left.
    assert len(request.body) > 3 * len(FILE)
    await world.assert_sound()


async def test_a_transcript_is_charged_by_the_second(world: World) -> None:
    await price(world, seconds=100)
    world.upstream.will(replies({"text": "Hi", "usage": {"type": "duration", "seconds": 8.2}}))
    caller = await send_form(world, TRANSCRIPTIONS, {}, [("file", MP3)])
    assert caller.status == 200
    assert await usage_of(world) == {"seconds": 9}
    assert caller.headers["x-tokenopen-charge"] == "0.0009"
    # One second for each 1,000 bytes, and one more.
    assert (await world.only_call())["hold"] == 6 * 100_000


async def test_a_transcript_is_charged_by_tokens_where_it_reports_them(world: World) -> None:
    await price(world, input=2, audio_input=6, output=10)
    report = {
        "type": "tokens",
        "input_tokens": 30,
        "output_tokens": 5,
        "total_tokens": 35,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 26},
    }
    world.upstream.will(
        Script(
            headers=EVENT_STREAM,
            body=[
                event({"type": "transcript.text.delta", "delta": "Hi"}),
                event({"type": "transcript.text.done", "text": "Hi", "usage": report}),
            ],
        )
    )
    await send_form(world, TRANSCRIPTIONS, {"stream": "true"}, [("file", MP3)])
    assert await usage_of(world) == {"input": 4, "audio_input": 26, "output": 5}
    assert await world.charges() == [(4 * 2 + 26 * 6 + 5 * 10) * 1_000]


async def test_a_transcript_that_tells_nothing_is_flagged_and_free(world: World) -> None:
    await price(world, seconds=100)
    world.upstream.will(replies({"text": "Hi"}))
    caller = await send_form(world, TRANSCRIPTIONS, {}, [("file", MP3)])
    assert caller.status == 200
    assert ((await world.only_call())["flag"], await world.charges()) == ("impossible_usage", [])
    await world.assert_sound()


async def test_a_transcript_goes_to_no_provider_that_tells_nothing_in_its_format(world: World) -> None:
    """Groq's plain JSON tells neither tokens nor seconds: what it does would be given away."""
    await price(world, seconds=100)
    await world.change_upstream({"provider": "groq"})
    for form in ({}, {"response_format": "json"}):
        error = refusal(await send_form(world, TRANSCRIPTIONS, form, [("file", MP3)]), 400, "invalid_request")
        assert error["param"] == "response_format"
        assert 'may only be "verbose_json"' in error["message"]
    world.upstream.will(
        replies({"text": "Hi", "duration": 2, "x_groq": {"id": "r"}}), replies({"text": "Hi"})
    )
    await send_form(world, TRANSCRIPTIONS, {"response_format": "verbose_json"}, [("file", MP3)])
    assert await usage_of(world) == {"seconds": 2}
    # Where another provider does tell, it is asked, whatever the order.
    await world.add_upstream(
        "other", {"provider": "openai", "base_url": "https://o.example.com/v1", "priority": 9}
    )
    await send_form(world, TRANSCRIPTIONS, {}, [("file", MP3)])
    assert [sent.url.split("/")[2] for sent in world.upstream.requests] == [
        "one.example.com",
        "o.example.com",
    ]


async def test_forms_whose_charge_could_not_be_told_are_refused(world: World) -> None:
    await price(world, seconds=100)
    wrong: Sequence[tuple[str, dict[str, Any], Any, str]] = (
        (TRANSCRIPTIONS, {"response_format": "srt"}, [("file", MP3)], "response_format"),
        (TRANSLATIONS, {}, [("file", MP3)], "response_format"),
        (TRANSCRIPTIONS, {}, [("other", MP3)], "file"),
        (TRANSCRIPTIONS, {"file": "a string"}, [("other", MP3)], "file"),
        (TRANSCRIPTIONS, {"Model": "x"}, [("file", MP3)], "Model"),
        (TRANSCRIPTIONS, {"model": [MODEL, "dearer"]}, [("file", MP3)], "model"),
        (EDITS, {"prompt": "x", "n": "11"}, [("image", PNG)], "n"),
    )
    for path, data, files, param in wrong:
        error = refusal(await send_form(world, path, data, files), 400, "invalid_request")
        assert error["param"] == param, data
    assert world.upstream.requests == []


async def test_a_body_that_is_no_form_is_refused(world: World) -> None:
    caller = await world.call({"model": MODEL}, path=TRANSCRIPTIONS)
    assert "multipart/form-data" in refusal(caller, 400, "invalid_request")["message"]


async def test_speech_is_charged_by_the_characters_that_were_sent(world: World) -> None:
    await price(world, characters=15)
    world.upstream.will(Script(headers=SOUND, body=[b"ID3", b"\x00" * 900, b"end"]))
    caller = await world.call({"model": MODEL, "input": "Grüße 👋", "voice": "alloy"}, path=SPEECH)
    assert (caller.status, caller.headers["content-type"]) == (200, "audio/mpeg")
    assert caller.body == b"ID3" + b"\x00" * 900 + b"end"
    assert await usage_of(world) == {"characters": 7}
    assert await world.charges() == [7 * 15_000]


async def test_the_last_part_of_speech_waits_for_its_charge(world: World) -> None:
    await price(world, characters=15)
    gate = asyncio.Event()

    async def wait(batch: Batch) -> None:
        if batch.resolutions:
            await gate.wait()

    world.storage.before_post = wait
    world.upstream.will(Script(headers=SOUND, body=[b"first", b"last"]))
    caller = world.caller({"model": MODEL, "input": "Hello"}, path=SPEECH)
    running = world.start(caller)
    await caller.receives(b"first")
    await until(lambda: world.storage.posting)
    assert (caller.body, caller.whole) == (b"first", False)
    gate.set()
    await world.ended(running)
    assert (caller.body, caller.whole) == (b"firstlast", True)
    assert await world.charges() == [5 * 15_000]


async def test_a_caller_who_leaves_speech_that_has_begun_pays_for_it(world: World) -> None:
    await price(world, characters=15)
    world.upstream.will(Script(headers=SOUND, body=[b"first", b"second", asyncio.Event()]))
    caller = world.caller({"model": MODEL, "input": "Hello"}, path=SPEECH)
    running = world.start(caller)
    await caller.receives(b"first")
    caller.leave()
    await world.ended(running)
    assert await world.charges() == [5 * 15_000]
    await world.assert_sound()


async def test_speech_that_breaks_off_is_free(world: World) -> None:
    await price(world, characters=15)
    world.upstream.will(Script(headers=SOUND, body=[b"first", b"second", ReplyBroken("gone")]))
    caller = await world.call({"model": MODEL, "input": "Hello"}, path=SPEECH)
    assert caller.was_cut
    assert await world.charges() == []
    await world.assert_sound()


async def test_speech_in_events_is_charged_by_the_tokens_that_it_reports(world: World) -> None:
    await price(world, input=1, audio_output=12)
    report = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    delta, done = (
        event({"type": "speech.audio.delta", "audio": "AA"}),
        event({"type": "speech.audio.done", "usage": report}),
    )
    world.upstream.will(Script(headers=EVENT_STREAM, body=[delta + done]))
    caller = await world.call({"model": MODEL, "input": "Hello", "stream_format": "sse"}, path=SPEECH)
    assert caller.body == delta + done
    assert await usage_of(world) == {"input": 14, "audio_output": 101}
    refused = await world.call({"model": MODEL, "input": "Hello"}, path=SPEECH)
    assert "characters" in refusal(refused, 400, "invalid_request")["message"]


async def test_a_moderation_is_free_where_the_price_says_so(world: World) -> None:
    await price(world)
    world.upstream.will(replies({"id": "modr-1", "results": [{"flagged": False}]}))
    caller = await world.call({"model": MODEL, "input": ["a", "b" * 60]}, path=MODERATIONS)
    assert (caller.status, caller.headers["x-tokenopen-charge"]) == (200, "0")
    assert (await world.only_call())["state"] == "settled"
    await world.assert_sound()
    # Nothing is taken to be free: the model that OpenAI takes by itself has no price here.
    refusal(await world.call({"input": "a"}, path=MODERATIONS), 404, "model_not_found")


async def test_a_ranking_is_charged_by_search_units_or_by_tokens(world: World) -> None:
    await price(world, searches=2_000)
    body = {"model": MODEL, "query": "q", "documents": ["a", {"text": "b" * 60_000}]}
    await world.change_upstream({"provider": "cohere"})
    world.upstream.will(replies({"results": [], "meta": {"billed_units": {"search_units": 2}}}))
    caller = await world.call(body, path=RERANK)
    assert caller.headers["x-tokenopen-charge"] == "0.004"
    assert world.upstream.requests[0].url == "https://one.example.com/v2/rerank"
    assert await usage_of(world) == {"searches": 2}
    # 122 chunks of 500 units at most, 100 of which are a search.
    assert (await world.only_call())["hold"] == 2 * 2_000_000


async def test_a_ranking_by_tokens(world: World) -> None:
    await price(world, input=2)
    await world.change_upstream({"provider": "openai-compatible"})
    world.upstream.will(replies({"results": [{"index": 0}], "usage": {"total_tokens": 70}}))
    await world.call({"model": MODEL, "query": "q", "documents": ["a"]}, path=RERANK)
    assert await usage_of(world) == {"input": 70}
    assert await world.charges() == [140_000]


async def test_a_ranking_by_tokens_where_cohere_has_its_search_units(world: World) -> None:
    await price(world, input=2)
    await world.change_upstream({"provider": "openai-compatible"})
    meta = {"billed_units": {"input_tokens": 70}, "tokens": {"input_tokens": 70, "output_tokens": 0}}
    world.upstream.will(replies({"results": [{"index": 0}], "meta": meta}))
    await world.call({"model": MODEL, "query": "q", "documents": ["a"]}, path=RERANK)
    assert await usage_of(world) == {"input": 70}
    assert await world.charges() == [140_000]


async def test_a_reply_of_geminis_too_large_to_collect_is_charged_by_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_reply, "COLLECTED_BYTES_MAX", 100)
    await price(world, input=2, output=5, image_output=40)
    await world.change_upstream({"provider": "gemini"})
    report = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 1_290,
        "totalTokenCount": 1_300,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
    }
    image = {"inlineData": {"mimeType": "image/png", "data": "A" * 500}}
    reply = msgspec.json.encode(
        {"candidates": [{"content": {"parts": [image]}, "finishReason": "STOP"}], "usageMetadata": report}
    )
    world.upstream.will(Script(body=[reply[:300], reply[300:]]))
    path = f"/v1beta/models/{MODEL}:generateContent"
    config = {"responseModalities": ["IMAGE"]}
    caller = await world.call({"contents": "A cat", "generationConfig": config}, path=path)
    assert caller.body == reply
    assert await usage_of(world) == {"input": 10, "image_output": 1_290}
    assert await world.charges() == [(10 * 2 + 1_290 * 40) * 1_000]
