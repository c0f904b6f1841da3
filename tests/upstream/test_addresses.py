"""Which URLs and addresses upstreams may have."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.upstream.addresses import Origin, address_allowed, parse_origin, split_url


@pytest.mark.parametrize(
    ("url", "origin", "target", "host_header"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com:443", "/v1", "api.openai.com"),
        ("https://API.OpenAI.com", "https://api.openai.com:443", "/", "api.openai.com"),
        ("HTTP://ollama:11434/v1/chat", "http://ollama:11434", "/v1/chat", "ollama:11434"),
        ("http://a.example:80/?x=1", "http://a.example:80", "/?x=1", "a.example"),
        ("http://a.example:443?x=1", "http://a.example:443", "/?x=1", "a.example:443"),
        (
            "https://my_service-1.internal:0443/",
            "https://my_service-1.internal:443",
            "/",
            "my_service-1.internal",
        ),
        ("http://10.0.0.1:8000/v1", "http://10.0.0.1:8000", "/v1", "10.0.0.1:8000"),
        ("http://[2001:DB8::0:1]/v1", "http://[2001:db8::1]:80", "/v1", "[2001:db8::1]"),
        ("https://[::1]:8443/v1", "https://[::1]:8443", "/v1", "[::1]:8443"),
        (
            "https://h/m/a:generateContent?alt=sse&k=%20",
            "https://h:443",
            "/m/a:generateContent?alt=sse&k=%20",
            "h",
        ),
        (
            "https://xn--bcher-kva.example/a@b",
            "https://xn--bcher-kva.example:443",
            "/a@b",
            "xn--bcher-kva.example",
        ),
    ],
)
def test_a_url_says_where_to_connect_and_what_to_ask_for(
    url: str, origin: str, target: str, host_header: str
) -> None:
    parsed, path_and_query = split_url(url)
    assert (str(parsed), path_and_query, parsed.host_header) == (origin, target, host_header)
    assert parse_origin(url) == parsed
    assert parse_origin(str(parsed)) == parsed


MALFORMED = [
    "",
    "api.openai.com/v1",
    "//api.openai.com/v1",
    "https:/api.openai.com",
    "https:api.openai.com",
    "ftp://api.openai.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "unix:///var/run/docker.sock",
    "javascript://a/",
    "https://",
    "https:///v1",
    "https://:443/",
    "https://?x",
    "https://#x",
    "https://a.example:/",
    "https://a.example:0/",
    "https://a.example:65536/",
    "https://a.example:443443/",
    "https://a.example:-1/",
    "https://a.example:+443/",
    "https://a.example: 443/",
    "https://a.example:44\uff13/",
    "https://a.example:443:80/",
    "https://user@a.example/",
    "https://user:password@a.example/",
    "https://@a.example/",
    "https://a.example@127.0.0.1/",
    "https://a.example:443@127.0.0.1/",
    "https://a.example\\@127.0.0.1/",
    "https://127.0.0.1\\.a.example/",
    "https://a.example#@127.0.0.1/",
    "https://a.example/#fragment",
    "https://a.example/a b",
    " https://a.example/",
    "https://a.example/ ",
    "https://a.example/\r\nx: y",
    "https://a.example/\n",
    "https://a.exam\tple/",
    "https://a.example/\x00",
    "https://a.example/\x7f",
    "https://a.example/é",
    "https://bücher.example/",
    "https://\u24dbocalhost/",
    "https://a\u3002example/",
    "https://a.example/%zz",
    "https://a.example/%2",
    "https://a.example/<script>",
    'https://a.example/"',
    "https://a.example/{model}",
    "https://%61.example/",
    "https://127%2e0.0.1/",
    "https://a..example/",
    "https://.a.example/",
    "https://a.example./",
    "https://-a.example/",
    "https://a-.example/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 130 + "example/",
    "https://a.example/" + "a" * 5_000,
    "https://a,b/",
    "https://a;b/",
    "https://a!b/",
    "https://*.example/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0X7F.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://127.0.0.0x1/",
    "https://127.0.0.1.2/",
    "https://127.0.0.256/",
    "https://a.example.1/",
    "https://a.0x/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://[::1/",
    "https://::1/",
    "https://::1]/",
    "https://[]/",
    "https://[127.0.0.1]/",
    "https://[::1]a/",
    "https://[::1]:/",
    "https://[::g]/",
    "https://[fe80::1%eth0]/",
    "https://[fe80::1%25eth0]/",
    "https://[::1]:80:80/",
    "https://[:::1]/",
    "https://[v1.a]/",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_whatever_is_not_plainly_a_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_origin(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://a.example/ ", "spaces"),
        ("https://a.example\n/", "control characters"),
        ("a.example/v1", "must begin with https://"),
        ("https://user@a.example/", "user name"),
        ("https://a.example:99999/", "port"),
        ("https://a.example/#a", "fragment"),
        ("https:///v1", "name a host"),
        ("https://a..example/", "host name"),
        ("https://127.1/", "usual form"),
        ("https://[1::1::1]/", "usual form"),
        ("https://a.example/" + "a" * 5_000, "4096 characters"),
    ],
)
def test_a_refusal_says_what_is_wrong(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_origin(url)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_text_gives_an_origin_that_would_read_differently_again(text: str) -> None:
    """What is accepted is in its plain form: nothing later can read another host out of it."""
    try:
        origin, target = split_url("http://" + text)
    except ValueError:
        return
    assert split_url(str(origin) + target) == (origin, target)
    assert set(origin.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_:")
    assert target.startswith("/")
    assert set(target) <= {chr(code) for code in range(0x21, 0x7F)} - set('#\\"<>^`{|}')


def test_a_refusal_does_not_repeat_the_password() -> None:
    with pytest.raises(ValueError) as refusal:
        parse_origin("https://user:hunter2@a.example/")
    assert "hunter2" not in str(refusal.value)


def test_an_origin_knows_whether_its_host_is_an_address() -> None:
    assert Origin(scheme="http", host="::1", port=80).address == ip_address("::1")
    assert Origin(scheme="http", host="10.0.0.1", port=80).address == ip_address("10.0.0.1")
    assert Origin(scheme="http", host="a.example", port=80).address is None


PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "104.18.7.192",
    "172.32.0.1",
    "192.169.0.1",
    "2606:4700::6812:7c0",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "2001:0:808:808::f7f7:f7f7",
]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::f7f7:f7f7",
    "2001:0:808:808::80ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert address_allowed(ip_address(text), ())


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_other_addresses_are_not_allowed(text: str) -> None:
    assert not address_allowed(ip_address(text), ())


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("10.1.2.3", "10.1.0.0/16"),
        ("168.63.129.16", "168.63.129.16/32"),
        ("fd00::1", "fd00::/8"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.1", "10.0.0.0/8"),
        ("64:ff9b::a00:1", "10.0.0.0/8"),
    ],
)
def test_an_address_in_an_allowed_network_is_allowed(text: str, network: str) -> None:
    assert address_allowed(ip_address(text), [ip_network("192.168.0.0/16"), ip_network(network)])
    assert address_allowed(ip_address("1.1.1.1"), [ip_network(network)])


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("127.0.0.1", "10.0.0.0/8"),
        ("10.0.0.1", "fd00::/8"),
        ("::ffff:127.0.0.1", "::ffff:0:0/96"),
        ("::ffff:127.0.0.1", "::/0"),
        ("64:ff9b::7f00:1", "64:ff9b::/96"),
        ("2002:7f00:1::1", "2002::/16"),
        ("2001:0:7f00:1::80ff:fffe", "2001::/32"),
    ],
)
def test_an_address_that_carries_another_is_judged_by_that_one(text: str, network: str) -> None:
    assert not address_allowed(ip_address(text), [ip_network(network)])
