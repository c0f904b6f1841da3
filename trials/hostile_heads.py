"""Hostile heads and framing: what tells a careless server and the next one in line different things.

Each is a call that would be charged, with a valid key, but for the one thing that is wrong with it: what is
let through shows in the books. Sources: RFC 9112 (message syntax), RFC 9110, 5.5 and 7.2 (fields, targets),
and the public literature on request smuggling.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from trials.raw_http import Case

CALL: Final = b'{"model":"small","max_tokens":5,"messages":[{"role":"user","content":"a b c"}]}'
CHAT_LINE: Final = b"POST /v1/chat/completions HTTP/1.1"
_CHUNKED: Final = b"Transfer-Encoding: chunked"
_FLOOD_BYTES: Final = 256 * 1024

_LENGTHS: Final[Sequence[bytes]] = (
    *(b"", b"-1", b"-0", b"+5", b"0x5", b"5 5", b"5,5", b"5, 5", b"5;5", b"5.0", b"1e2", b"five", b"5\x00"),
    *(
        b"\x005",
        b"5\t5",
        b"0b101",
        b"5_0",
        "\u0665".encode(),
        "\uff15".encode(),
        b"5'",
        b'"5"',
        b"--5",
        b"5-",
    ),
    *(b"5\x0b", b"\x0c5", b"NaN", b"Infinity", b"1 000", b"99999999999999999999", b"18446744073709551616"),
    *(b"18446744073709551615", b"340282366920938463463374607431768211456", b"9" * 400, b"5\x7f", b"5\xa0"),
)
_CODINGS: Final[Sequence[bytes]] = (
    *(
        b"",
        b"identity",
        b"gzip",
        b"xchunked",
        b"chunke",
        b"chunkedd",
        b'"chunked"',
        b"'chunked'",
        b"chunked, gzip",
    ),
    *(b"chunked, identity", b"chunked, chunked", b"gzip, chunked", b"identity, chunked", b"chunked;q=1"),
    *(
        b"chunked\x00",
        b"\x00chunked",
        b"chunked\x0b",
        b"\x0bchunked",
        b"chunked\xa0",
        b"\xefchunked",
        b"chun ked",
    ),
    *(b"chunked,", b",chunked", b"chunked; x=y", b"br", b"deflate, chunked", b"trailers, chunked", b"null"),
)
# A name that one server takes for Transfer-Encoding and another does not.
_ODD_CODING_LINES: Final[Sequence[bytes]] = (
    *(b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b"Transfer-Encoding\x00: chunked"),
    *(
        b"Transfer-Encoding\x0b: chunked",
        b"Transfer-Encoding\xa0: chunked",
        b"\x00Transfer-Encoding: chunked",
    ),
    *(b"Transfer-Encoding", b"Transfer-Encoding chunked", b"X: y\nTransfer-Encoding: chunked"),
    *(b"X: y\rTransfer-Encoding: chunked", b"X: y\r\r\nTransfer-Encoding: chunked", b": chunked"),
    *(b"Transfer Encoding: chunked", b"(Transfer-Encoding): chunked", b"Transfer-Encoding: chunked\rX: y"),
)
_CHUNK_SIZES: Final[Sequence[bytes]] = (
    *(b"", b"-1", b"+5", b"0x5", b"5 5", b"G", b"5g", b" 5", b"\t5", b"5,", b"5.", b"#5", b"5\x00", b"\x005"),
    *(
        b"fffffffffffffffff",
        b"10000000000000000",
        b"f" * 64,
        b"5\x0b",
        "\u0665".encode(),
        b"five",
        b"5:",
        b"5/",
    ),
    *(b"_5", b"5_0", b"0b1", b"'5'", b"5\x7f", b"\xff"),
)
# After the size line: what is no end of a line, or no end of a chunk.
_CHUNK_BODIES: Final[Sequence[tuple[str, bytes]]] = (
    ("size ended by LF", b"%x\n%b\r\n0\r\n\r\n" % (len(CALL), CALL)),
    ("size ended by CR", b"%x\r%b\r\n0\r\n\r\n" % (len(CALL), CALL)),
    ("data ended by LF", b"%x\r\n%b\n0\r\n\r\n" % (len(CALL), CALL)),
    ("data ended by nothing", b"%x\r\n%b0\r\n\r\n" % (len(CALL), CALL)),
    ("data longer than its size", b"%x\r\n%b\r\n0\r\n\r\n" % (len(CALL) - 1, CALL)),
    ("last chunk ended by LF", b"%x\r\n%b\r\n0\n\r\n" % (len(CALL), CALL)),
    ("last chunk of minus zero", b"%x\r\n%b\r\n-0\r\n\r\n" % (len(CALL), CALL)),
    ("extension with a bare CR", b"%x;a=\rb\r\n%b\r\n0\r\n\r\n" % (len(CALL), CALL)),
    ("extension with a bare LF", b"%x;a=\nb\r\n%b\r\n0\r\n\r\n" % (len(CALL), CALL)),
    ("extension with a NUL", b"%x;a=\x00\r\n%b\r\n0\r\n\r\n" % (len(CALL), CALL)),
    ("space before an extension", b"%x ;a=b\r\n%b\r\n0\r\n\r\n" % (len(CALL), CALL)),
    ("trailer without a colon", b"%x\r\n%b\r\n0\r\nnonsense\r\n\r\n" % (len(CALL), CALL)),
    ("trailer with a NUL", b"%x\r\n%b\r\n0\r\nx: \x00\r\n\r\n" % (len(CALL), CALL)),
    ("trailer with an empty name", b"%x\r\n%b\r\n0\r\n: y\r\n\r\n" % (len(CALL), CALL)),
    ("trailer that names a length", b"%x\r\n%b\r\n0\r\ncontent-length: 5\r\n\r\n" % (len(CALL), CALL)),
    ("trailer that names a coding", b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(CALL), CALL, _CHUNKED)),
)
_LINES: Final[Sequence[bytes]] = (
    *(b"", b"\x00", b"POST", b"POST /v1/chat/completions"),
    *(b"POST\t/v1/chat/completions\tHTTP/1.1", b" " + CHAT_LINE),
    *(
        b"POST /v1/chat/completions HTTP/1.1 HTTP/1.1",
        b"POST /v1/chat completions HTTP/1.1",
        b"\t" + CHAT_LINE,
    ),
    *(b"POST /v1/chat/completions HTTP/0.9", b"POST /v1/chat/completions HTTP/1.2"),
    *(b"POST /v1/chat/completions HTTP/2.0", b"POST /v1/chat/completions HTTP/3.0", b"POST / HTTP/9.9"),
    *(b"POST /v1/chat/completions HTTP/1", b"POST /v1/chat/completions HTTP/1.", b"POST / HTTP/.1"),
    *(b"POST /v1/chat/completions HTTP/11.1", b"POST /v1/chat/completions HTTP/1.11", b"POST / HTTP/-1.1"),
    *(b"POST /v1/chat/completions http/1.1", b"POST /v1/chat/completions HTTPS/1.1", b"POST / ICY/1.1"),
    *(b"POST /v1/chat/completions HTTP/1.1\x00", b"POST /v1/chat/completions HTTP 1.1", b"POST / RTSP/1.0"),
    *(b"post /v1/chat/completions HTTP/1.1", b"P\x00ST /v1/chat/completions HTTP/1.1", b"PO ST / HTTP/1.1"),
    *(b"P\xc3\x96ST /v1/chat/completions HTTP/1.1", b"(POST) / HTTP/1.1", b"A" * 100 + b" / HTTP/1.1"),
    *(b"HTTP/1.1 200 OK", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-OpenSSH_9.2"),
    *(b"PRI * HTTP/2.0", b"EHLO mail.example.com", b"\xff\xfe\xfd", b"GET", b"QUIT", b"*1\r\n$4\r\nPING"),
)
_TARGETS: Final[Sequence[bytes]] = (
    *(
        b"*",
        b"v1/chat/completions",
        b"//v1/chat/completions",
        b"/v1//chat/completions",
        b"/v1/chat/completions/",
    ),
    *(
        b"/v1/../v1/chat/completions",
        b"/v1/./chat/completions",
        b"/%2e%2e/v1/chat/completions",
        b"/v1/%2e/chat",
    ),
    *(b"/v1/chat%2fcompletions/x", b"/v1\\chat\\completions", b"\\v1\\chat"),
    *(
        b"/v1/chat/completions;x=y",
        b"/V1/CHAT/COMPLETIONS",
        b"/v1/chat/completions%00",
        b"/v1/chat/completions%20",
    ),
    *(b"/v1/chat/completions%0d%0aX:%20y", b"/v1/chat/completions%", b"/v1/chat/completions%2", b"/v1/%zz"),
    *(b"/v1/%ff%fe", b"/v1/%c0%ae%c0%ae/x", b"/v1/%u002e", b"/v1/%252e%252e/x", b"/v1/chat/completions\xff"),
    *(
        "/v1/\u2025/chat".encode(),
        b"/v1/\x7f",
        b"/v1/\x01",
        b"/v1/chat/completions\x00",
        b"/v1/" + b"a" * 30_000,
    ),
    *(b"/v1/" + b"../" * 2_000, b"/v1/" + b"%2e%2e%2f" * 2_000, b"http:///v1/models", b"http://", b"http:"),
    *(
        b"http://[::1/v1/x",
        b"http://a b/v1/x",
        b"ftp://x/v1/x",
        b"javascript:alert(1)",
        b"file:///etc/passwd",
    ),
    *(
        b"example.com:443",
        b"127.0.0.1:22",
        b"http://user:pass@127.0.0.1/v1/x",
        b"/api/../v1/chat",
        b"?x=y",
        b"#x",
    ),
    *(
        b"/v1/receipts/%00",
        b"/v1/receipts/" + b"%f0%9f%92%a9" * 50,
        b"/v1/receipts/../../x",
        b"/v1/responses/%00",
    ),
    *(b"/v1beta/models/%00:generateContent", b"/v1beta/models/..%2f..:generateContent", b"/v1beta/models/:x"),
    *(
        b"/v1/responses/resp_%2e%2e%2fx",
        b"/v1/responses/%0d%0ahost:%20x",
        b"/api/admin/users/%00",
        b"/static/%00",
    ),
    *(
        b"/static/..%2f..%2fetc%2fpasswd",
        b"/static/%2e%2e/%2e%2e/etc/passwd",
        b"/static//etc/passwd",
        b"/api/%ff",
    ),
    *(
        b"/guide/%00",
        b"/guide/..%2fx",
        b"/console/%00",
        b"/metrics/%00",
        b"/healthz/%00",
        b"/.git/config",
        b"/.env",
    ),
    *(b"/v1/chat/completions?" + b"a=b&" * 8_000, b"/v1/nothing?" + b"%" * 500, b"/api/openapi.json/%00"),
)
_NAMES: Final[Sequence[bytes]] = (
    *(
        b"",
        b" x",
        b"x ",
        b"x\t",
        b"x y",
        b"x\x00",
        b"x\x01",
        b"x\x7f",
        b"x\xff",
        "\u00e9".encode(),
        b"x(",
        b"x)",
    ),
    *(b"x,", b"x;", b"x<", b"x>", b"x@", b"x[", b"x]", b"x{", b"x}", b"x/", b"x=", b"x?", b'x"', b"x\\"),
)
_VALUES: Final[Sequence[bytes]] = (
    *(
        b"\x00",
        b"a\x00b",
        b"a\x01b",
        b"a\x08b",
        b"a\x0bb",
        b"a\x0cb",
        b"a\x1bb",
        b"a\x1fb",
        b"a\x7fb",
        b"a\rb",
    ),
    *(b"a\nb", b"a\r\r\nb: c", b"a\n\nb", b"a\r", b"a\r\n folded", b"a\r\n\tfolded", b"a\n folded"),
)
_KEYS: Final[Sequence[bytes]] = (
    *(b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"Bearer sk-to-", b"Bearer sk-to-x", b"Bearer \xff\xfe"),
    *(
        b"Bearer " + b"sk-to-" + b"a" * 30_000,
        b"Bearer sk-to-\xc3\xa9",
        b"bearer",
        b"Bearer null",
        b"Token x",
    ),
    *(
        b"Bearer sk-mgmt-x",
        b"Bearer ' OR 1=1 --",
        b"Bearer {key}",
        b"Digest x",
        b"Bearer sk-to-a, Bearer sk-to-b",
    ),
)
_METHODS: Final[Sequence[bytes]] = (
    *(b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"MKCOL"),
    *(b"LOCK", b"SEARCH", b"PURGE", b"LINK", b"REPORT", b"M-SEARCH", b"SUBSCRIBE", b"BREW", b"FOO", b"get"),
)


def request(
    key: str, *further: bytes, line: bytes = CHAT_LINE, body: bytes = CALL, framed: bool = True
) -> bytes:
    """Return a request with a key; ``framed`` adds the body's true length."""
    lines = [line, b"Host: x", b"Authorization: Bearer " + key.encode(), b"Content-Type: application/json"]
    lines += further
    if framed:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def chunked(body: bytes) -> bytes:
    """Return a body as one chunk and the last one."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def hostile_heads(key: str) -> Iterator[Case]:
    """Yield the cases. Those that are not whole for a server which believes them are closed by the sender."""
    yield from _lengths(key)
    yield from _codings(key)
    yield from _smuggled(key)
    yield from _heads(key)
    yield from _floods(key)
    yield from _legal(key)


def _lengths(key: str) -> Iterator[Case]:
    for length in _LENGTHS:
        sent = request(key, b"Content-Length: " + length, framed=False)
        yield Case(name=f"content-length {length[:40]!r}", pieces=[sent], waits=True)
        sent = request(key, b"Content-Length: " + length)
        yield Case(name=f"content-length {length[:40]!r} and the true one", pieces=[sent])
    for wrong in (0, 1, len(CALL) - 1):
        sent = request(key, b"Content-Length: %d" % wrong)
        yield Case(name=f"content-length {wrong} and the true one", pieces=[sent])
        sent = request(key, b"Content-Length: %d" % wrong, framed=False)
        # What is left over is no request either.
        yield Case(name=f"content-length {wrong}, too little", pieces=[sent])
    sent = request(key, b"Content-Length: %d" % len(CALL))
    yield Case(name="the true content-length twice", pieces=[sent])
    for many in (len(CALL) + 1, 2**31, 2**32, 2**53, 2**63 - 1):
        sent = request(key, b"Content-Length: %d" % many, framed=False)
        yield Case(name=f"content-length {many}, too much", pieces=[sent], waits=True)


def _codings(key: str) -> Iterator[Case]:
    for coding in _CODINGS:
        line = b"Transfer-Encoding: " + coding
        sent = request(key, line, body=chunked(CALL), framed=False)
        yield Case(name=f"transfer-encoding {coding!r}", pieces=[sent], waits=True)
        sent = request(key, line, b"Content-Length: 5", body=chunked(CALL), framed=False)
        yield Case(name=f"transfer-encoding {coding!r} and a length", pieces=[sent], waits=True)
    for line in _ODD_CODING_LINES:
        yield Case(name=f"{line!r} and a length", pieces=[request(key, line)], waits=True)
        sent = request(key, line, body=chunked(CALL), framed=False)
        yield Case(name=f"{line!r}", pieces=[sent], waits=True)
    for size in _CHUNK_SIZES:
        body = b"%b\r\n%b\r\n0\r\n\r\n" % (size, CALL)
        sent = request(key, _CHUNKED, body=body, framed=False)
        yield Case(name=f"chunk size {size[:40]!r}", pieces=[sent], waits=True)
    for name, body in _CHUNK_BODIES:
        sent = request(key, _CHUNKED, body=body, framed=False)
        yield Case(name=f"chunks: {name}", pieces=[sent], waits=True)
    for orders in ((b"Content-Length: 5", _CHUNKED), (_CHUNKED, b"Content-Length: 5"), (_CHUNKED, _CHUNKED)):
        sent = request(key, *orders, body=chunked(CALL), framed=False)
        yield Case(name=f"{orders!r}", pieces=[sent])


def _smuggled(key: str) -> Iterator[Case]:
    """A second call that stands where one reading of the first ends."""
    second = request(key)
    for line in (
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: x, chunked",
    ):
        body = b"0\r\n\r\n" + second
        sent = request(key, line, body=body)
        yield Case(name=f"smuggled behind the last chunk, {line!r}", pieces=[sent], waits=True)
        sent = request(
            key, b"Content-Length: 4", line, body=b"%x\r\n%b" % (len(second), second), framed=False
        )
        yield Case(name=f"smuggled in a chunk, {line!r}", pieces=[sent], waits=True)
    for name in (b"X: y\r\n\r\n", b"X: y\n\n", b"X: y\r\r", b"X: y\x00\r\n\r\n"):
        sent = request(key, name + second, framed=False)
        yield Case(name=f"smuggled behind {name!r}", pieces=[sent], waits=True)
    refused = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
    yield Case(name="a call inside the body of one without a key", pieces=[refused % (len(second), second)])


def _heads(key: str) -> Iterator[Case]:
    for line in _LINES:
        yield Case(name=f"first line {line[:60]!r}", pieces=[request(key, line=line)], waits=True)
        yield Case(name=f"nothing but {line[:60]!r}", pieces=[line + b"\r\n\r\n"], waits=True)
    for target in _TARGETS:
        for method in (b"GET", b"POST"):
            sent = request(key, line=b"%b %b HTTP/1.1" % (method, target))
            yield Case(name=f"{method.decode()} {target[:60]!r}", pieces=[sent], waits=True)
    for name in _NAMES:
        yield Case(name=f"header name {name!r}", pieces=[request(key, name + b": y")], waits=True)
    for value in _VALUES:
        yield Case(name=f"header value {value!r}", pieces=[request(key, b"X: " + value)], waits=True)
        sent = request(key, b"X-Api-Key: " + value)
        yield Case(name=f"key header {value!r}", pieces=[sent], waits=True)
    for value in _KEYS:
        head = b"%b\r\nHost: x\r\nAuthorization: %b\r\nContent-Length: %d\r\n\r\n%b"
        yield Case(name=f"key {value[:40]!r}", pieces=[head % (CHAT_LINE, value, len(CALL), CALL)])
    for method in _METHODS:
        sent = request(key, line=b"%b /v1/chat/completions HTTP/1.1" % method)
        yield Case(name=f"method {method.decode()}", pieces=[sent], waits=True)
    for coding in (b"gzip", b"br", b"deflate", b"zstd", b"gzip, gzip, gzip", b"x", b"identity, gzip"):
        sent = request(key, b"Content-Encoding: " + coding)
        yield Case(name=f"content-encoding {coding.decode()}", pieces=[sent])
    for coding in (b"gzip", b"identity"):
        sent = request(key, b"Content-Encoding: identity", b"Content-Encoding: " + coding + b", gzip")
        yield Case(name=f"content-encoding twice, {coding.decode()}", pieces=[sent])


def _floods(key: str) -> Iterator[Case]:
    short = b"".join(b"X-%d: y\r\n" % number for number in range(_FLOOD_BYTES // 9))
    long = b"a" * _FLOOD_BYTES
    start = b"\r\n".join([CHAT_LINE, b"Host: x", b"Authorization: Bearer " + key.encode(), b""])
    floods = {
        "short headers": start + short,
        "one long value": start + b"X: " + long,
        "one long name": start + long,
        "a long target": b"GET /v1/" + long,
        "a long query": b"GET /v1/models?" + long,
        "a long method": long,
        "a long version": b"GET / HTTP/" + b"1" * _FLOOD_BYTES,
        "folded lines": start + b"X: y" + b"\r\n z" * (_FLOOD_BYTES // 4),
        "empty lines": b"\r\n" * (_FLOOD_BYTES // 2),
        "line feeds": b"\n" * _FLOOD_BYTES,
        "spaces": b" " * _FLOOD_BYTES,
        "zero bytes": b"\x00" * _FLOOD_BYTES,
        "cookies": start + b"Cookie: a=b\r\n" * (_FLOOD_BYTES // 13),
        "hosts": start + b"Host: x\r\n" * (_FLOOD_BYTES // 9),
        "keys": start + b"Authorization: Bearer sk-to-x\r\n" * (_FLOOD_BYTES // 31),
    }
    for name, sent in floods.items():
        yield Case(name=f"flood of {name}", pieces=[sent], waits=True)
        some = [sent[at : at + 32_768] for at in range(0, len(sent), 32_768)]
        yield Case(name=f"flood of {name}, in pieces", pieces=some, waits=True)
    chunks = request(key, _CHUNKED, body=b"%x\r\n%b\r\n0\r\n" % (len(CALL), CALL), framed=False)
    yield Case(name="flood of trailers", pieces=[chunks, *[short] * 8], waits=True)
    yield Case(name="flood of one trailer", pieces=[chunks + b"X: ", *[long] * 8], waits=True)
    extended = request(key, _CHUNKED, body=b"1;", framed=False)
    yield Case(name="flood of a chunk extension", pieces=[extended, *[long] * 8], waits=True)
    ones = request(key, _CHUNKED, body=b"1\r\n{\r\n" + b"1\r\n \r\n" * 20_000, framed=False)
    yield Case(name="flood of chunks of one byte", pieces=[ones], waits=True)


def _legal(key: str) -> Iterator[Case]:
    """What is odd and yet right, so that strictness breaks nobody: each is one call, charged once."""
    size = len(CALL)
    bodies = {
        "chunks": chunked(CALL),
        "chunk sizes with zeros in front": b"000%x\r\n%b\r\n000\r\n\r\n" % (size, CALL),
        "chunk sizes in capitals": b"%X\r\n%b\r\n0\r\n\r\n" % (size, CALL),
        "a chunk extension": b'%x;a=b;c="d"\r\n%b\r\n0\r\n\r\n' % (size, CALL),
        "chunks of one byte": b"".join(b"1\r\n%c\r\n" % byte for byte in CALL) + b"0\r\n\r\n",
        "a trailer": b"%x\r\n%b\r\n0\r\nx-digest: y\r\n\r\n" % (size, CALL),
        "a trailer that names another key": (
            b"%x\r\n%b\r\n0\r\nauthorization: Bearer sk-to-x\r\n\r\n" % (size, CALL)
        ),
        "a trailer with an Idempotency-Key that is none": (
            b"%x\r\n%b\r\n0\r\nidempotency-key: %b\r\n\r\n" % (size, CALL, b"k" * 1_000)
        ),
        "a trailer that says it is compressed": (
            b"%x\r\n%b\r\n0\r\ncontent-encoding: gzip\r\n\r\n" % (size, CALL)
        ),
    }
    for name, body in bodies.items():
        for line in (_CHUNKED, b"transfer-encoding: CHUNKED"):
            sent = request(key, line, body=body, framed=False)
            yield Case(name=f"legal: {name}, {line.decode()}", pieces=[sent], verdict="legal")
    heads: dict[str, list[bytes]] = {
        "an empty line in front": [b"\r\n" + request(key)],
        "Expect: 100-continue": [request(key, b"Expect: 100-continue")],
        "an Expect that is unknown": [request(key, b"Expect: the-unexpected")],
        "an Upgrade to what is not spoken": [request(key, b"Connection: Upgrade", b"Upgrade: h2c")],
        "an Upgrade to WebSocket": [request(key, b"Connection: Upgrade", b"Upgrade: websocket")],
        "a header without a value": [request(key, b"X-Empty:")],
        "a value in Latin-1": [request(key, b"X-Name: Andr\xe9")],
        "zeros before a length": [
            request(key, b"Content-Length: 000%d" % size, framed=False),
        ],
        "spaces around a length": [request(key, b"Content-Length:  \t %d \t " % size, framed=False)],
        "a key after more space": [request(key, b"X:\t y \t")],
        "Connection: close": [request(key, b"Connection: close")],
        "many connection options": [request(key, b"Connection: x, y, keep-alive, z")],
        "100 headers": [request(key, *(b"X-%d: y" % number for number in range(100)))],
        "an absolute target": [request(key, line=b"POST http://x/v1/chat/completions HTTP/1.1")],
        "a query": [request(key, line=b"POST /v1/chat/completions?x=%ff&%00=y HTTP/1.1")],
        # RFC 9112, 3: white space between the parts of the first line may be more than one.
        "more spaces in the first line": [request(key, line=b"POST  /v1/chat/completions  HTTP/1.1")],
        # Names of models may hold a slash.
        "an encoded slash": [request(key, line=b"POST /v1%2fchat%2fcompletions HTTP/1.1")],
        # RFC 9112, 6.1: processed, and the connection closed.
        "chunks in HTTP/1.0": [
            request(
                key, _CHUNKED, line=b"POST /v1/chat/completions HTTP/1.0", body=chunked(CALL), framed=False
            )
        ],
        "HTTP/1.0": [request(key, line=b"POST /v1/chat/completions HTTP/1.0")],
        "one byte at a time": [bytes([byte]) for byte in request(key)],
        "head and body apart": [request(key)[: -len(CALL)], CALL],
    }
    for name, pieces in heads.items():
        yield Case(name=f"legal: {name}", pieces=pieces, verdict="legal")
