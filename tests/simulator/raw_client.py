"""A client that shows a reply's framing as it came, and how it ended."""

import socket
from dataclasses import dataclass

import msgspec


@dataclass
class RawReply:
    """``end`` is whole, cut (closed early), reset, open (nothing more came) or broken (not HTTP)."""

    status: int
    headers: dict[str, str]
    chunks: list[bytes]
    end: str

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def events(self) -> list[bytes]:
        return [event for event in self.body.split(b"\n\n") if event]


@dataclass
class RawClient:
    port: int

    def call(self, path: str, body: object, *, quiet_s: float = 10, **headers: str) -> RawReply:
        """POST and read until the reply is whole, the connection ends, or nothing comes for ``quiet_s``."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        head = f"POST {path} HTTP/1.1\r\nhost: simulator\r\ncontent-length: {len(data)}\r\n"
        head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(head.encode() + b"\r\n" + data)
            connection.settimeout(quiet_s)
            received, end = b"", "whole"
            while not _is_whole(received):
                try:
                    piece = connection.recv(65536)
                except TimeoutError:
                    end = "open"
                    break
                except ConnectionResetError:
                    end = "reset"
                    break
                if not piece:
                    end = "cut"
                    break
                received += piece
        return _parsed(received, end)

    def chat(self, simulate: object = None, *, quiet_s: float = 10, **members: object) -> RawReply:
        """One chat completion of two words in; ``simulate`` is left out where it is None."""
        body: dict[str, object] = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "two words"}],
        }
        body |= members
        if simulate is not None:
            body["simulate"] = simulate
        return self.call("/v1/chat/completions", body, quiet_s=quiet_s)


def _head_and_body(received: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    if not head:
        return 0, {}, b""
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(status_line.split()[1]), headers, body


def _is_whole(received: bytes) -> bool:
    if b"\r\n\r\n" not in received:
        return False
    _, headers, body = _head_and_body(received)
    if "content-length" in headers:
        return len(body) >= int(headers["content-length"])
    return body.endswith(b"\r\n0\r\n\r\n")


def _parsed(received: bytes, end: str) -> RawReply:
    status, headers, body = _head_and_body(received)
    if headers.get("transfer-encoding") != "chunked":
        return RawReply(status, headers, [body] if body else [], end)
    chunks: list[bytes] = []
    while body:
        size_line, _, body = body.partition(b"\r\n")
        try:
            size = int(size_line, 16)
        except ValueError:
            return RawReply(status, headers, chunks, "broken")
        if not size:
            break
        chunks.append(body[:size])
        body = body[size + 2 :]
    return RawReply(status, headers, chunks, end)
