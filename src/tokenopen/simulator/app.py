"""The simulator as a raw ASGI callable: path -> endpoint, authentication, recording, log."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from tokenopen.simulator import chat, completion, embedding, gemini, media, message, response
from tokenopen.simulator.connection import Connection, Receive, Scope, Send
from tokenopen.simulator.delivery import REFUSED, deliver, deliver_as_directed, send_body
from tokenopen.simulator.journal import RECORDED_CALLS_MAX, Journal
from tokenopen.simulator.model import MODELS_DEFAULT, model_list, one_model
from tokenopen.simulator.reply import Endpoint, Refused, Reply, openai_error

ENDPOINTS: Final = {
    "/v1/chat/completions": chat.ENDPOINT,
    "/v1/completions": completion.ENDPOINT,
    "/v1/embeddings": embedding.ENDPOINT,
    "/v1/responses": response.ENDPOINT,
    "/v1/responses/input_tokens": response.COUNT_ENDPOINT,
    "/v1/messages": message.ENDPOINT,
    "/v1/messages/count_tokens": message.COUNT_ENDPOINT,
    **media.ENDPOINTS,
}
CALLS_PATH: Final = "/_simulator/calls"
_MODELS_PATH: Final = "/v1/models"
_BAD_CREDENTIAL: Final = b"sim-bad"


def create_app(
    *, models: Sequence[str] = MODELS_DEFAULT, log_path: Path | None = None, record: bool = False
) -> "SimulatorApp":
    """Return the ASGI callable; it must be served with ``server.SimulatorProtocol``."""
    return SimulatorApp(models=models, journal=Journal(log_path=log_path, record=record))


class SimulatorApp:
    """Answers every path a provider has, and the two of its own."""

    def __init__(self, *, models: Sequence[str], journal: Journal) -> None:
        self._models = tuple(models)
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        assert scope["type"] == "http"
        connection = Connection(scope, receive, send)
        method, path = scope["method"], scope["path"]
        endpoint = (ENDPOINTS.get(path) or gemini.endpoint_at(path)) if method == "POST" else None
        body = await connection.read_body()
        if path == CALLS_PATH:
            await self._own_calls(scope, connection)
            return
        if self._journal.records:
            self._journal.record(method=method, path=path, headers=scope["headers"], body=body)
        if endpoint is not None:
            await self._answer(endpoint, scope, body, connection)
        else:
            status, reply_body = self._other(method, path, scope)
            await send_body(connection, status, reply_body)

    async def _answer(self, endpoint: Endpoint, scope: Scope, body: bytes, connection: Connection) -> None:
        at_ms = time.time_ns() // 1_000_000
        request_id, credential_is_bad = _request_id_and_credential(scope)
        try:
            reply = _reply_to(body, endpoint, credential_is_bad=credential_is_bad)
        except Refused as refused:
            self._journal.log(request_id=request_id, at_ms=at_ms, reply=None, outcome=REFUSED)
            await send_body(connection, refused.status, refused.body)
            return
        finishing = _unlogged
        if self._journal.logs:
            finishing = partial(self._log, request_id, at_ms, reply)
        if reply.directives is None:
            await deliver(reply, connection, finishing)
        else:
            await deliver_as_directed(reply, reply.directives, connection, finishing, endpoint.error_body)

    def _log(self, request_id: str | None, at_ms: int, reply: Reply, outcome: str) -> None:
        self._journal.log(request_id=request_id, at_ms=at_ms, reply=reply, outcome=outcome)

    def _other(self, method: str, path: str, scope: Scope) -> tuple[int, bytes]:
        """Return status and body for everything but calls."""
        kept = response.answer_about_kept(method, path)
        if kept is not None:
            return kept
        if path in ENDPOINTS or method != "GET":
            return 405, openai_error(405, f"Not allowed: {method} {path}")
        if _request_id_and_credential(scope)[1]:
            return 401, openai_error(401, "Incorrect API key provided.")
        if path == _MODELS_PATH:
            return 200, model_list(self._models)
        if path.startswith(_MODELS_PATH + "/"):
            return one_model(path.removeprefix(_MODELS_PATH + "/"), self._models)
        return 404, openai_error(404, f"Invalid URL (GET {path})")

    async def _own_calls(self, scope: Scope, connection: Connection) -> None:
        if not self._journal.records:
            status, body = 404, openai_error(404, "Start the simulator with --record to see received calls.")
        elif scope["method"] == "DELETE":
            self._journal.forget()
            status, body = 200, b'{"data":[]}'
        else:
            limit = parse_qs(scope["query_string"].decode()).get("limit", [str(RECORDED_CALLS_MAX)])[0]
            status, body = 400, openai_error(400, "limit is a whole number")
            if limit.isascii() and limit.isdigit():
                status, body = 200, self._journal.recorded(int(limit))
        await send_body(connection, status, body)


def _reply_to(body: bytes, endpoint: Endpoint, *, credential_is_bad: bool) -> Reply:
    if credential_is_bad:
        raise Refused(401, endpoint.error_body(401, "Incorrect API key provided."))
    return endpoint.answer(body)


def _unlogged(outcome: str) -> None:
    del outcome


def _request_id_and_credential(scope: Scope) -> tuple[str | None, bool]:
    """Return the x-request-id header, and whether the credential is one that must be refused."""
    request_id: str | None = None
    bad = False
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request_id = value.decode("latin-1")
        elif name == b"authorization":
            bad = bad or value.startswith(b"Bearer " + _BAD_CREDENTIAL)
        elif name == b"x-api-key":
            bad = bad or value.startswith(_BAD_CREDENTIAL)
    return request_id, bad
