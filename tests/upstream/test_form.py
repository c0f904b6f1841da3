"""Forms: read whatever the pieces they come in, written anew for the provider, files never held in memory."""

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import RawConnection, a_request, json_reply, read_all

from tokenopen.core.errors import InvalidRequest, RequestTooLarge
from tokenopen.upstream import form as form_module
from tokenopen.upstream.form import Form, FormBody
from tokenopen.upstream.http1 import Http1Upstream

SOUND = bytes(range(256)) * 40


def encoded(data: Mapping[str, Any], files: Any = ()) -> tuple[bytes, bytes]:
    """Return a form's content type and bytes as an SDK writes them."""
    request = httpx.Request("POST", "http://a.test", data=data, files=files)
    return request.headers["content-type"].encode(), request.read()


def read(content_type: bytes, *pieces: bytes) -> tuple[Form, dict[str, Any]]:
    form = Form(content_type)
    for piece in pieces:
        form.feed(piece)
    return form, json.loads(form.end())


def by_hand(*parts: bytes) -> bytes:
    return b"".join(b"--x\r\n%b\r\n" % part for part in parts) + b"--x--\r\n"


def parsed(body: FormBody) -> Sequence[tuple[str, str | None, bytes]]:
    """Return name, filename and bytes of each part of what goes out, as a mail parser reads it."""
    from email.parser import BytesParser
    from email.policy import HTTP

    raw = b"".join(body.pieces())
    assert len(raw) == len(body)
    message = BytesParser(policy=HTTP).parsebytes(b"content-type: %b\r\n\r\n%b" % (body.content_type, raw))
    found = []
    for part in message.iter_parts():
        disposition = part["content-disposition"]
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((disposition.params["name"], disposition.params.get("filename"), content))
    return found


FIELDS: dict[str, Any] = {
    "model": "whisper-1",
    "include[]": ["logprobs", "words"],
    "prompt": "日本\r\n--x",
}
FILES = [("file", ('a "b".mp3', SOUND, "audio/mpeg"))]


def test_fields_are_told_and_files_described() -> None:
    _, fields = read(*encoded(FIELDS, FILES))
    assert fields.pop("") != ""
    assert fields == FIELDS | {"file": {"part": 4, "bytes": len(SOUND), "type": "audio/mpeg"}}


def test_the_pieces_that_a_form_comes_in_make_no_difference() -> None:
    content_type, body = encoded(FIELDS, [("file", ("a.mp3", SOUND[:700], "audio/mpeg"))])
    _, whole = read(content_type, body)
    for cut in range(len(body) + 1):
        assert read(content_type, body[:cut], body[cut:])[1] == whole
    assert read(content_type, *(bytes([byte]) for byte in body))[1] == whole


def test_what_goes_out_is_what_came_but_for_what_is_replaced() -> None:
    content_type, body = encoded(FIELDS, FILES)
    form, fields = read(content_type, body)
    sent = parsed(form.body(json.dumps(fields | {"model": "up"}).encode()))
    assert sent == [
        ("model", None, b"up"),
        ("include[]", None, b"logprobs"),
        ("include[]", None, b"words"),
        ("prompt", None, FIELDS["prompt"].encode()),
        ("file", "a %22b%22.mp3", SOUND),
    ]
    # Another try gets the same again.
    assert parsed(form.body(json.dumps(fields).encode()))[-1][2] == SOUND


def test_fields_may_come_after_files() -> None:
    body = by_hand(
        b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nSOUND',
        b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1',
    )
    form, fields = read(b"multipart/form-data; boundary=x", body)
    assert fields["model"] == "whisper-1"
    assert parsed(form.body(json.dumps(fields).encode())) == [
        ("file", "a.mp3", b"SOUND"),
        ("model", None, b"whisper-1"),
    ]


