"""What anybody can send before any key is read is bounded, in size and in memory."""

import secrets
import socket

import httpx

from tests.e2e.running import Platform
from tokenopen.core.api_key import API_KEY_PREFIX, generate_key


def connect(platform: Platform) -> socket.socket:
    host, port = platform.server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_a_head_that_is_too_large_is_answered_431_and_closed(platform: Platform) -> None:
    with connect(platform) as caller:
        caller.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-long: ")
        answer = b""
        try:
            for _ in range(200):
                caller.sendall(b"a" * 16_384)
        except OSError:
            pass
        try:
            while data := caller.recv(65_536):
                answer += data
        except OSError:
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert httpx.get(f"{platform.server.url}/healthz").status_code == 200


def test_the_body_of_an_invented_key_is_not_waited_for(platform: Platform) -> None:
    """The checksum is public, so a key that is well-formed proves nothing."""
    key = generate_key(API_KEY_PREFIX, secrets.choice)
    with connect(platform) as caller:
        caller.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n"
            b"authorization: Bearer " + key.encode() + b"\r\n\r\n" + b"x" * 1_000
        )
        assert caller.recv(65_536).startswith(b"HTTP/1.1 401 ")
