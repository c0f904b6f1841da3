"""A schema that the reply has to follow: chat's ``response_format``, messages' ``output_config.format``.

Chat alone has a name for it, which is only a label, and can describe it beside itself: inside means the same.
Messages are always strict. A schema that the provider does not take is refused in its own words.
"""

from typing import Any, Final

from tokenopen.upstream.translation.members import Members

_KIND: Final = "json_schema"
# Chat cannot do without one.
_NAME: Final = "reply"
_CONFIG: Final = "output_config"
# Its name before it was generally available.
_OLDER: Final = "output_format"


def carry_response_format(given: Members, body: dict[str, Any]) -> None:
    """Add what a request for chat completions says of the form of its reply. Refuses InvalidRequest."""
    asked = given.take("response_format")
    if asked is None:
        return
    form = given.carrier.open(asked, "response_format")
    kind = form.take("type")
    if kind == _KIND:
        body[_CONFIG] = {"format": {"type": _KIND, "schema": _described_schema(form)}}
    elif kind != "text":
        raise form.refuse("type", "which takes a schema, or text")
    form.close()


def _described_schema(form: Members) -> dict[str, Any]:
    named = form.carrier.open(form.take(_KIND), form.path_of(_KIND))
    schema = _schema_of(named)
    description = named.take("description")
    if description is not None and schema.setdefault("description", description) != description:
        raise named.refuse("description", "where a schema is described once")
    named.take("name", "strict")
    named.close()
    return schema


def carry_output_format(given: Members, body: dict[str, Any]) -> None:
    """Add what a request for messages says of the form of its reply. Refuses InvalidRequest."""
    forms = []
    config = given.take(_CONFIG)
    if config is not None:
        about = given.carrier.open(config, _CONFIG)
        forms.append((about.take("format"), about.path_of("format")))
        about.close()
    forms.append((given.take(_OLDER), _OLDER))
    for asked, path in forms:
        if asked is None:
            continue
        form = given.carrier.open(asked, path)
        if form.take("type") != _KIND:
            raise form.refuse("type", "which takes a schema")
        if "response_format" in body:
            raise given.refuse(path, "which takes one schema")
        named = {"name": _NAME, "schema": _schema_of(form), "strict": True}
        body["response_format"] = {"type": _KIND, _KIND: named}
        form.close()


def _schema_of(members: Members) -> dict[str, Any]:
    schema = members.take("schema")
    if not isinstance(schema, dict):
        raise members.refuse("schema", "which takes a JSON object")
    return schema
