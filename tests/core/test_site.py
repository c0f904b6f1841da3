"""Where sessions may exist, and which requests come from our own pages."""

import pytest

from tokenopen.core.site import client_address, find_site, is_loopback

PUBLIC = "https://console.example.com"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST", "http://localhost"),
        ("127.0.0.1:80", "http://127.0.0.1"),
        ("127.8.9.1:8000", "http://127.8.9.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_this_machine_is_reached_over_plain_http(host: str, origin: str) -> None:
    site = find_site(public_url="", host=host)
    assert site is not None
    assert site.base_url == origin
    assert site.origins == {origin}
    assert not site.is_secure
    assert (site.session_cookie, site.visit_cookie) == ("tokenopen", "tokenopen-visit")


@pytest.mark.parametrize(
    "host",
    [
        "console.example.com",
        "192.0.2.1:8000",
        "localhost.example.com",
        "localhost@example.com",
        "127.0.0.1.example.com",
        "localhost:99999",
        "localhost/x",
        "[::1",
        "",
    ],
)
def test_from_elsewhere_plain_http_carries_no_session(host: str) -> None:
    assert find_site(public_url="", host=host) is None


@pytest.mark.parametrize("host", ["console.example.com", "evil.example.net", "10.0.0.5:8000", ""])
def test_with_a_public_address_no_host_header_is_believed(host: str) -> None:
    site = find_site(public_url=PUBLIC, host=host)
    assert site is not None
    assert site.base_url == PUBLIC
    assert site.origins == {PUBLIC}
    assert site.is_secure
    assert site.session_cookie == "__Host-tokenopen"
    assert site.visit_cookie == "__Host-tokenopen-visit"


def test_behind_a_public_address_the_machine_itself_still_gets_in() -> None:
    site = find_site(public_url=PUBLIC, host="localhost:8000")
    assert site is not None
    assert site.base_url == PUBLIC
    assert site.origins == {PUBLIC, "http://localhost:8000"}
    assert site.is_secure


@pytest.mark.parametrize(
    ("origin", "fetch_site", "ours"),
    [
        (PUBLIC, "same-origin", True),
        (PUBLIC, None, True),
        (None, "same-origin", True),
        (None, None, False),
        ("null", None, False),
        ("null", "same-origin", False),
        (PUBLIC, "cross-site", False),
        (PUBLIC, "same-site", False),
        (None, "none", False),
        ("https://evil.example.net", None, False),
        ("https://evil.example.net", "same-origin", False),
        ("http://console.example.com", "same-origin", False),
        ("https://console.example.com.evil.example.net", None, False),
        ("https://console.example.com:444", None, False),
        ("", "same-origin", False),
    ],
)
def test_only_our_own_pages_send_what_changes_something(
    origin: str | None, fetch_site: str | None, ours: bool
) -> None:
    site = find_site(public_url=PUBLIC, host="console.example.com")
    assert site is not None
    assert site.sent(origin=origin, fetch_site=fetch_site) is ours


def test_names_that_are_not_this_machine_s_are_not_loopback() -> None:
    assert is_loopback("127.0.0.1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("app.localhost")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "behind_proxy", "address"),
    [
        ("127.0.0.1", "198.51.100.7", True, "198.51.100.7"),
        ("10.0.0.2", "203.0.113.9, 198.51.100.7", True, "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7", False, "127.0.0.1"),
        ("8.8.8.8", "203.0.113.9", True, "8.8.8.8"),
        ("127.0.0.1", None, True, "127.0.0.1"),
        ("127.0.0.1", "unknown", True, "127.0.0.1"),
        ("testclient", "203.0.113.9", True, "testclient"),
    ],
)
def test_the_client_s_address_is_what_the_nearest_proxy_saw(
    peer: str, forwarded_for: str | None, behind_proxy: bool, address: str
) -> None:
    assert client_address(peer=peer, forwarded_for=forwarded_for, behind_proxy=behind_proxy) == address
