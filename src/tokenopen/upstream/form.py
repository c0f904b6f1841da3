"""Form: a multipart/form-data body (RFC 7578) read part by part, and written anew for the provider.

What is not a file is kept in memory, up to FIELD_BYTES_MAX; files are spooled, beyond SPOOLED_BYTES_MAX to
disk, so that fields may come after them, as the OpenAI documentation has it, and a call may be tried again.
The parts that go out are written from what was read here, not passed as they came: parsers disagree about
quotes, line ends and names given twice.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tokenopen.core.errors import InvalidRequest, RequestTooLarge

FORM_BYTES_MAX: Final = 128 * 1024 * 1024
SPOOLED_BYTES_MAX: Final = 1024 * 1024
FIELD_BYTES_MAX: Final = 1024 * 1024
PARTS_MAX: Final = 64
_PIECE_BYTES: Final = 256 * 1024
_FORM_TYPE: Final = b"multipart/form-data"
_NAMED_FILE: Final = 200
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(slots=True, kw_only=True)
class _Part:
    """One part: a field with a value, or a file and where it stands in the spool."""

    name: str
    filename: str | None
    content_type: bytes
    value: bytearray
    start: int
    length: int = 0


class Form:
    """A form as it comes in. ``described`` is what the surfaces read, once ``end`` was called."""

    def __init__(self, content_type: bytes) -> None:
        """Begin a form. Refuses InvalidRequest for a body of another type."""
        kind, options = parse_options_header(content_type.decode("latin-1"))
        boundary = options.get(b"boundary", b"")
        if kind != _FORM_TYPE or not boundary:
            raise InvalidRequest("The body must be multipart/form-data.", param="content-type")
        self._parts: list[_Part] = []
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._field_bytes = self._form_bytes = self._spooled = 0
        self._digest = hashlib.sha256()
        self._whole = False
        self._spool = tempfile.SpooledTemporaryFile(max_size=SPOOLED_BYTES_MAX)  # noqa: SIM115 closed by close
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_name,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidRequest(f"The form cannot be read: {error}.", param="content-type") from None

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Refuses InvalidRequest, RequestTooLarge."""
        self._form_bytes += len(data)
        if self._form_bytes > FORM_BYTES_MAX:
            raise RequestTooLarge(limit_bytes=FORM_BYTES_MAX)
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"The form cannot be read: {error}.") from None

    def end(self) -> bytes:
        """The bytes have ended: return the fields as a JSON object. Refuses InvalidRequest for half a form.

        A field is a string, or an array of them where its name is given several times; a file is an object:
        ``part``, ``bytes``, ``type``. A digest of all files stands under the empty name, so that two forms
        that say the same are equal here and others are not.
        """
        if not self._whole:
            raise InvalidRequest("The form does not end.")
        found: dict[str, list[object]] = {}
        for place, part in enumerate(self._parts):
            found.setdefault(part.name, []).append(_described(place, part))
        values = {name: given[0] if len(given) == 1 else given for name, given in found.items()}
        return msgspec.json.encode(values | {"": self._digest.hexdigest()})

    def body(self, fields: bytes) -> "FormBody":
        """Return the body to send for fields as ``end`` returned them, some of them changed or added."""
        parts: list[tuple[bytes, bytes | _Part]] = []
        for name, given in _decoder.decode(fields).items():
            for value in given if isinstance(given, list) else [given]:
                if not name:
                    continue
                if isinstance(value, dict):
                    part = self._parts[value["part"]]
                    parts.append((_part_head(name, part.filename, part.content_type), part))
                else:
                    parts.append((_part_head(name, None, b""), value.encode()))
        return FormBody(parts, self._spool)

    def close(self) -> None:
        """Forget the files."""
        self._spool.close()

    # What the parser calls.

    def _begin_part(self) -> None:
        if len(self._parts) >= PARTS_MAX:
            raise InvalidRequest(f"A form may have {PARTS_MAX} parts at most.")
        self._headers = {}

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = self._name.lower()
        if name in self._headers:
            raise InvalidRequest("A part of the form has a header twice.")
        self._headers[name] = self._value
        self._name = self._value = b""

    def _end_headers(self) -> None:
        disposition, options = parse_options_header(
            self._headers.get(b"content-disposition", b"").decode("latin-1")
        )
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").lower()
        if (
            disposition != b"form-data"
            or b"name" not in options
            or encoding not in (b"binary", b"7bit", b"8bit")
        ):
            raise InvalidRequest("Each part of a form needs a name and must not be encoded.")
        try:
            name = options[b"name"].decode()
            filename = options[b"filename"].decode(errors="replace") if b"filename" in options else None
        except UnicodeDecodeError:
            raise InvalidRequest("The name of a field is not valid UTF-8.") from None
        if not name:
            raise InvalidRequest("Each part of a form needs a name.")
        self._parts.append(
            _Part(
                name=name,
                filename=filename,
                content_type=self._headers.get(b"content-type", b""),
                value=bytearray(),
                start=self._spooled,
            )
        )
        self._digest.update(msgspec.json.encode([name, filename]))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part, piece = self._parts[-1], data[start:end]
        part.length += len(piece)
        if part.filename is None:
            part.value += piece
            self._field_bytes += len(piece)
            if self._field_bytes > FIELD_BYTES_MAX:
                raise RequestTooLarge(limit_bytes=FIELD_BYTES_MAX)
            return
        self._digest.update(piece)
        self._spool.write(piece)
        self._spooled += len(piece)

    def _end_part(self) -> None:
        # Where one file ends and the next begins is part of what is the same.
        self._digest.update(b"%d;" % self._parts[-1].length)

    def _end(self) -> None:
        self._whole = True


