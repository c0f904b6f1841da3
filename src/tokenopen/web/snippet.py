"""Snippets: a first call, ready to paste, in the languages that people call from."""

import json
from collections.abc import Sequence
from typing import Final

from tokenopen.control.group_terms import GroupChoice, GroupTerms
from tokenopen.core.api_key import ApiKey
from tokenopen.core.catalog import Model
from tokenopen.web.guide_fact import EXAMPLE_MODEL
from tokenopen.web.text import Catalogue

Snippet = tuple[str, str, str]

_PYTHON: Final = """\
from openai import OpenAI

client = OpenAI(
    base_url="{base_url}/v1",
    api_key="{key}",
)
answer = client.chat.completions.create(
    model={model},
    messages=[{{"role": "user", "content": "Say hello."}}],
)
print(answer.choices[0].message.content)
"""
_NODE: Final = """\
import OpenAI from "openai";

const client = new OpenAI({{
  baseURL: "{base_url}/v1",
  apiKey: "{key}",
}});
const answer = await client.chat.completions.create({{
  model: {model},
  messages: [{{ role: "user", content: "Say hello." }}],
}});
console.log(answer.choices[0].message.content);
"""
_CURL: Final = """\
curl {base_url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": {model}, "messages": [{{"role": "user", "content": "Say hello."}}]}}'
"""
_ENVIRONMENT: Final = """\
export OPENAI_BASE_URL={base_url}/v1
export OPENAI_API_KEY={key}
"""


def list_callable(choice: GroupChoice, terms: GroupTerms, key: ApiKey) -> Sequence[Model]:
    """Return the models on offer that the key's group allows and that the key does not narrow away."""
    return [
        model for model in choice.offered if terms.allows(model.name) and not key.narrows_away(model.name)
    ]


def find_example_model(choice: GroupChoice, terms: GroupTerms, key: ApiKey) -> str | None:
    """Return a model that the key may chat with, a well-known one where it can be, or None."""
    names = [model.name for model in list_callable(choice, terms, key) if model.max_output_tokens]
    return EXAMPLE_MODEL if EXAMPLE_MODEL in names else next(iter(names), None)


def call_snippets(text: Catalogue, *, base_url: str, key: str, model: str) -> Sequence[Snippet]:
    """Return triples of label, language and code. A model's name holds no sign that a shell would read."""
    values = {"base_url": base_url, "key": key, "model": json.dumps(model)}
    return [
        ("curl", "shell", _CURL.format_map(values)),
        ("Python", "python", _PYTHON.format_map(values)),
        ("Node", "javascript", _NODE.format_map(values)),
        (text("code.environment"), "shell", _ENVIRONMENT.format_map(values)),
    ]
