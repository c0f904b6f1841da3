"""JSON bodies: the top level as name -> value as written, so that what is checked is what is sent.

Parsers disagree about names given twice, names in another case and numbers that JSON does not have; what
one of them could read differently from us is refused. A body is spliced, never written anew: all bytes but
those of a replaced value stay as they came.
"""

import re
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest

# No real call comes near this; reading more would hold up every other call.
MEMBERS_MAX: Final = 500_000
_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MEMBER: Final = re.compile(
    rb'[ \t\r\n]*[{,][ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL
)
_END: Final = re.compile(rb"[ \t\r\n]*[{]?[ \t\r\n]*}")
_SHOWN_CHARACTERS: Final = 60


class KnownNames:
    """The names that something depends on, and what other names a parser might read as one of them.

    Go's encoding/json ignores case; protocol buffers (Gemini) take both max_tokens and maxTokens.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names: Final = frozenset(names)
        self._by_skeleton: Final = {_skeleton(name): name for name in self.names}
        self._longest: Final = max(map(len, self.names), default=0)

    def find_variant(self, names: KeysView[str]) -> tuple[str, str] | None:
        """Return a name that some parser reads as a known one, with that one; None where there is none."""
        for name in names:
            # Twice as long leaves room for what joins words, and bounds the work that a caller can cause.
            if name not in self.names and len(name) <= 2 * self._longest:
                meant = self._by_skeleton.get(_skeleton(name))
                if meant is not None:
                    return name, meant
        return None


def _skeleton(name: str) -> str:
    """Return what is left of a name where neither case nor the way of joining words counts."""
    return name.casefold().replace("_", "").replace("-", "")


class JsonObject(Mapping[str, bytes]):
    """A JSON object as it was written: name -> value, and where each value stands."""

    __slots__ = ("_spans", "_values", "source")

    def __init__(
        self,
        source: bytes,
        values: Mapping[str, msgspec.Raw],
        spans: Mapping[str, tuple[int, int]] | None,
    ) -> None:
        self.source = source
        self._values = values
        # None where nothing but the values has any white space; then they are found by their lengths.
        self._spans = spans

    def __getitem__(self, name: str) -> bytes:
        return bytes(self._values[name])

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> KeysView[str]:
        return self._values.keys()

    def view(self, name: str) -> memoryview:
        """Return a value without copying it."""
        return memoryview(self._values[name])

    def replaced(self, changes: Mapping[str, bytes]) -> bytes:
        """Return the object with some values replaced or added; every other byte stays as it is."""
        source = memoryview(self.source)
        pieces: list[bytes | memoryview] = []
        position = 0
        for start, end, name in self._spans_of(changes.keys() & self.keys()):
            pieces += (source[position:start], changes[name])
            position = end
        closing = self.source.rindex(b"}")
        pieces.append(source[position:closing])
        separator = b"," if self._values else b""
        for name in changes:
            if name not in self._values:
                pieces += (separator, msgspec.json.encode(name), b":", changes[name])
                separator = b","
        pieces.append(source[closing:])
        return b"".join(pieces)

    def without(self, name: str, changes: Mapping[str, bytes]) -> bytes:
        """Return the object without one of its names, and with other values replaced or added; values stay as
        they were written, the white space between them goes."""
        values = {other: self[other] for other in self if other != name} | dict(changes)
        return b"{" + b",".join(msgspec.json.encode(other) + b":" + values[other] for other in values) + b"}"

    def _spans_of(self, names: set[str]) -> list[tuple[int, int, str]]:
        """Return where the values of the names stand, in the order in which they stand there."""
        if self._spans is not None:
            return sorted((*self._spans[name], name) for name in names)
        found: list[tuple[int, int, str]] = []
        position = len(b"{")
        for name, value in self._values.items():
            if len(found) == len(names):
                break
            start = position + len(name.encode()) + len(b'"":')
            position = start + len(value) + len(b",")
            if name in names:
                found.append((start, start + len(value), name))
        return found


def read_object(source: bytes, known: KnownNames, *, of: str | None = None) -> JsonObject:
    """Return a JSON object's names and values. ``of`` is the field that it is the value of.

    Refuses InvalidRequest: what is not one JSON object in UTF-8, a name given twice, a known name in
    another spelling, numbers or text that are no JSON (NaN, lone surrogates), nesting too deep to read.
    """
    subject = of or "The request body"
    where = f" in {of}" if of else ""
    if source.count(b"{") > MEMBERS_MAX or source.count(b":") > MEMBERS_MAX:
        raise InvalidRequest(f"{subject} holds more than {MEMBERS_MAX:,} objects or members.", param=of)
    try:
        values = _decoder.decode(source)
        # The decoder does not look inside the values that it hands out as they are.
        if not source.isascii():
            source.decode()
    except msgspec.ValidationError:
        raise InvalidRequest(f"{subject} must be a JSON object.", param=of) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{subject} is not valid JSON: {error}.", param=of) from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{subject} is not valid UTF-8.", param=of) from None
    except RecursionError:
        raise InvalidRequest(f"{subject} is nested too deeply.", param=of) from None
    if (variant := known.find_variant(values.keys())) is not None:
        written, meant = variant
        raise InvalidRequest(f"Write {meant} instead of {_shown(written)}{where}.", param=of or written)
    spans = None if _is_compact(source, values) else _walk(source, values, known, of=of, where=where)
    return JsonObject(source, values, spans)


def _shown(name: str) -> str:
    """Return a caller's name as it may stand in a message: short, without control characters."""
    return ascii(name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "...")


def _is_compact(source: bytes, values: Mapping[str, msgspec.Raw]) -> bool:
    """Tell whether the lengths of names and values account for every byte: then there is no white space
    between them, no name is written with escapes, and none is given twice.

    Beside its name and its value a member takes two quotes, a colon, and a comma or one of the braces;
    the other brace is the 1.
    """
    names = "".join(values)
    accounted = len(names.encode()) + sum(map(len, values.values())) + 4 * len(values) + 1
    return accounted == len(source) and bool(values)


def _walk(
    source: bytes, values: Mapping[str, msgspec.Raw], known: KnownNames, *, of: str | None, where: str
) -> Mapping[str, tuple[int, int]]:
    """Return where each value stands. Refuses a name given twice, and a known one written with escapes.

    The decoder keeps a repeated name's first place and last value. So either a name or a value is not what
    stands in its place, or there are more members than names.
    """
    spans: dict[str, tuple[int, int]] = {}
    position = 0
    name = ""
    for name, value in values.items():
        match = _MEMBER.match(source, position)
        if match is None:
            break
        written, start = match[1], match.end()
        if written != b'"%b"' % name.encode():
            if name in known.names and msgspec.json.decode(written) == name:
                raise InvalidRequest(f"Write {name} without escapes{where}.", param=of or name)
            if msgspec.json.decode(written) != name:
                break
        if not source.startswith(value, start):
            break
        position = start + len(value)
        spans[name] = (start, position)
    else:
        if _END.match(source, position) is not None:
            return spans
    # What stands here has stood before, or is only the beginning of the last value's first version.
    match = _MEMBER.match(source, position)
    repeated = name if match is None else msgspec.json.decode(match[1], type=str)
    param = of or (repeated if repeated in known.names else None)
    raise InvalidRequest(f"{_shown(repeated)} is given twice{where}.", param=param)