class FormBody:
    """Implements ports.upstream.StreamedBody: a form as it goes out."""

    def __init__(self, parts: Sequence[tuple[bytes, "bytes | _Part"]], spool: Any) -> None:
        self._boundary = os.urandom(16).hex().encode()
        self._parts = parts
        self._spool = spool
        self.content_type = b"%b; boundary=%b" % (_FORM_TYPE, self._boundary)

    def __len__(self) -> int:
        frame = len(self._boundary) + len(b"--\r\n") + len(b"\r\n")
        sizes = [
            len(head) + (len(part) if isinstance(part, bytes) else part.length) for head, part in self._parts
        ]
        return sum(sizes) + frame * len(sizes) + len(self._boundary) + len(b"----\r\n")

    def pieces(self) -> Iterator[bytes]:
        """Return the body from its beginning, in pieces of bounded size."""
        for head, part in self._parts:
            yield b"--%b\r\n%b" % (self._boundary, head)
            if isinstance(part, bytes):
                yield part
            else:
                yield from self._file_pieces(part)
            yield b"\r\n"
        yield b"--%b--\r\n" % self._boundary

    def _file_pieces(self, part: _Part) -> Iterator[bytes]:
        position, end = part.start, part.start + part.length
        while position < end:
            self._spool.seek(position)
            piece = self._spool.read(min(_PIECE_BYTES, end - position))
            assert piece, "a spooled file is not shorter than it was"
            position += len(piece)
            yield piece


def _described(place: int, part: _Part) -> object:
    if part.filename is not None:
        kind = part.content_type.decode("latin-1")[:_NAMED_FILE]
        return {"part": place, "bytes": part.length, "type": kind}
    try:
        return part.value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{part.name[:60]!a} is not valid UTF-8.") from None


def _part_head(name: str, filename: str | None, content_type: bytes) -> bytes:
    """Return the head of a part, written as browsers write it (WHATWG HTML, multipart form data)."""
    named = b'; filename="%b"' % _quoted(filename) if filename is not None else b""
    kind = b"content-type: %b\r\n" % content_type if content_type and filename is not None else b""
    return b'content-disposition: form-data; name="%b"%b\r\n%b\r\n' % (_quoted(name), named, kind)


def _quoted(text: str) -> bytes:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22").encode()
