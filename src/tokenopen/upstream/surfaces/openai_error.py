"""Errors in OpenAI's shape, as its SDKs read them."""

from collections.abc import Mapping

import msgspec


def openai_error(*, code: str, message: str, facts: Mapping[str, object]) -> bytes:
    """Return ``{"error": {message, type, param, code, ...facts}}``."""
    rest = {name: value for name, value in facts.items() if name not in ("type", "param")}
    error = {
        "message": message,
        "type": facts.get("type", "server_error"),
        "param": facts.get("param"),
        "code": code,
        **rest,
    }
    return msgspec.json.encode({"error": error})
