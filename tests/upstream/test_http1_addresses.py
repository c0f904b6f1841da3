"""Server-side request forgery: whatever a URL or a name server says, nothing private is connected to."""

import asyncio
import itertools
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import LOOPBACK, RawConnection, a_request, json_reply, read_all
from tests.upstream.test_addresses import MALFORMED, NOT_PUBLIC

from tokenopen.ports.upstream import AddressForbidden, NotReached
from tokenopen.upstream.http1 import Http1Upstream


async def answer(connection: RawConnection) -> None:
    await connection.answer(json_reply())


class NameServer:
    """Answers each question with the next answer, the last one for ever."""

    def __init__(self, *answers: Iterable[str]) -> None:
        self.asked = 0
        self._answers = [list(answer) for answer in answers]

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answer
        ]

    def serve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)


# Every way that we know of to write an address of this machine.
HOSTILE_HOSTS = """
    127.0.0.1 127.0.0.2 127.1.2.3 127.255.255.254 0.0.0.0 localhost LOCALHOST localhost. 127.0.0.1.
    127.1 127.0.1 127.000.000.001 0177.0.0.1 0177.1 017700000001 00000177.0.0.1 0x7f.0.0.1 0x7f.1
    0x7f.0x0.0x0.0x1 0x7f000001 0X7F000001 2130706433 2130706433. 4294967297 0 00 0x0 0.0 0.0.0
    127.0.0.1.0 127.0.0.0x1 127.0.00.1 127.0.0.256 -127.0.0.1 127.0.0.1- +127.0.0.1 127.0.0.-1 1e9
    127.0.0.1e0 0b1111111.0.0.1 0o177.0.0.1
    [::1] [::] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0:1] [::1%lo] [::1%25lo]
    [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1] [::ffff:0:127.0.0.1] [::127.0.0.1]
    [::7f00:1] [::ffff:0.0.0.0] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::] [2002:7f00:1::1]
    [2001:0:7f00:1::] [2001::80ff:fffe] [fe80::1] [fe80::1%lo] [fec0::1] [fc00::1] [::1 ::1
    ::ffff:127.0.0.1 [127.0.0.1] [localhost] [::1].example
    127.0.0.1%00.example 127.0.0.1%20 %31%32%37.0.0.1 127%2e0%2e0%2e1 %6c%6fcalhost l%6fcalhost
    user@127.0.0.1 user:pass@127.0.0.1 api.openai.com@127.0.0.1 @127.0.0.1 a@b@127.0.0.1
    api.openai.com:443@127.0.0.1 api.openai.com\\@127.0.0.1 127.0.0.1\\@api.openai.com
    127.0.0.1#@api.openai.com 127.0.0.1?@api.openai.com 127.0.0.1,api.openai.com 127.0.0.1;a
    \uff11\uff12\uff17.\uff10.\uff10.\uff11 \u2460\u2461\u2466.\u24ea.\u24ea.\u2460
    127\u30020\u30020\u30021 127\uff0e0\uff0e0\uff0e1 loc\u00adalhost
    \u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3
    """
# Names by which clouds and clusters offer credentials, and public names that stand for private addresses.
METADATA_NAMES = """
    metadata metadata.google.internal metadata.google.internal. METADATA.GOOGLE.INTERNAL metadata.goog
    instance-data instance-data.ec2.internal metadata.azure.internal metadata.packet.net
    metadata.tencentyun.com
    kubernetes.default.svc kubernetes.default.svc.cluster.local host.docker.internal gateway.docker.internal
    consul.service.consul vault.service.consul redis postgres 127.0.0.1.nip.io 127-0-0-1.sslip.io
    169.254.169.254.nip.io localtest.me lvh.me spoofed.burpcollaborator.net 1ynrnhl.xip.io
    """
WITH_SPACE = ("127.0.0.1 ", " 127.0.0.1", "127.0.0.1\t", "127.0.0.1\n", "127.0.0.1\r\n", "127.0\t.0.1")
HOSTILE_URLS = """
    http:127.0.0.1:PORT http:/127.0.0.1:PORT http:\\\\127.0.0.1:PORT http:///127.0.0.1:PORT
    http:////127.0.0.1:PORT //127.0.0.1:PORT 127.0.0.1:PORT ftp://127.0.0.1:PORT ws://127.0.0.1:PORT
    gopher://127.0.0.1:PORT/_GET http+unix://127.0.0.1:PORT url:http://127.0.0.1:PORT \x00http://127.0.0.1:PORT
    http://127.0.0.1:PORT:80 http://127.0.0.1:0PORT:
    """


def notations(*numbers: int) -> Iterator[str]:
    """Each number in decimal, octal and hexadecimal, in every combination."""
    for written in itertools.product(*((str(number), f"0{number:o}", hex(number)) for number in numbers)):
        yield ".".join(written)


