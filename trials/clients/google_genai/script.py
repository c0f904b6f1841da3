"""Google's own SDK: whole replies, streams, functions, embeddings, counting, models, errors."""

import os

from google import genai
from google.genai import errors, types
from report import Report

MODEL = os.environ["TRIAL_MODEL"]
report = Report()
options = types.HttpOptions(base_url=os.environ["TRIAL_URL"])
client = genai.Client(api_key=os.environ["TRIAL_KEY"], http_options=options)
config = types.GenerateContentConfig(max_output_tokens=16)


@report.step("chat")
def chat() -> None:
    reply = client.models.generate_content(model=MODEL, contents="Say hello", config=config)
    assert reply.text
    assert reply.usage_metadata is not None
    assert reply.usage_metadata.total_token_count == 18


@report.step("stream")
def stream() -> None:
    events = list(client.models.generate_content_stream(model=MODEL, contents="Say hello", config=config))
    assert len(events) > 1
    assert len("".join(event.text or "" for event in events).split()) == 16


@report.step("tools")
def tools() -> None:
    function = types.FunctionDeclaration(
        name="weather",
        parameters=types.Schema(
            type=types.Type.OBJECT,
            properties={"city": types.Schema(type=types.Type.STRING)},
            required=["city"],
        ),
    )
    any_function = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
    reply = client.models.generate_content(
        model=MODEL,
        contents="What is the weather in Paris?",
        config=types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[function])],
            tool_config=types.ToolConfig(function_calling_config=any_function),
        ),
    )
    assert reply.function_calls
    assert reply.function_calls[0].name == "weather"
    assert reply.function_calls[0].args == {"city": "alpha"}


@report.step("errors")
def refused() -> None:
    def code_of(*, key: str, model: str) -> tuple[int, str | None]:
        # Named, since the connection is closed with the client.
        caller = genai.Client(api_key=key, http_options=options)
        try:
            caller.models.generate_content(model=model, contents="Hi")
        except errors.ClientError as error:
            return error.code, error.status
        raise AssertionError("not refused")

    key = os.environ["TRIAL_KEY"]
    assert code_of(key=key, model="unknown") == (404, "NOT_FOUND")
    assert code_of(key=os.environ["TRIAL_WRONG_KEY"], model=MODEL) == (401, "UNAUTHENTICATED")
    assert code_of(key=os.environ["TRIAL_LIMITED_KEY"], model=MODEL) == (429, "RESOURCE_EXHAUSTED")


@report.step("more")
def more() -> None:
    assert client.models.count_tokens(model=MODEL, contents="one two three").total_tokens == 3
    contents = [types.Content(parts=[types.Part(text=text)]) for text in ("one two", "three")]
    embedded = client.models.embed_content(model=MODEL, contents=contents)
    assert len(embedded.embeddings or ()) == 2, embedded
    names = [model.name for model in client.models.list()]
    assert f"models/{MODEL}" in names, names


report.end()