def test_the_same_form_in_other_words_is_the_same_and_another_file_is_not() -> None:
    """What the Idempotency-Key is about: boundaries differ from one try to the next."""
    first, second = (read(*encoded(FIELDS, FILES))[1] for _ in range(2))
    assert first == second
    other = [("file", ('a "b".mp3', SOUND[:-1] + b"x", "audio/mpeg"))]
    assert read(*encoded(FIELDS, other))[1] != first
    a, b = (
        read(*encoded({}, [("f", ("f", one)), ("f", ("f", two))]))[1]
        for one, two in ((b"12", b"3"), (b"1", b"23"))
    )
    assert a[""] != b[""]


@pytest.mark.parametrize(
    "part",
    [
        b"\r\nx",
        b"Content-Disposition: form-data\r\n\r\nx",
        b'Content-Disposition: form-data; name=""\r\n\r\nx',
        b'Content-Disposition: attachment; name="a"\r\n\r\nx',
        b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"\r\n\r\nx',
        b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nx',
        b'Content-Disposition: form-data; name="a"\r\n\r\n\xff',
        b'Content-Disposition: form-data; name="\xff"\r\n\r\nx',
        b"no header\r\n\r\nx",
    ],
)
def test_parts_that_parsers_could_read_differently_are_refused(part: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(b"multipart/form-data; boundary=x", by_hand(part))


@pytest.mark.parametrize(
    "kind", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=x"]
)
def test_a_body_of_another_type_is_refused(kind: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Form(kind)


def test_half_a_form_is_refused() -> None:
    content_type, body = encoded(FIELDS, FILES)
    for cut in (0, 10, len(body) // 2, len(body) - 30):
        with pytest.raises(InvalidRequest):
            read(content_type, body[:cut])


def test_forms_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_module, "FORM_BYTES_MAX", 20_000)
    monkeypatch.setattr(form_module, "FIELD_BYTES_MAX", 500)
    assert read(*encoded({"a": "x" * 500}, FILES))[1]["a"] == "x" * 500
    long_field = by_hand(b'Content-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 501)
    with pytest.raises(RequestTooLarge):
        read(b"multipart/form-data; boundary=x", long_field)
    with pytest.raises(RequestTooLarge):
        read(*encoded({}, [("f", ("f", b"x" * 20_000))]))
    part = b'Content-Disposition: form-data; name="a"\r\n\r\nx'
    with pytest.raises(InvalidRequest, match="parts"):
        read(b"multipart/form-data; boundary=x", by_hand(*[part] * (form_module.PARTS_MAX + 1)))


def test_a_large_file_is_never_held_in_memory() -> None:
    megabytes = 24
    piece = b"\x07" * (256 * 1024)
    tracemalloc.start()
    try:
        form = Form(b"multipart/form-data; boundary=x")
        form.feed(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
        for _ in range(megabytes * 4):
            form.feed(piece)
        form.feed(b"\r\n--x--\r\n")
        body = form.body(form.end())
        assert sum(map(len, body.pieces())) == len(body) > megabytes * 1024 * 1024
        assert tracemalloc.get_traced_memory()[1] < 6 * 1024 * 1024
    finally:
        tracemalloc.stop()
        form.close()


async def test_a_form_arrives_as_it_was_read_and_again_on_another_try(
    upstream: Http1Upstream, serve: Serve
) -> None:
    arrived = []

    async def script(connection: RawConnection) -> None:
        for _ in range(2):
            arrived.append(await connection.read_request())
            await connection.send(json_reply())

    server = await serve(script)
    large = bytes(range(256)) * 12_000
    form, _ = read(*encoded(FIELDS, [("file", ("a.mp3", large, "audio/mpeg"))]))
    body = form.body(form.end())
    for _ in range(2):
        request = a_request(server.url, body=body, headers=[(b"content-type", body.content_type)])
        assert await read_all(await upstream.send(request)) == b'{"ok":true}'
    expected = b"".join(body.pieces())
    assert [content for _, content in arrived] == [expected, expected]
    assert b"content-length: %d\r\n" % len(expected) in arrived[0][0]
    assert large in expected
    form.close()
