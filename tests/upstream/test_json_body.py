"""Bodies: what is refused, and that what is accepted is what every parser reads."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.json_body import KnownNames, read_object

KNOWN = KnownNames({"model", "messages", "max_tokens", "stream"})


def refusal_of(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_object(body, KNOWN)
    return caught.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b'{"model":"m"', "not valid JSON"),
        (b'{"model":"m"} {"model":"n"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"model":"m"}', "not valid JSON"),
        (b'{"model":"m",}', "not valid JSON"),
        (b"{'model':'m'}", "not valid JSON"),
        (b'{"temperature":NaN}', "not valid JSON"),
        (b'{"temperature":-Infinity}', "not valid JSON"),
        (b'{"temperature":01}', "not valid JSON"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"\\udc00":1}', "not valid JSON"),
        (b'{"a":"tab\there"}', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"model"', "must be a JSON object"),
        (b'{"a":"\xff"}', "not valid UTF-8"),
        (b'{"\xff":1}', "not valid UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not valid UTF-8"),
        (b'{"a":"\xc0\xae"}', "not valid UTF-8"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"a":[' + b"{}," * 500_000 + b"{}]}", "more than 500,000 objects or members"),
    ],
)
def test_what_is_not_one_json_object_is_refused(body: bytes, words: str) -> None:
    assert words in refusal_of(body).message


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"dear"}',
        b'{"model":"same","model":"same"}',
        b'{ "model" : "same" , "model" : "same" }',
        b'{"model":"cheap","a":1,"b":2,"model":"dear"}',
        b'{"a":1,"model":1,"model":12,"b":2}',
        b'{"a":1,"model":12,"model":1,"b":2}',
        b'{"model":"m","mod\\u0065l":"m","a":1}',
        b'{"model":{"b":2},"b":2,"model":{"b":2}}',
        b'{"model":"x","b":1,"c":1,"model":"x","d":1}',
    ],
)
def test_a_name_given_twice_is_refused(body: bytes) -> None:
    assert "twice" in refusal_of(body).message or "escapes" in refusal_of(body).message


def test_a_repeated_name_cannot_hide_behind_values_of_fitting_lengths() -> None:
    """With lengths alone, the last ``a`` would lead past its first value into ``z``, to a ``z`` in there,
    and on into itself, where a brace stands for the end."""
    inner = b'{"k":"%b","z":0}' % (b"p" * 20)
    start = len(b'{"a":')
    into_z = (b'{"a":1,"z":' + inner).rindex(b',"z":')
    head = b'{"a":1,"z":%b,"a":' % inner
    brace_at = into_z + len(b',"z":') + len(inner)
    text = bytearray(b"x" * (into_z - start - 2))
    text[brace_at - len(head) - 1] = ord("}")
    body = head + b'"%b"}' % bytes(text)
    assert json.loads(body).keys() == {"a", "z"}
    assert len(json.loads(body)["a"]) + 2 == into_z - start
    assert body[brace_at : brace_at + 1] == b"}"
    assert refusal_of(body).message == "'a' is given twice."


def test_the_refusal_of_a_repeated_name_says_which() -> None:
    assert refusal_of(b'{"a":1,"b":1,"c":1,"b":2}').message == "'b' is given twice."
    refusal = refusal_of(b'{"a":1,"b":1,"b":1,"c":1}')
    assert refusal.message == "'b' is given twice."
    assert refusal.facts["param"] is None
    assert refusal_of(b'{"model":1,"b":1,"model":1}').facts["param"] == "model"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Model", "model"),
        ("MAX_TOKENS", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("max-tokens", "max_tokens"),
        # Go folds the long s and the Kelvin sign, too.
        ("\u017ftream", "stream"),
        ("max_to\u212aens", "max_tokens"),
    ],
)
def test_another_spelling_of_a_known_name_is_refused(name: str, meant: str) -> None:
    for body in (json.dumps({name: 1}), json.dumps({"model": "m", name: 1}, ensure_ascii=False)):
        refusal = refusal_of(body.encode())
        assert refusal.message.startswith(f"Write {meant} instead of ")
        assert refusal.facts["param"] == name


def test_a_known_name_with_escapes_is_refused_and_any_other_is_not() -> None:
    assert refusal_of(b'{"\\u006dodel":"m"}').message == "Write model without escapes."
    assert dict(read_object(b'{"caf\\u00e9":1}', KNOWN)) == {"café": b"1"}


def test_a_refusal_does_not_repeat_a_long_name_or_its_control_characters() -> None:
    body = json.dumps({"a\n" + "x" * 5000: 1})[:-1].encode() + b',"z":1,"z":2}'
    assert refusal_of(body).message == "'z' is given twice."
    name = json.dumps("a\n" + "x" * 5000).encode()
    message = refusal_of(b"{%b:1, %b:2}" % (name, name)).message
    assert len(message) < 120
    assert "\n" not in message


def test_a_refusal_of_a_fields_value_names_the_field() -> None:
    with pytest.raises(InvalidRequest, match=r"in stream_options") as caught:
        read_object(b'{"Model":1}', KNOWN, of="stream_options")
    assert caught.value.facts["param"] == "stream_options"
    with pytest.raises(InvalidRequest, match=r"^stream_options must be a JSON object"):
        read_object(b"[]", KNOWN, of="stream_options")


def test_values_stay_as_they_were_written() -> None:
    body = b' {"model" : "m\\u00e9",\n "n": 1.50e+2, "deep": {"a": [1, {"b": null}] } , "t":true} '
    fields = read_object(body, KNOWN)
    assert dict(fields) == {
        "model": b'"m\\u00e9"',
        "n": b"1.50e+2",
        "deep": b'{"a": [1, {"b": null}] }',
        "t": b"true",
    }
    assert bytes(fields.view("n")) == b"1.50e+2"
    assert fields.source == body


@pytest.mark.parametrize(
    ("body", "changes", "spliced"),
    [
        (b'{"a":1,"b":2}', {"b": b"3"}, b'{"a":1,"b":3}'),
        (b'{"a":1,"b":2}', {"b": b"3", "a": b"[]"}, b'{"a":[],"b":3}'),
        (b'{ "a" : 1 ,\t"b": 2 }\n', {"a": b"3"}, b'{ "a" : 3 ,\t"b": 2 }\n'),
        (b'{ "a" : 1 ,\t"b": 2 }\n', {"c": b"3"}, b'{ "a" : 1 ,\t"b": 2 ,"c":3}\n'),
        (b"{}", {"c": b"3", "d": b"4"}, b'{"c":3,"d":4}'),
        (b"{ } ", {"c": b"3"}, b'{ "c":3} '),
        ('{"é":1,"b":"{}"}'.encode(), {"b": b"2"}, '{"é":1,"b":2}'.encode()),
        ('{"é":"日本","b":{"b":1},"c":2}'.encode(), {"b": b"2"}, '{"é":"日本","b":2,"c":2}'.encode()),
        (b'{"a":1}', {}, b'{"a":1}'),
    ],
)
def test_a_body_is_spliced(body: bytes, changes: dict[str, bytes], spliced: bytes) -> None:
    assert read_object(body, KNOWN).replaced(changes) == spliced


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["model", "messages", "max_tokens", "stream"]) | st.text(max_size=6).map("x{}".format)
BLANKS = st.text(alphabet=" \t\r\n", max_size=3)


@st.composite
def written_objects(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """Return an object and one of the ways in which it can be written."""
    given = draw(st.dictionaries(NAMES, VALUES, max_size=6))
    ascii_only = draw(st.booleans())
    blanks = draw(st.sampled_from([st.just(""), st.just(" "), BLANKS]))
    members = [
        draw(blanks)
        + json.dumps(name, ensure_ascii=ascii_only)
        + draw(blanks)
        + ":"
        + draw(blanks)
        + json.dumps(value, ensure_ascii=ascii_only)
        + draw(blanks)
        for name, value in given.items()
    ]
    text = draw(blanks) + "{" + (",".join(members) or draw(blanks)) + "}" + draw(blanks)
    return given, text.encode("utf-8", "surrogatepass")


@settings(deadline=None)
@given(written_objects(), st.dictionaries(NAMES, VALUES, max_size=3))
def test_any_object_is_read_and_spliced_as_the_standard_library_reads_it(
    written: tuple[dict[str, Any], bytes], changes: dict[str, Any]
) -> None:
    given, body = written
    try:
        fields = read_object(body, KNOWN)
    except InvalidRequest as refusal:
        # The standard library lets lone surrogates through.
        assert "JSON" in refusal.message or "UTF-8" in refusal.message  # noqa: PT017
        return
    assert {name: json.loads(value) for name, value in fields.items()} == given
    assert fields.replaced(dict(fields)) == body
    spliced = fields.replaced({name: json.dumps(value).encode() for name, value in changes.items()})
    assert json.loads(spliced) == given | changes


def pairs_of(body: bytes) -> list[tuple[str, Any]] | None:
    """Return the members of an object as the standard library sees them, repeated ones too."""

    def no_constant(text: str) -> Any:
        raise ValueError(text)

    class Members(list[tuple[str, Any]]):
        pass

    found = json.loads(body.decode(), object_pairs_hook=Members, parse_constant=no_constant)
    return found if isinstance(found, Members) else None


@st.composite
def damaged_objects(draw: st.DrawFn) -> bytes:
    """Return a body in which bytes were replaced, left out or given twice."""
    _, body = draw(written_objects())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        until = draw(st.integers(at, min(len(body), at + 12)))
        new = draw(
            st.binary(max_size=2) | st.sampled_from([body[at:until] * 2, b'"model":1,', b",", b'"', b"{}"])
        )
        body = body[:at] + new + body[until:]
    return body


@settings(deadline=None)
@given(damaged_objects())
def test_a_damaged_body_is_refused_or_is_what_the_standard_library_reads(body: bytes) -> None:
    try:
        fields = read_object(body, KNOWN)
    except InvalidRequest:
        return
    members = pairs_of(body)
    assert members is not None
    assert [name for name, _ in members] == list(fields)
    assert [value for _, value in members] == [
        json.loads(value, object_pairs_hook=lambda pairs: pairs) for value in fields.values()
    ]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read_object(body, KNOWN)
    except InvalidRequest as refusal:
        assert refusal.message.startswith("The request body")  # noqa: PT017
