"""What the environment may say about the console and its mails."""

import pytest
from pydantic import ValidationError

from tokenopen.settings import Settings


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("https://console.example.com", "https://console.example.com"),
        ("https://Console.Example.com/", "https://console.example.com"),
        ("https://console.example.com:443", "https://console.example.com"),
        ("https://console.example.com:8443/", "https://console.example.com:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]"),
        ("", ""),
    ],
)
def test_the_public_address_is_that_of_a_site(given: str, understood: str) -> None:
    assert Settings(public_url=given).public_url == understood


@pytest.mark.parametrize(
    "given",
    [
        "console.example.com",
        "http://console.example.com",
        "http://192.0.2.7:8000",
        "https://",
        "https://user@console.example.com",
        "https://console.example.com/path",
        "https://console.example.com?x=1",
        "https://console.example.com:port",
        "ftp://console.example.com",
    ],
)
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        Settings(public_url=given)


def test_a_mail_server_needs_a_sender() -> None:
    with pytest.raises(ValidationError, match="TOKENOPEN_SMTP_URL"):
        Settings(smtp_url="smtp://localhost")  # type: ignore[arg-type]
    settings = Settings(
        smtp_url="smtps://user:otter-lamps@mail.example.com",  # type: ignore[arg-type]
        mail_from="TokenOpen <console@example.com>",
    )
    assert "otter-lamps" not in repr(settings)


@pytest.mark.parametrize(
    "given", ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://host:port"]
)
def test_a_mail_server_that_cannot_be_one_is_refused_without_its_password(given: str) -> None:
    with pytest.raises(ValidationError):
        Settings(smtp_url=given, mail_from="a@example.com")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["console", "TokenOpen", "a@b\r\nBcc: c@d"])
def test_a_sender_is_an_address(given: str) -> None:
    with pytest.raises(ValidationError):
        Settings(mail_from=given)
