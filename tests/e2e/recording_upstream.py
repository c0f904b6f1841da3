"""A provider that answers each call with the recorded reply that it was told to answer next."""

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

from tests.upstream.recordings import Recording


class RecordingUpstream:
    """Serves on 127.0.0.1. ``next`` is what the next call is answered with, ``received`` what it asked."""

    def __init__(self) -> None:
        self.next: Recording | None = None
        self.received: Mapping[str, Any] | None = None
        self.path: str | None = None
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                upstream.path, upstream.received = self.path, json.loads(body)
                assert upstream.next is not None
                reply = upstream.next.body
                self.send_response(upstream.next.status)
                kind = "text/event-stream" if upstream.next.is_stream else "application/json"
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def will_answer(self, recording: Recording) -> None:
        """Answer the next call with a recorded reply."""
        self.next, self.received = recording, None

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