def hostile_urls(port: int) -> set[str]:
    hosts = [
        *HOSTILE_HOSTS.split(),
        *METADATA_NAMES.split(),
        *(f"[{address}]" if ":" in address else address for address in NOT_PUBLIC),
        *notations(169, 254, 169, 254),
        *notations(0xA9FEA9FE),
        *WITH_SPACE,
        *notations(127, 0, 0, 1),
        *notations(127, 0, 1),
        *notations(127, 1),
        *notations(0x7F000001),
    ]
    urls = {f"http://{host}:{port}/v1" for host in hosts}
    return urls | {url.replace("PORT", str(port)) for url in HOSTILE_URLS.split()}


async def test_no_hostile_url_leads_to_a_connection(
    upstream: Http1Upstream, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is taken for a name resolves to this machine, as an attacker's own names may."""
    canary = await serve(answer)
    NameServer(["127.0.0.1"]).serve(monkeypatch)
    strict_upstream = Http1Upstream(allowed_networks=())
    urls = hostile_urls(canary.port)
    assert len(urls) >= 350
    for url in urls:
        with pytest.raises((ValueError, AddressForbidden)):
            await strict_upstream.send(a_request(url))
    assert canary.accepted == 0
    await read_all(await upstream.send(a_request(canary.url)))
    assert canary.accepted == 1, "the canary would have sung"
    await strict_upstream.close()


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_malformed_url_is_a_callers_bug(upstream: Http1Upstream, url: str) -> None:
    with pytest.raises(ValueError):
        await upstream.send(a_request(url))


async def test_addresses_outside_the_allowed_networks_are_forbidden(serve: Serve) -> None:
    canary = await serve(answer)
    upstream = Http1Upstream(allowed_networks=[ip_network("127.0.0.2/32"), ip_network("10.0.0.0/8")])
    with pytest.raises(AddressForbidden, match=r"127\.0\.0\.1, .*TOKENOPEN_UPSTREAM_NETWORKS"):
        await upstream.send(a_request(canary.url))
    assert canary.accepted == 0
    await upstream.close()


async def test_a_name_that_resolves_to_private_addresses_only_is_forbidden(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = await serve(answer)
    upstream = Http1Upstream(allowed_networks=())
    for private in NOT_PUBLIC:
        NameServer([private]).serve(monkeypatch)
        with pytest.raises(AddressForbidden):
            await upstream.send(a_request(f"http://innocent.example:{canary.port}/"))
    NameServer(NOT_PUBLIC).serve(monkeypatch)
    with pytest.raises(AddressForbidden):
        await upstream.send(a_request(f"http://innocent.example:{canary.port}/"))
    assert canary.accepted == 0
    await upstream.close()


async def test_of_several_addresses_only_the_allowed_ones_are_tried(
    upstream: Http1Upstream, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens on ::1 and 127.0.0.9; 10.0.0.1 is not allowed and would hang."""
    server = await serve(answer)
    NameServer(["::1", "10.0.0.1", "127.0.0.9", "127.0.0.1"]).serve(monkeypatch)
    reply = await upstream.send(a_request(f"http://provider.example:{server.port}/"))
    assert await read_all(reply) == b'{"ok":true}'


async def test_a_name_that_resolves_differently_the_second_time_gains_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address that was judged is the one that is connected to, without asking again."""
    canary = await serve(answer)
    upstream = Http1Upstream(allowed_networks=[ip_network("127.0.0.9/32")])
    names = NameServer(["127.0.0.9"], ["127.0.0.1"])
    names.serve(monkeypatch)
    with pytest.raises(NotReached):
        await upstream.send(a_request(f"http://rebinding.example:{canary.port}/"))
    assert names.asked == 1
    with pytest.raises(AddressForbidden):
        await upstream.send(a_request(f"http://rebinding.example:{canary.port}/"))
    assert canary.accepted == 0
    await upstream.close()


async def test_an_address_that_hangs_leaves_time_for_the_next(
    upstream: Http1Upstream, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(answer)
    with socket.create_server(("127.0.0.3", server.port), backlog=0) as black_hole:
        crowd = [socket.socket() for _ in range(8)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(black_hole.getsockname())
        await asyncio.sleep(0.05)
        NameServer(["127.0.0.3", "127.0.0.1"]).serve(monkeypatch)
        request = a_request(f"http://provider.example:{server.port}/", connect_timeout_ms=600)
        assert await read_all(await upstream.send(request)) == b'{"ok":true}'
        for one in crowd:
            one.close()


async def test_a_name_is_sent_as_the_host_and_its_address_connected_to(
    upstream: Http1Upstream, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []

    async def script(connection: RawConnection) -> None:
        heads.append((await connection.read_request())[0])
        await connection.send(json_reply())

    server = await serve(script)
    NameServer(["127.0.0.1"]).serve(monkeypatch)
    await read_all(await upstream.send(a_request(f"http://Provider.example:{server.port}/v1")))
    assert f"\r\nhost: provider.example:{server.port}\r\n".encode() in heads[0]


def test_loopback_is_what_these_tests_allow() -> None:
    assert all(network.is_loopback for network in LOOPBACK)
