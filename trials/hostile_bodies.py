"""Hostile bodies: JSON and forms that parsers disagree about, or that cost much to read, on every API.

What is wrong with a body is wrong on all of them; only the object around it differs.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from trials.hostile_heads import CALL, CHAT_LINE, request
from trials.raw_http import Case

_DEEP: Final = 100_000
_MESSAGES: Final = b'"messages":[{"role":"user","content":"a b c"}]'
# Of each API the members that a body needs, without the braces.
MEMBERS: Final[Mapping[bytes, bytes]] = {
    b"/v1/chat/completions": b'"model":"small","max_tokens":5,' + _MESSAGES,
    b"/v1/completions": b'"model":"small","max_tokens":5,"prompt":"a b c"',
    b"/v1/embeddings": b'"model":"small","input":"a b c"',
    b"/v1/messages": b'"model":"small","max_tokens":5,' + _MESSAGES,
    b"/v1/messages/count_tokens": b'"model":"small",' + _MESSAGES,
    b"/v1/responses": b'"model":"small","max_output_tokens":5,"input":"a b c"',
    b"/v1beta/models/small:generateContent": b'"contents":[{"parts":[{"text":"a b c"}]}]',
    b"/v1beta/models/small:streamGenerateContent": b'"contents":[{"parts":[{"text":"a b c"}]}]',
    b"/v1beta/models/small:embedContent": b'"content":{"parts":[{"text":"a b c"}]}',
    b"/v1/moderations": b'"model":"small","input":"a b c"',
    b"/v1/rerank": b'"model":"small","query":"a","documents":["b"]',
    b"/v1/images/generations": b'"model":"small","prompt":"a b c"',
    b"/v1/audio/speech": b'"model":"small","input":"a b c","voice":"alloy"',
}
# MEMBERS stands for the right members of the API. Each of these is to be refused whole.
_WRONG: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "a space": b" ",
    "a NUL": b"\x00",
    "null": b"null",
    "a number": b"1",
    "a string": b'"{MEMBERS}"',
    "an array of it": b"[{MEMBERS}]",
    "an open brace": b"{",
    "half of it": b"{MEMBERS",
    "one brace too many": b"{MEMBERS}}",
    "two of it": b"{MEMBERS}{MEMBERS}",
    "text behind it": b"{MEMBERS} x",
    "a NUL behind it": b"{MEMBERS}\x00",
    "a comma at its end": b"{MEMBERS,}",
    "a comma in front": b"{,MEMBERS}",
    "single quotes": b"{MEMBERS,'a':1}",
    "a bare name": b"{MEMBERS,a:1}",
    "a comment": b"{MEMBERS/* x */}",
    "a comment of a line": b"{MEMBERS// x\n}",
    "a byte order mark": b"\xef\xbb\xbf{MEMBERS}",
    "UTF-16, little end first": "{MEMBERS}".encode("utf-16-le"),
    "UTF-16 with its mark": "{MEMBERS}".encode("utf-16"),
    "UTF-32": "{MEMBERS}".encode("utf-32"),
    "NaN": b'{MEMBERS,"temperature":NaN}',
    "Infinity": b'{MEMBERS,"temperature":Infinity}',
    "-Infinity": b'{MEMBERS,"temperature":-Infinity}',
    "a plus sign": b'{MEMBERS,"temperature":+1}',
    "a leading zero": b'{MEMBERS,"temperature":01}',
    "a point without digits": b'{MEMBERS,"temperature":1.}',
    "a point in front": b'{MEMBERS,"temperature":.5}',
    "an exponent without digits": b'{MEMBERS,"temperature":1e}',
    "hexadecimal": b'{MEMBERS,"temperature":0x1}',
    "True": b'{MEMBERS,"logprobs":True}',
    "undefined": b'{MEMBERS,"logprobs":undefined}',
    "an octet that is no UTF-8": b'{MEMBERS,"user":"\xff"}',
    "an overlong slash": b'{MEMBERS,"user":"\xc0\xaf"}',
    "half a character": b'{MEMBERS,"user":"\xe2\x82"}',
    "a surrogate in UTF-8": b'{MEMBERS,"user":"\xed\xa0\x80"}',
    "beyond the last character": b'{MEMBERS,"user":"\xf4\x90\x80\x80"}',
    "an escape that is none": b'{MEMBERS,"user":"\\x41"}',
    "half an escape": b'{MEMBERS,"user":"\\u00"}',
    "a line end in a string": b'{MEMBERS,"user":"a\nb"}',
    "a NUL in a string": b'{MEMBERS,"user":"a\x00b"}',
    "a string that does not end": b'{MEMBERS,"user":"a}',
    "a model twice": b'{MEMBERS,"model":"small","model":"large"}',
    "a model twice, once escaped": b'{MEMBERS,"model":"small","\\u006dodel":"large"}',
    "a model in capitals": b'{MEMBERS,"Model":"large"}',
    "deep arrays": b'{MEMBERS,"x":' + b"[" * _DEEP + b"]" * _DEEP + b"}",
    "deep objects": b'{MEMBERS,"x":' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}",
    "deep arrays that do not end": b'{MEMBERS,"x":' + b"[" * _DEEP,
    "nothing but deep arrays": b"[" * _DEEP,
    "nothing but deep objects": b'{"a":' * _DEEP,
    "a form instead": b"model=small&max_tokens=5",
    "XML instead": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>',
    "YAML instead": b"model: small\nmax_tokens: 5\n",
    "MessagePack instead": b"\x82\xa5model\xa5small\xaamax_tokens\x05",
    "gzip that is not named": gzip.compress(CALL),
    "zlib that is not named": zlib.compress(CALL),
}
# Values where chat takes another: wrong types, and numbers beyond every bound.
_VALUES: Final[Sequence[bytes]] = (
    *(b"null", b"true", b"false", b"[]", b"{}", b'""', b'"5"', b"-1", b"-0.5", b"0.5", b"1e999", b"-1e999"),
    *(b"1e400", b"9" * 400, b"-" + b"9" * 400, b"1e-999", b"18446744073709551616", b"9223372036854775808"),
    *(b"1.7976931348623159e308", b'"\\ud800"', b'"\\u0000"', b"[[[[]]]]", b'{"a":{"b":{}}}', b"0"),
)
# Numbers and texts may be anything to the provider; what counts for the charge or the route may not.
_GUARDED: Final[Sequence[bytes]] = (
    b"model",
    b"max_tokens",
    b"max_completion_tokens",
    b"n",
    b"messages",
    b"stream",
)
_FORM_LINE: Final = b"POST /v1/audio/transcriptions HTTP/1.1"
_FORM_TYPES: Final[Sequence[bytes]] = (
    *(b"", b"multipart/form-data", b"multipart/form-data; boundary=", b'multipart/form-data; boundary=""'),
    *(b"multipart/form-data; boundary=" + b"b" * 8_000, b"multipart/form-data; boundary=\xff", b"text/plain"),
    *(b"multipart/mixed; boundary=b", b"application/json", b"multipart/form-data; boundary=b; boundary=c"),
    *(b"multipart/form-data, boundary=b", b"multipart/form-data; Boundary*=utf-8''b", b"multipart/"),
)
_PART: Final = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n'
_FORMS: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "no boundary": b"small",
    "an end without a part": b"--b--\r\n",
    "a part that does not end": _PART,
    "half a boundary": _PART + b"--",
    "another boundary": _PART.replace(b"--b", b"--c") + b"--c--\r\n",
    "no file": _PART + b"--b--\r\n",
    "no disposition": b"--b\r\n\r\nsmall\r\n--b--\r\n",
    "a disposition without a name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    "an empty name": b'--b\r\nContent-Disposition: form-data; name=""\r\n\r\nx\r\n--b--\r\n',
    "a header without a colon": b"--b\r\nContent-Disposition\r\n\r\nx\r\n--b--\r\n",
    "a header with a NUL": b"--b\r\nContent-\x00: x\r\n\r\nx\r\n--b--\r\n",
    "bare line feeds": _PART.replace(b"\r\n", b"\n") + b"--b--\n",
    "a model that is no UTF-8": _PART.replace(b"small", b"\xff\xfe") + b"--b--\r\n",
    "a model twice": _PART + _PART.replace(b"small", b"large") + b"--b--\r\n",
    "a thousand parts": _PART * 1_000 + b"--b--\r\n",
    "a hundred thousand empty lines": b"\r\n" * 100_000 + b"--b--\r\n",
    "a large field": _PART.replace(b"small", b"a" * 2_000_000) + b"--b--\r\n",
    "a large part header": _PART.replace(b"Content-", b"X: " + b"a" * 500_000 + b"\r\nContent-")
    + b"--b--\r\n",
    "many part headers": _PART.replace(b"Content-", b"X: y\r\n" * 50_000 + b"Content-") + b"--b--\r\n",
    "a name that climbs": _PART.replace(b'"model"', b'"file"; filename="../../x"') + b"--b--\r\n",
    "a name with a NUL": _PART.replace(b'"model"', b'"file"; filename="x\x00y"') + b"--b--\r\n",
    "a file for a model": _PART.replace(b'"model"', b'"model"; filename="x"') + b"--b--\r\n",
}


def hostile_bodies(key: str, management_key: str) -> Iterator[Case]:
    """Yield the cases: each wrong body on each API, wrong values in a chat, forms, and what is compressed."""
    for path in (b"/api/admin/users", b"/api/me/keys", b"/api/admin/groups", b"/sign-in"):
        for name, body in _WRONG.items():
            line = b"POST %b HTTP/1.1" % path
            sent = request(management_key, line=line, body=_filled(body, b'"email":"no"'))
            yield Case(name=f"{path.decode()}: {name}", pieces=[sent])
    for path, members in MEMBERS.items():
        for name, body in _WRONG.items():
            line = b"POST %b HTTP/1.1" % path
            sent = request(key, line=line, body=_filled(body, members))
            yield Case(name=f"{path.decode()}: {name}", pieces=[sent])
    yield from _values(key)
    yield from _forms(key)
    yield from _compressed(key)
    yield from _types(key)


def _filled(body: bytes, members: bytes) -> bytes:
    for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
        body = body.replace("MEMBERS".encode(encoding), members.decode().encode(encoding))
    return body


def _values(key: str) -> Iterator[Case]:
    for name in _GUARDED:
        for value in _VALUES:
            if (name, value) in _RIGHT:
                continue
            members = {b"model": b'"small"', b"max_tokens": b"5", b"messages": _MESSAGES.split(b":", 1)[1]}
            members[name] = value
            body = b"{%b}" % b",".join(b'"%b":%b' % member for member in members.items())
            yield Case(name=f"{name.decode()} is {value[:30]!r}", pieces=[request(key, body=body)])
    for name in (b"x", b"temperature", b"logit_bias", b"metadata", b"tools", b"response_format"):
        for value in (b'"\\ud800"', b"[" * 5_000 + b"]" * 5_000):
            body = CALL.replace(b'{"model"', b'{"%b":%b,"model"' % (name, value))
            yield Case(name=f"{name.decode()} is {value[:30]!r}", pieces=[request(key, body=body)])
    # Grammatical JSON beyond any float: for the provider to judge, who takes it here.
    body = CALL.replace(b'{"model"', b'{"temperature":1e999,"model"')
    yield Case(name="legal: temperature is 1e999", pieces=[request(key, body=body)], verdict="legal")


# What an API takes although it stands among the wrong values.
_RIGHT: Final = (
    *((b"max_tokens", value) for value in (b"null",)),
    *((b"max_completion_tokens", value) for value in (b"null",)),
    *((b"n", value) for value in (b"null",)),
    *((b"stream", value) for value in (b"null", b"true", b"false")),
)


def _forms(key: str) -> Iterator[Case]:
    head = (_FORM_LINE, b"Host: x", b"Authorization: Bearer " + key.encode())
    for path in (b"transcriptions", b"translations"):
        line = _FORM_LINE.replace(b"transcriptions", path)
        for form_type in _FORM_TYPES:
            yield _form(f"{path.decode()}: type {form_type[:50]!r}", (line, *head[1:]), form_type, _PART)
        for name, body in _FORMS.items():
            form_type = b"multipart/form-data; boundary=b"
            yield _form(f"{path.decode()}: {name}", (line, *head[1:]), form_type, body)


def _form(name: str, head: Sequence[bytes], form_type: bytes, body: bytes) -> Case:
    lines = [*head, b"Content-Type: " + form_type, b"Content-Length: %d" % len(body), b"", body]
    return Case(name=name, pieces=[b"\r\n".join(lines)])


def _compressed(key: str) -> Iterator[Case]:
    bomb = gzip.compress(bytes(50_000_000))
    for path, members in MEMBERS.items():
        line = b"POST %b HTTP/1.1" % path
        small = gzip.compress(b"{" + members + b"}")
        for name, body in (("a bomb", bomb), ("a right body", small)):
            sent = request(key, b"Content-Encoding: gzip", line=line, body=body)
            yield Case(name=f"{path.decode()}: {name}, compressed", pieces=[sent])


def _types(key: str) -> Iterator[Case]:
    """A body's type is not asked for where all is JSON; what is none is refused by itself."""
    head = b"%b\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n%b\r\n%b"
    for form_type in (
        b"text/plain",
        b"application/xml",
        b"multipart/form-data; boundary=b",
        b"\xff",
        b"image/png",
    ):
        sent = head % (CHAT_LINE, key.encode(), len(_PART), b"Content-Type: " + form_type + b"\r\n", _PART)
        yield Case(name=f"a form as {form_type!r}", pieces=[sent])
